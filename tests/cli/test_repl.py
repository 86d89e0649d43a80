"""A conversation on a real pseudo-terminal."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.program import Terminal, on_terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal needs POSIX")

PROMPT = r">>> ?$"


@pytest.fixture
def talk(environ: dict[str, str], tmp_path: Path, tiny_chat: Path) -> Iterator[Terminal]:
    """A conversation that has just begun; answers are short."""
    arguments = ("run", str(tiny_chat), "--temperature", "0", "--max-tokens", "8")
    with on_terminal(*arguments, environ=environ, cwd=tmp_path) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def said(talk: Terminal, line: str) -> str:
    """What is shown after a line was typed, up to the next prompt."""
    talk.type(line + "\n")
    return talk.expect(PROMPT).partition("\n")[2]


def test_a_conversation_is_saved_loaded_and_left(talk: Terminal, tmp_path: Path) -> None:
    assert "(cut off: `max_tokens` is 8)" in said(talk, "hello")
    talk.type('"""first line\n')
    talk.expect(r"\.\.\. ?$")
    talk.type('second "line"\n')
    talk.expect(r"\.\.\. ?$")
    assert "(cut off" in said(talk, 'third"""')
    assert "saved to talk.json: 4 turns" in said(talk, "/save talk.json")
    saved = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [turn["content"] for turn in saved if turn["role"] == "user"] == [
        "hello",
        'first line\nsecond "line"\nthird',
    ]
    assert all(len(turn["token_ids"]) == 8 for turn in saved if turn["role"] == "assistant")
    assert "a new conversation" in said(talk, "/clear")
    assert "no conversation to save" in said(talk, "/save empty.json")
    assert "loaded 4 turns" in said(talk, "/load talk.json")
    assert "saved to again.json: 4 turns" in said(talk, "/save again.json")
    again = json.loads((tmp_path / "again.json").read_text())["messages"]
    assert again == saved
    talk.type("\x04")
    assert talk.end() == 0


def test_commands_change_and_show_what_is_set(talk: Terminal, tiny_chat: Path) -> None:
    assert "did you mean `/clear`?" in said(talk, "/claer")
    assert "did you mean `temperature`?" in said(talk, "/set parameter temprature 1")
    assert "should be a number, not `warm`" in said(talk, "/set parameter temperature warm")
    assert "must lie between 0 and 1" in said(talk, "/set parameter top_p 7")
    said(talk, "/set parameter top_p 0.25")
    shown = said(talk, "/show parameters")
    assert "0.25" in shown
    assert "you" in shown
    said(talk, "/set verbose")
    assert "prompt tokens, first token after" in said(talk, "hello")
    said(talk, "/set quiet")
    assert "prompt tokens" not in said(talk, "hello")
    assert "You are a helpful assistant." in said(talk, "/show system")
    said(talk, "/system Speak like a fox.")
    assert "Speak like a fox." in said(talk, "/system")
    assert str(tiny_chat) in said(talk, "/show info")
    assert "<|im_start|>" in said(talk, "/show template")
    assert "apache-2.0" in said(talk, "/show license")
    assert "/save FILE" in said(talk, "/?")
    assert "Ctrl-C" in said(talk, "/? shortcuts")
    talk.type("/bye\n")
    assert talk.end() == 0


def test_tab_completes_commands_and_what_follows_them(talk: Terminal) -> None:
    talk.type("/sho\t")
    talk.expect("/show")
    talk.type(" para\t")
    talk.expect("parameters")
    talk.type("\n")
    assert "temperature" in talk.expect(PROMPT)


def test_ctrl_c_stops_the_answer_and_not_the_program(
    environ: dict[str, str], tmp_path: Path, tiny_chat: Path
) -> None:
    arguments = ("run", str(tiny_chat), "--temperature", "0")
    with on_terminal(*arguments, environ=environ, cwd=tmp_path) as talk:
        talk.expect(PROMPT)
        talk.type("hello\n")
        talk.expect(r"hello\n.{9}")
        talk.interrupt()
        talk.expect(r"\(stopped\)\n")
        talk.expect(PROMPT)
        said(talk, "/set parameter max_tokens 5")
        assert "max_tokens` is 5" in said(talk, "go on")
        said(talk, "/save talk.json")
        turns = json.loads((tmp_path / "talk.json").read_text())["messages"]
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
        assert 1 < len(turns[1]["token_ids"]) < 8000
        talk.type("half a line\x03")
        talk.expect(r"Ctrl-D or /bye leaves")
        talk.expect(PROMPT)
        talk.type("\x04")
        assert talk.end() == 0


def test_a_conversation_that_fills_the_context_is_told_and_not_cut(
    environ: dict[str, str], tmp_path: Path, tiny_chat: Path
) -> None:
    arguments = ("run", str(tiny_chat), "--temperature", "0", "--context", "100")
    with on_terminal(*arguments, environ=environ, cwd=tmp_path) as talk:
        talk.expect(PROMPT)
        assert "(cut off: the context of 100 tokens is full)" in said(talk, "hello")
        refused = said(talk, "and now?")
        assert "of a context of 100; the question is withdrawn" in refused
        assert "/clear" in refused
        said(talk, "/save talk.json")
        turns = json.loads((tmp_path / "talk.json").read_text())["messages"]
        assert len(turns) == 2
        said(talk, "/clear")
        assert "(cut off: the context of 100 tokens is full)" in said(talk, "hello")


def test_earlier_questions_are_remembered_unless_told_not_to(
    environ: dict[str, str], talk: Terminal
) -> None:
    said(talk, "remember me")
    said(talk, "/set nohistory")
    said(talk, "forget me")
    history = Path(environ["TONGWEN_HOME"]) / "history"
    assert "remember me" in history.read_text()
    assert "forget me" not in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_another_model_can_be_loaded(talk: Terminal, tiny_base: Path) -> None:
    said(talk, "hello")
    assert "nearest names are" in said(talk, "/load nosuchmodel")
    shown = said(talk, f"/load {tiny_base}")
    assert "is a base model: it continues your text" in shown
    assert "(cut off" in said(talk, "The quick brown")
    assert "takes no turns" in said(talk, "/load talk.json")


def test_where_no_hub_answers_a_terminal_is_asked(environ: dict[str, str], tmp_path: Path) -> None:
    with on_terminal("run", "qwen2:0.5b", environ=environ, cwd=tmp_path) as terminal:
        terminal.expect(r"reachable here: qwen2\.5-coder:0\.5b, 491 MB\n", timeout_s=15)
        terminal.expect(r"run qwen2\.5-coder:0\.5b\? \[Y/n\]: $")
        terminal.type("n\n")
        assert terminal.end() == 1
        assert "no model was run" in terminal.text


def test_json_needs_a_prompt_even_where_there_is_a_terminal(
    environ: dict[str, str], tmp_path: Path, tiny_chat: Path
) -> None:
    with on_terminal("run", str(tiny_chat), "--json", environ=environ, cwd=tmp_path) as terminal:
        assert terminal.end() == 2
        assert "error: `--json` needs a PROMPT" in terminal.text
