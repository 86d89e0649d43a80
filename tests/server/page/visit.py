"""A person at the page: what they do there, and what the page does meanwhile."""

from typing import Any, Self

from playwright.sync_api import ConsoleMessage, Locator, Page, expect

expect.set_options(timeout=15_000)


class Visit:
    """One page of the web chat."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(15_000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self) -> Self:
        self.page.goto(self.url)
        expect(self.page.locator("#welcome")).to_be_visible()
        return self

    def ask(self, text: str) -> None:
        self.page.fill("#question", text)
        self.page.keyboard.press("Enter")

    def ask_and_wait(self, text: str) -> str:
        """The text of the answer."""
        before = self.answers.count()
        self.ask(text)
        expect(self.answers).to_have_count(before + 1)
        self.wait()
        return self.answers.last.locator(".prose").inner_text()

    def wait(self) -> None:
        """Until the answer is complete."""
        expect(self.page.locator("#send")).to_be_visible()
        expect(self.page.locator("[aria-busy=true]")).to_have_count(0)

    @property
    def answers(self) -> Locator:
        return self.page.locator(".answer")

    @property
    def prose(self) -> Locator:
        """The last answer's text."""
        return self.answers.last.locator(".prose")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def module(self, script: str, argument: Any = None) -> Any:
        """What a function says that is given a module of the page: `(m, argument) => ...`."""
        name, _, body = script.partition(": ")
        call = f"async (argument) => ({body})(await import('/page/{name}'), argument)"
        return self.page.evaluate(call, argument)

    def check(self) -> None:
        """Nothing was complained of, and nobody else was asked."""
        assert self.complaints == []
        ours = (self.url, "blob:" + self.url)
        assert [url for url in self.requests if not url.startswith(ours)] == []

    def _hear(self, message: ConsoleMessage) -> None:
        refused = message.text.startswith("Failed to load resource: the server responded")
        if message.type in ("error", "warning") and not refused:
            self.complaints.append(message.text)
