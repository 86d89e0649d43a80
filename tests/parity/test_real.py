"""The real model's numbers against transformers', on the same weights.

The weights are those of the Q4_K_M file, dequantized.  transformers loads the directory that we
save of them; `goldens/greedy.json` holds what it answered to twenty questions.
"""

import gc
import gzip
import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tongwen.checkpoint.gguf import GGUFFile
from tongwen.checkpoint.load import open_checkpoint
from tongwen.engine.engine import Engine, EngineConfig
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
from tongwen.engine.scheduler import SchedulerConfig
from tongwen.kernels.machine import machine
from tongwen.model.attention import PackedCausal
from tongwen.model.stream import Stream

pytestmark = pytest.mark.real
log = logging.getLogger(__name__)

GOLDENS = Path(__file__).with_name("goldens")
TOKENS = 512
CHUNK = 96
"""Neither a divisor of `TOKENS` nor a multiple of the cache's block: the last chunk is short, and
chunks begin inside blocks' runs."""

CLOSE = 2e-3
"""Two float32 implementations sum the same products in different orders.  A sum of some thousand
terms errs by `sqrt(1000) * 2**-24` of its size, 2e-6; 48 sublayers in a row make 1e-5 of logits of
about 20: 3e-4.  The bound leaves a factor of seven for residuals that are larger than their sum."""

SAME_ORDER = 5e-4
"""Between two paths of ours: they differ in the shapes of their products alone."""

BF16_KL = 3e-3
"""Mean KL divergence, in nats, of bfloat16 from float32.

Rounding to 8 bits errs by `2**-9 / sqrt(3)` (rms) of a value.  A block rounds some ten values one
after the other (norm, projections, rotation, attention, product of gate and up, both residuals);
24 blocks add 240 independent errors, weights as many again: `sqrt(480) * 2**-9 / sqrt(3)` is 2.5 %
of a hidden state, hence of logits that spread by about 3 around their mean: sigma is 0.074.  To
second order the divergence is half the variance of the error under the model's own distribution,
`0.074**2 / 2` or 2.7e-3, rounded up."""

Answer = dict[str, Any]


@pytest.fixture(scope="module")
def make_greedy() -> dict[str, Any]:
    """The script that made the goldens; test folders are no packages, so it is read by its path."""
    return runpy.run_path(str(GOLDENS / "make_greedy.py"))


@pytest.fixture(scope="module")
def save(make_greedy: dict[str, Any]) -> Callable[[Path, Path, torch.dtype], None]:
    found: Callable[[Path, Path, torch.dtype], None] = make_greedy["save"]
    return found


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    golden = json.loads((GOLDENS / "greedy.json").read_text(encoding="utf-8"))
    found: list[Answer] = golden["answers"]
    return found


@pytest.fixture(scope="module")
def llm(real_gguf: Path) -> LLM:
    return LLM(real_gguf, weights="float32", context=2048)


@pytest.fixture(scope="module")
def token_ids(llm: LLM, shared: Path) -> list[int]:
    """The first tokens of wikitext-2's test part."""
    path = shared / "data/wikitext2/wiki_test_raw.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        text = "\n".join(json.loads(row)["text"] for row, _ in zip(rows, range(60), strict=False))
    ids = llm.tokenizer.encode(text)[:TOKENS]
    assert len(ids) == TOKENS
    return ids


@pytest.fixture(scope="module")
def reference(
    real_gguf: Path,
    token_ids: list[int],
    save: Callable[[Path, Path, torch.dtype], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Tensor:
    """transformers' float32 logits; neither its model nor the 2.5 GB of its files are kept."""
    directory = tmp_path_factory.mktemp("float32") / "model"
    save(real_gguf, directory, torch.float32)
    try:
        return theirs(directory, torch.float32, token_ids)
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def bf16_directory(
    real_gguf: Path,
    save: Callable[[Path, Path, torch.dtype], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("bf16") / "model"
    save(real_gguf, directory, torch.bfloat16)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def bf16(bf16_directory: Path) -> LLM:
    return LLM(bf16_directory, weights="bf16", context=1024)


@pytest.fixture(scope="module")
def packed(llm: LLM, token_ids: list[int]) -> Tensor:
    return logits(llm, [token_ids])


@torch.inference_mode()
def theirs(directory: Path, dtype: torch.dtype, token_ids: list[int]) -> Tensor:
    """transformers' logits of a saved directory, as float32."""
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="sdpa"
    ).eval()
    found = model(torch.tensor([token_ids]), use_cache=False).logits[0].float()
    del model
    gc.collect()
    return found


@torch.inference_mode()
def logits(llm: LLM, sequences: list[list[int]]) -> Tensor:
    """Our logits of sequences that lie end to end, as float32."""
    flat = [token_id for sequence in sequences for token_id in sequence]
    attend = PackedCausal([len(sequence) for sequence in sequences], llm.config)
    return llm.model(torch.tensor(flat), Stream(attend=attend)).float()


def chunked_logits(llm: LLM, token_ids: list[int]) -> Tensor:
    """Our logits as the engine computes them: chunk by chunk over a paged cache."""
    engine = Engine(
        llm.model,
        llm.tokenizer,
        defaults=llm.generation,
        eos_token_ids=frozenset(),
        config=EngineConfig(
            context=1024,
            cache_tokens=1024,
            scheduler=SchedulerConfig(max_batch_tokens=CHUNK, max_requests=CHUNK),
        ),
    )
    request, parts = engine.add(token_ids, SamplingParams(max_tokens=1)), []
    while request.num_computed < len(token_ids):
        chunks = engine.scheduler.schedule()
        engine.batch.fill(chunks)
        tokens = engine.batch.num_tokens
        engine.batch.sample_rows[:tokens] = torch.arange(tokens)  # every row, not only the last
        engine.batch.num_samples = tokens
        parts.append(engine.runner.run(engine.batch).logits)
        for chunk in chunks:
            engine.scheduler.advance(chunk)
    assert [len(part) for part in parts[:-1]] == [CHUNK] * (TOKENS // CHUNK)
    return torch.cat(parts)


def largest(difference: Tensor) -> float:
    found = float(difference.abs().max())
    log.info("largest difference: %.1e", found)
    return found


def mean_kl(true: Tensor, approximate: Tensor) -> float:
    """Mean over rows of the divergence of `approximate` from `true`, in nats."""
    rows = zip(true.split(64), approximate.split(64), strict=True)
    each = [
        torch.nn.functional.kl_div(
            q.double().log_softmax(-1), p.double().log_softmax(-1), reduction="sum", log_target=True
        )
        for p, q in rows
    ]
    return float(sum(each)) / len(true)


def test_float32_logits_of_wikitext_are_those_of_transformers(
    packed: Tensor, reference: Tensor
) -> None:
    assert packed.shape == reference.shape == (TOKENS, 151936)
    assert largest(packed - reference) < CLOSE


def test_float32_logits_of_the_engine_in_chunks_are_those_of_transformers(
    llm: LLM, token_ids: list[int], packed: Tensor, reference: Tensor
) -> None:
    chunked = chunked_logits(llm, token_ids)
    assert largest(chunked - reference) < CLOSE
    assert largest(chunked - packed) < SAME_ORDER


def test_scores_are_transformers_log_probabilities(
    llm: LLM, token_ids: list[int], reference: Tensor
) -> None:
    [scores] = llm.score([token_ids])
    targets = torch.tensor(token_ids[1:]).unsqueeze(-1)
    wanted = reference[:-1].log_softmax(-1).gather(-1, targets).squeeze(-1)
    assert scores[0] is None
    assert largest(torch.tensor(scores[1:]) - wanted) < CLOSE


def test_twenty_questions_are_rendered_as_transformers_renders_them(
    llm: LLM, answers: list[Answer]
) -> None:
    kinds = [answer["kind"] for answer in answers]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "English": 5, "Chinese": 5, "Arabic": 5, "code": 5,
    }  # fmt: skip
    assert sum(len(answer["token_ids"]) for answer in answers) > 500
    for answer in answers:
        assert llm.render(conversation(answer)) == answer["prompt_ids"]
        assert (answer["token_ids"][-1] == 151645) == (len(answer["token_ids"]) < 64)


def test_the_argmax_along_transformers_answers_is_transformers_choice(
    llm: LLM, answers: list[Answer]
) -> None:
    """Every disagreement is logged; only near-ties of transformers' logits may be among them."""
    found = [line for answer in answers for line in disagreements(llm, answer)]
    for line in found:
        log.warning(line)
    assert [line for line in found if not line.startswith("near-tie")] == [], "\n".join(found)


def disagreements(llm: LLM, answer: Answer) -> list[str]:
    """Where our argmax is another than the id that transformers chose, in a line each."""
    prompt_ids, token_ids = answer["prompt_ids"], answer["token_ids"]
    rows = logits(llm, [prompt_ids + token_ids[:-1]])[len(prompt_ids) - 1 :]
    lines = []
    for step, (row, chosen) in enumerate(zip(rows, token_ids, strict=True)):
        mine = int(row.argmax())
        if mine != chosen:
            kind = "near-tie" if step in answer["near_ties"] else "wrong"
            gap = float(row[mine] - row[chosen])
            lines.append(
                f"{kind}: {answer['question']!r}, step {step}: {mine} and not {chosen}, "
                f"our logits are {gap:.1e} apart"
            )
    return lines


@pytest.mark.slow
def test_greedy_answers_are_those_of_transformers_up_to_the_first_near_tie(
    llm: LLM, answers: list[Answer]
) -> None:
    """All twenty at once; one of each kind by `chat` as well, alone."""
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=64)
    together = llm.generate([llm.render(conversation(answer)) for answer in answers], params)
    for answer, done in zip(answers, together, strict=True):
        check_answer(answer, done.token_ids)
    for answer in shortest_of_each_kind(answers):
        check_answer(answer, llm.chat(conversation(answer), params).token_ids)


def conversation(answer: Answer) -> list[dict[str, str]]:
    return [{"role": "user", "content": answer["question"]}]


def check_answer(answer: Answer, token_ids: list[int]) -> None:
    sure = min(answer["near_ties"], default=len(answer["token_ids"]))
    assert token_ids[:sure] == answer["token_ids"][:sure], answer["question"]
    if not answer["near_ties"]:
        assert len(token_ids) == len(answer["token_ids"]), answer["question"]


def shortest_of_each_kind(answers: list[Answer]) -> list[Answer]:
    kinds = dict.fromkeys(answer["kind"] for answer in answers)
    return [
        min((a for a in answers if a["kind"] == kind), key=lambda a: len(a["token_ids"]))
        for kind in kinds
    ]


def test_reported_log_probabilities_are_the_scores_of_the_same_tokens(
    llm: LLM, answers: list[Answer]
) -> None:
    """Decoded one by one from the cache, and scored in one stream without it."""
    answer = answers[1]
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=32)
    [done] = llm.generate([answer["prompt_ids"]], params)
    [scores] = llm.score([answer["prompt_ids"] + done.token_ids])
    scored = torch.tensor(scores[len(answer["prompt_ids"]) :])
    assert len(done.logprobs) == len(done.token_ids) == 32
    assert largest(torch.tensor(done.logprobs) - scored) < SAME_ORDER


def test_a_saved_directory_holds_the_files_values_bit_for_bit(
    bf16_directory: Path, real_gguf: Path
) -> None:
    source, saved = GGUFFile(real_gguf), open_checkpoint(bf16_directory)
    assert set(saved.names()) == set(source.names())
    for name in source.names():
        assert saved.dtype(name) == torch.bfloat16
        assert torch.equal(saved.tensor(name), source.tensor(name, torch.bfloat16)), name


def test_bfloat16_strays_from_float32_no_further_than_its_rounding(
    bf16: LLM, bf16_directory: Path, token_ids: list[int], packed: Tensor
) -> None:
    """Ours, and transformers' from the same directory: neither strays further than the bound."""
    ours, other = logits(bf16, [token_ids]), theirs(bf16_directory, torch.bfloat16, token_ids)
    strays = mean_kl(packed, ours), mean_kl(packed, other), mean_kl(other, ours)
    log.info("mean KL of ours, of transformers', between both: %s", strays)
    assert max(strays) < BF16_KL
    assert min(strays[:2]) > 1e-6, "bfloat16 was compared with itself"


def test_transformers_tokenizer_of_the_saved_directory_gives_the_same_ids(
    bf16: LLM, bf16_directory: Path, shared: Path, answers: list[Answer]
) -> None:
    loaded = AutoTokenizer.from_pretrained(bf16_directory)
    path = shared / "data/corpus/udhr_multilingual.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    texts += [answer["text"] for answer in answers]  # control tokens among them
    for text in texts:
        assert bf16.tokenizer.encode(text, allow_control=True) == loaded(text)["input_ids"]
    for answer in answers:
        rendered = loaded.apply_chat_template(
            conversation(answer), add_generation_prompt=True, return_dict=False
        )
        assert bf16.render(conversation(answer)) == rendered


LOAD = """
import json, sys
from pathlib import Path
from tongwen.engine.llm import LLM

def resident(key):
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith(key + ":")]
    return int(line.split()[1]) * 1024

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak of the imports is not of interest
before = resident("VmHWM"), resident("RssAnon")
llm = LLM(sys.argv[1], weights="bf16", context=1024, home=Path(sys.argv[2]))
print(json.dumps({
    "peak": resident("VmHWM") - before[0],
    "anonymous": resident("RssAnon") - before[1],
    "weights": llm.plan.weights_bytes,
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_loading_takes_the_memory_of_the_weights_once(real_gguf: Path, tmp_path: Path) -> None:
    """Over what imports take: 1.15 x the weights and 100 MB, mapped pages included.

    The 100 MB are the parsed vocabulary and the libraries that loading brings along.  The pages of
    mapped files count as resident although the kernel takes them back whenever it wants;
    `anonymous`, what the process has for itself in the end, is without them.  The peak is `VmHWM`:
    `ru_maxrss` outlives exec, so a child of a large process would show its parent's.  Where the
    packed weights cannot be kept, a file standing in their folder's place, they are anonymous.
    """
    (tmp_path / "unkept").mkdir()
    (tmp_path / "unkept" / "packed").write_text("")
    for home in ("kept", "kept", "unkept"):
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD, str(real_gguf), str(tmp_path / home)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert loaded.returncode == 0, loaded.stderr
        took = json.loads(loaded.stdout)
        log.info("bytes over the imports', %s: %s", home, took)
        assert took["peak"] < 1.15 * took["weights"] + 100e6
        if home == "kept" and machine() is not None:  # plain kernels keep no packed weights
            assert took["anonymous"] < 200e6  # the vocabulary, libraries, scratch: no weights
        else:
            assert took["weights"] < took["anonymous"] < 1.15 * took["weights"] + 100e6
