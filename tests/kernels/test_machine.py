"""Which kernels run: what the environment asks for, and on which processor."""

import platform

import pytest

from tongwen.errors import ConfigError
from tongwen.kernels.machine import instruction_sets, machine


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("x86_64", ("avx512", "avx2", "portable")),
        ("AMD64", ("avx512", "avx2", "portable")),
        ("aarch64", ("neon", "portable")),
        ("arm64", ("neon", "portable")),
        ("riscv64", ("portable",)),
    ],
)
def test_each_kind_of_processor_has_its_own_instruction_sets(
    kind: str, known: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: kind)
    assert instruction_sets() == known


@pytest.mark.parametrize(
    ("kind", "asked", "known"),
    [
        ("x86_64", "neon", "avx512, avx2, portable"),
        ("x86_64", "sse", "avx512, avx2, portable"),
        ("aarch64", "avx2", "neon, portable"),
        ("aarch64", "", "neon, portable"),
    ],
)
@pytest.mark.parametrize("kernels", ["native", "plain"])
def test_an_instruction_set_of_another_processor_is_refused_with_those_of_this_one(
    kind: str, asked: str, known: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: kind)
    monkeypatch.setenv("TONGWEN_KERNELS", kernels)
    monkeypatch.setenv("TONGWEN_ISA", asked)
    with pytest.raises(ConfigError) as error:
        machine.__wrapped__()
    assert str(error.value) == (
        f"`TONGWEN_ISA` must be one of {known} on this kind of processor (`{kind}`), not `{asked}`"
    )
