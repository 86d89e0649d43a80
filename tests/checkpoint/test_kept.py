"""Packed weights on the disk: mapped when they are sound, packed again when they are not."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests.checkpoint.conftest import write_gguf
from torch import Tensor

from tongwen.checkpoint import kept as kept_module
from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.kept import Contents, Kept, Matrix
from tongwen.checkpoint.load import load_model, open_checkpoint, plan_weights
from tongwen.checkpoint.manifest import Manifest, StoredFile, now
from tongwen.checkpoint.save import save_checkpoint
from tongwen.checkpoint.store import Store
from tongwen.kernels.machine import machine
from tongwen.kernels.memory import ALIGNMENT, SLACK
from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.linear import PackedEmbedding, PackedLinear
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream
from tongwen.quant.format import format_named

if machine() is None:
    pytest.skip("no native kernels were built, or they are switched off", allow_module_level=True)

CPU = torch.device("cpu")
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "home", least_bytes=0)


@pytest.fixture
def gguf(make_gguf: Callable[..., Path], dense_config: Qwen2Config) -> Path:
    return make_gguf(dense_config, format=format_named("Q8_0"))


@pytest.fixture
def directory(
    tmp_path: Path,
    dense_config: Qwen2Config,
    random_weights: Callable[[Qwen2Config], dict[str, Tensor]],
) -> Path:
    path = tmp_path / "saved"
    weights = random_weights(dense_config).items()
    save_checkpoint(
        path,
        config=dense_config,
        tensors=[(name, value.bfloat16()) for name, value in weights],
        generation=GenerationDefaults(eos_token_ids=(0,)),
    )
    return path


def loaded(path: Path, kept: Kept | None, weights: str = "file") -> Qwen2ForCausalLM:
    source = open_checkpoint(path)
    return load_model(source, plan_weights(source, weights, CPU), CPU, kept)


def logits(model: Qwen2ForCausalLM) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor(IDS), Stream(attend=PackedCausal([len(IDS)], model.config)))


def only_file(kept: Kept) -> Path:
    [path] = kept.files()
    return path


@pytest.mark.parametrize("weights", ["file", "bf16", "int8", "int4"])
@pytest.mark.parametrize("kind", ["gguf", "directory"])
def test_weights_are_packed_once_and_have_the_same_bits_ever_after(
    kind: str, weights: str, kept: Kept, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    in_memory = logits(loaded(path, None, weights))
    assert torch.equal(logits(loaded(path, kept, weights)), in_memory)
    first = only_file(kept).stat()
    assert torch.equal(logits(loaded(path, kept, weights)), in_memory)
    again = only_file(kept).stat()
    assert (again.st_ino, again.st_ctime_ns) != (0, 0)
    assert (first.st_ino, first.st_size) == (again.st_ino, again.st_size)


@pytest.mark.parametrize("kind", ["gguf", "directory"])
def test_a_matrix_comes_in_parts_as_it_is_stored(kind: str, request: pytest.FixtureRequest) -> None:
    source = open_checkpoint(request.getfixturevalue(kind))
    for name in source.names():
        if len(source.shape(name)) < 2:
            continue
        values = source.tensor(name, torch.float32).clone()
        for num_rows in (1, 100, 1000):
            parts = [format_named(format).dequantize(rows) for format, rows in
                     source.parts(name, num_rows)]  # fmt: skip
            assert {len(part) for part in parts[:-1]} <= {num_rows}
            assert torch.equal(torch.cat(parts), values)
            assert torch.equal(source.tensor(name, torch.float32), values)


def test_each_way_of_packing_has_a_file_of_its_own(gguf: Path, kept: Kept) -> None:
    for weights in ("file", "bf16", "int8", "int4", "int4"):
        loaded(gguf, kept, weights)
    # A file of Q8_0 is int8 already: the same panels.
    assert len(kept.files()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_panels_are_mapped_and_not_copied(gguf: Path, kept: Kept) -> None:
    loaded(gguf, kept)
    model = loaded(gguf, kept)
    panels = [m.packed.panels for m in model.modules() if isinstance(m, PackedLinear)]
    lines = [
        line for line in Path("/proc/self/maps").read_text().splitlines()
        if str(only_file(kept)) in line
    ]  # fmt: skip
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    assert all(any(a <= each.data_ptr() < b for a, b in ranges) for each in panels)
    assert {line.split()[1] for line in lines} == {"r--s"}


def test_the_safetensors_library_reads_what_is_kept(gguf: Path, kept: Kept) -> None:
    model = loaded(gguf, kept)
    with safe_open(only_file(kept), framework="pt") as file:
        names = file.keys()
        table = file.get_tensor("model.embed_tokens.weight")
    assert isinstance(model.model.embed_tokens, PackedEmbedding)
    mapped = model.model.embed_tokens.packed.panels
    assert torch.equal(table, mapped)
    assert mapped.data_ptr() % ALIGNMENT == 0
    assert {"checksums", "slack"} < set(names)


def test_panels_begin_at_a_cache_line_and_reading_past_the_last_is_safe(
    gguf: Path, kept: Kept
) -> None:
    loaded(gguf, kept)
    head = json.loads(only_file(kept).read_bytes()[8:4096])
    start = 8 + int.from_bytes(only_file(kept).read_bytes()[:8], "little")
    assert start % ALIGNMENT == 0
    places = {name: place["data_offsets"] for name, place in head.items() if name[:2] != "__"}
    slack = places.pop("slack")
    assert slack[1] - slack[0] == SLACK
    assert all(first % ALIGNMENT == 0 for first, _ in places.values())
    assert start + slack[1] == only_file(kept).stat().st_size


DAMAGES: dict[str, Callable[[bytearray], None]] = {
    "cut short": lambda data: data.__delitem__(slice(len(data) - 1, None)),
    "empty": lambda data: data.clear(),
    "too long": lambda data: data.append(0),
    "another header": lambda data: data.__setitem__(100, data[100] ^ 1),
    "no header": lambda data: data.__setitem__(slice(0, 8), b"\xff" * 8),
    "never reached the disk": lambda data: data.__setitem__(
        slice(4096, len(data)), bytes(len(data) - 4096)
    ),
    "a matrix overwritten": lambda data: data.__setitem__(slice(4096, 8192), bytes(4096)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_said_once_and_packed_again(
    damage: str, gguf: Path, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    sound = logits(loaded(gguf, kept))
    path = only_file(kept)
    before = path.read_bytes()
    data = bytearray(before)
    DAMAGES[damage](data)
    assert data != before
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits(loaded(gguf, kept)), sound)
    assert [record.message.count("are damaged") for record in caplog.records] == [1]
    assert only_file(kept).read_bytes() == before


def test_a_file_that_changes_is_packed_anew_and_the_old_panels_go(
    tmp_path: Path,
    kept: Kept,
    dense_config: Qwen2Config,
    random_weights: Callable[[Qwen2Config], dict[str, Tensor]],
) -> None:
    path, weights = tmp_path / "model.gguf", random_weights(dense_config)
    write_gguf(path, dense_config, weights, format_named("Q8_0"))
    loaded(path, kept)
    before, times = only_file(kept), path.stat()
    halved = {name: value / 2 for name, value in weights.items()}
    write_gguf(path, dense_config, halved, format_named("Q8_0"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if it were as old as before
    assert path.stat().st_size == times.st_size
    assert torch.equal(logits(loaded(path, kept)), logits(loaded(path, None)))
    assert only_file(kept) != before


def test_panels_of_an_older_layout_go_when_new_ones_come(gguf: Path, kept: Kept) -> None:
    loaded(gguf, kept)
    path = only_file(kept)
    data = path.read_bytes()
    native = machine()
    assert native is not None
    assert f'"tongwen_layout":"{native.layout_version}"'.encode() in data
    older = data.replace(b'"tongwen_layout":"', b'"tongwen_layout":"-', 1)
    path.rename(path.with_stem("0" * 64))
    path.with_stem("0" * 64).write_bytes(older)
    loaded(gguf, kept)
    assert only_file(kept) == path


def test_what_is_not_used_for_a_month_goes_when_something_new_comes(gguf: Path, kept: Kept) -> None:
    loaded(gguf, kept, "int4")
    old = only_file(kept)
    os.utime(old, (1e9, 1e9))
    loaded(gguf, kept, "bf16")
    assert old not in kept.files()
    current = only_file(kept)
    os.utime(current, (1e9, 1e9))
    loaded(gguf, kept, "bf16")  # used again, it stays
    loaded(gguf, kept, "int4")
    assert current in kept.files()


def test_what_a_killed_process_leaves_behind_does_no_harm_and_goes(gguf: Path, kept: Kept) -> None:
    loaded(gguf, kept)
    path = only_file(kept)
    sound = path.read_bytes()
    path.rename(path.with_suffix(".new"))
    path.with_suffix(".new").write_bytes(b"half")
    other = path.with_name("1" * 64 + ".new")
    other.write_bytes(b"half")
    os.utime(other, (1e9, 1e9))
    loaded(gguf, kept)
    assert only_file(kept).read_bytes() == sound


PEAK = """
import sys, torch
from pathlib import Path
from tests.checkpoint.test_kept import loaded, logits, Kept

def resident(key):
    [line] = [line for line in open("/proc/self/status") if line.startswith(key + ":")]
    return int(line.split()[1]) * 1024

path, weights, home = sys.argv[1:]
Path("/proc/self/clear_refs").write_text("5")  # the peak of the imports is not of interest
before = resident("VmRSS")
model = loaded(Path(path), Kept(Path(home), least_bytes=0) if home else None, weights)
logits(model)
print(resident("VmHWM") - before)
"""


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("weights", ["file", "bf16", "int8", "int4"])
def test_loading_takes_little_more_memory_than_the_weights(
    weights: str, real_gguf: Path, tmp_path: Path
) -> None:
    source = open_checkpoint(real_gguf)
    size = plan_weights(source, weights, CPU).weights_bytes
    for home in (str(tmp_path), str(tmp_path), ""):  # the first start, a later one, nothing kept
        said = subprocess.run(
            [sys.executable, "-c", PEAK, str(real_gguf), weights, home],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        # 40 MB: pages of the header, a piece that is being packed, scratch of the kernels
        assert int(said) <= 1.1 * size + 40e6


LOAD = """
import logging, sys, torch
from pathlib import Path
from tests.checkpoint.test_kept import loaded, logits
from tongwen.checkpoint.kept import Kept
logging.basicConfig(level=logging.INFO, format="%(message)s")
kept = Kept(Path(sys.argv[2]), least_bytes=0)
print(logits(loaded(Path(sys.argv[1]), kept)).double().sum().item())
"""
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"


def load(path: Path, home: Path, before: str = "") -> subprocess.Popen[str]:
    """Load in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", before + LOAD, str(path), str(home)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_start_together_write_one_file(gguf: Path, kept: Kept) -> None:
    running = [load(gguf, kept.home) for _ in range(3)]
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], ended
    assert len({answer for answer, _ in ended}) == 1
    assert sum(said.count("are kept in") for _, said in ended) == 1
    only_file(kept)


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_is_said_once_and_leaves_nothing(gguf: Path, kept: Kept) -> None:
    answer, said = load(gguf, kept.home, FULL_DISK).communicate()
    assert float(answer) == logits(loaded(gguf, None)).double().sum().item()
    assert said.count("cannot be kept") == 1
    assert "File too large" in said
    assert kept.files() == []


def test_a_home_that_cannot_be_written_to_is_said_once(
    gguf: Path, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.home.mkdir()
    kept.directory.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits(loaded(gguf, kept)), logits(loaded(gguf, None)))
    assert ["cannot be kept" in record.message for record in caplog.records] == [True]


def test_nothing_is_kept_where_the_disk_would_become_full(
    gguf: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(gguf.parent)
    little = usage._replace(free=2 << 30)
    monkeypatch.setattr(kept_module.shutil, "disk_usage", lambda _: little)
    assert torch.equal(logits(loaded(gguf, kept)), logits(loaded(gguf, None)))
    assert kept.files() == []


def test_small_models_are_packed_at_every_start(gguf: Path, tmp_path: Path) -> None:
    loaded(gguf, Kept(tmp_path / "home"))
    assert Kept(tmp_path / "home").files() == []


def put(store: Store, name: str, path: Path) -> Path:
    """Give the store a model without a network."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    blob = store.home / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    file = StoredFile(name=path.name, size_bytes=len(data), sha256=digest)
    told = {"source": "hub", "repo": "a/b", "revision": "main", "licence": "MIT"}
    model = store.add(Manifest(name=name, files=(file,), lineage=(), pulled_at=now(), **told))
    return model.path


def test_rm_deletes_packed_weights_with_the_last_name_of_their_file(gguf: Path, kept: Kept) -> None:
    store = Store(kept.home, {"HOME": str(kept.home), "OLLAMA_MODELS": "/none"})
    one, two = put(store, "Org/One", gguf), put(store, "Org/Two", gguf)
    loaded(one, kept)
    size = only_file(kept).stat().st_size
    loaded(two, kept)
    assert only_file(kept).stat().st_size == size
    assert store.remove("Org/One") == 0
    assert only_file(kept).stat().st_size == size
    assert store.remove("Org/Two") == gguf.stat().st_size + size
    assert kept.files() == []


def test_a_file_of_the_store_is_known_by_its_digest_and_others_by_their_times(
    gguf: Path, kept: Kept
) -> None:
    store = Store(kept.home, {"HOME": str(kept.home), "OLLAMA_MODELS": "/none"})
    stored = put(store, "Org/One", gguf)
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    assert kept.identity(stored) == f"sha256-{digest}"
    before = kept.identity(gguf)
    assert str(gguf) in before
    os.link(gguf, gguf.with_name("other"))  # changes nothing but the time of change
    assert kept.identity(gguf) != before


def test_every_part_of_the_contents_decides_the_name() -> None:
    matrix = Matrix("m", "Q8_0", 64, 32, 2176)
    told = {"sources": ("a",), "layout_version": 1, "matrices": (matrix,), "slack_bytes": 0}
    variants = [
        told,
        {**told, "sources": ("b",)},
        {**told, "layout_version": 2},
        {**told, "matrices": (matrix._replace(format="Q4_0"),)},
        {**told, "matrices": (matrix._replace(rows=63),)},
        {**told, "matrices": (matrix._replace(name="n"),)},
        {**told, "slack_bytes": 64},
    ]
    assert len({Contents(**each).digest for each in variants}) == len(variants)
