"""lm_eval measures us over HTTP, and finds what we find in our own process: sample by sample."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.server.conftest import REAL

from tongwen import LLM, SamplingParams

pytestmark = pytest.mark.real

PLACES = [
    "Paris",
    "London",
    "北京",
    "Zürich",
    "Kraków",
    "東京",
    "naïve café",
    "no name 🏙",
]
Sample = Mapping[str, Any]
Samples = dict[str, list[Sample]]
STOP = ["\n\n", "Question:"]
WORDS = 24


@pytest.fixture(scope="module")
def llm(real_gguf: Path) -> LLM:
    return LLM(str(real_gguf), context=4096)


def rows() -> list[dict[str, Any]]:
    """Two dozen questions, of which some are not in English letters and one is long."""
    sums = [(one, one * 7 % 11 + 1) for one in range(2, 18)]
    asked = [
        {
            "question": f"What is {a} plus {b}?",
            "choices": [str(a + b), str(a + b + 1), str(a * b + 100)],
            "answer": 0,
        }
        for a, b in sums
    ]
    placed = [
        {
            "question": f"Tell me one thing about {place}." + " It matters." * (60 * (n == 3)),
            "choices": [f"{place} is a place", "yes", "\n\tno <|im_end|>"],
            "answer": n % 3,
        }
        for n, place in enumerate(PLACES)
    ]
    return asked + placed


def task(name: str, kind: str, data: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": kind,
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "metadata": {"version": 1},
        **more,
    }


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one task that is scored and one that is written."""
    path = tmp_path_factory.mktemp("tasks")
    data = path / "rows.json"
    data.write_text(json.dumps(rows(), ensure_ascii=False), encoding="utf-8")
    chosen = task(
        "chosen", "multiple_choice", data, doc_to_choice="choices", doc_to_target="{{answer}}"
    )
    until = {"until": STOP, "max_gen_toks": WORDS, "temperature": 0.0, "do_sample": False}
    written = task(
        "written",
        "generate_until",
        data,
        doc_to_target="{{choices[answer]}}",
        generation_kwargs=until,
        metric_list=[{"metric": "exact_match"}],
    )
    for each in (chosen, written):  # JSON is YAML
        (path / f"{each['task']}.yaml").write_text(json.dumps(each), encoding="utf-8")
    return path


def lm_eval(tasks: Path, out: Path, model: str, url: str, *more: str) -> subprocess.Popen[str]:
    """An `lm_eval` at work; it writes down every sample under `out`."""
    args = f"model={REAL},base_url={url},num_concurrent=4"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", model, "--model_args", args]
    command += ["--include_path", str(tasks), "--output_path", str(out), "--log_samples", *more]
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "hf"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        env={**os.environ, **quiet},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def samples_of(running: subprocess.Popen[str], out: Path) -> Samples:
    """What it wrote down, by task."""
    said = running.communicate(timeout=120)[1]
    assert running.returncode == 0, said[-3000:]
    found = {}
    for path in out.rglob("samples_*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.name.split("_")[1]] = [json.loads(line) for line in lines]
    return found


@pytest.fixture(scope="module")
def both(
    served_url: str, tasks: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Samples, Samples]:
    """Through `/v1/completions` and through `/v1/chat/completions`, at the same time.

    lm_eval is told of no tokenizer: it finds `/tokenizer_info` and `/tokenize`, and sends ids.
    """
    outs = tmp_path_factory.mktemp("completions"), tmp_path_factory.mktemp("chat")
    url = f"{served_url}/v1/completions"
    texts = lm_eval(tasks, outs[0], "local-completions", url, "--tasks", "chosen,written")
    url = f"{served_url}/v1/chat/completions"
    kind, more = "local-chat-completions", ("--tasks", "written", "--apply_chat_template")
    chats = lm_eval(tasks, outs[1], kind, url, *more)
    try:
        return samples_of(texts, outs[0]), samples_of(chats, outs[1])
    finally:
        for running in (texts, chats):
            running.kill()


@pytest.fixture(scope="module")
def by_text(both: tuple[Samples, Samples]) -> Samples:
    return both[0]


@pytest.fixture(scope="module")
def by_chat(both: tuple[Samples, Samples]) -> Samples:
    return both[1]


def greedy(**more: Any) -> SamplingParams:
    return SamplingParams(temperature=0, repetition_penalty=1.0, **more)


def requests_of(sample: Sample) -> list[list[Any]]:
    """What a sample's requests were asked with."""
    return [list(each.values()) for each in sample["arguments"].values()]


def test_each_choice_is_as_probable_over_http_as_in_our_own_process(
    llm: LLM, by_text: Samples
) -> None:
    chosen = by_text["chosen"]
    assert len(chosen) == len(rows())
    asked = [request for sample in chosen for request in requests_of(sample)]
    said = [each for sample in chosen for each in sample["filtered_resps"]]
    assert len(said) == len(asked) == 3 * len(rows())
    prompts = llm.tokenizer.encode_batch(
        [context + choice for context, choice in asked], allow_control=True
    )
    begins = [len(llm.tokenizer.encode(context)) for context, _ in asked]
    scored = llm.score(prompts)
    with_best = llm.generate(prompts, greedy(max_tokens=1, prompt_logprobs=1))
    own = []
    for begin, logprobs, done in zip(begins, scored, with_best, strict=True):
        best = [max(top.values()) for top in (done.prompt_top_logprobs or [])[begin:] if top]
        of_choice = [one for one in logprobs[begin:] if one is not None]
        own.append((sum(of_choice), of_choice == best))
    assert [(float(total), str(is_greedy) == "True") for total, is_greedy in said] == own
    assert {is_greedy for _, is_greedy in own} == {True, False}


def test_each_answer_is_the_same_text_over_http_and_in_our_own_process(
    llm: LLM, by_text: Samples
) -> None:
    written = by_text["written"]
    prompts = [requests_of(sample)[0][0] for sample in written]
    stop = [*STOP, llm.tokenizer.decode([llm.tokenizer.ends.eos_token_id or 0])]
    own = llm.generate(prompts, greedy(max_tokens=WORDS, stop=stop))
    assert [sample["resps"] for sample in written] == [[[done.text]] for done in own]
    assert len({done.text for done in own}) > len(rows()) // 2


def test_each_answer_in_a_conversation_is_the_same_text(llm: LLM, by_chat: Samples) -> None:
    written = by_chat["written"]
    asked = [json.loads(requests_of(sample)[0][0][0]) for sample in written]
    prompts = [llm.render(conversation) for conversation in asked]
    own = llm.generate(prompts, greedy(max_tokens=WORDS, stop=STOP))
    assert [sample["resps"] for sample in written] == [[[done.text]] for done in own]
    assert own[0].text == llm.chat(asked[0], greedy(max_tokens=WORDS, stop=STOP)).text
    assert len(written) == len(rows())
