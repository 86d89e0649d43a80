"""The preset `harness` asks and finds what lm-evaluation-harness does: sample by sample."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.server.conftest import REAL, served_url

from tongwen import LLM

__all__ = ["served_url"]

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
QUESTIONS, SHOTS = 8, 2
NAMES = ["mmlu", "arc_challenge", "hellaswag", "winogrande", "gsm8k"]


@pytest.fixture(scope="module")
def harness_parity() -> ModuleType:
    """The script whose parts these tests use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import harness_parity

    return harness_parity


@pytest.fixture(scope="module")
def verdicts(
    harness_parity: ModuleType,
    shared: Path,
    real_gguf: Path,
    served_url: str,  # the fixture of that name
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("parity")
    files = harness_parity.files_in(place, shared / "data", QUESTIONS, harness_parity.SEED)
    made = [harness_parity.made_of(files, name, SHOTS) for name in NAMES]
    llm = LLM(str(real_gguf), context=4096)
    return harness_parity.compare(files, made, llm, served_url, REAL).verdicts


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_prompts_likelihoods_choices_and_scores_are_those_of_the_harness(
    verdicts: dict[str, Any], name: str
) -> None:
    verdict = verdicts[name]
    assert verdict.questions == QUESTIONS
    assert verdict.is_equal, verdict
    assert verdict.ours == verdict.theirs


def test_a_difference_in_any_part_is_told(harness_parity: ModuleType) -> None:
    def found(**more: Any) -> Any:
        said = {"prompts": [["Q:", " A"], ["Q:", " BB"]], "logprobs": [-1.0, -2.5], "text": None}
        return harness_parity.Found(**{**said, "scores": {"score": 1.0}, **more})

    verdict = harness_parity.verdict
    assert verdict([found()], [found(scores={"acc": 1.0})]).is_equal
    assert not verdict([found()], [found(scores={"acc": 0.0})]).is_equal
    assert not verdict([found()], [found(prompts=[["Q:", " A"], ["Q: ", "BB"]])]).is_equal
    close = verdict([found()], [found(logprobs=[-1.0, -2.4])])
    assert (close.equal_answers, close.is_equal) == (1, False)
    assert close.largest_difference == pytest.approx(0.1)
    assert not verdict([found()], [found(logprobs=[-1.0, -1.5])]).equal_answers
    with pytest.raises(ValueError):
        verdict([found()], [])
