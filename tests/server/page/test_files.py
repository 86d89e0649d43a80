"""The page's files, as a client gets them."""

import re
from importlib.resources import files

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.server.page.serving import StandIn, ours

from tongwen.checkpoint.store import Store
from tongwen.server.config import KeyEntry, ServeConfig
from tongwen.server.page.pages import CONTENT_SECURITY_POLICY, MEDIA_TYPES

HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    key = KeyEntry(name="ann", sha256="0" * 64)
    app: FastAPI = ours(ServeConfig(keys=(key,)), Store(tmp_path_factory.mktemp("home")))
    return TestClient(app, base_url="http://127.0.0.1")


def test_browsers_get_the_page_and_programs_a_greeting(client: TestClient) -> None:
    page = client.get("/", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    program = client.get("/", headers={"Accept": "*/*"})
    assert program.text == "Ollama is running"
    assert client.head("/", headers={"Accept": "*/*"}).status_code == 200
    assert page.headers["vary"] == program.headers["vary"] == "Accept"


def test_every_file_of_the_page_lies_in_the_package_and_is_served_without_a_key(
    client: TestClient,
) -> None:
    static = files("tongwen.server.page") / "static"
    assert {path.name for path in static.iterdir()} == set(MEDIA_TYPES)
    for name, media_type in MEDIA_TYPES.items():
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == media_type
        assert answer.content == (static / name).read_bytes()


def test_every_answer_says_what_the_page_may_do(client: TestClient) -> None:
    for path in ("/", "/page/chat.js", "/page/style.css"):
        head = client.get(path, headers=HTML).headers
        assert head["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert head["x-content-type-options"] == "nosniff"
        assert head["referrer-policy"] == "no-referrer"
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert rule in CONTENT_SECURITY_POLICY.split("; ")


def test_a_browser_that_has_a_file_is_told_that_it_is_as_it_was(client: TestClient) -> None:
    first = client.get("/page/chat.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page/chat.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/page/dom.js", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


@pytest.mark.parametrize("name", ["pages.py", "..%2fpages.py", "%2e%2e/pages.py", "", "chat.js%00"])
def test_nothing_but_the_files_of_the_page_is_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_no_script_of_the_page_parses_text_as_html_or_as_a_program() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
        r"|\beval\b|new Function|srcdoc|setTimeout\(['\"]"
    )
    static = files("tongwen.server.page") / "static"
    for name in MEDIA_TYPES:
        assert forbidden.findall((static / name).read_text(encoding="utf-8")) == [], name


def test_the_page_names_no_address_but_its_own() -> None:
    static = files("tongwen.server.page") / "static"
    for name in MEDIA_TYPES:
        text = (static / name).read_text(encoding="utf-8")
        found = re.findall(r"https?://[\w.-]+\w", text)
        assert set(found) <= {"http://www.w3.org"}, name  # the name of SVG, which nobody asks


def test_the_stand_in_serves_the_same_page() -> None:
    client = TestClient(StandIn().app())
    assert client.get("/", headers=HTML).headers["content-security-policy"]
