"""A table of text: as Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a table."""

    cells: tuple[str, ...]
    section: str = ""
    """The heading that it stands under."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Lines under a header; the first cell of each names it."""

    title: str
    header: tuple[str, ...]
    lines: Sequence[Line]
    notes: Sequence[str] = field(default_factory=tuple)
    """Sentences below it."""

    def __post_init__(self) -> None:
        for line in self.lines:
            assert len(line.cells) == len(self.header), f"`{line.cells[0]}` has a cell a column"

    def markdown(self) -> str:
        """With headings as lines in italics, and numbers to the right."""
        rows = [self.header, *(line.cells for line in self.lines)]
        widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(self.header))]
        widths[0] = max(widths[0], *(len(line.section) + 2 for line in self.lines))
        marks = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
        body = [_piped(self.header, widths), "| " + " | ".join(marks) + " |"]
        section = ""
        for line in self.lines:
            if line.section != section:
                section = line.section
                blank = (f"*{section}*" if section else "", *[""] * (len(self.header) - 1))
                body.append(_piped(blank, widths))
            body.append(_piped(line.cells, widths))
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"### {self.title}", "", *body, *([""] if notes else []), *notes]) + "\n"

    def csv(self) -> str:
        """With the heading of each line in a column of its own, and without the notes."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["section", *self.header])
        writer.writerows([line.section, *line.cells] for line in self.lines)
        return out.getvalue()

    def latex(self) -> str:
        """A `table` of the package booktabs."""
        width = len(self.header)
        body, section = [], ""
        for line in self.lines:
            if line.section != section:
                section = line.section
                body += [
                    r"\midrule",
                    rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_tex(section)}}}}} \\",
                ]
            body.append(" & ".join(map(_tex, line.cells)) + r" \\")
        head = " & ".join(map(_tex, self.header)) + r" \\"
        notes = [rf"\par\footnotesize {_tex(note)}" for note in self.notes]
        first = [] if body and body[0] == r"\midrule" else [r"\midrule"]
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_tex(self.title)}}}",
                rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
                r"\toprule",
                head,
                *first,
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                *notes,
                r"\end{table}",
                "",
            ]
        )


def _piped(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = [cell.replace("|", r"\|") for cell in cells]
    padded = [first.ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return "| " + " | ".join(padded) + " |"


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {character: rf"\{character}" for character in "&%$#_{}"} | {"±": r"$\pm$"}


def _tex(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}±]", lambda match: _TEX[match[0]], text)
