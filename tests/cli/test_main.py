"""The program as such: start-up, errors, exit statuses."""

import os
import subprocess
import sys

import click
import pytest
from tests.cli.program import Run

from tongwen.cli.main import VERBS, call, cli, report
from tongwen.cli.terminal import visible
from tongwen.errors import CapacityError

HEAVY = ("torch", "transformers", "huggingface_hub", "rich", "prompt_toolkit", "numpy")


def loaded_by(*arguments: str) -> set[str]:
    code = f"""
import sys
from tongwen.cli.main import call
call({list(arguments)!r})
print("LOADED", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()])
def test_help_and_version_import_no_heavy_library(arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(*arguments)
    assert "tongwen.cli.main" in loaded
    assert not loaded & set(HEAVY)


def test_a_model_that_does_not_fit_is_refused_before_torch_is_imported() -> None:
    loaded = loaded_by("run", "qwen2:72b", "hi", "--context", "4000000")
    assert "tongwen.cli.choose" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_of_verbs_says_what_each_command_says_of_itself(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.help is not None
    assert VERBS[verb][1] == command.help.splitlines()[0]


def test_an_unknown_verb_is_answered_with_the_nearest_one(tongwen: Run) -> None:
    done = tongwen("rnu")
    assert done.returncode == 2
    assert "unknown verb `rnu`; did you mean `run`?" in done.stderr
    assert done.stdout == ""


def test_a_wrong_option_is_a_usage_error(tongwen: Run) -> None:
    done = tongwen("list", "--tempperature", "1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such option")
    assert "tongwen list --help" in done.stderr


def test_an_expected_error_is_a_line_and_a_hint(tongwen: Run) -> None:
    done = tongwen("show", "no/such/thing")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("error: no model is named `no/such/thing`; the nearest names are ")
    assert second.startswith("hint: ")


def test_debug_shows_the_traceback_of_an_error(tongwen: Run) -> None:
    done = tongwen("show", "no/such/thing", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ModelNotFoundError" in done.stderr


def test_errors_are_told_apart_by_their_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(CapacityError("too big", hint="smaller")) == 1
    assert report(click.UsageError("what?")) == 2
    assert report(FileNotFoundError(2, "No such file", "x.json")) == 1
    assert report(ZeroDivisionError("division by zero")) == 1
    said = capsys.readouterr().err
    assert "error: too big\nhint: smaller\n" in said
    assert "error: No such file `x.json`\n" in said
    assert "unforeseen ZeroDivisionError" in said


def test_an_error_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report(CapacityError("a name like `\x1b]0;owned\x07`"))
    assert capsys.readouterr().err == "error: a name like `\\x1b]0;owned\\x07`\n"


def test_control_characters_are_spelled_out_and_text_is_not() -> None:
    assert visible("a\tb\nc 你好 😀 é") == "a\tb\nc 你好 😀 é"
    assert visible("\x1b[2J\r\x00\x7f\x9b") == "\\x1b[2J\\x00\\x7f\\x9b"
    assert visible("line\r\n") == "line\n"


def test_ctrl_c_ends_the_program_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    original = cli.get_command
    try:
        cli.get_command = lambda *_: interrupted  # type: ignore[method-assign]
        assert call(["run"]) == 130
    finally:
        cli.get_command = original  # type: ignore[method-assign]
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(environ: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tongwen", "list", "--available"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_calls_the_program_back(tongwen: Run, shell: str) -> None:
    done = tongwen("completion", shell)
    assert done.returncode == 0
    assert f"_TONGWEN_COMPLETE={shell}_complete" in done.stdout


def test_a_shell_completes_verbs_options_and_models(environ: dict[str, str]) -> None:
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        asked = {
            "_TONGWEN_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-c", "from tongwen.cli.main import main; main()"],
            env={**environ, **asked},
            capture_output=True,
            text=True,
            check=False,
        )
        return [entry.partition(",")[2] for entry in done.stdout.splitlines()]

    assert completed("tongwen r") == ["run", "rm"]
    assert "--temperature" in completed("tongwen run --t")
    assert "qwen2:0.5b" in completed("tongwen pull qwen2:0")
    assert "qwen2:0.5b" not in completed("tongwen rm qwen2:0")


def test_the_program_starts_where_standard_streams_are_closed(environ: dict[str, str]) -> None:
    if os.name != "posix":
        pytest.skip("a shell closes the streams")
    command = f'"{sys.executable}" -m tongwen list <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], env=environ, check=False).returncode in (0, 1)
