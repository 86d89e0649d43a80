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

CHOICES = ["{sum}", "{more}", "{product}"]
PLACES = ["Paris", "London", "北京", "Zürich", "Kraków", "東京", "naïve café", "a town of no name 🏙"]
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


def lm_eval(
    tasks: Path, out: Path, model: str, names: str, args: Mapping[str, Any], *more: str
) -> dict[str, list[dict[str, Any]]]:
    """What `lm_eval` wrote down of every sample, by task."""
    command = [sys.executable, "-m", "lm_eval", "run", "--model", model, "--tasks", names]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in args.items())]
    command += ["--include_path", str(tasks), "--output_path", str(out), "--log_samples", *more]
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for path in out.rglob("samples_*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.name.split("_")[1]] = [json.loads(line) for line in lines]
    return found


@pytest.fixture(scope="module")
def samples(
    served_url: str, tasks: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """Both tasks through `/v1/completions`: the tokenizer is the server's own."""
    args = {"model": REAL, "base_url": f"{served_url}/v1/completions", "num_concurrent": 4}
    out = tmp_path_factory.mktemp("completions")
    return lm_eval(tasks, out, "local-completions", "chosen,written", args)


def greedy(**more: Any) -> SamplingParams:
    return SamplingParams(temperature=0, repetition_penalty=1.0, **more)


def test_each_choice_is_as_probable_over_http_as_in_our_own_process(
    llm: LLM, samples: dict[str, list[dict[str, Any]]]
) -> None:
    chosen = samples["chosen"]
    assert len(chosen) == len(rows())
    for sample in chosen:
        for asked, said in zip(arguments(sample), sample["filtered_resps"], strict=True):
            context, choice = asked
            prompt = llm.tokenizer.encode(context + choice, allow_control=True)
            begin = len(llm.tokenizer.encode(context, allow_control=True))
            own = llm.generate([prompt], greedy(max_tokens=1, prompt_logprobs=1))[0]
            of_choice = llm.score([prompt])[0][begin:]
            best = [max((top or {}).values()) for top in (own.prompt_top_logprobs or [])[begin:]]
            assert [float(said[0]), said[1] in (True, "True")] == [
                sum(one for one in of_choice if one is not None),
                of_choice == best,
            ]


def test_each_answer_is_the_same_text_over_http_and_in_our_own_process(
    llm: LLM, samples: dict[str, list[dict[str, Any]]]
) -> None:
    written = samples["written"]
    assert len(written) == len(rows())
    prompts = [arguments(sample)[0][0] for sample in written]
    stop = [*STOP, llm.tokenizer.decode([llm.tokenizer.ends.eos_token_id or 0])]
    own = llm.generate(prompts, greedy(max_tokens=WORDS, stop=stop))
    assert [sample["resps"] for sample in written] == [[[done.text]] for done in own]
    assert len({done.text for done in own}) > len(own) // 2


def test_each_answer_in_a_conversation_is_the_same_text(
    llm: LLM, served_url: str, tasks: Path, tmp_path: Path
) -> None:
    args = {"model": REAL, "base_url": f"{served_url}/v1/chat/completions", "num_concurrent": 4}
    chat = "local-chat-completions", "written", args, "--apply_chat_template"
    written = lm_eval(tasks, tmp_path, *chat)["written"]
    assert len(written) == len(rows())
    params = greedy(max_tokens=WORDS, stop=STOP)
    for sample in written:
        conversation = json.loads(arguments(sample)[0][0][0])
        assert sample["resps"] == [[llm.chat(conversation, params).text]]


def arguments(sample: Mapping[str, Any]) -> list[list[Any]]:
    """What a sample's requests were asked with."""
    return [list(each.values()) for each in sample["arguments"].values()]
