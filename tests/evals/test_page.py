import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from tests.evals.made import HOSTILE, failed, ranked, save_run, written
from tests.server.page.conftest import browser, new_context

from tongwen.evals.figure import Figure
from tongwen.evals.page import page, write_page
from tongwen.evals.record import Record
from tongwen.evals.runs import read_runs
from tongwen.evals.transcripts import Paragraphs

__all__ = ["browser", "new_context"]

Show = Callable[..., Page]


@pytest.fixture
def show(new_context: Callable[..., BrowserContext], tmp_path: Path) -> Iterator[Show]:
    """Opens the report of receipts; at the end nothing must have gone wrong in it."""
    complaints: list[str] = []
    asked: list[str] = []
    opened: list[Page] = []

    def one(*receipts: Path, **options: object) -> Page:
        path = tmp_path / "report.html"
        write_page(path, receipts, published={"tiny": {"card": 0.5}})
        found = new_context(**options).new_page()
        found.on("console", lambda message: complaints.append(message.text))
        found.on("pageerror", lambda error: complaints.append(str(error)))
        found.on("request", lambda request: asked.append(request.url))
        found.goto(path.as_uri())
        opened.append(found)
        return found

    yield one
    assert complaints == []
    assert [url for url in asked if not url.startswith(tmp_path.as_uri())] == []
    assert [each.evaluate("window.hit ?? null") for each in opened] == [None] * len(opened)


def samples(found: Page) -> list[str]:
    """The ids of the samples in the list."""
    return found.locator(".sample > summary > span:nth-child(2)").all_text_contents()


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    records = [
        written("one", 1.0, "this is right", "law"),
        written("two", 0.0, "quite wrong", "art"),
        written("half", 0.5, "so so", "art"),
        ranked("four", 0.0, "law"),
        failed("five"),
    ]
    return save_run(tmp_path / "out", records)


def test_the_page_shows_the_figure_beside_the_published_one(show: Show, receipt: Path) -> None:
    found = show(receipt)
    row = found.locator("table tbody tr").first
    expect(row).to_contain_text("37.50 ± 23.94 %")
    expect(row).to_contain_text("50.00 %")
    expect(row).to_contain_text("5 (1 failed)")
    expect(row.locator("svg .whisker")).to_have_count(1)
    expect(row.locator("svg .tick title")).to_have_text("card: 50.00 %")


def test_groups_stand_in_order_and_lead_to_their_samples(show: Show, receipt: Path) -> None:
    found = show(receipt)
    assert found.locator("button.group").all_inner_texts() == ["law", "art"]
    found.get_by_role("button", name="art").click()
    assert samples(found) == ["two · art", "half · art"]


def test_samples_are_filtered_by_verdict_and_by_text(show: Show, receipt: Path) -> None:
    found = show(receipt)
    assert [text.split(" ·")[0] for text in samples(found)] == [
        "one",
        "two",
        "half",
        "four",
        "five",
    ]
    labels = found.locator("#verdicts label").all_text_contents()
    assert labels == ["all 5", "right 1", "wrong 2", "partly 1", "failed 1"]
    found.locator("#verdicts label", has_text="wrong").click()
    assert samples(found) == ["two · art", "four · law"]
    found.fill("#search", "QUITE")
    expect(found.locator("#count")).to_have_text("1–1 of 1 samples")
    assert samples(found) == ["two · art"]
    found.fill("#search", "question four")
    expect(found.locator(".sample")).to_contain_text("four")
    found.fill("#search", "in none of them")
    expect(found.locator("#count")).to_have_text("No sample is like that")


def test_a_sample_opens_with_prompt_answer_and_grade(show: Show, receipt: Path) -> None:
    found = show(receipt)
    sample = found.locator(".sample", has_text="two")
    sample.locator("summary").click()
    expect(sample.locator("pre").first).to_have_text("Solved before.\n\nquestion two")
    expect(sample.locator("pre").last).to_have_text("quite wrong")
    expect(sample.locator("dl").first).to_contain_text("parsed")
    other = found.locator(".sample", has_text="four")
    other.locator("summary").click()
    expect(other.locator(".best")).to_contain_text("first")
    expect(other.locator("tbody tr")).to_have_count(2)
    third = found.locator(".sample", has_text="five")
    third.locator("summary").click()
    expect(third.locator("pre")).to_have_text("the endpoint gave up")


def test_nothing_that_a_model_or_a_file_wrote_runs(show: Show, tmp_path: Path) -> None:
    record = written(HOSTILE, 0.0, HOSTILE, HOSTILE, why=HOSTILE)
    ranking = Record(
        id="ranked",
        group="other",
        prompt=[[HOSTILE, HOSTILE], [HOSTILE, " second"]],
        answers=ranked("x", 0.0).answers,
        grades=ranked("x", 0.0).grades,
    )
    gone = Record(id="gone", failed=HOSTILE)
    found = show(save_run(tmp_path / "out", [record, ranking, gone], model="evil<b>:1"))
    for summary in found.locator(".sample > summary").all():
        summary.click()
    expect(found.locator(".sample pre", has_text="onerror")).to_have_count(4)
    assert found.locator("img, svg:not(.bar), b").count() == 0
    assert found.locator("button.group").first.inner_text().startswith("</script><img")
    assert found.evaluate("document.scripts.length") == 2


def test_a_script_that_were_put_in_would_not_run(receipt: Path, tmp_path: Path, show: Show) -> None:
    found = show(receipt)
    broken = tmp_path / "broken.html"
    text = (tmp_path / "report.html").read_text()
    broken.write_text(text.replace("<main>", "<main><script>window.hit = 1</script>"))
    other = found.context.new_page()
    other.goto(broken.as_uri())
    expect(other.locator(".sample")).to_have_count(5)
    assert other.evaluate("window.hit ?? null") is None


def test_fourteen_thousand_samples_are_turned_over_page_by_page(show: Show, tmp_path: Path) -> None:
    records = [ranked(f"{i:05}", float(i % 2), f"subject {i % 57}") for i in range(14_000)]
    found = show(save_run(tmp_path / "out", records))
    expect(found.locator("#count")).to_have_text("1–50 of 14,000 samples")
    assert found.locator(".sample").count() == 50
    found.click("#next")
    assert samples(found)[0].startswith("00050")
    found.fill("#search", "question 13999")
    expect(found.locator("#count")).to_have_text("1–1 of 1 samples")
    assert (tmp_path / "report.html").stat().st_size < 6_000_000


def test_hands_on_a_keyboard_reach_everything(show: Show, tmp_path: Path) -> None:
    found = show(save_run(tmp_path / "out", [written(f"s{i:03}", 1.0) for i in range(120)]))
    found.locator("#transcripts").focus()
    found.keyboard.press("j")
    found.keyboard.press("j")
    found.keyboard.press("Enter")
    expect(found.locator(".sample[open] > summary")).to_contain_text("s001")
    found.keyboard.press("k")
    expect(found.locator("summary:focus")).to_contain_text("s000")
    found.keyboard.press("]")
    expect(found.locator("summary:focus")).to_contain_text("s050")
    found.keyboard.press("/")
    found.keyboard.type("s11j")
    expect(found.locator("#count")).to_have_text("No sample is like that")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_theme_until_it_is_told_another(
    show: Show, receipt: Path, scheme: str
) -> None:
    found = show(receipt, color_scheme=scheme)
    paper = "getComputedStyle(document.body).backgroundColor"
    before = found.evaluate(paper)
    assert before == {"light": "rgb(251, 249, 245)", "dark": "rgb(25, 24, 22)"}[scheme]
    found.click("#theme")
    assert found.evaluate(paper) != before


def test_a_phone_shows_all_of_it_without_scrolling_sideways(show: Show, tmp_path: Path) -> None:
    records = [written(f"a-rather-long-id-{'x' * 60}-{i}", 0.0, "y" * 400, "law") for i in range(3)]
    path = save_run(tmp_path / "out", [*records, ranked("z", 1.0, "art")])
    found = show(path, viewport={"width": 360, "height": 740})
    for summary in found.locator("summary").all():
        if summary.locator("xpath=..").get_attribute("open") is None:
            summary.click()
    assert found.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


def test_a_figure_that_is_no_share_has_no_bar(tmp_path: Path) -> None:
    path = save_run(tmp_path, [written("a", -40.0)], figure=Figure(score=12.5, stderr=None))
    text = page(read_runs([path]))
    assert "12.5" in text
    assert "<svg" not in text
    assert '"verdict":"scored"' in text


def test_lone_surrogates_do_not_keep_the_page_from_being_written(tmp_path: Path) -> None:
    path = save_run(tmp_path, [written("a", 1.0, "x")])
    write_page(tmp_path / "page.html", [path], title="a\udcffb")
    assert "a?b" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_paragraphs_are_kept_once_and_give_the_text_back() -> None:
    kept = Paragraphs()
    texts = ["a\n\nb\n\nc", "a\n\nb\n\nd", "", "\n\n\n", "a"]
    numbers = [kept.add(text) for text in texts]
    assert [kept.text(each) for each in numbers] == texts
    assert len(kept.texts) == len(set(kept.texts))
    assert kept.texts[:4] == ["a", "b", "c", "d"]


def test_everything_is_in_one_file(receipt: Path) -> None:
    text = page(read_runs([receipt]))
    assert re.findall(r"""(?:src|href)=(?!["']?#)[^\s>]*""", text) == []
    assert "default-src &#x27;none&#x27;" in text
    assert not re.search(r"https?://", text)
