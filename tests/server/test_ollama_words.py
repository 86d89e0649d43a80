"""Ollama's options, durations and Modelfiles, read by themselves."""

from pathlib import Path
from typing import Any

import pytest

from tongwen.checkpoint.derived import Derived, DerivedModels
from tongwen.checkpoint.model_names import parse_stored
from tongwen.checkpoint.store import Store
from tongwen.errors import ConfigError, ModelNotFoundError, TongwenError
from tongwen.server.bases import allowed_path, looks_like_path
from tongwen.server.errors import ApiError
from tongwen.server.ollama.durations import keep_alive_s
from tongwen.server.ollama.modelfile import Recipe, parse_modelfile, write_modelfile
from tongwen.server.ollama.options import Options, options_of
from tongwen.server.ollama.wire import fitting


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("300ms", 0.3),
        ("1.5s", 1.5),
        (30, 30),
        (0, 0),
        ("0", 0),
        (-1, -1),
        ("-1", -1),
        ("-5m", -1),
    ],
)
def test_keep_alive_is_a_duration_or_seconds(given: object, seconds: float) -> None:
    assert keep_alive_s(given) == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["", "m", "5 m", "5x", "1e9s", True, [], "9" * 80 + "h"])
def test_what_is_no_duration_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="keep_alive"):
        keep_alive_s(given)


def test_options_become_our_sampling_parameters() -> None:
    options = options_of(
        {
            "num_predict": 7.0,
            "top_k": -1,
            "repeat_penalty": 1.2,
            "repeat_last_n": -1,
            "seed": -1,
            "stop": ["a", "b"],
            "num_gpu": 99,
            "mirostat": 0,
        }
    )
    assert options.sampling() == {
        "max_tokens": 7,
        "top_k": 0,
        "repetition_penalty": 1.2,
        "stop": ["a", "b"],
    }


@pytest.mark.parametrize(("count", "expected"), [(-1, {}), (-2, {}), (3, {"max_tokens": 3})])
def test_num_predict_below_zero_means_until_the_context_is_full(
    count: int, expected: dict[str, int]
) -> None:
    assert options_of({"num_predict": count}).sampling() == expected


def test_no_last_tokens_means_no_penalty() -> None:
    assert options_of({"repeat_last_n": 0}).sampling() == {"repetition_penalty": 1.0}
    assert options_of({"repeat_last_n": 64, "repeat_penalty": 1}).sampling() == {
        "repetition_penalty": 1.0
    }
    with pytest.raises(ApiError, match="not at 64 tokens"):
        options_of({"repeat_last_n": 64, "repeat_penalty": 1.1}).sampling()


@pytest.mark.parametrize(
    "given",
    [
        {"mirostat": 1},
        {"tfs_z": 0.5},
        {"penalize_newline": False},
        {"vocab_only": True},
        {"num_predict": -3},
        {"num_ctx": 0},
        {"nonsense": 1},
        {"temperature": "hot"},
        {"top_k": 1.5},
    ],
)
def test_options_that_are_not_served_are_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises((ApiError, ConfigError), match=next(iter(given))):
        options_of(given)


def test_what_a_caller_says_goes_before_a_models_own() -> None:
    mine = options_of({"min_p": 0.0, "seed": 3})
    both = mine.over(options_of({"min_p": 0.1, "temperature": 0.2}))
    assert both.sampling() == {"min_p": 0.0, "seed": 3, "temperature": 0.2}
    assert Options().over(both) == both


MODELFILE = '''# a comment
FROM qwen2:0.5b
PARAMETER temperature 0.5
PARAMETER stop "<end>"
parameter stop "two words"
PARAMETER num_ctx 512
SYSTEM """You are
  brief. # no comment
"""
MESSAGE user hello there
MESSAGE assistant """hi
you"""
LICENSE MIT
'''


def test_a_modelfile_is_read_and_written_the_same() -> None:
    recipe = parse_modelfile(MODELFILE)
    assert recipe == Recipe(
        base="qwen2:0.5b",
        system="You are\n  brief. # no comment\n",
        parameters={"temperature": 0.5, "stop": ["<end>", "two words"], "num_ctx": 512},
        messages=[
            {"role": "user", "content": "hello there"},
            {"role": "assistant", "content": "hi\nyou"},
        ],
        licences=["MIT"],
    )
    recipe.licences = []
    assert parse_modelfile(write_modelfile(recipe)) == recipe


@pytest.mark.parametrize(
    "text",
    [
        "FORM x",
        "FROM",
        'SYSTEM """no end',
        'SYSTEM """a""" b',
        "PARAMETER temperature",
        "MESSAGE wizard hi",
        "TEMPLATE x",
        "ADAPTER x",
        "\0",
    ],
)
def test_a_modelfile_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((TongwenError, ApiError)):
        parse_modelfile(text)


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("least", range(9))
def test_the_first_cut_that_fits_is_found(size: int, least: int) -> None:
    cuts = list(range(size))
    expected = next((cut for cut in cuts if cut >= least), cuts[-1])
    assert fitting(lambda cut: cut >= least, cuts) == expected


def test_only_files_of_an_allowed_directory_are_reached(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for each in (inside / "sub", outside):
        each.mkdir(parents=True)
    (inside / "sub" / "a.gguf").touch()
    (outside / "b.gguf").touch()
    (inside / "link.gguf").symlink_to(outside / "b.gguf")
    (inside / "way").symlink_to(outside)
    assert allowed_path(str(inside / "sub" / "a.gguf"), [inside]) == inside / "sub" / "a.gguf"
    refused = [
        str(outside / "b.gguf"),
        str(inside / "link.gguf"),
        str(inside / "way" / "b.gguf"),
        f"{inside}/sub/../sub/a.gguf",
        f"{inside}/../out/b.gguf",
        str(inside),
        "sub/a.gguf",
        str(inside / "absent.gguf"),
        f"{inside}/sub/a.gguf\0",
        f"{inside}-else/a.gguf",
    ]
    assert [allowed_path(text, [inside]) for text in refused] == [None] * len(refused)
    assert allowed_path(str(inside / "sub" / "a.gguf"), []) is None


@pytest.mark.parametrize(
    "text", ["./x", "../x", "/etc/passwd", "~/x", "C:\\x", "x.gguf", "a/b.GGUF", "dir/"]
)
def test_a_path_is_known_from_a_name(text: str) -> None:
    assert looks_like_path(text)
    assert not looks_like_path("qwen2:0.5b")
    assert not looks_like_path("Org/Repo:Q4_K_M")


def test_a_stored_name_never_means_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Org" / "Repo").mkdir(parents=True)
    assert parse_stored("Org/Repo").kind == "hub"
    assert parse_stored("QWEN2:7B").text == "qwen2:7b"
    for text in ("/etc", "./Org/Repo", "~", "..", "a.gguf", "", "hf.co//etc"):
        with pytest.raises(ModelNotFoundError):
            parse_stored(text)


def test_records_are_kept_and_damaged_ones_left_out(tmp_path: Path) -> None:
    records = DerivedModels(tmp_path)
    made = Derived(
        name="me/mario:1",
        base="qwen2:0.5b",
        licence="Apache-2.0",
        made_at="2026-01-01T00:00:00+00:00",
        lineage=("qwen2:0.5b",),
        system="It's me.",
        parameters={"temperature": 0.1, "stop": ["x"]},
        messages=({"role": "user", "content": "hi"},),
    )
    records.add(made)
    assert records.get("me/mario:1") == made
    assert records.list() == [made]
    assert records.users_of("qwen2:0.5b") == ["me/mario:1"]
    folder = tmp_path / "derived"
    for name, text in {"a": "{}", "b": "no", "c": '{"format": 1, "name": 3}'}.items():
        (folder / f"{name}.json").write_text(text)
    assert records.list() == [made]
    assert records.remove("me/mario:1", Store(tmp_path)) == 0
    for name in ("me/mario:1", "../x", "/etc/x", "a\\b", "..", ""):
        assert not records.has(name)
        with pytest.raises(ModelNotFoundError):
            records.get(name)
        with pytest.raises(ModelNotFoundError):
            records.remove(name, Store(tmp_path))
