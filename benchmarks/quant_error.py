"""What do the native kernels' 8-bit activations cost, and what do fewer bits of the weights?

    python benchmarks/quant_error.py --formats file int8 int4 bf16 --llama DIR --out results

Two questions, kept apart, over the first windows of wikitext-2:

* **gate**: native predictions against plain float32 on the *same stored values*.  Both have the
  weights alike; what differs is how the kernels compute.
* **damage**: the same native predictions against plain float32 on the values of the file that the
  weights were made from.

`file int8 int4 bf16` are kinds of weights of the model itself; a GGML format (`Q4_0`, `Q4_K` ...)
is a file in which `llama-quantize` stored every matrix so that its width allows, from DIR or the
environment variable TONGWEN_LLAMA_CPP.  `--where` tells instead which layers the error comes from:
the twin itself computes with 8-bit inputs of one kind of layer at a time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch
import torch.nn.functional as F
from divergence import Divergence, Windows, head_values, read_windows, to_8_bits, twin_hidden
from harness import MODEL, ROOT, significant, surroundings
from quant_report import MOST_CHANGE, MOST_KL, Line, report
from torch import Tensor

from tongwen.checkpoint.load import Weights, load_model, open_checkpoint, plan_weights
from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.batch import Batch
from tongwen.engine.cache import TiledKV
from tongwen.engine.llm import locate
from tongwen.model.stream import Stream

QUESTION = "How far native predictions stray from plain float32"
KINDS: tuple[Weights, ...] = ("file", "bf16", "int8", "int4")
STORED = ("Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0")

LAYERS = {
    "q, k, v": "q_proj,k_proj,v_proj",
    "o": "o_proj",
    "gate, up": "gate_proj,up_proj",
    "down": "down_proj",
    "attention in bfloat16": "attention",
}
"""What is rounded at a time: modules whose names end so, or `attention`."""

# ---- native predictions


class Served:
    """A model as it is served, asked for the logits of every token of a window.

    Args:
        path: Its file.
        weights: How they are held.
        tokens: Of a window.
    """

    def __init__(self, path: Path, weights: Weights, tokens: int) -> None:
        source, cpu = open_checkpoint(path), torch.device("cpu")
        plan = plan_weights(source, weights, cpu)
        if plan.machine is None:
            sys.exit("quant_error: there are no native kernels here, so nothing strays")
        self.model, self.numerics = load_model(source, plan, cpu), plan.numerics
        size = TiledKV.BLOCK_SIZE
        blocks = -(-tokens // size)
        self.cache = TiledKV(source.config, plan.machine, num_blocks=blocks, context=tokens)
        self.batch = Batch(
            max_tokens=tokens, max_requests=1, max_blocks=blocks, block_size=size, device=cpu
        )
        for places in (self.batch.positions, self.batch.slots):
            places[:] = torch.arange(tokens)
        self.batch.block_tables[0] = torch.arange(blocks)
        self.batch.starts[1] = self.batch.context_lens[0] = tokens
        self.batch.num_tokens, self.batch.num_requests = tokens, 1

    def logits(self, window: list[int]) -> Tensor:
        """Logits of every token, computed as a prompt is: in one step, over the cache."""
        self.cache.begin(self.batch)
        return self.model(torch.tensor(window), Stream(attend=self.cache))


# ---- one format


class Measure:
    """All that is measured of one model.

    Args:
        path: Its file.
        windows: The text.
        scratch: A directory for what processes hand to each other.
    """

    def __init__(self, path: Path, windows: Windows, scratch: Path) -> None:
        self.path, self.windows, self.scratch = path, windows, scratch
        self.parent: tuple[list[Tensor], Tensor] | None = None

    def reference(self, path: Path, weights: Weights) -> tuple[list[Tensor], Tensor]:
        """Hidden states and head of a twin."""
        kept = self.scratch / f"{path.stem}-{weights}-{len(self.windows)}x{len(self.windows[0])}.pt"
        if not kept.exists():
            torch.save(twin_hidden(path, weights, self.windows, self.scratch), kept)
        return torch.load(kept), head_values(path, weights)

    @torch.inference_mode()
    def stray(self, path: Path, weights: Weights, *, is_parent: bool) -> Line:
        """Gate and damage of one way to hold the weights.

        Args:
            path: The file that is served.
            weights: How.
            is_parent: Whether its values are the parent's, so that there is no damage.
        """
        own = self.reference(path, weights)
        if is_parent:
            self.parent = own
        parent = self.parent or self.reference(self.path, "file")
        self.parent = parent
        served = Served(path, weights, len(self.windows[0]))
        gate, damage = Divergence(), Divergence()
        for i, window in enumerate(self.windows):
            logits = served.logits(window)
            gate.add(own[0][i], own[1], logits, window)
            if not is_parent:
                damage.add(parent[0][i], parent[1], logits, window)
        figures = gate.figures()
        return {
            "gate": rounded(figures),
            "passes": figures["kl"] <= MOST_KL and figures["perplexity_change"] <= MOST_CHANGE,
            "damage": None if is_parent else rounded(damage.figures()),
            "numerics": served.numerics,
            "matrices": stored_as(path) if weights == "file" else None,
        }

    @torch.inference_mode()
    def where(self, weights: Weights) -> Iterator[tuple[str, Line]]:
        """The divergence that each kind of rounding makes by itself."""
        hidden, head = self.reference(self.path, weights)
        for name, modules in LAYERS.items():
            found = twin_hidden(self.path, weights, self.windows, self.scratch, rounding=modules)
            yield name, self._compare(hidden, found, head)
        yield "head", self._compare(hidden, [to_8_bits(each) for each in hidden], head)
        every = ",".join(list(LAYERS.values())[:-1])
        found = twin_hidden(self.path, weights, self.windows, self.scratch, rounding=every)
        yield (
            "all but attention",
            self._compare(hidden, [to_8_bits(each) for each in found], head),
        )

    def _compare(self, hidden: list[Tensor], found: list[Tensor], head: Tensor) -> Line:
        strays = Divergence()
        for i, window in enumerate(self.windows):
            strays.add(hidden[i], head, F.linear(found[i], head), window)
        return rounded(strays.figures())


def rounded(figures: dict[str, float | list[float]]) -> Line:
    """Four significant digits are what such a sample bears."""
    return {
        name: [significant(v) for v in value] if isinstance(value, list) else significant(value)
        for name, value in figures.items()
    }


def stored_as(path: Path) -> dict[str, int]:
    """How many values of the matrices stand in each format of a file."""
    source = open_checkpoint(path)
    count: Counter[str] = Counter()
    for name in source.names():
        if len(source.shape(name)) == 2:
            count[source.format(name)] += prod(source.shape(name))
    return dict(count)


def requantize(program: Path, path: Path, format: str, into: Path) -> Path:
    """`path` with every matrix in `format`; where a width does not allow it, in the nearest."""
    found = into / f"{format}.gguf"
    kind = f"{format}_M" if format in ("Q4_K", "Q5_K") else format
    command = [program, "--allow-requantize", "--pure", path, found, kind]
    subprocess.run(command, check=True, capture_output=True)
    return found


# ---- the command line


def options() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=QUESTION)
    made.add_argument("--model", default=MODEL)
    made.add_argument("--formats", nargs="+", default=[*KINDS, *STORED], metavar="FORMAT")
    made.add_argument("--windows", type=int, default=32)
    made.add_argument("--tokens", type=int, default=512, help="of a window")
    made.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    made.add_argument("--llama", type=Path, default=os.environ.get("TONGWEN_LLAMA_CPP"))
    made.add_argument("--out", type=Path, help="keep lines and report in this directory too")
    made.add_argument("--machine", default="", help="its name in the files'")
    made.add_argument("--scratch", type=Path, help="keep what was computed for the next run here")
    made.add_argument("--where", action="store_true", help="which layers the error comes from")
    return made.parse_args()


def measured(asked: argparse.Namespace, measure: Measure) -> Iterator[Line]:
    """The figures of each format that can be had here."""
    for format in asked.formats:
        print(f"quant_error: {format}", file=sys.stderr)
        if format in KINDS:
            if asked.where:
                for layers, figures in measure.where(format):
                    yield {"format": format, "rounded": layers, "figures": figures}
            else:
                yield {
                    "format": format,
                    **measure.stray(measure.path, format, is_parent=format == "file"),
                }
        elif asked.llama is None:
            print(f"quant_error: no llama-quantize here, so no {format}", file=sys.stderr)
        else:
            program = Path(asked.llama) / "llama-quantize"
            made = requantize(program, measure.path, format, measure.scratch)
            yield {"format": format, **measure.stray(made, "file", is_parent=False)}
            made.unlink()


def keep(line: Line, directory: Path, machine: str) -> None:
    """Append a line to the day's file, and write the report of all lines in it."""
    ending = f"{machine}_{line['date']:.10}".removeprefix("_")
    kept = directory / f"quant_error_{ending}.jsonl"
    with kept.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    lines = [json.loads(row) for row in kept.read_text(encoding="utf-8").splitlines()]
    page = report([each for each in lines if "gate" in each], (*KINDS, *STORED))
    kept.with_suffix(".md").write_text(page, encoding="utf-8")


def main() -> None:
    """Measure, print, keep."""
    asked = options()
    path = locate(asked.model, Store(default_home(os.environ)))
    tokenizer = open_checkpoint(path).tokenizer(default_home(os.environ) / "tokenizers")
    windows = read_windows(tokenizer, asked.data, asked.windows, asked.tokens)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = asked.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        for figures in measured(asked, Measure(path, windows, scratch)):
            line = {
                "benchmark": "quant_error",
                "question": QUESTION,
                **figures,
                "bound": {"kl": MOST_KL, "perplexity_change": MOST_CHANGE},
                "settings": {"windows": asked.windows, "tokens": asked.tokens},
                "model": asked.model,
                **surroundings(),
            }
            print(json.dumps(line, ensure_ascii=False), flush=True)
            if asked.out is not None and not asked.where:
                keep(line, asked.out, asked.machine)


if __name__ == "__main__":
    main()
