"""What the page makes of Markdown."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from tests.server.page.serving import StandIn, serving
from tests.server.page.visit import Visit

TEXT = """# Title

A paragraph with **bold**, *italic*, `code`, ~~gone~~ and
a second line.

- one
  1. deep
  2. deeper

     more of it
- two

3. three
4. four

> quoted
> - list

| a | b |
|:--|--:|
| `x|y` | 2 |

```python
if a < b:

    print("`")
```

---

- [x] done
- [ ] open

1. a

```
between
```

2. b

\\[ x^2 \\]

The end, https://example.org/a_b_c.
"""

SHOW = """(m, text) => {
    const root = document.createElement("div");
    new m.Growing(root).show(text);
    return root.innerHTML;
}"""


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Iterator[Visit]:
    """One page for all: its functions are asked, and nothing of it is changed."""
    with serving(StandIn().app()) as url, browser.new_context(locale="en-US") as context:
        yield Visit(context.new_page(), url).open()


@pytest.fixture
def at(opened: Visit) -> Iterator[Visit]:
    yield opened
    opened.check()


def test_an_answer_that_grows_letter_by_letter_looks_as_if_it_came_at_once(at: Visit) -> None:
    differing = at.module(
        """markdown.js: (m, text) => {
            const root = document.createElement("div");
            const growing = new m.Growing(root);
            const differing = [];
            for (let end = 1; end <= text.length; end += 1) {
                growing.show(text.slice(0, end));
                const whole = document.createElement("div");
                new m.Growing(whole).show(text.slice(0, end));
                if (root.innerHTML !== whole.innerHTML) {
                    differing.push([text.slice(0, end), root.innerHTML, whole.innerHTML]);
                }
            }
            return differing;
        }""",
        TEXT,
    )
    assert differing == []


def test_what_is_complete_is_not_made_again(at: Visit) -> None:
    assert at.module(
        """markdown.js: (m) => {
            const root = document.createElement("div");
            const growing = new m.Growing(root);
            let text = "# One\\n\\nTwo\\n\\n```\\ncode\\n";
            growing.show(text);
            const before = [...root.children];
            const code = root.querySelector("code");
            growing.show((text += "more\\n```\\n\\nThree"));
            growing.show((text += " and on"));
            const same = before.every((node, index) => node === root.children[index]);
            return [same, root.contains(code), code.textContent, root.children.length];
        }"""
    ) == [True, True, "code\nmore", 4]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            "a *b* **c** ***d***",
            "<p>a <em>b</em> <strong>c</strong> <strong><em>d</em></strong></p>",
        ),
        ("**中文**，*斜*", "<p><strong>中文</strong>，<em>斜</em></p>"),
        ("snake_case_name 2 * 3 * 4", "<p>snake_case_name 2 * 3 * 4</p>"),
        ("a **b *c* d** e", "<p>a <strong>b <em>c</em> d</strong> e</p>"),
        ("`` a`b `` `*x*`", "<p><code>a`b</code> <code>*x*</code></p>"),
        ("open `code and **bold", "<p>open `code and **bold</p>"),
        ("one\ntwo<br>three", "<p>one<br>two<br>three</p>"),
        (r"\*no\* \\ a\b", "<p>*no* \\ a\\b</p>"),
        ("$5 and $6, $x^2$", '<p>$5 and $6, <span class="math">$x^2$</span></p>'),
        ("## H ##", "<h4>H</h4>"),
        ("#tag", "<p>#tag</p>"),
        ("3. c\n4. d", '<ol start="3"><li>c</li><li>d</li></ol>'),
        ("- a\n\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("***", "<hr>"),
        ("&amp; &lt;", "<p>&amp;amp; &amp;lt;</p>"),
    ],
)
def test_markdown_is_read_as_people_write_it(at: Visit, text: str, html: str) -> None:
    assert at.module(f"markdown.js: {SHOW}", text) == html


@pytest.mark.parametrize(
    "text",
    [
        ">" * 30_000,
        "- " * 30_000,
        "*a " * 30_000,
        "**" * 30_000,
        "[" * 60_000,
        "[a](" * 20_000,
        "`" * 60_000,
        "`a``" * 20_000,
        "|" * 60_000 + "\n" + "|-" * 30_000 + "|",
        "<http:" * 20_000,
        "$$a" * 20_000,
        "\\(" * 30_000,
        "http://" * 10_000,
    ],
    ids=lambda text: text[:6],
)
def test_no_text_keeps_the_page_busy(at: Visit, text: str) -> None:
    took_ms = at.module(
        """markdown.js: (m, text) => {
            const begun = performance.now();
            new m.Growing(document.createElement("div")).show(text);
            return performance.now() - begun;
        }""",
        text,
    )
    assert took_ms < 1_500  # typically below 100; a quadratic reader takes minutes


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 1_000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_read_however_the_bytes_are_cut(at: Visit, cut: int, end: str) -> None:
    lines = [
        ": note",
        'data: {"a": "汉字😀"}',
        "",
        "event: x",
        "data:one",
        "data: two",
        "",
        "data: z",
    ]
    assert at.module(
        """server.js: async (m, [text, cut]) => {
            const bytes = new TextEncoder().encode(text);
            const stream = new ReadableStream({
                start(controller) {
                    for (let i = 0; i < bytes.length; i += cut) {
                        controller.enqueue(bytes.slice(i, i + cut));
                    }
                    controller.close();
                },
            });
            const found = [];
            for await (const data of m.events(stream)) found.push(data);
            return found;
        }""",
        [end.join(lines), cut],
    ) == ['{"a": "汉字😀"}', "one\ntwo", "z"]


def test_a_very_long_answer_is_drawn_smoothly(at: Visit) -> None:
    took_ms = at.module(
        """markdown.js: (m) => {
            const part = "A paragraph with **bold** and `code`.\\n\\n- item\\n- item\\n\\n";
            const root = document.createElement("div");
            const growing = new m.Growing(root);
            let text = "";
            const begun = performance.now();
            for (let i = 0; i < 4_000; i += 1) {
                text += i % 2 ? part.slice(30) : part.slice(0, 30);
                growing.show(text);
            }
            return performance.now() - begun;
        }"""
    )
    assert took_ms < 4_000  # 110,000 characters in 4,000 pieces: a millisecond for each
