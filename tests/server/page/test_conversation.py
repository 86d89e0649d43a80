"""Conversations at the page: asked, stopped, begun anew, kept, carried elsewhere."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.server.page.serving import StandIn, ours, serving
from tests.server.page.visit import Visit

from tongwen.checkpoint.store import Store
from tongwen.server.config import KeyEntry, ModelEntry, ServeConfig

Open = Callable[..., Visit]
LONG = "One more line of a long answer.\n\n" * 400


@pytest.mark.real
def test_the_real_model_answers_is_stopped_answers_again_and_is_there_after_a_reload(
    visit: Open, served_url: str
) -> None:
    at = visit(served_url)
    at.button("Settings").click()
    at.page.get_by_label("Temperature").fill("0")
    at.button("Done").click()
    first = at.ask_and_wait("What is the capital of France? Answer in one short sentence.")
    assert "Paris" in first
    assert "tokens/s" in at.answers.last.inner_text()
    assert "first after" in at.answers.last.inner_text()

    at.ask("Write the numbers from 1 to 200 in words.")
    expect(at.prose).not_to_be_empty()
    at.button("Stop").click()
    at.wait()
    expect(at.answers.last.locator(".note")).to_contain_text("Stopped.")
    stopped = at.prose.inner_text()

    at.button("Go on").click()
    expect(at.prose).not_to_have_text(stopped, use_inner_text=True)
    at.page.keyboard.press("Escape")
    at.wait()
    assert at.prose.inner_text().startswith(stopped[:20])

    at.button("Answer again").click()
    expect(at.prose).not_to_be_empty()
    at.page.keyboard.press("Escape")
    at.wait()
    told = at.page.locator("#turns .prose").all_inner_texts()
    assert told[0] == first

    at.page.reload()
    expect(at.answers).to_have_count(2)
    assert at.page.locator("#turns .prose").all_inner_texts() == told


def test_a_question_carries_the_settings_and_what_was_said_before(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    at.page.select_option("#model", "qwen2.5:7b-instruct")
    at.button("Settings").click()
    at.page.get_by_label("System prompt").fill("Be brief.")
    at.page.get_by_label("Temperature").fill("0.2")
    at.page.get_by_label("Top p").fill("7")  # no share
    at.page.get_by_label("Most tokens").fill("64")
    at.button("Done").click()
    expect(at.page.get_by_label("Top p")).to_have_attribute("aria-invalid", "true")
    expect(at.page.get_by_role("dialog")).to_be_visible()
    at.page.get_by_label("Top p").fill("")
    at.button("Done").click()
    at.ask_and_wait("Hello")
    at.ask_and_wait("And again")
    first, second = stand_in.asked
    assert first["model"] == "qwen2.5:7b-instruct"
    assert first["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    sampling = {name: first.get(name) for name in ("temperature", "top_p", "max_tokens", "seed")}
    assert sampling == {"temperature": 0.2, "top_p": None, "max_tokens": 64, "seed": None}
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert second["messages"][2]["content"] == "Hello there. How are you?"
    expect(at.button("Settings (changed)")).to_be_visible()


def test_stopping_keeps_what_was_said_and_lets_go_of_the_server(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers, stand_in.pause_s = [LONG], 0.02
    at = visit(stand_in_url)
    at.ask("Go")
    expect(at.prose).to_contain_text("One more line of a long answer.")
    at.page.keyboard.press("Escape")
    at.wait()
    kept = at.prose.inner_text()
    assert 0 < len(kept) < len(LONG) / 2
    at.page.wait_for_timeout(200)
    assert at.prose.inner_text() == kept
    assert stand_in.num_left == 1


def test_an_answer_that_a_reload_cuts_off_is_kept_as_far_as_it_came(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers, stand_in.pause_s = [LONG], 0.02
    at = visit(stand_in_url)
    at.ask("Go")
    at.page.wait_for_timeout(1_600)
    at.page.reload()
    expect(at.prose).to_contain_text("One more line of a long answer.")
    expect(at.answers.last.locator(".note")).to_contain_text("Stopped.")


def test_another_answer_replaces_the_first_and_can_be_undone(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers = ["The first answer.", "The second answer."]
    at = visit(stand_in_url)
    at.ask_and_wait("Which?")
    at.button("Answer again").click()
    expect(at.prose).to_have_text("The second answer.")
    assert stand_in.asked[0]["messages"] == stand_in.asked[1]["messages"]
    at.button("Undo").click()
    expect(at.prose).to_have_text("The first answer.")
    at.page.reload()
    expect(at.prose).to_have_text("The first answer.")


def test_what_was_replaced_cannot_come_back_over_a_later_question(
    visit: Open, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    at.ask_and_wait("One")
    at.button("Answer again").click()
    expect(at.button("Undo")).to_be_visible()
    at.wait()
    at.ask_and_wait("Two")
    expect(at.button("Undo")).to_have_count(0)
    expect(at.page.locator(".question")).to_have_text(["One", "Two"])


def test_an_edited_question_is_asked_in_its_place_and_what_followed_goes(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    at.ask_and_wait("One")
    at.ask_and_wait("Two")
    at.page.locator(".question").first.hover()
    at.button("Edit").first.click()
    field = at.page.get_by_label("Edit the question")
    assert field.input_value() == "One"
    field.fill("Three")
    field.press("Enter")
    expect(at.page.locator(".turn")).to_have_count(2)
    at.wait()
    assert [message["content"] for message in stand_in.asked[-1]["messages"]] == ["Three"]
    at.button("Undo").click()
    expect(at.page.locator(".question")).to_have_text(["One", "Two"])


def test_an_answer_that_was_cut_off_goes_on_where_it_ended(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers, stand_in.finish_reason = ["Once upon", " a time."], "length"
    at = visit(stand_in_url)
    at.ask_and_wait("A story")
    expect(at.answers.last.locator(".note")).to_contain_text("greatest length")
    at.button("Go on").click()
    expect(at.prose).to_have_text("Once upon a time.")
    assert stand_in.asked[1]["continue_final_message"] is True
    assert stand_in.asked[1]["messages"][-1] == {"role": "assistant", "content": "Once upon"}
    assert "continue_final_message" not in stand_in.asked[0]


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ({"refusals": [(503, "too many wait")]}, "too many wait"),
        ({"fault": "the engine failed"}, "the engine failed"),
        ({"is_cut": True}, "The connection broke off"),
    ],
)
def test_a_failure_is_shown_with_its_message_and_can_be_tried_again(
    visit: Open, stand_in: StandIn, stand_in_url: str, manner: dict[str, object], message: str
) -> None:
    for name, value in manner.items():
        setattr(stand_in, name, value)
    at = visit(stand_in_url)
    at.ask("Hello")
    expect(at.page.get_by_role("alert").last).to_contain_text(message)
    stand_in.fault, stand_in.is_cut = None, False
    at.button("Try again").last.click()
    expect(at.prose).to_have_text("Hello there. How are you?")
    assert [message["role"] for message in stand_in.asked[-1]["messages"]] == ["user"]


def test_two_conversations_are_answered_side_by_side(
    visit: Open, stand_in: StandIn, stand_in_url: str
) -> None:
    stand_in.answers, stand_in.pause_s, stand_in.piece = ["slow " * 40 + "end"], 0.01, 2
    at = visit(stand_in_url)
    at.ask("The first")
    expect(at.prose).to_contain_text("slow")
    at.page.keyboard.press("Control+k")
    expect(at.answers).to_have_count(0)
    at.ask_and_wait("The second")
    at.page.get_by_role("link", name="The first").click()
    expect(at.prose).to_contain_text("end")
    assert [each["messages"][0]["content"] for each in stand_in.asked] == [
        "The first",
        "The second",
    ]


def test_conversations_are_found_renamed_deleted_and_brought_back(
    visit: Open, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    for question in ("Apples?", "Pears?"):
        at.page.keyboard.press("Control+k")
        at.ask_and_wait(question)
    links = at.page.locator("#list a")
    expect(links).to_have_text(["Pears?", "Apples?"])
    at.page.get_by_label("Search conversations").fill("apple")
    expect(links).to_have_text(["Apples?"])
    links.first.hover()
    at.button("Rename “Apples?”").click()
    at.page.get_by_label("New title").fill("Fruit of autumn")
    at.page.keyboard.press("Enter")
    at.page.get_by_label("Search conversations").fill("")
    expect(links).to_have_text(["Pears?", "Fruit of autumn"])
    links.last.hover()
    at.button("Delete “Fruit of autumn”").click()
    expect(links).to_have_text(["Pears?"])
    at.button("Undo").click()
    expect(links).to_have_text(["Pears?", "Fruit of autumn"])
    at.page.reload()
    expect(links).to_have_text(["Pears?", "Fruit of autumn"])


def test_conversations_travel_as_a_file(visit: Open, stand_in_url: str, tmp_path: Path) -> None:
    at = visit(stand_in_url)
    at.ask_and_wait("Take me with you <b>")
    with at.page.expect_download() as download:
        at.button("Export all conversations").click()
    path = tmp_path / "all.json"
    download.value.save_as(path)
    assert json.loads(path.read_text(encoding="utf-8"))["conversations"][0]["turns"][0] == {
        "role": "user",
        "content": "Take me with you <b>",
    }
    other = visit(stand_in_url)
    other.page.set_input_files("#file", path)
    expect(other.page.locator(".toast")).to_contain_text("1 conversation imported.")
    other.page.get_by_role("link", name="Take me with you <b>").click()
    expect(other.prose).to_have_text("Hello there. How are you?")
    other.page.set_input_files("#file", path)
    expect(other.page.locator(".toast")).to_contain_text("1 already here.")


DAMAGED = {
    "id": "x y",
    "title": "t",
    "model": "",
    "system": "",
    "created": 0,
    "updated": 0,
    "sampling": {},
    "turns": [],
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no conversations of Tongwen"),
        ('{"format": "tongwen-conversations", "version": 2}', "no conversations of Tongwen"),
        ([None], "conversation 1"),
        ([DAMAGED], "conversation 1"),
        ([{**DAMAGED, "id": "x"}, {**DAMAGED, "id": "y", "turns": [{}]}], "conversation 2"),
        ([{**DAMAGED, "id": "x", "sampling": {"temperature": "hot"}}], "conversation 1"),
        ([{**DAMAGED, "id": "x", "sampling": {"constructor": 1}}], "conversation 1"),
        ([{**DAMAGED, "id": "x", "turns": [{"role": "system", "content": ""}]}], "conversation 1"),
    ],
)
def test_a_file_that_is_damaged_changes_nothing(
    visit: Open, stand_in_url: str, tmp_path: Path, content: str | list[object], message: str
) -> None:
    if not isinstance(content, str):
        whole = {"format": "tongwen-conversations", "version": 1, "conversations": content}
        content = json.dumps(whole)
    path = tmp_path / "in.json"
    path.write_text(content, encoding="utf-8")
    at = visit(stand_in_url)
    at.page.set_input_files("#file", path)
    expect(at.page.locator(".toast")).to_contain_text(message)
    expect(at.page.locator("#list a")).to_have_count(0)


def test_a_key_is_asked_for_where_one_is_set_and_kept_only_as_long_as_wished(
    visit: Open, tmp_path: Path
) -> None:
    key = KeyEntry(name="ann", sha256=hashlib.sha256(b"open sesame").hexdigest())
    config = ServeConfig(keys=(key,), models=(ModelEntry(model="absent:1b"),))
    with serving(ours(config, Store(tmp_path))) as url:
        at = visit(url)
        dialog = at.page.get_by_role("dialog")
        expect(dialog).to_contain_text("an API key is needed")
        at.page.get_by_label("API key").fill("wrong")
        at.page.keyboard.press("Enter")
        expect(dialog).to_contain_text("the API key is not known")
        at.page.get_by_label("API key").fill("open sesame")
        at.page.keyboard.press("Enter")
        expect(at.page.locator("#model")).to_have_value("absent:1b")
        kept = "[sessionStorage.length, localStorage.getItem('tongwen.key')]"
        assert at.page.evaluate(kept) == [1, None]

        at.ask("Hello")  # our own server's word
        expect(at.page.get_by_role("alert").last).to_contain_text("absent:1b")

        at.button("Settings").click()
        at.button("Forget the API key").click()
        at.button("Done").click()
        at.ask("Hello again")
        expect(dialog).to_contain_text("an API key is needed")
        at.page.get_by_label("API key").fill("open sesame")
        at.page.get_by_label("Remember it in this browser").check()
        at.button("Use this key").click()
        expect(dialog).to_have_count(0)
        at.page.wait_for_function("localStorage.getItem('tongwen.key') === 'open sesame'")
        assert at.page.evaluate(kept)[0] == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("QuotaExceededError", "storage is full"), ("UnknownError", "does not let the page keep")],
)
def test_a_conversation_that_cannot_be_kept_says_so_and_goes_on(
    visit: Open, stand_in_url: str, name: str, message: str
) -> None:
    at = visit(stand_in_url)
    at.page.evaluate(
        "(name) => { IDBObjectStore.prototype.put = () => { throw new DOMException('', name); }; }",
        name,
    )
    assert at.ask_and_wait("Hello") == "Hello there. How are you?"
    expect(at.page.locator(".toast")).to_contain_text(message)


def test_damaged_preferences_do_not_keep_the_page_from_opening(
    visit: Open, stand_in_url: str
) -> None:
    at = visit(stand_in_url)
    at.page.evaluate("localStorage.setItem('tongwen.preferences', '[{')")
    at.page.reload()
    expect(at.page.locator("#model")).to_be_enabled()
    assert at.ask_and_wait("Hello") == "Hello there. How are you?"
