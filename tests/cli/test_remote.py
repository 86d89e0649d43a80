"""`tongwen run` answered by a server: one that runs here anyway, or one that is named."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.program import Run
from tests.client.standin import answered, standing_in, streamed

from tongwen.server.running import running_servers

HELLO = ("hello", "--temperature", "0", "--max-tokens", "9")
HERE = "and answers"


@contextlib.contextmanager
def server(environ: dict[str, str], *arguments: str) -> Iterator[str]:
    """`tongwen serve` on a free port; its address."""
    command = [sys.executable, "-m", "tongwen", "serve", "--port", "0", *arguments]
    started = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (found := running_servers(Path(environ["TONGWEN_HOME"]))):
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        wait_for(found[0].url)
        yield found[0].url
    finally:
        started.terminate()
        started.wait(30)


def wait_for(url: str) -> None:
    """Wait until a server is ready."""
    import urllib.request

    for _ in range(600):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ready"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{url} is not ready")


def printed(tongwen: Run, *arguments: str) -> dict[str, object]:
    done = tongwen("run", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def without_timings(answer: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in answer.items() if name != "timings"}


def test_a_server_that_has_the_model_gives_the_same_answer(
    tongwen: Run, environ: dict[str, str], tiny_chat: Path
) -> None:
    loaded = printed(tongwen, str(tiny_chat), *HELLO)
    with server(environ, str(tiny_chat), "--served-model-name", "anything"):
        served = printed(tongwen, str(tiny_chat), *HELLO)
        said = tongwen("run", str(tiny_chat), *HELLO, "--verbose")
        assert HERE in said.stderr
        assert said.stdout.rstrip("\n") == str(loaded["text"]).rstrip("\n")
        system = ("--system", "Be brief.")
        told = printed(tongwen, str(tiny_chat), *HELLO, *system)
        other = [
            printed(tongwen, str(tiny_chat), *HELLO, *more)
            for more in (
                ("--weights", "float32"),
                ("--context", "300"),
                ("--device", "cpu"),
                ("--chat",),
            )
        ]
    assert without_timings(served) == without_timings(loaded)
    assert set(served) == set(loaded)
    assert served["timings"]["load_s"] == 0  # type: ignore[index]
    assert set(served["timings"]) == set(loaded["timings"])  # type: ignore[call-overload]
    assert all(each["timings"]["load_s"] > 0 for each in other)  # type: ignore[index]
    assert without_timings(told) == without_timings(
        printed(tongwen, str(tiny_chat), *HELLO, *system)
    )
    assert told["usage"] != served["usage"]


@pytest.mark.parametrize(
    "options",
    [("--weights", "float32"), ("--context", "300"), ("--generation-config", "none")],
)
def test_a_server_that_runs_it_otherwise_is_not_asked(
    tongwen: Run, environ: dict[str, str], tiny_chat: Path, options: tuple[str, ...]
) -> None:
    with server(environ, str(tiny_chat), *options):
        done = tongwen("run", str(tiny_chat), *HELLO, "--verbose")
    assert done.returncode == 0
    assert HERE not in done.stderr


def test_another_model_under_the_same_name_is_not_asked(
    tongwen: Run, environ: dict[str, str], tiny_chat: Path, tiny_base: Path
) -> None:
    with server(environ, str(tiny_base), "--served-model-name", str(tiny_chat)):
        done = tongwen("run", str(tiny_chat), *HELLO, "--verbose")
    assert done.returncode == 0
    assert HERE not in done.stderr


def test_an_endpoint_that_is_named_gives_the_same_answer_and_is_shown_the_key(
    tongwen: Run, environ: dict[str, str], tiny_chat: Path
) -> None:
    loaded = printed(tongwen, str(tiny_chat), *HELLO)
    environ["SERVER_KEY"] = environ["MY_KEY"] = "sk-mine"
    named = ("--served-model-name", "tiny", "--api-key-env", "SERVER_KEY")
    with server(environ, str(tiny_chat), *named) as url:
        asked = ("--endpoint", url, "tiny", *HELLO)
        assert without_timings(
            printed(tongwen, *asked, "--api-key-env", "MY_KEY")
        ) == without_timings(loaded)
        text = tongwen("run", *asked, "--api-key-env", "MY_KEY")
        assert text.stdout.rstrip("\n") == str(loaded["text"]).rstrip("\n")
        keyless = tongwen("run", *asked)
        assert keyless.returncode == 1
        assert "answers 401" in keyless.stderr
        continued = ("--no-chat", "--api-key-env", "MY_KEY")
        text_only = printed(tongwen, *asked, *continued)
        unknown = tongwen("run", "--endpoint", url, "other", "x", "--api-key-env", "MY_KEY")
    base = printed(tongwen, str(tiny_chat), *HELLO, "--no-chat")
    assert without_timings(text_only) == without_timings(base)
    assert unknown.returncode == 1
    assert unknown.stderr.startswith(f"error: `{url}/v1` answers 404")
    assert "sk-mine" not in keyless.stderr + unknown.stderr


def test_of_an_endpoint_that_does_not_tell_ids_and_usage_are_null(tongwen: Run) -> None:
    said = [{"delta": {"content": "yes"}, "finish_reason": None}, {"finish_reason": "stop"}]
    listed = answered(200, {"data": [{"id": "gpt", "owned_by": "someone"}]})
    stream = streamed(*({"choices": [{"index": 0, **each}]} for each in said), b"[DONE]")
    with standing_in(listed, stream) as end:
        found = printed(tongwen, "--endpoint", end.url, "gpt", "hello")
        assert "return_token_ids" not in end.bodies[1]
        assert end.bodies[1]["messages"] == [{"role": "user", "content": "hello"}]
    assert (found["text"], found["token_ids"]) == ("yes", None)
    assert found["usage"] == {"prompt_tokens": None, "completion_tokens": None}
    assert found["timings"]["decode_tokens_per_s"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--endpoint", "http://127.0.0.1:9"), 2, "`--endpoint` needs a MODEL and a PROMPT"),
        (("m", "x", "--api-key-env", "K"), 2, "`--api-key-env` goes with `--endpoint`"),
        (("--endpoint", "x", "m", "x"), 1, "`x` is no endpoint"),
        (("--endpoint", "http://h", "m", "x", "--weights", "auto"), 2, "`--weights` is for models"),
        (("--endpoint", "http://h", "m", "x", "--context", "9"), 2, "`--context` is for models"),
        (("--endpoint", "http://h", "m", "x", "--source", "hub"), 2, "`--source` is for models"),
        (
            ("--endpoint", "http://h", "m", "x", "--api-key-env", "NOT_SET"),
            1,
            "the environment variable `NOT_SET` (`--api-key-env`) is not set",
        ),
        (
            ("--endpoint", "http://h", "m", "x", "--no-chat", "--system", "s"),
            2,
            "`--system` is part of a conversation",
        ),
        (("--endpoint", "http://127.0.0.1:9", "m", "x", "--no-chat"), 1, "`max_tokens` is missing"),
    ],
)
def test_a_wrong_wish_of_an_endpoint_is_refused(
    tongwen: Run, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = tongwen("run", *arguments, stdin="x")
    assert done.returncode == status, done.stderr
    assert f"error: {said}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_endpoint_is_asked_without_loading_torch(environ: dict[str, str]) -> None:
    stream = streamed({"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]})
    with standing_in(stream) as end:
        code = f"""
import sys
from tongwen.cli.main import call
status = call(["run", "--endpoint", {end.url!r}, "m", "hello"])
sys.exit(status or "torch" in sys.modules)
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr
