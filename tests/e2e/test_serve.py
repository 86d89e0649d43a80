"""The real model served as a model card says, and asked as the card says."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tongwen.server.running import running_servers

pytestmark = [pytest.mark.real, pytest.mark.slow]

MODEL, CARD = "qwen2.5-coder:0.5b", "Qwen2-7B-Instruct"
QUESTION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Tell me something about large language models."},
]


@pytest.fixture(scope="module")
def url(real_gguf: Path, real_home: Path) -> Iterator[str]:
    assert real_gguf.exists()
    options = ["--port", "0", "--served-model-name", CARD]
    served = subprocess.Popen(
        [sys.executable, "-m", "tongwen", "serve", MODEL, *options],
        env={**os.environ, "TONGWEN_HOME": str(real_home)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while served.pid not in (found := {one.pid: one.url for one in running_servers(real_home)}):
            assert served.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found[served.pid]
    finally:
        served.terminate()
        served.wait(60)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_cards_curl_is_answered(url: str) -> None:
    body = json.dumps({"model": CARD, "messages": QUESTION, "max_tokens": 60})
    done = subprocess.run(
        [
            "curl",
            "-s",
            f"{url}/v1/chat/completions",
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    answer = json.loads(done.stdout)
    assert answer["model"] == CARD
    assert "language" in answer["choices"][0]["message"]["content"].lower()
    assert answer["usage"]["completion_tokens"] == 60


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_another_name_is_refused_with_the_one_that_is_served(url: str) -> None:
    done = subprocess.run(
        [
            "curl",
            "-s",
            f"{url}/v1/chat/completions",
            "-d",
            json.dumps({"model": MODEL, "messages": QUESTION}),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert CARD in json.loads(done.stdout)["error"]["message"]
