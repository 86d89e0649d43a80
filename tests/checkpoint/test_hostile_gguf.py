"""Damaged and hostile GGUF files: each loads or is refused in one line, in little memory."""

import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tongwen.checkpoint.gguf import GGUFFile
from tongwen.errors import CheckpointError
from tongwen.tokenizer.gguf import read_header

MEGABYTE = 1 << 20


def text(value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(content)) + content


def pair(key: str | bytes, type_id: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", type_id) + value


def array(type_id: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", type_id, count) + values


def tensor(name: str, axes: tuple[int, ...] = (4,), type_id: int = 0, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(axes)}Q", len(axes), *axes)
    return text(name) + shape + struct.pack("<IQ", type_id, offset)


def file(
    *pairs: bytes,
    tensors: tuple[bytes, ...] = (),
    magic: bytes = b"GGUF",
    version: int = 3,
    num_pairs: int | None = None,
    num_tensors: int | None = None,
    data: bytes = bytes(64),
) -> bytes:
    counts = (
        len(tensors) if num_tensors is None else num_tensors,
        len(pairs) if num_pairs is None else num_pairs,
    )
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


HUGE = 1 << 62

CASES = {
    "an empty file": (b"", "at least 24 bytes expected, 0 found"),
    "another magic": (file(magic=b"GGML"), "should begin with `GGUF`, and begins with b'GGML'"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big endian"),
    "version 1": (file(version=1), "of GGUF version 1; versions 2 and 3 are read"),
    "absurd pairs": (file(num_pairs=HUGE), f"{HUGE} metadata pairs announced at byte 24"),
    "absurd tensors": (file(num_tensors=HUGE), f"{HUGE} tensors announced"),
    "absurd numbers": (file(pair("n", 9, array(4, HUGE))), f"{HUGE} numbers in `n` announced"),
    "absurd strings": (file(pair("s", 9, array(8, HUGE))), f"{HUGE} strings in `s` announced"),
    "absurd arrays": (file(pair("a", 9, array(9, HUGE))), f"{HUGE} arrays in `a` announced"),
    "a long string": (
        file(pair("s", 8, struct.pack("<Q", HUGE))),
        f"string 0 of `s` would end at byte {HUGE + 45}",
    ),
    "a string beyond the end": (
        file(pair("s", 9, array(8, 2, text("ok") + struct.pack("<Q", 999)))),
        "string 1 of `s` would end at byte",
    ),
    "a key twice": (file(pair("k", 0, b"1"), pair("k", 0, b"1")), "key `k` appears twice"),
    "a tensor twice": (file(tensors=(tensor("t"), tensor("t", offset=32))), "`t` appears twice"),
    "an unknown value type": (file(pair("k", 13, b"")), "type from 0 to 12, is of type 13"),
    "an array of an unknown type": (file(pair("k", 9, array(99, 0))), "holds type 99"),
    "deeply nested arrays": (file(pair("k", 9, array(9, 1) * 4 + array(0, 0))), "more than 4 deep"),
    "no UTF-8": (file(pair("k", 8, text(b"a\xff"))), "should be UTF-8, has byte 0xff at 46"),
    "no UTF-8 in a key": (file(pair(b"\xc3", 0, b"1")), "a metadata key should be UTF-8"),
    "many axes": (file(tensors=(tensor("t", (1,) * 5),)), "1 to 4 axes, has 5"),
    "no axes": (file(tensors=(tensor("t", ()),)), "1 to 4 axes, has 0"),
    "an empty axis": (file(tensors=(tensor("t", (4, 0)),)), "axis of length 0"),
    "an offset out of step": (
        file(tensors=(tensor("t", offset=4),)),
        "multiple of 32, begins at 4",
    ),
    "an offset beyond the end": (file(tensors=(tensor("t", offset=HUGE),)), "past the end of the"),
    "an odd alignment": (
        file(pair("general.alignment", 4, struct.pack("<I", 48))),
        "should be a power of two, is 48",
    ),
    "an alignment of another type": (
        file(pair("general.alignment", 8, text("32"))),
        "should be a power of two, is 32",
    ),
    "control characters": (
        file(pair("k\n\x1b[31m", 0, b"1"), pair("k\n\x1b[31m", 0, b"1")),
        r"key `k\?\?\[31m` appears twice",
    ),
}


@pytest.mark.parametrize(("content", "what"), CASES.values(), ids=CASES)
def test_a_bad_header_is_refused_in_one_line(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    for skip in ((), ("k", "n", "s", "a")):
        if skip and "UTF-8" in what:
            continue  # what is skipped is not decoded
        with pytest.raises(CheckpointError, match=what) as refusal:
            read_header(path, skip)
        assert str(refusal.value).startswith(f"`{path}`")
        assert str(refusal.value).isprintable()


ARCHITECTURE = pair("general.architecture", 8, text("qwen2"))


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        (
            (tensor("a", (16,)), tensor("b", (16,), offset=32)),
            "`b` begins at byte 192, before the end of tensor `a` at 224",
        ),
        ((tensor("a", (16,), offset=32),), "should have 224 bytes or more, has 192"),
        ((tensor("a", (1 << 40, 1 << 40)),), "bytes or more, has 192"),
        ((tensor("a", (48,), type_id=8),), "row of 48 values does not fill blocks of 32 .Q8_0"),
        ((tensor("a", type_id=77),), "tensor `a`: values stored as GGML type 77 are not read"),
    ],
)
def test_a_lie_about_extents_is_refused(
    tensors: tuple[bytes, ...], what: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(file(ARCHITECTURE, tensors=tensors))
    with pytest.raises(CheckpointError, match=what):
        GGUFFile(path)


def test_a_directory_is_no_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a file"):
        read_header(tmp_path)


def load_or_refuse(path: Path) -> bool:
    """Read every tensor; whether the file was refused, in one printable line."""
    try:
        model = GGUFFile(path)
        for name in model.names():
            model.tensor(name)
    except CheckpointError as error:
        if not str(error).isprintable():
            pytest.fail(f"more than one line: {error!s}")
        return True
    return False


def test_a_file_cut_at_any_byte_is_refused(smallest_gguf: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    padding = -(4 * 4) % 32  # after the last tensor, a vector of four
    for length in range(len(smallest_gguf) - padding):
        path.write_bytes(smallest_gguf[:length])
        assert load_or_refuse(path), length


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(changes=[(0, 0)])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_a_file_with_changed_bytes_loads_or_is_refused(
    changes: list[tuple[int, int]], smallest_gguf: bytes, tmp_path: Path
) -> None:
    content = bytearray(smallest_gguf)
    for place, value in changes:
        content[place % (len(smallest_gguf) // 2)] = value  # the header is the first half
    path = tmp_path / "changed.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        load_or_refuse(path)
        assert tracemalloc.get_traced_memory()[1] < 100 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_a_count_that_fits_the_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    path.write_bytes(file(pair("s", 9, array(8, 1 << 18, bytes(8 << 18)))))
    tracemalloc.start()
    read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * MEGABYTE
