"""Pictures of the page: light is light, dark is dark, and nothing lies over an answer."""

import base64
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext
from tests.server.page.serving import StandIn
from tests.server.page.visit import Visit

Open = Callable[..., Visit]
ANSWER = "# A heading\n\nSome **words** of an answer.\n\n```py\nprint('code')\n```\n\n- one\n- two"
PHONE = {"viewport": {"width": 360, "height": 700}}

READ = """
async (data) => {
  const picture = new Image();
  picture.src = 'data:image/png;base64,' + data;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
  canvas.drawImage(picture, 0, 0);
  const all = canvas.getImageData(0, 0, picture.width, picture.height).data;
  const colours = new Set();
  let light = 0;
  for (let at = 0; at < all.length; at += 4) {
    light += all[at] + all[at + 1] + all[at + 2];
    colours.add(all[at] << 16 | all[at + 1] << 8 | all[at + 2]);
  }
  return {width: picture.width, height: picture.height,
          light: light / (all.length / 4 * 3), colours: colours.size};
}
"""


def picture_of(at: Visit, new_context: Callable[..., BrowserContext]) -> dict[str, float]:
    """Size, mean brightness (0 to 255) and number of colours of a screenshot."""
    at.page.wait_for_function("document.getAnimations().length === 0")
    shot = base64.b64encode(at.page.screenshot(animations="disabled", caret="hide")).decode()
    reader = new_context().new_page()  # the page's own rules let nobody read pictures there
    found: dict[str, float] = reader.evaluate(READ, shot)
    return found


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_a_picture_of_a_conversation_is_light_or_dark_as_asked(
    visit: Open,
    new_context: Callable[..., BrowserContext],
    options: dict,
    stand_in_url: str,
    stand_in: StandIn,
) -> None:
    stand_in.answers[:] = [ANSWER] * 2
    found = {}
    for theme in ("light", "dark"):
        at = visit(stand_in_url, color_scheme=theme, **options)
        at.ask_and_wait("A question?")
        found[theme] = picture_of(at, new_context)
    width = options.get("viewport", {"width": 1_100})["width"]
    assert {each["width"] for each in found.values()} == {width}
    assert found["light"]["light"] > 225
    assert found["dark"]["light"] < 60
    assert all(50 < each["colours"] < 5_000 for each in found.values())  # text, no noise


def test_what_is_written_shows_in_the_picture(
    visit: Open, stand_in_url: str, stand_in: StandIn
) -> None:
    stand_in.answers[:] = [ANSWER]
    at = visit(stand_in_url)
    before = at.page.screenshot(animations="disabled", caret="hide")
    at.ask_and_wait("A question?")
    after = at.page.screenshot(animations="disabled", caret="hide")
    assert before != after
    seen = at.page.evaluate(
        """() => [...document.querySelectorAll('.question, h1, h2, h3, pre, li')].every(one => {
          const box = one.getBoundingClientRect();
          if (!box.width || box.bottom < 0 || box.top > innerHeight) return true;
          const top = document.elementFromPoint(box.left + box.width / 2, box.top + 5);
          return top === null || one.contains(top) || top.contains(one);
        })"""
    )
    assert seen, "something lies over what is written"
