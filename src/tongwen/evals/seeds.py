"""The seeds of a run: each sample draws by one of its own.

The engine counts the seeds of a prompt's completions on from the first.  Were that first one the
run's seed, completion 1 of seed 0 would be completion 0 of seed 1, and samples would share their
luck.
"""

import hashlib
import json
from dataclasses import replace

from tongwen.evals.question import Generate, Question
from tongwen.evals.sample import Sample
from tongwen.evals.task import Task

_BITS = 31
"""What servers in any language take for a whole number."""


def question_of(task: Task, sample: Sample) -> Question:
    """What the model is asked of a sample; what is not greedy draws by the sample's own seed."""
    question = task.question(sample)
    if not isinstance(question, Generate) or question.params.temperature == 0:
        return question
    seed = seed_of(task.setup.seed, sample.id)
    return replace(question, params=replace(question.params, seed=seed))


def seed_of(run_seed: int, id_: str) -> int:
    """A sample's seed: the first bits of SHA-256 over the run's seed and the sample's id."""
    whole = hashlib.sha256(json.dumps([run_seed, id_]).encode())
    return int.from_bytes(whole.digest()[:4]) >> (32 - _BITS)
