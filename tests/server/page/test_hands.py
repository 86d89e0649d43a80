"""The page under different hands: keyboard only, a phone, a screen reader, two languages."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from tests.server.page.serving import StandIn
from tests.server.page.visit import Visit

Open = Callable[..., Visit]
WIDE = "| a long heading | another one | a third | more |\n|---|---|---|---|\n| x | y | z | w |"
RICH = (
    f"# Title\n\nText `code` [link](https://example.org/)\n\n{WIDE}\n\n```py\n{'x' * 300}\n```\n> q"
)
PHONE = {"viewport": {"width": 360, "height": 700}, "has_touch": True, "is_mobile": True}


def test_everything_can_be_done_by_keyboard_alone(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    keyboard = at.page.keyboard
    expect(at.page.locator("#question")).to_be_focused()
    keyboard.type("First line")
    keyboard.press("Shift+Enter")
    keyboard.type("second line")
    keyboard.press("Enter")
    at.wait()
    assert stand_in.asked[0]["messages"][0]["content"] == "First line\nsecond line"
    expect(at.page.locator("#question")).to_be_focused()
    keyboard.press("Control+k")
    expect(at.page.locator("#welcome")).to_be_visible()
    expect(at.page.locator("#question")).to_be_focused()

    at.page.reload()
    expect(at.page.locator("#list a")).to_have_count(1)
    expect(at.page.locator("#model")).to_be_enabled()
    at.page.locator("#skip").focus()
    seen = []
    for _ in range(18):
        seen.append(at.page.evaluate("document.activeElement.id || document.activeElement.title"))
        keyboard.press("Tab")
    assert seen[:5] == ["skip", "new", "search", "First line", "Rename “First line”"]
    order = [seen.index(name) for name in ("new", "search", "model", "open-settings", "question")]
    assert order == sorted(order)

    at.page.locator("#list a").focus()
    keyboard.press("Enter")
    expect(at.page.locator(".question")).to_have_count(1)
    at.page.locator("#list a").focus()
    keyboard.press("Tab")
    keyboard.press("Enter")
    keyboard.type("Named")
    keyboard.press("Enter")
    expect(at.page.locator("#list a")).to_have_text("Named")
    expect(at.page.locator("#list a")).to_be_focused()
    at.page.locator("#open-settings").focus()
    keyboard.press("Enter")
    expect(at.page.get_by_label("System prompt")).to_be_focused()
    keyboard.press("Escape")
    expect(at.page.locator("#open-settings")).to_be_focused()


def test_the_link_to_the_question_leads_there_and_nowhere_else(
    visit: Open, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    at.ask_and_wait("Hello")
    at.page.locator("#skip").focus()
    at.page.keyboard.press("Enter")
    expect(at.page.locator("#question")).to_be_focused()
    expect(at.answers).to_have_count(1)


def test_enter_that_picks_a_word_of_an_input_method_does_not_send(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    at.page.fill("#question", "你好")
    press = """(more) => document.getElementById("question").dispatchEvent(
        new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...more }))"""
    assert at.page.evaluate(press, {"isComposing": True})
    assert at.page.evaluate(press, {"keyCode": 229})
    at.page.wait_for_timeout(100)
    assert stand_in.asked == []
    assert not at.page.evaluate(press, {})  # taken: it sends
    at.wait()
    assert len(stand_in.asked) == 1


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_nothing_on_a_phone_is_wider_than_the_phone(
    visit: Open, stand_in: StandIn, stand_in_url: str, language: str
) -> None:
    stand_in.answers = [RICH]
    at = visit(stand_in_url, locale=language, **PHONE)
    widths = "[document.documentElement.scrollWidth, document.getElementById('thread').scrollWidth]"
    assert at.page.evaluate(widths) == [360, 360]
    at.ask_and_wait("w" * 200)
    assert at.page.evaluate(widths) == [360, 360]
    expect(at.page.locator("#sidebar")).not_to_be_in_viewport()
    at.page.locator("#open-menu").tap()
    expect(at.page.locator("#close-menu")).to_be_focused()
    expect(at.page.locator("#sidebar")).to_be_in_viewport()
    assert at.page.locator("#main").evaluate("main => main.inert")
    at.page.keyboard.press("Escape")
    expect(at.page.locator("#sidebar")).not_to_be_in_viewport()
    expect(at.page.locator("#open-menu")).to_be_focused()
    at.page.locator("#open-settings").tap()
    box = at.page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 360


def test_the_page_speaks_the_browsers_language_and_the_other_on_demand(
    visit: Open, stand_in_url: str
) -> None:
    at = visit(stand_in_url, locale="zh-CN")
    expect(at.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(at.page.locator("#welcome h2")).to_have_text("今天想了解什么？")
    at.ask_and_wait("你好")
    expect(at.answers.last).to_contain_text("个词元")
    at.button("Switch to English").click()
    expect(at.page.locator("html")).to_have_attribute("lang", "en")
    expect(at.answers.last).to_contain_text("tokens")
    expect(at.page.locator("#question")).to_have_attribute("placeholder", "Ask anything")
    at.page.reload()
    expect(at.page.locator("html")).to_have_attribute("lang", "en")


def test_every_phrase_is_there_in_both_languages(visit: Open, stand_in_url: str) -> None:
    at = visit(stand_in_url)
    english, chinese = at.module(
        "words.js: (m) => Object.values(m.LANGUAGES).map((all) => "
        "Object.entries(all).map(([name, phrase]) => [name, typeof phrase, phrase.length]))"
    )
    kinds = [{name: kind for name, kind, _ in each} for each in (english, chinese)]
    assert kinds[0] == kinds[1]
    named = at.page.evaluate(
        """[...document.querySelectorAll("[data-word], [data-label], [data-hint]")].flatMap(
            (node) => [node.dataset.word, node.dataset.label, node.dataset.hint]).filter(Boolean)"""
    )
    assert set(named) <= set(kinds[0])


def test_every_control_has_a_name(visit: Open, stand_in: StandIn, stand_in_url: str) -> None:
    stand_in.answers = [RICH]
    at = visit(stand_in_url)
    at.ask_and_wait("Hello")
    at.button("Settings").click()
    unnamed = at.page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, textarea, [role=region]")]
            .filter((node) => {
                const label = node.getAttribute("aria-label") || node.labels?.[0]?.textContent;
                return !(label || node.textContent).trim();
            }).map((node) => node.outerHTML)"""
    )
    assert unnamed == []
    ids = at.page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    told = at.page.evaluate(
        """[...document.querySelectorAll("[aria-labelledby], [aria-describedby], [aria-controls]")]
            .flatMap((node) => ["labelledby", "describedby", "controls"]
                .map((name) => node.getAttribute(`aria-${name}`)).filter(Boolean))"""
    )
    assert set(told) <= set(ids)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(
    visit: Open, stand_in: StandIn, stand_in_url: str, theme: str
) -> None:
    stand_in.answers, stand_in.finish_reason = [RICH], "length"
    at = visit(stand_in_url, color_scheme=theme)
    at.ask_and_wait("Hello")
    stand_in.refusals = [(500, "it failed")]
    at.ask("Again")
    expect(at.page.get_by_role("alert").last).to_contain_text("it failed")
    faint = at.page.evaluate(CONTRAST)
    assert faint == []


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const draw = (colors) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const faint = [];
    let seen = 0;
    while (texts.nextNode()) {
        const node = texts.currentNode.parentElement;
        const isShown = node.checkVisibility() && !node.closest(".unseen, option");
        if (!texts.currentNode.data.trim() || !isShown) continue;
        const grounds = [];
        for (let each = node; each; each = each.parentElement)
            grounds.unshift(getComputedStyle(each).backgroundColor);
        const [ink, ground] = [draw([...grounds, getComputedStyle(node).color]), draw(grounds)]
            .map(light).sort();
        const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        seen += 1;
        if (ratio < 4.5) faint.push([texts.currentNode.data, ratio]);
    }
    return seen > 20 ? faint : ["too few texts", seen];
}"""


def test_a_screen_reader_hears_sentences_and_the_end(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers = ["One **sentence** is here. And another one is here. " * 30]
    stand_in.piece, stand_in.pause_s = 5, 0.012
    at = visit(stand_in_url)
    at.page.evaluate(
        """() => {
            window.heard = [];
            const region = document.getElementById("announcer");
            new MutationObserver(() => region.textContent && window.heard.push(region.textContent))
                .observe(region, { childList: true });
        }"""
    )
    at.ask_and_wait("Talk")
    expect(at.page.locator("#announcer")).to_contain_text("The answer is complete.")
    heard = at.page.evaluate("window.heard")
    assert 2 <= len(heard) <= 6
    assert all(each.endswith(".") for each in heard)
    words = " ".join(heard).replace("The answer is complete.", "").split()
    assert words == stand_in.answers[0].replace("*", "").split()


def test_the_theme_is_the_systems_until_it_is_chosen(visit: Open, stand_in_url: str) -> None:
    at = visit(stand_in_url, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = at.page.evaluate(ground)
    at.button("Theme: as the system").click()
    light = at.page.evaluate(ground)
    assert light != dark
    at.page.reload()
    assert at.page.evaluate(ground) == light
    at.button("Theme: light").click()
    assert at.page.evaluate(ground) == dark
    at.button("Theme: dark").click()
    expect(at.button("Theme: as the system")).to_be_visible()


def test_who_reads_further_up_is_left_there(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers, stand_in.pause_s = ["A line.\n\n" * 300], 0.005
    at = visit(stand_in_url)
    at.ask("Go")
    expect(at.prose).to_contain_text("A line.")
    at.page.wait_for_timeout(600)
    at.page.locator("#thread").evaluate("thread => thread.scrollTop = 0")
    at.page.wait_for_timeout(400)
    assert at.page.locator("#thread").evaluate("thread => thread.scrollTop") == 0
    at.button("To the latest").click()
    expect(at.page.locator("#latest")).to_be_hidden()
    at.button("Stop").click()
    at.wait()
