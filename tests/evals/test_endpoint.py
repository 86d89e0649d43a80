"""Models and judges behind an endpoint that knows OpenAI's words alone."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.standin import answered, serving, text
from tests.evals.made import whats
from tests.evals.tasks.judging import NO_SUCH_PATH, words
from tests.evals.tiny import NUM_ROWS, save_packable

from tongwen.engine.llm import LLM
from tongwen.evals.measure import run
from tongwen.evals.receipt import read_receipt
from tongwen.evals.target import Target
from tongwen.evals.trial import EvalConfig, Result
from tongwen.evals.verify import Again, verify

pytestmark = pytest.mark.usefixtures("measure")


@contextlib.contextmanager
def foreign(*names: str) -> Iterator[str]:
    """Models that say the same of the same prompt, on a port of their own."""
    models = answered(200, {"data": [{"id": name, "owned_by": "somebody"} for name in names]})

    def take(head: str, body: bytes) -> bytes:
        path = head.split()[1]
        if path.endswith("/models"):
            return models
        if not path.endswith("/completions"):
            return NO_SUCH_PATH
        asked = json.loads(body)
        prompt = json.dumps(asked.get("messages") or asked["prompt"])
        said = f"then {hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
        return words(said) if "messages" in asked else answered(200, text(said))

    with serving(take) as url:
        yield url


def test_a_receipt_of_an_endpoint_that_goes_on_with_no_answer_holds(
    data: Path, tmp_path: Path
) -> None:
    with foreign("far") as url:
        target = Target(model="far", endpoint=url)
        (result,) = run("tiny-begun", target, EvalConfig(data=data, out=tmp_path / "out"))
        assert not result.receipt.subject.continues_answers
        verdict = verify(result.path, target, Again(data=data))
    assert verdict.differences == ()
    assert verdict.num_asked_again == NUM_ROWS


def test_an_endpoint_that_tells_no_weights_may_have_changed_since_its_receipt(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with foreign("far") as url:
        config = EvalConfig(data=data, out=tmp_path / "out")
        (first,), (again,) = (
            run("tiny-begun", Target(model="far", endpoint=url), config) for _ in range(2)
        )
    assert (first.was_done, again.was_done) == (False, True)
    assert f"`{url}/v1` does not tell whether it serves the same weights" in caplog.text


def judged(data: Path, out: Path, subject: Target, judge: Target, task: str) -> Result:
    (result,) = run(task, subject, EvalConfig(data=data, out=out), judge=judge)
    return result


def test_a_receipt_says_who_judged_and_holds_with_the_same_judge(
    data: Path, tmp_path: Path
) -> None:
    with foreign("far", "wise") as url:
        far, wise = (Target(model=name, endpoint=url) for name in ("far", "wise"))
        result = judged(data, tmp_path / "out", far, wise, "tiny-judged")
        verdict = verify(result.path, far, Again(data=data), judge=wise)
    assert verdict.differences == ()
    assert verdict.num_asked_again == NUM_ROWS
    settings = read_receipt(result.path).settings
    assert settings.judge == "wise"
    assert settings.judged_by is not None
    assert (settings.judged_by.name, settings.judged_by.where) == ("wise", f"{url}/v1")


def test_another_judge_is_named_though_it_judges_alike(data: Path, tmp_path: Path) -> None:
    with foreign("far", "wise", "wiser") as url:
        far, wise, wiser = (Target(model=each, endpoint=url) for each in ("far", "wise", "wiser"))
        result = judged(data, tmp_path / "out", far, wise, "tiny-judged")
        verdict = verify(result.path, far, Again(data=data), judge=wiser)
    (difference,) = verdict.differences
    assert (difference.what, difference.receipt, difference.now) == ("judge", "wise", "wiser")


def test_that_nobody_judges_is_named_where_verdicts_are_wanted(data: Path, tmp_path: Path) -> None:
    with foreign("far", "wise") as url:
        far, wise = (Target(model=name, endpoint=url) for name in ("far", "wise"))
        result = judged(data, tmp_path / "out", far, wise, "tiny-judged")
        asked = verify(result.path, far, Again(data=data, num_samples=2))
        unasked = verify(result.path, far, Again(data=data, num_samples=0))
    assert ("judge", None) in whats(asked)
    assert unasked.holds


def test_a_judge_here_is_known_by_its_weights(data: Path, tmp_path: Path, tiny_llm: LLM) -> None:
    path = save_packable(tmp_path / "other", seed=8)
    other = LLM(path, context=512, weights="int8", home=tmp_path / "home")
    with foreign("far") as url:
        far = Target(model="far", endpoint=url)
        result = judged(data, tmp_path / "out", far, Target(model=tiny_llm), "tiny-judged")
        judges = [Target(model=each) for each in (tiny_llm, other)]
        none = Again(data=data, num_samples=0)
        same, another = (verify(result.path, far, none, judge=each) for each in judges)
    assert same.holds
    assert ("judge.weights", None) in whats(another)


def test_a_receipt_without_verdicts_names_no_judge(data: Path, tmp_path: Path) -> None:
    with foreign("far", "wise") as url:
        far, wise = (Target(model=name, endpoint=url) for name in ("far", "wise"))
        settings = judged(data, tmp_path / "out", far, wise, "tiny").receipt.settings
    assert (settings.judge, settings.judged_by) == (None, None)
