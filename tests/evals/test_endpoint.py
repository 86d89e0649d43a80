"""Models and judges behind an endpoint that knows OpenAI's words alone."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.standin import answered, serving
from tests.evals.tasks.judging import NO_SUCH_PATH, words
from tests.evals.tiny import NUM_ROWS

from tongwen.evals.measure import run
from tongwen.evals.target import Target
from tongwen.evals.trial import EvalConfig
from tongwen.evals.verify import Again, verify

pytestmark = pytest.mark.usefixtures("measure")


@contextlib.contextmanager
def foreign(*names: str) -> Iterator[str]:
    """Models that say the same of the same conversation, on a port of their own."""
    models = answered(200, {"data": [{"id": name, "owned_by": "somebody"} for name in names]})

    def take(head: str, body: bytes) -> bytes:
        path = head.split()[1]
        if path.endswith("/models"):
            return models
        if not path.endswith("/chat/completions"):
            return NO_SUCH_PATH
        said = json.dumps(json.loads(body)["messages"])
        return words(f"then {hashlib.sha256(said.encode()).hexdigest()[:8]}")

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
