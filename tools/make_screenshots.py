"""Draw the README's pictures of the web chat: `python tools/make_screenshots.py`.

Needs Chromium, Playwright, Pillow and the real model (fetched from the package index where it is
not in the store).  The answers are the model's own, greedy.
"""

import asyncio
import io
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import PIL.Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tongwen.checkpoint.store import Store, default_home
from tongwen.cli.serving import load_served
from tongwen.server.config import ModelEntry, ServeConfig
from tongwen.server.listen import HttpServer, address_of, bind
from tongwen.server.main import make_service

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
MODEL = "qwen2.5-coder:0.5b"
PATIENCE_MS = 120_000

DESKTOP = {"viewport": {"width": 1200, "height": 760}, "color_scheme": "light", "locale": "en-US"}
PHONE = {
    "viewport": {"width": 390, "height": 760},
    "color_scheme": "dark",
    "locale": "zh-CN",
    "has_touch": True,
    "is_mobile": True,
}


def main() -> None:
    """Serve the model, ask it at the page, and keep what the page shows."""
    home = default_home(os.environ)
    Store(home).pull(MODEL, source="index")
    entry = ModelEntry(model=MODEL, context=4096)
    config = ServeConfig(models=(entry,), port=0)
    server = HttpServer(make_service(config, Store(home), partial(load_served, home=home)))
    with bind(config) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            draw(address_of(config, listening))
        finally:
            server.should_exit = True
            thread.join()


def draw(url: str) -> None:
    """Both pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        desktop = opened(browser, url, DESKTOP)
        ask(desktop, "Translate into Chinese: The early bird catches the worm.")
        desktop.keyboard.press("Control+k")
        ask(desktop, "Write a Python function that checks whether a string is a palindrome.")
        desktop.locator("#thread").evaluate("thread => thread.scrollTop = 0")
        keep(desktop, "chat.png")
        phone = opened(browser, url, PHONE)
        ask(phone, "用 Python 写一个判断回文的函数。")
        phone.locator("#thread").evaluate("thread => thread.scrollTop = 0")
        keep(phone, "chat-phone.png")
        browser.close()


def opened(browser: Browser, url: str, options: dict[str, object]) -> Page:
    """The page in a browser of its own; greedy answers."""
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    page.evaluate(
        "localStorage.setItem('tongwen.preferences', JSON.stringify({sampling: {temperature: 0}}))"
    )
    page.reload()
    return page


def ask(page: Page, question: str) -> None:
    """Have a question answered."""
    page.fill("#question", question)
    page.keyboard.press("Enter")
    expect(page.locator(".facts")).not_to_be_empty(timeout=PATIENCE_MS)


def keep(page: Page, name: str) -> None:
    """Save what is shown."""
    page.wait_for_timeout(300)
    picture = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture.save(IMAGES / name, optimize=True)
    print(f"{name}: {(IMAGES / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
