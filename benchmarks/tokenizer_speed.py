"""How fast are encoding and decoding, beside transformers' tokenizer over the same vocabulary?

    python benchmarks/tokenizer_speed.py --data ../shared/data

The vocabulary is the one inside the real model's file.  Texts are cut into pieces of about 8 kB,
as prompts are; `encode` and `decode` take one piece a call, `encode_batch` all in one call.  MB are
millions of bytes of UTF-8.  Both are the same library underneath: what differs is what stands
around it.
"""

import gzip
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import MODEL, ROOT, Values, alternate, parser, print_line, seconds
from transformers import Qwen2Tokenizer

from tongwen.checkpoint.gguf import GGUFFile
from tongwen.checkpoint.store import Store, default_home
from tongwen.engine.llm import locate
from tongwen.tokenizer.bpe import Tokenizer

QUESTION = "MB/s of encoding and decoding, beside transformers' tokenizer"
OURS, THEIRS = "tongwen", "transformers"
NUM_RANKS = 151643
PIECE, MOST = 8_000, 1_500_000
"""Characters of a piece, and of each kind of text at most."""


def rows(path: Path, key: str) -> str:
    """One field of a gzipped JSON-lines file, joined."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return "\n".join(json.loads(line)[key] for line in lines)


def texts(data: Path) -> dict[str, list[str]]:
    """Pieces of each kind of text; prose and languages only where the data is."""
    library = Path(sysconfig.get_paths()["stdlib"])
    code = [*sorted((ROOT / "src").rglob("*.py")), *sorted(library.glob("*.py"))]
    found = {"code": "\n".join(path.read_text("utf-8", "replace") for path in code)}
    if data.is_dir():
        found["wikitext"] = rows(data / "wikitext2" / "wiki_test_raw.jsonl.gz", "text")
        found["32 languages"] = rows(data / "corpus" / "udhr_multilingual.jsonl.gz", "text")
    return {kind: list(pieces(text[:MOST])) for kind, text in found.items()}


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces that end with a line, where lines are not too long."""
    start = 0
    while start < len(text):
        stop = start + PIECE
        stop = text.rfind("\n", start, stop) + 1 or stop
        yield text[start:stop]
        start = stop


def transformers_tokenizer(source: GGUFFile) -> Qwen2Tokenizer:
    """The same lists in transformers."""
    lists = source.tokenizer_metadata
    tokens = lists["tokenizer.ggml.tokens"][:NUM_RANKS]
    merges = [tuple(merge.split(" ")) for merge in lists["tokenizer.ggml.merges"]]
    return Qwen2Tokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)


def speeds(
    texts: dict[str, list[str]],
    ids: dict[str, list[list[int]]],
    encode: Callable[[str], object],
    encode_batch: Callable[[list[str]], object],
    decode: Callable[[list[int]], object],
) -> Values:
    """MB/s of each way and each kind of text."""
    found = {}
    for kind, parts in texts.items():
        megabytes = sum(len(part.encode()) for part in parts) / 1e6
        works = {
            "encode": lambda parts=parts: [encode(part) for part in parts],
            "encode_batch": lambda parts=parts: encode_batch(parts),
            "decode": lambda kind=kind: [decode(each) for each in ids[kind]],
        }
        found |= {f"{way}, {kind}": megabytes / seconds(work) for way, work in works.items()}
    return found


def check(ours: Tokenizer, theirs: Qwen2Tokenizer, parts: list[str]) -> list[list[int]]:
    """The ids of all pieces, once it is sure that both make the same of them."""
    ids = ours.encode_batch(parts)
    if ids != theirs(parts, add_special_tokens=False, split_special_tokens=True)["input_ids"]:
        sys.exit("the two tokenizers differ: their speeds are not comparable")
    return ids


def main() -> None:
    """Measure and print."""
    made = parser(QUESTION)
    made.add_argument("--model", default=MODEL, help="a GGUF")
    made.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    asked = made.parse_args()
    source = GGUFFile(locate(asked.model, Store(default_home(os.environ))))
    ours, theirs = source.tokenizer(), transformers_tokenizer(source)
    parts = texts(asked.data)
    ids = {kind: check(ours, theirs, each) for kind, each in parts.items()}
    plain = {"add_special_tokens": False, "split_special_tokens": True}
    rounds = alternate(
        {
            OURS: lambda: speeds(parts, ids, ours.encode, ours.encode_batch, ours.decode),
            THEIRS: lambda: speeds(
                parts,
                ids,
                lambda part: theirs(part, **plain)["input_ids"],
                lambda many: theirs(many, **plain)["input_ids"],
                theirs.decode,
            ),
        },
        asked,
    )
    print_line(
        "tokenizer_speed",
        QUESTION,
        rounds,
        units=dict.fromkeys(rounds.values[0][OURS], "MB/s"),
        contenders=[OURS, THEIRS],
        compare=(OURS, THEIRS),
        model=asked.model,
        bytes={kind: sum(len(part.encode()) for part in each) for kind, each in parts.items()},
    )


if __name__ == "__main__":
    main()
