"""A model of a few thousand parameters, and benchmarks of a dozen rows.

One writes, one writes in turns, one ranks, one weighs, one counts its groups alike.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tests.cli.conftest import TEMPLATE

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.save import save_checkpoint
from tongwen.checkpoint.tensor_names import entries
from tongwen.evals.code import begun, fenced_turns
from tongwen.evals.figure import Figure, macro
from tongwen.evals.question import Answer, Generate, Question, Rank, Weigh
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.evals.verdict import Judge, Tries
from tongwen.model.config import Qwen2Config
from tongwen.tokenizer.special import QWEN2_5
from tongwen.tokenizer.train import train_tokenizer

NUM_ROWS = 12


def save_packable(directory: Path, *, seed: int) -> Path:
    """A random model that takes turns; its rows fill whole blocks of 32."""
    texts = ['{"name": "value", "next": [1, 2.5]}\nuser assistant system\n'] * 9
    tokenizer = train_tokenizer(texts, 420, [token.text for token in QWEN2_5])
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=224,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        rope_theta=10_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    weights = {name: torch.randn(entry.shape) * 0.5 for name, entry in entries(config).items()}
    ends = tuple(tokenizer.control[text] for text in ("<|im_end|>", "<|endoftext|>"))
    weights["lm_head.weight"][list(ends)] = 0
    save_checkpoint(
        directory,
        config=config,
        tensors=weights.items(),
        generation=GenerationDefaults(eos_token_ids=ends),
        tokenizer=tokenizer,
        chat_template=TEMPLATE,
        licence="apache-2.0",
    )
    return directory


def write_rows(directory: Path) -> Path:
    """The file of them all."""
    (directory / "tiny").mkdir(parents=True)
    rows = [
        {"name": f"row {i}", "text": f"value {i} name next user", "kind": ["even", "odd"][i % 2]}
        for i in range(NUM_ROWS)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "tiny" / "test.jsonl").write_text(lines)
    return directory


def _about(metric: str) -> About:
    return About(
        title="Tiny",
        paper="https://example.org/tiny",
        licence="none",
        files=(("tiny/test",),),
        obtain="it is made",
        metric=metric,
        presets={"plain": Preset(source="made up"), "other": Preset(source="made up", shots=1)},
    )


class Tiny(Task):
    about = _about("whether the answer has a letter e")

    def samples(self) -> list[Sample]:
        rows = self.setup.data.rows("tiny/test")
        return [Sample(id=row["name"], row=row, group=row["kind"]) for row in rows]

    def question(self, sample: Sample) -> Question:
        return Generate(prompt=sample.row["text"], params=self.setup.sampling(8))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        has = "e" in answer.text
        return Grade(
            score=float(has),
            parsed=answer.text[:4] or None,
            metrics={"letters": float(len(answer.text))},
            notes={"why": "it has an e" if has else "it has none"},
        )


class TinyChat(Tiny):
    def question(self, sample: Sample) -> Question:
        turn = {"role": "user", "content": sample.row["text"]}
        params = self.setup.sampling(6)
        return Generate(prompt=[turn], params=params, follow_ups=("and next?",))


class TinyBegun(Tiny):
    """Answers are begun, where the model goes on with that."""

    def question(self, sample: Sample) -> Question:
        return begun(self.setup, fenced_turns(sample.row["text"]), self.setup.sampling(8))


class TinyJudged(Tiny):
    """A model says how good an answer is."""

    about = replace(Tiny.about, needs=("judge",))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        asked = [{"role": "user", "content": f"How good is this? {answer.text}"}]
        judge = Judge(self.judge, seed=self.setup.seed, tries=Tries(max_tokens=8))
        verdict = await judge.verdict(asked, _share)
        return Grade(score=verdict.value, notes=verdict.notes)


def _share(text: str) -> float:
    return sum(map(ord, text)) % 16 / 16


class TinyRank(Tiny):
    about = _about("whether the likeliest is the first")

    def question(self, sample: Sample) -> Question:
        return Rank(pairs=tuple((sample.row["text"], f" {word}") for word in ("user", "next", "1")))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        return Grade(score=float(answer.best == 0), parsed=str(answer.best))


class TinyMacro(TinyRank):
    def figure(self, graded: Sequence[Graded]) -> Figure:
        return macro(graded)


class TinyWeigh(Tiny):
    about = replace(_about("how unlikely the text is"), less_is_better=True)

    def question(self, sample: Sample) -> Question:
        return Weigh(text=sample.row["text"], window=7)

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        return Grade(score=-answer.likelihoods[0].logprob)


TINY_TASKS: dict[str, type[Task]] = {
    "tiny": Tiny,
    "tiny-chat": TinyChat,
    "tiny-begun": TinyBegun,
    "tiny-judged": TinyJudged,
    "tiny-rank": TinyRank,
    "tiny-macro": TinyMacro,
    "tiny-weigh": TinyWeigh,
}
