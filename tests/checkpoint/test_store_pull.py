import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.checkpoint.hub import Repository, StandIn, stand_in

from tongwen.checkpoint.download import Patience
from tongwen.checkpoint.pull import DeclinedError, PullPlan, UnreachableError
from tongwen.checkpoint.store import Store
from tongwen.errors import (
    CapacityError,
    CheckpointError,
    ModelNotFoundError,
    SourceError,
)

HASTY = Patience(connect_s=0.5, silence_s=0.5, attempts=3, backoff_s=0.01)
GGUF_REPO, GGUF_NAME = "Qwen/Qwen2-0.5B-Instruct-GGUF", "qwen2-0_5b-instruct-q4_k_m.gguf"
BF16_REPO = "Qwen/Qwen2-0.5B-Instruct"
DEAD = "http://127.0.0.1:9"  # the port of `discard`: refused at once


def some_bytes(seed: int, num_bytes: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(num_bytes)


def checkpoint_files() -> dict[str, bytes]:
    return {
        "config.json": b'{"model_type": "qwen2"}',
        "generation_config.json": b"{}",
        "tokenizer.json": some_bytes(5, 5000),
        "model-00001-of-00002.safetensors": some_bytes(1),
        "model-00002-of-00002.safetensors": some_bytes(2),
        "model.safetensors.index.json": b'{"weight_map": {}}',
        "pytorch_model.bin": b"pickle",
        "modeling_qwen2.py": b"import os",
        "onnx/model.safetensors": b"other",
        "LICENSE": b"Apache",
        "README.md": b"# card",
    }


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in() as server:
        server.repositories[GGUF_REPO] = Repository(
            files={
                GGUF_NAME: some_bytes(0),
                "qwen2-0_5b-instruct-q8_0.gguf": some_bytes(8),
                "README.md": b"# card",
            }
        )
        server.repositories[BF16_REPO] = Repository(files=checkpoint_files())
        yield server


@pytest.fixture
def environ(tmp_path: Path, hub: StandIn) -> dict[str, str]:
    return environment(tmp_path, hub.url)


def environment(tmp_path: Path, hub: str, modelscope: str = DEAD) -> dict[str, str]:
    return {
        "HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": hub,
        "MODELSCOPE_ENDPOINT": modelscope,
        "OLLAMA_MODELS": str(tmp_path / "ollama"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PATH": os.environ["PATH"],
    }


@pytest.fixture
def store(tmp_path: Path, environ: dict[str, str]) -> Store:
    return Store(tmp_path / "store", environ)


def weight_requests(server: StandIn, name: str = GGUF_NAME) -> list[str | None]:
    return [asked for requested, asked in server.requests if requested == name]


def test_a_pulled_gguf_is_in_the_store_under_its_name(store: Store, hub: StandIn) -> None:
    assert store.find("qwen2:0.5b") is None
    plans: list[PullPlan] = []
    seen: list[tuple[int, int]] = []

    def confirm(plan: PullPlan) -> bool:
        plans.append(plan)
        return True

    model = store.pull(
        "qwen2:0.5b",
        confirm=confirm,
        progress=lambda done, total: seen.append((done, total)),
        patience=HASTY,
    )
    assert model.path.read_bytes() == hub.repositories[GGUF_REPO].files[GGUF_NAME]
    assert model.path.name == GGUF_NAME
    assert (model.source, model.licence, model.size_bytes) == ("hub", "Apache-2.0", 300_000)
    assert model.digest == hashlib.sha256(some_bytes(0)).hexdigest()
    assert model.lineage == ("Qwen/Qwen2-0.5B-Instruct", "Qwen/Qwen2-0.5B")
    assert (plans[0].fetch_bytes, plans[0].total_bytes) == (300_000, 300_000)
    assert plans[0].free_bytes > 0
    assert seen[-1] == (300_000, 300_000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert store.find("qwen2:0.5b") == model
    store.check(digests=True)


def test_what_is_there_is_not_fetched_again(store: Store, hub: StandIn) -> None:
    first = store.pull("qwen2:0.5b", patience=HASTY)
    num_requests = len(hub.requests)
    assert store.pull("qwen2:0.5b", patience=HASTY) == first
    assert len(hub.requests) == num_requests


def test_of_a_directory_only_weights_config_tokenizer_and_papers_are_fetched(
    store: Store, hub: StandIn
) -> None:
    model = store.pull("qwen2:0.5b-bf16", patience=HASTY)
    assert model.path.is_dir()
    refused = {"pytorch_model.bin", "modeling_qwen2.py", "onnx/model.safetensors"}
    assert {path.name for path in model.files} == checkpoint_files().keys() - refused
    for path in model.files:
        assert path.read_bytes() == checkpoint_files()[path.name]
    assert not refused & {name for name, _ in hub.requests}


def test_a_hub_id_and_its_licence_and_lineage_are_taken_from_the_hub(
    store: Store, hub: StandIn
) -> None:
    hub.repositories["Org/Tuned"] = Repository(
        files=checkpoint_files(), licence="tongyi-qianwen", base_model="Qwen/Qwen2-7B"
    )
    model = store.pull("Org/Tuned", patience=HASTY)
    assert (model.name, model.licence) == ("Org/Tuned", "Tongyi Qianwen")
    assert model.lineage == ("Qwen/Qwen2-7B",)
    assert model.revision == "c" * 40


def test_a_repository_of_ggufs_gives_its_q4_k_m_and_split_ones_give_all_shards(
    store: Store, hub: StandIn
) -> None:
    shards = {f"m-q8_0-0000{i}-of-00002.gguf": some_bytes(i) for i in (1, 2)}
    hub.repositories["Org/G"] = Repository(files={"m-Q4_K_M.gguf": some_bytes(3), **shards})
    assert store.pull("Org/G", patience=HASTY).path.name == "m-Q4_K_M.gguf"
    split = store.pull("hf.co/Org/G:Q8_0", patience=HASTY)
    assert [path.name for path in split.files] == sorted(shards)
    assert split.path.name == "m-q8_0-00001-of-00002.gguf"


def test_a_missing_type_is_refused_with_those_there_are(store: Store, hub: StandIn) -> None:
    with pytest.raises(ModelNotFoundError, match="`q4_k_m`, `q8_0`"):
        store.pull(f"{GGUF_REPO}:q2_k", patience=HASTY)
    hub.repositories["Org/Old"] = Repository(files={"pytorch_model.bin": b"x"})
    with pytest.raises(ModelNotFoundError, match="only pickles"):
        store.pull("Org/Old", patience=HASTY)
    hub.repositories["Org/Half"] = Repository(files={"m-q8_0-00001-of-00002.gguf": b"x"})
    with pytest.raises(ModelNotFoundError, match="only 1 of the shards"):
        store.pull("Org/Half:q8_0", patience=HASTY)


@pytest.mark.parametrize(
    "path", ["../evil.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "C:x.safetensors"]
)
def test_a_list_with_a_path_that_leads_outside_is_refused(
    store: Store, hub: StandIn, tmp_path: Path, path: str
) -> None:
    hub.repositories["Org/Evil"] = Repository(files={**checkpoint_files(), path: b"x"})
    with pytest.raises(ModelNotFoundError, match="no path inside it"):
        store.pull("Org/Evil", patience=HASTY)
    assert not list(tmp_path.rglob("*evil*"))
    assert hub.requests == []


def test_a_connection_cut_midway_is_resumed_where_it_stopped(store: Store, hub: StandIn) -> None:
    hub.faults.cut_after[GGUF_NAME] = [100_000, 50_000]
    model = store.pull("qwen2:0.5b", patience=HASTY)
    assert weight_requests(hub) == [None, "bytes=100000-", "bytes=150000-"]
    assert model.path.read_bytes() == some_bytes(0)


def test_the_next_pull_goes_on_where_a_failed_one_stopped(store: Store, hub: StandIn) -> None:
    hub.faults.cut_after[GGUF_NAME] = [100_000, 0, 0, 0]
    with pytest.raises(SourceError, match="beyond byte 100000 of 300000"):
        store.pull("qwen2:0.5b", source="hub", patience=HASTY)
    plans: list[PullPlan] = []
    hub.requests.clear()
    model = store.pull("qwen2:0.5b", patience=HASTY, confirm=lambda p: plans.append(p) or True)
    assert plans[0].fetch_bytes == 200_000
    assert weight_requests(hub) == ["bytes=100000-"]
    assert model.path.read_bytes() == some_bytes(0)
    store.check(digests=True)


@pytest.mark.parametrize("fault", ["ignores_range", "etag_changes"])
def test_a_file_that_cannot_be_resumed_is_started_over(
    store: Store, hub: StandIn, fault: str
) -> None:
    setattr(hub.faults, fault, True)
    hub.faults.cut_after[GGUF_NAME] = [100_000]
    assert store.pull("qwen2:0.5b", patience=HASTY).path.read_bytes() == some_bytes(0)
    assert len(weight_requests(hub)) == 2


def test_a_busy_source_is_asked_again(store: Store, hub: StandIn) -> None:
    hub.faults.failures = [503, 429]
    assert store.pull("qwen2:0.5b", patience=HASTY).size_bytes == 300_000


def test_other_bytes_than_listed_are_deleted_and_named(store: Store, hub: StandIn) -> None:
    hub.faults.wrong_bytes[GGUF_NAME] = some_bytes(99)
    with pytest.raises(SourceError) as caught:
        store.pull("qwen2:0.5b", source="hub", patience=HASTY)
    for digest in (some_bytes(0), some_bytes(99)):
        assert hashlib.sha256(digest).hexdigest() in str(caught.value)
    assert GGUF_NAME in str(caught.value)
    assert not list(store.home.rglob("sha256-*[0-9a-f]"))
    assert store.find("qwen2:0.5b") is None
    hub.faults.wrong_bytes.clear()
    assert store.pull("qwen2:0.5b", patience=HASTY).path.read_bytes() == some_bytes(0)


def test_a_small_file_is_held_to_its_git_id(store: Store, hub: StandIn) -> None:
    hub.faults.wrong_bytes["config.json"] = b'{"model_type": "other"'
    hub.faults.wrong_bytes["config.json"] += b" " * (
        len(checkpoint_files()["config.json"]) - len(hub.faults.wrong_bytes["config.json"])
    )
    with pytest.raises(SourceError, match=r"`config.json` from hub has git blob id"):
        store.pull("qwen2:0.5b-bf16", source="hub", patience=HASTY)


def test_more_bytes_than_listed_are_refused(store: Store, hub: StandIn) -> None:
    hub.faults.wrong_bytes[GGUF_NAME] = some_bytes(0) + b"more"
    with pytest.raises(SourceError, match=r"more .* than the 300000 bytes"):
        store.pull("qwen2:0.5b", source="hub", patience=HASTY)


def test_a_gated_repository_says_what_to_do_and_opens_to_a_token(
    store: Store, hub: StandIn, environ: dict[str, str], tmp_path: Path
) -> None:
    hub.repositories[GGUF_REPO].is_gated = True
    with pytest.raises(SourceError, match="gated") as caught:
        store.pull("qwen2:0.5b", source="hub", patience=HASTY)
    assert "HF_TOKEN" in (caught.value.hint or "")
    keyed = Store(tmp_path / "store", {**environ, "HF_TOKEN": "hf_secret"})
    assert keyed.pull("qwen2:0.5b", patience=HASTY).size_bytes == 300_000
    assert "Bearer hf_secret" in hub.authorizations
    assert not any("hf_secret" in p.read_text() for p in store.home.rglob("*.json"))


def test_a_token_is_not_sent_to_the_host_that_a_source_redirects_to(
    hub: StandIn, environ: dict[str, str], tmp_path: Path
) -> None:
    with stand_in() as cdn:
        cdn.repositories, hub.cdn = hub.repositories, cdn.url
        store = Store(tmp_path / "store", {**environ, "HF_TOKEN": "hf_secret"})
        store.pull("qwen2:0.5b-bf16", patience=HASTY)
        assert weight_requests(cdn, "model-00001-of-00002.safetensors") == [None]
        assert set(cdn.authorizations) == {None}
        assert set(hub.authorizations) == {"Bearer hf_secret"}


def test_removing_what_was_only_partly_pulled_frees_it(store: Store, hub: StandIn) -> None:
    hub.faults.cut_after[GGUF_NAME] = [100_000, 0, 0, 0]
    with pytest.raises(SourceError):
        store.pull("qwen2:0.5b", source="hub", patience=HASTY)
    assert store.remove("qwen2:0.5b") >= 100_000
    assert list((store.home / "partial").iterdir()) == []
    with pytest.raises(ModelNotFoundError):
        store.remove("qwen2:0.5b")


def test_a_pull_in_progress_keeps_the_blobs_it_shares_with_a_name_that_goes(
    store: Store, hub: StandIn
) -> None:
    for repo in ("Org/One", "Org/Two"):
        hub.repositories[repo] = Repository(files=checkpoint_files())
    store.pull("Org/One", patience=HASTY)
    gone: list[int] = []

    def remove_the_other(done_bytes: int, _total: int) -> None:
        if done_bytes and not gone:
            gone.append(store.remove("Org/One"))

    two = store.pull("Org/Two", patience=HASTY, progress=remove_the_other)
    assert gone
    assert [model.name for model in store.list()] == ["Org/Two"]
    assert len(two.files) == 8
    store.check(digests=True)


def test_modelscope_delivers_where_the_hub_is_silent(
    hub: StandIn, tmp_path: Path, environ: dict[str, str]
) -> None:
    with stand_in() as modelscope:
        modelscope.repositories = hub.repositories
        hub.faults.is_silent = True
        store = Store(tmp_path / "store", {**environ, "MODELSCOPE_ENDPOINT": modelscope.url})
        model = store.pull("qwen2:0.5b-bf16", patience=HASTY)
        assert model.source == "modelscope"
        assert (model.path / "config.json").read_bytes() == checkpoint_files()["config.json"]
        store.check(digests=True)


def test_what_the_hub_began_modelscope_goes_on_with(
    hub: StandIn, tmp_path: Path, environ: dict[str, str]
) -> None:
    with stand_in() as modelscope:
        modelscope.repositories = hub.repositories
        hub.faults.cut_after[GGUF_NAME] = [120_000, 0, 0, 0]
        store = Store(tmp_path / "store", {**environ, "MODELSCOPE_ENDPOINT": modelscope.url})
        model = store.pull("qwen2:0.5b", patience=HASTY)
        assert (model.source, model.path.read_bytes()) == ("modelscope", some_bytes(0))
        assert weight_requests(modelscope) == ["bytes=120000-"]


def test_silent_sources_are_given_up_in_time_with_what_was_tried(
    tmp_path: Path, hub: StandIn
) -> None:
    hub.faults.is_silent = True
    store = Store(tmp_path / "store", environment(tmp_path, hub.url, hub.url))
    start = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        store.pull("qwen2:0.5b", patience=HASTY)
    assert time.monotonic() - start < 2 * HASTY.silence_s + 1
    assert "hub: " in str(caught.value)
    assert "modelscope: " in str(caught.value)
    assert caught.value.alternative == "qwen2.5-coder:0.5b"
    assert "491 MB" in (caught.value.hint or "")
    assert store.list() == []


def test_by_default_two_silent_sources_take_ten_seconds() -> None:
    assert Patience().silence_s == Patience().connect_s == 5.0


def test_a_source_that_lists_and_then_is_silent_is_given_up_at_once(
    store: Store, hub: StandIn
) -> None:
    hub.faults.silent_files = True
    start = time.monotonic()
    with pytest.raises(SourceError, match="silent"):
        store.pull("qwen2:0.5b", source="hub", patience=HASTY)
    assert time.monotonic() - start < 2 * HASTY.silence_s + 1


def test_an_unknown_repository_is_said_to_be_nowhere(store: Store) -> None:
    with pytest.raises(UnreachableError, match="no such repository") as caught:
        store.pull("Org/Nowhere", patience=HASTY)
    assert caught.value.alternative is None


def test_offline_by_the_hubs_own_setting_asks_no_hub(
    hub: StandIn, environ: dict[str, str], tmp_path: Path
) -> None:
    hub.faults.is_silent = True
    store = Store(tmp_path / "store", {**environ, "HF_HUB_OFFLINE": "1"})
    with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE"):
        store.pull("qwen2:0.5b", patience=HASTY)


def test_the_index_never_stands_in_for_another_name(store: Store) -> None:
    with pytest.raises(UnreachableError, match="index: does not carry") as caught:
        store.pull("qwen2:7b", source="index", patience=HASTY)
    assert caught.value.alternative == "qwen2.5-coder:1.5b"


def test_saying_no_to_the_plan_fetches_nothing(store: Store, hub: StandIn) -> None:
    with pytest.raises(DeclinedError):
        store.pull("qwen2:0.5b", confirm=lambda _: False, patience=HASTY)
    assert hub.requests == []
    assert store.list() == []


def test_too_little_free_disk_is_said_before_anything_is_fetched(
    store: Store, hub: StandIn
) -> None:
    huge = Repository(files={GGUF_NAME: Huge(b"small")})
    hub.repositories[GGUF_REPO] = huge
    with pytest.raises(CapacityError, match=r"1000000000000000 more bytes .* are free"):
        store.pull("qwen2:0.5b", patience=HASTY)
    assert hub.requests == []
    assert not list((store.home / "partial").iterdir())


class Huge(bytes):
    """Bytes that a server lists as a petabyte."""

    def __len__(self) -> int:
        return 10**15


PULLER = """
import sys
from pathlib import Path
from tongwen.checkpoint.download import Patience
from tongwen.checkpoint.store import Store
patience = Patience(connect_s=5, silence_s=5, attempts=3, backoff_s=0.01)
print(Store(Path(sys.argv[1])).pull(sys.argv[2], patience=patience).digest)
"""


def puller(store: Store, name: str, prelude: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", prelude + PULLER, str(store.home), name],
        env=store.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def arrived(store: Store) -> int:
    partials = (store.home / "partial").glob("sha256-*")
    return sum(path.stat().st_size for path in partials if path.suffix != ".etag")


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a signal of POSIX")
@pytest.mark.parametrize("blocked", ["", "import sys; sys.modules['fcntl'] = None\n"])
def test_a_pull_killed_midway_resumes_and_the_store_stays_whole(
    store: Store, hub: StandIn, blocked: str
) -> None:
    hub.faults.bytes_per_s = 200_000
    process = puller(store, "qwen2:0.5b", blocked)
    try:
        wait_until(lambda: arrived(store) > 50_000)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert store.list() == []
    store.check()
    hub.faults.bytes_per_s = None
    hub.requests.clear()
    again = puller(store, "qwen2:0.5b", blocked)
    digest, complaints = again.communicate(timeout=30)
    assert digest.strip() == hashlib.sha256(some_bytes(0)).hexdigest(), complaints
    [asked] = weight_requests(hub)
    assert asked is not None
    assert int(asked.removeprefix("bytes=").removesuffix("-")) > 50_000
    store.check(digests=True)
    assert not list((store.home / "partial").iterdir())


@pytest.mark.parametrize("blocked", ["", "import sys; sys.modules['fcntl'] = None\n"])
def test_two_processes_that_pull_one_model_fetch_it_once(
    store: Store, hub: StandIn, blocked: str
) -> None:
    hub.faults.bytes_per_s = 600_000
    both = [puller(store, "qwen2:0.5b", blocked) for _ in range(2)]
    ends = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(weight_requests(hub)) == 1
    store.check(digests=True)


def test_two_processes_that_pull_models_with_a_common_file_fetch_that_once(
    store: Store, hub: StandIn
) -> None:
    for repo in ("Org/One", "Org/Two"):
        hub.repositories[repo] = Repository(files=checkpoint_files())
    hub.faults.bytes_per_s = 600_000
    both = [puller(store, name) for name in ("Org/One", "Org/Two")]
    ends = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(weight_requests(hub, "model-00001-of-00002.safetensors")) == 1
    assert [model.name for model in store.list()] == ["Org/One", "Org/Two"]
    store.check(digests=True)


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of file size are POSIX")
def test_a_file_larger_than_may_be_written_is_said_and_cleaned_up(store: Store) -> None:
    process = puller(store, "qwen2:0.5b", LIMITED)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "CapacityError" in complaints.splitlines()[-1]
    assert arrived(store) == 0
    store.check()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=70m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can be mounted by root only")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_midway_is_said_and_cleaned_up(
    small_disk: Path, hub: StandIn, environ: dict[str, str]
) -> None:
    store = Store(small_disk / "store", environ)
    hub.faults.cut_after[GGUF_NAME] = [100_000]

    def fill(done_bytes: int, _total: int) -> None:
        if done_bytes == 100_000:
            (small_disk / "filler").write_bytes(bytes(Store(small_disk)._blobs.free_bytes()))

    with pytest.raises(CapacityError, match="No space left") as caught:
        store.pull("qwen2:0.5b", patience=HASTY, progress=fill)
    assert "TONGWEN_HOME" in (caught.value.hint or "")
    assert arrived(store) == 0
    (small_disk / "filler").unlink()
    hub.faults.cut_after.clear()
    assert store.pull("qwen2:0.5b", patience=HASTY).path.read_bytes() == some_bytes(0)


def test_a_damaged_model_is_mended_by_the_next_pull(store: Store, hub: StandIn) -> None:
    model = store.pull("qwen2:0.5b-bf16", patience=HASTY)
    (model.path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config.json` has None bytes"):
        store.find("qwen2:0.5b-bf16")
    hub.requests.clear()
    mended = store.pull("qwen2:0.5b-bf16", patience=HASTY)
    assert (mended.path / "config.json").read_bytes() == checkpoint_files()["config.json"]
    assert not [name for name, _ in hub.requests if name.endswith(".safetensors")]
    store.check(digests=True)
