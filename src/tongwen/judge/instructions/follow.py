"""Judge a completion by the instructions of its row, strictly and loosely.

Verdicts are those of lm-evaluation-harness' `ifeval`, which are Google's, but for this:

* A symbol that is no letter (`#`, `!`) is counted as asked; there it becomes a random letter.
* The language detector has a fixed seed; there two runs can differ.
* Sentences are split without the downloaded Punkt model, see `text.Texts`.
* Keywords are taken literally, not as regular expressions; the data hold none that differ.
* A missing argument is refused; there it is drawn at random.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.errors import ConfigError
from tongwen.judge.instructions.rules import RULES, Rule
from tongwen.judge.instructions.text import Texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The four numbers of IFEval without its strictness: shares of prompts and of instructions."""

    prompt: float
    """Share of completions that follow all their instructions."""

    instruction: float
    """Share of instructions that are followed."""


class Instructions:
    """Judges completions of IFEval's rows; one may serve all threads of a run in turn."""

    def __init__(self) -> None:
        self._texts = Texts()

    def follows(
        self, row: Mapping[str, Any], completion: str, *, loose: bool = False
    ) -> list[bool]:
        """For each instruction of `row`, whether `completion` follows it.

        Args:
            row: A row of the benchmark: `instruction_id_list`, and `kwargs` beside it.
            completion: What the model wrote; a blank one follows nothing.
            loose: Accept what holds without asterisks, the first or the last line.

        Raises:
            ConfigError: An instruction is unknown, or lacks an argument.
            DependencyError: A library of the extra `eval` is missing.
        """
        forms = variants(completion) if loose else [completion]
        forms = [form for form in forms if form.strip()]
        pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
        return [self._any_follows(name, arguments, forms) for name, arguments in pairs]

    def _any_follows(self, name: str, arguments: Mapping[str, Any], forms: list[str]) -> bool:
        rule = rule_of(name)
        try:
            return any(rule(form, arguments, self._texts) for form in forms)
        except KeyError as error:
            raise ConfigError(f"`{name}` lacks its argument `{error.args[0]}`") from error


def rule_of(name: str) -> Rule:
    """The rule that judges instructions called `name`.

    Raises:
        ConfigError: There is none.
    """
    if name not in RULES:
        raise ConfigError(f"unknown instruction `{name}`", hint=f"known are {', '.join(RULES)}")
    return RULES[name]


def variants(completion: str) -> list[str]:
    """The eight forms of the loose judgement: without `*`, first line, last line, and together."""
    lines = completion.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    forms = [completion, *cut]
    return forms + [form.replace("*", "") for form in forms]


def rates(verdicts: Iterable[Sequence[bool]]) -> Rates:
    """The share of completions that follow all, and of instructions followed.

    Raises:
        ConfigError: There is no verdict.
    """
    rows = [list(verdict) for verdict in verdicts]
    flat = [followed for row in rows for followed in row]
    if not flat:
        raise ConfigError("no verdict to take a share of")
    return Rates(prompt=sum(map(all, rows)) / len(rows), instruction=sum(flat) / len(flat))
