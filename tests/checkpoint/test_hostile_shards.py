"""safetensors files whose headers lie: each loads or is refused in one line, in little memory."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from tongwen.checkpoint.shards import SINGLE_FILE, Shards
from tongwen.errors import CheckpointError

WHOLE = save({"a": torch.ones(2, 4), "b": torch.ones(3, dtype=torch.bfloat16)})


def write(directory: Path, header: object, data: bytes = bytes(32)) -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    (directory / SINGLE_FILE).write_bytes(len(content).to_bytes(8, "little") + content + data)
    return directory


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]} | changes


LIES = {
    "past the end": ({"a": entry(shape=[4, 4], data_offsets=[0, 64])}, "the file has"),
    "backwards": ({"a": entry(data_offsets=[32, 0])}, "should take 32 bytes"),
    "negative": ({"a": entry(data_offsets=[-32, 0])}, "should take 32 bytes"),
    "too short": ({"a": entry(data_offsets=[0, 16])}, "should take 32 bytes"),
    "too long": ({"a": entry(shape=[1])}, "should take 4 bytes .F32 .1.., and lies from 0 to 32"),
    "huge shape": ({"a": entry(shape=[1 << 62, 1 << 62])}, "and lies from 0 to 32"),
    "negative axes": ({"a": entry(shape=[-2, -4])}, "has the shape"),
    "axes of another type": ({"a": entry(shape=[8.0])}, "has the shape"),
    "overlapping": ({"a": entry(), "b": entry(shape=[1], data_offsets=[16, 20])}, "within the one"),
    "unknown dtype": ({"a": entry(dtype="F3")}, "is of dtype `F3`; F64 F32"),
    "no dtype": ({"a": {"shape": [8], "data_offsets": [0, 32]}}, "a dtype, a shape and two offs"),
    "three offsets": ({"a": entry(data_offsets=[0, 16, 32])}, "a dtype, a shape and two offsets"),
    "no entry": ({"a": None}, "should have a dtype"),
    "a list": ([1], "should hold a JSON object"),
    "no JSON": (b"{" * 40, "should hold JSON"),
    "deep JSON": (b'{"a":' * 100_000, "should hold JSON"),
    "no UTF-8": (b'{"\xff": 1}', "should hold JSON"),
}


@pytest.mark.parametrize(("header", "what"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused(header: object, what: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=what) as refusal:
        Shards(write(tmp_path, header))
    assert str(tmp_path / SINGLE_FILE) in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 63, (1 << 64) - 1])
def test_an_absurd_length_is_refused_before_anything_is_read(length: int, tmp_path: Path) -> None:
    (tmp_path / SINGLE_FILE).write_bytes(length.to_bytes(8, "little") + WHOLE[8:])
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=f"announces a header of {length} bytes"):
        Shards(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    for length in range(len(WHOLE)):
        (tmp_path / SINGLE_FILE).write_bytes(WHOLE[:length])
        with pytest.raises(CheckpointError) as refusal:
            Shards(tmp_path)
        assert str(refusal.value).isprintable()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1))
def test_a_file_with_changed_bytes_loads_or_is_refused(
    changes: list[tuple[int, int]], tmp_path: Path
) -> None:
    content = bytearray(WHOLE)
    for place, value in changes:
        content[place] = value
    (tmp_path / SINGLE_FILE).write_bytes(content)
    try:
        shards = Shards(tmp_path)
        found = {name: shards.tensor(name).shape for name in shards.names()}
    except CheckpointError as error:
        if not str(error).isprintable():
            pytest.fail(f"more than one line: {error!s}")
    else:
        assert found == {name: torch.Size(shards.shape(name)) for name in shards.names()}
