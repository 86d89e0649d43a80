"""As many solved rows are shown as one asks for, or another number is refused."""

from itertools import product
from pathlib import Path

import pytest

from tongwen.errors import DependencyError, RequestError
from tongwen.evals.catalogue import TASKS
from tongwen.evals.sample import Sample
from tongwen.evals.task import Setup, Task
from tongwen.evals.trial import EvalConfig
from tongwen.judge.benchmarks import Benchmarks

KINDS = [
    (name, preset, is_chat)
    for name, kind in TASKS.items()
    for preset, is_chat in product(kind.about.presets, (False, True))
    if is_chat or kind.about.presets[preset].base
]


def task_of(name: str, preset: str, shots: int | None, root: Path, *, is_chat: bool) -> Task:
    data = Benchmarks(root)
    return TASKS[name](Setup(data=data, preset=preset, is_chat=is_chat, shots=shots))


def asked(task: Task) -> dict[str, str]:
    """The first question of each group."""
    firsts: dict[str, Sample] = {}
    for sample in task.samples():
        firsts.setdefault(sample.group, sample)
    return {one.id: str(task.question(one)) for one in firsts.values()}


@pytest.mark.parametrize(("name", "preset", "is_chat"), KINDS)
def test_a_number_of_solved_rows_moves_the_question_or_is_refused(
    name: str, preset: str, is_chat: bool, shared: Path
) -> None:
    root = shared / "data"
    plain = task_of(name, preset, None, root, is_chat=is_chat)
    if plain.fixed_shots is not None:
        assert plain.num_shots == task_of(name, preset, 0, root, is_chat=is_chat).num_shots == 0
        with pytest.raises(RequestError, match="shows this model 0 solved rows, not 1") as caught:
            task_of(name, preset, 1, root, is_chat=is_chat)
        assert caught.value.hint == "leave `--shots` out"
        return
    tasks = [task_of(name, preset, num, root, is_chat=is_chat) for num in (1, 2)]
    assert [task.num_shots for task in tasks] == [1, 2]
    try:
        fewer, more = map(asked, tasks)
    except (RequestError, DependencyError) as error:
        absent = ("is not there", "no file of the benchmark is there", "pieces are not there")
        if not any(words in error.message for words in absent):
            raise
        pytest.skip(error.message)
    both = fewer.keys() & more.keys()
    assert both
    assert [id_ for id_ in both if fewer[id_] == more[id_]] == []


def test_mbpp_shows_as_many_as_its_receipt_says(shared: Path) -> None:
    counts = {
        (preset, is_chat): task_of("mbpp", preset, None, shared / "data", is_chat=is_chat)
        for preset, is_chat in product(TASKS["mbpp"].about.presets, (False, True))
    }
    found = {how: (task.num_shots, len(task.samples()[0].shots)) for how, task in counts.items()}
    assert found == {
        ("qwen2-report", False): (3, 3),
        ("qwen2-report", True): (0, 0),
        ("qwen2.5-coder", False): (3, 3),
        ("qwen2.5-coder", True): (0, 0),
        ("harness", False): (3, 3),
        ("harness", True): (3, 3),
    }


def test_fewer_than_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="`shots` must be at least 0, not -1"):
        EvalConfig(out=tmp_path, shots=-1)
