"""A browser that watches what a page says and asks for, and servers for it."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from tests.server.page.serving import StandIn, serving
from tests.server.page.visit import Visit

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Chromium asks nobody but the page's own server."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one file of tests: while it lives, no test may call `asyncio.run`."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed (Debian's package `chromium`)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn(["Hello there. How are you?"])


@pytest.fixture
def stand_in_url(stand_in: StandIn) -> Iterator[str]:
    with serving(stand_in.app()) as url:
        yield url


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Opens browsers that know nothing of each other."""
    contexts = []

    def new(**options: Any) -> BrowserContext:
        given = {"viewport": {"width": 1_100, "height": 760}, "locale": "en-US", **options}
        contexts.append(browser.new_context(**given))
        return contexts[-1]

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def visit(new_context: Callable[..., BrowserContext]) -> Iterator[Callable[..., Visit]]:
    """Opens the page of a server; at the end nothing must have gone wrong in it."""
    visits = []

    def open_page(url: str, **options: Any) -> Visit:
        visits.append(Visit(new_context(**options).new_page(), url))
        return visits[-1].open()

    yield open_page
    for each in visits:
        each.check()
