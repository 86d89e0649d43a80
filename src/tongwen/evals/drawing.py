"""Bars as SVG: a share, how far it may be off, and what was published."""

from collections.abc import Mapping
from html import escape

from tongwen.evals.wording import score_text

_WIDTH, _HEIGHT = 200, 20
_NINETY_FIVE = 1.959963984540054
"""Standard errors to either side that hold the truth 95 times of 100."""


def bar(
    score: float, stderr: float | None = None, published: Mapping[str, float] | None = None
) -> str:
    """A share of 1 as a bar; empty where the score is no share.

    Args:
        score: How long it is.
        stderr: A whisker of 95 % is drawn from it.
        published: A tick for each, by who printed it.
    """
    if not 0 <= score <= 1:
        return ""
    parts = [
        _rect("track", 1.0),
        _rect("fill", score),
        _whisker(score, stderr) if stderr else "",
        *(_tick(name, value) for name, value in (published or {}).items() if 0 <= value <= 1),
    ]
    label = f"{score_text(score)} of 100"
    return (
        f'<svg class="bar" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _rect(kind: str, share: float) -> str:
    return f'<rect class="{kind}" x="0" y="4" width="{_at(share)}" height="12"/>'


def _whisker(score: float, stderr: float) -> str:
    low, high = (max(0.0, min(1.0, score + side * _NINETY_FIVE * stderr)) for side in (-1, 1))
    return (
        f'<path class="whisker" d="M{_at(low)} 10H{_at(high)}M{_at(low)} 6V14M{_at(high)} 6V14"/>'
    )


def _tick(name: str, value: float) -> str:
    title = escape(f"{name}: {score_text(value)}")
    place = _at(value)
    return f'<path class="tick" d="M{place} 0V20"><title>{title}</title></path>'


def _at(share: float) -> str:
    return f"{share * _WIDTH:.2f}".rstrip("0").rstrip(".")
