"""GPTQ and AWQ directories, packed number by number and read back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tongwen.checkpoint.packed import Packed, open_weights, packing_from_json
from tongwen.checkpoint.shards import SINGLE_FILE, Shards
from tongwen.errors import CheckpointError, ConfigError

ROWS, COLUMNS, GROUP = 16, 64, 32
LAYER = "model.layers.0.mlp.up_proj"
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"}


def packed(numbers: list[int], bits: int) -> int:
    """One word, the first number in its low bits, as a signed one."""
    word = sum(number << bits * place for place, number in enumerate(numbers))
    return word - (1 << 32) * (word >> 31)


class Layer:
    """Random numbers, zeros and scales of one layer, and what they stand for."""

    def __init__(self, bits: int, g_idx: list[int]) -> None:
        generator = torch.Generator().manual_seed(bits)
        self.bits, self.g_idx = bits, g_idx
        most = 1 << bits
        self.q = torch.randint(0, most, (ROWS, COLUMNS), generator=generator).tolist()
        groups = max(g_idx) + 1
        self.zero = torch.randint(0, most, (groups, ROWS), generator=generator).tolist()
        self.scales = torch.rand(groups, ROWS, generator=generator).half()

    @property
    def weight(self) -> torch.Tensor:
        weight = torch.empty(ROWS, COLUMNS)
        for row in range(ROWS):
            for column, group in enumerate(self.g_idx):
                difference = self.q[row][column] - self.zero[group][row]
                weight[row, column] = float(self.scales[group, row]) * difference
        return weight

    def gptq(self, offset: int = 1) -> dict[str, torch.Tensor]:
        per = 32 // self.bits
        words = [
            [packed([row[column + i] for i in range(per)], self.bits) for row in self.q]
            for column in range(0, COLUMNS, per)
        ]
        zeros = [
            [packed([(row[out + i] - offset) % 2**self.bits for i in range(per)], self.bits)
             for out in range(0, ROWS, per)]
            for row in self.zero
        ]  # fmt: skip
        return {
            f"{LAYER}.qweight": torch.tensor(words, dtype=torch.int32),
            f"{LAYER}.qzeros": torch.tensor(zeros, dtype=torch.int32),
            f"{LAYER}.scales": self.scales,
            f"{LAYER}.g_idx": torch.tensor(self.g_idx, dtype=torch.int32),
        }

    def awq(self) -> dict[str, torch.Tensor]:
        order = (0, 2, 4, 6, 1, 3, 5, 7)
        words = [
            [packed([self.q[out + i][column] for i in order], 4) for out in range(0, ROWS, 8)]
            for column in range(COLUMNS)
        ]
        zeros = [
            [packed([row[out + i] for i in order], 4) for out in range(0, ROWS, 8)]
            for row in self.zero
        ]
        return {
            f"{LAYER}.qweight": torch.tensor(words, dtype=torch.int32),
            f"{LAYER}.qzeros": torch.tensor(zeros, dtype=torch.int32),
            f"{LAYER}.scales": self.scales,
        }


IN_ORDER = [column // GROUP for column in range(COLUMNS)]
SHUFFLED = [column % 2 for column in range(COLUMNS)]


def write(directory: Path, tensors: dict[str, torch.Tensor], how: dict[str, Any]) -> Path:
    plain = {"model.norm.weight": torch.ones(4, dtype=torch.bfloat16)}
    save_file({**plain, **tensors}, directory / SINGLE_FILE)
    (directory / "config.json").write_text(json.dumps({"quantization_config": how}))
    return directory


def check(directory: Path, expected: torch.Tensor) -> None:
    weights, name = open_weights(directory), f"{LAYER}.weight"
    assert isinstance(weights, Packed)
    assert set(weights.names()) == {name, "model.norm.weight"}
    assert torch.equal(weights.tensor(name), expected)
    parts = list(weights.parts(name, 5))
    assert [len(part) for part in parts] == [5, 5, 5, 1]
    assert torch.equal(torch.cat(parts), expected)
    assert torch.equal(weights.tensor(name), expected)  # what was forgotten is read again
    assert (weights.shape(name), weights.dtype(name)) == ((ROWS, COLUMNS), torch.float32)
    assert weights.dtype("model.norm.weight") == torch.bfloat16
    assert torch.equal(weights.tensor("model.norm.weight").float(), torch.ones(4))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("g_idx", [IN_ORDER, SHUFFLED], ids=["in order", "by activation"])
def test_gptq_stands_for_what_was_packed(bits: int, g_idx: list[int], tmp_path: Path) -> None:
    layer = Layer(bits, g_idx)
    check(write(tmp_path, layer.gptq(), GPTQ | {"bits": bits}), layer.weight)


def test_the_second_form_of_gptq_stores_zeros_as_they_are(tmp_path: Path) -> None:
    layer = Layer(4, IN_ORDER)
    how = GPTQ | {"checkpoint_format": "gptq_v2"}
    check(write(tmp_path, layer.gptq(offset=0), how), layer.weight)


def test_gptq_without_an_index_of_groups_takes_them_in_order(tmp_path: Path) -> None:
    layer = Layer(4, IN_ORDER)
    tensors = layer.gptq()
    del tensors[f"{LAYER}.g_idx"]
    check(write(tmp_path, tensors, GPTQ), layer.weight)


def test_one_group_for_all_columns_is_read(tmp_path: Path) -> None:
    layer = Layer(4, [0] * COLUMNS)
    check(write(tmp_path, layer.gptq(), GPTQ | {"group_size": -1}), layer.weight)


def test_awq_stands_for_what_was_packed(tmp_path: Path) -> None:
    layer = Layer(4, IN_ORDER)
    check(write(tmp_path, layer.awq(), AWQ), layer.weight)


def test_a_bias_of_zeros_is_left_out_and_another_refused(tmp_path: Path) -> None:
    layer = Layer(4, IN_ORDER)
    bias = {f"{LAYER}.bias": torch.zeros(ROWS, dtype=torch.float16)}
    check(write(tmp_path, layer.gptq() | bias, GPTQ), layer.weight)
    bias[f"{LAYER}.bias"][3] = 1
    with pytest.raises(CheckpointError, match=r"up_proj.bias` should be zero"):
        open_weights(write(tmp_path, layer.gptq() | bias, GPTQ))


def test_a_directory_that_is_not_packed_is_read_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, {}, {})
    (tmp_path / "config.json").write_text("{}")
    assert isinstance(open_weights(tmp_path), Shards)


@pytest.mark.parametrize(
    ("part", "tensor", "what"),
    [
        ("qzeros", None, "has no tensor `.*qzeros`"),
        ("qzeros", torch.zeros(2, 3, dtype=torch.int32), r"should have shape \[2, 2\], has \[2, 3"),
        ("scales", torch.zeros(9, ROWS).half(), r"should have shape \[2, 16\], has \[9, 16\]"),
        ("scales", torch.zeros(2, ROWS), "should be a matrix of torch.float16"),
        ("qweight", torch.zeros(8, dtype=torch.int32), "should be a matrix of torch.int32"),
        ("g_idx", torch.zeros(3, dtype=torch.int32), "should be 64 of int32"),
        ("g_idx", torch.full((COLUMNS,), 2, dtype=torch.int32), "groups from 0 to 1, and names 2"),
        ("g_idx", torch.full((COLUMNS,), -1, dtype=torch.int32), "names -1 to -1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    part: str, tensor: torch.Tensor | None, what: str, tmp_path: Path
) -> None:
    tensors = Layer(4, IN_ORDER).gptq()
    if tensor is None:
        del tensors[f"{LAYER}.{part}"]
    else:
        tensors[f"{LAYER}.{part}"] = tensor
    write(tmp_path, tensors, GPTQ)
    with pytest.raises(CheckpointError, match=what):
        open_weights(tmp_path).tensor(f"{LAYER}.weight")


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"quant_method": "fp8"}, "quantized by `fp8`; gptq and awq are read"),
        ({}, "quantized by `None`"),
        ([], "should be an object"),
        (GPTQ | {"bits": 3}, "GPTQ of 3 bits"),
        (GPTQ | {"checkpoint_format": "marlin"}, "in the form `marlin`"),
        (GPTQ | {"dynamic": {"a": {}}}, "alike for all layers"),
        (GPTQ | {"group_size": 0}, "`group_size` should be a positive number"),
        (AWQ | {"version": "gemv"}, "in the version `gemv`"),
        (AWQ | {"bits": 8}, "AWQ of 8 bits"),
    ],
)
def test_other_packings_are_refused_by_name(how: object, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        packing_from_json(how)
