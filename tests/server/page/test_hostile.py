"""Whatever a model says, it stays text: nothing in it runs, and nothing is loaded."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from tests.server.page.serving import StandIn
from tests.server.page.visit import Visit

Open = Callable[..., Visit]
ICON = "{}/page/icon.svg"  # asked for by the browser itself, when it likes

HOSTILE = [
    "<script>window.caught = 1</script>",
    '<img src="/caught" onerror="window.caught = 1">',
    "<svg onload=window.caught=1><iframe src=/caught></iframe>",
    "![look](/caught)",
    "![look](http://127.0.0.1:9/caught.png)",
    "[press](javascript:window.caught=1)",
    "[press](  JaVaScRiPt:window.caught=1)",
    "[press](&#106;avascript:window.caught=1)",
    "[press](java\tscript:window.caught=1)",
    "[press](data:text/html,<script>window.caught=1</script>)",
    "[press](vbscript:x) [press](file:///etc/passwd) [press](//caught/x) [press](/caught)",
    "<javascript:window.caught=1> <a href='javascript:window.caught=1'>press</a>",
    '[press](http://127.0.0.1:9/" onmouseover="window.caught=1)',
    "```html\n<script>window.caught = 1</script>\n```",
    '```"><img src=/caught onerror=window.caught=1>\ncode\n```',
    "`<img src=/caught onerror=window.caught=1>`",
    "| <img src=/caught> | b |\n|---|---|\n| <script>window.caught=1</script> | ![x](/caught) |",
    "# <style>@import '/caught'</style>",
    "<link rel=stylesheet href=/caught><base href=/caught/><meta http-equiv=refresh content=0>",
    "[![badge](/caught)](javascript:window.caught=1)",
    '[a](http://127.0.0.1:9/ "title\' onload=window.caught=1") [b]: javascript:window.caught=1',
    "$<img src=/caught onerror=window.caught=1>$ \\(<script>window.caught=1</script>\\)",
]


@pytest.mark.parametrize("piece", [1, 10_000])
def test_a_hostile_answer_neither_runs_nor_loads_anything(
    visit: Open, stand_in: StandIn, stand_in_url: str, piece: int
) -> None:
    stand_in.answers, stand_in.piece = ["\n\n".join(HOSTILE)], piece
    at = visit(stand_in_url)
    before = len(at.requests)
    at.ask_and_wait("Show me")
    for link in at.prose.get_by_text("press").all():
        if link.evaluate("node => !node.closest('a')"):
            link.click(force=True)
    at.page.wait_for_timeout(300)
    assert at.page.evaluate("window.caught") is None
    assert [url for url in at.requests[before:] if "/v1/" not in url] in (
        [],
        [ICON.format(stand_in_url)],
    )
    assert not any("caught" in path for path in stand_in.paths)
    assert at.page.url.startswith(stand_in_url + "/#")
    tags = at.prose.evaluate(
        "root => [...new Set([...root.querySelectorAll('*')].map((node) => node.localName))]"
    )
    assert not set(tags) & {"script", "img", "iframe", "style", "link", "base", "meta", "object"}


def test_links_lead_only_to_web_pages_and_show_where(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers = ["\n\n".join(HOSTILE) + "\n\n[bank](https://evil.example/login)"]
    at = visit(stand_in_url)
    at.ask_and_wait("Links")
    links = at.prose.locator("a").evaluate_all(
        "all => all.map((a) => [a.protocol, a.rel, a.target, a.getAttributeNames().sort().join()])"
    )
    assert {link[0] for link in links} <= {"http:", "https:"}
    assert {tuple(link[1:]) for link in links} == {
        ("noopener noreferrer", "_blank", "href,rel,target,title")
    }
    expect(at.prose.locator("p").last).to_have_text("bank (evil.example)")


def test_titles_models_and_errors_are_text_too(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.refusals = [(400, HOSTILE[1])]
    at = visit(stand_in_url)
    at.ask(HOSTILE[1])
    expect(at.page.get_by_role("alert").last).to_contain_text("onerror")
    expect(at.page.locator("#list a")).to_have_text(HOSTILE[1])
    assert at.page.locator("img").count() == 0
    assert at.page.evaluate("window.caught") is None


def test_the_browser_itself_refuses_what_the_page_never_does(
    visit: Open, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    assert (
        at.page.evaluate(
            """() => {
            try { document.body.innerHTML += "<b></b>"; } catch (error) { return error.name; }
        }"""
        )
        == "TypeError"
    )
    at.page.evaluate(
        """() => {
            const image = document.createElement("img");
            image.src = "http://127.0.0.1:9/caught.png";
            document.body.append(image);
        }"""
    )
    at.page.wait_for_timeout(200)
    assert any("Content Security Policy" in text for text in at.complaints)
    at.complaints.clear()
    at.requests = [url for url in at.requests if "caught" not in url]  # refused before it was sent
