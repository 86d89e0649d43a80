"""How values are written for people: shares as percentages, anything else in a short line."""


def score_text(value: float, *, is_share: bool = True) -> str:
    """A score: `61.59 %` of a share, `12.34` of what is none, such as a perplexity.

    What is more than 1 is no share, whatever it is said to be.
    """
    return f"{100 * value:.2f} %" if is_share and abs(value) <= 1 else f"{value:.4g}"


def change_text(value: float, *, is_share: bool = True) -> str:
    """A difference of scores, with its sign."""
    return ("+" if value > 0 else "") + score_text(value, is_share=is_share)


def short(value: object, most: int = 40) -> str:
    """A value in one line of at most so many characters, none of which moves a cursor."""
    text = " ".join(str("-" if value is None else value).split())
    text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return text if len(text) <= most else text[: most - 1] + "…"
