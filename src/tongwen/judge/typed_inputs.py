"""Inputs that JSON holds as lists, given back the types that their task means.

EvalPlus keeps a table of tasks for this (`evalplus/data/mbpp.py`).  Here the task's own asserts
say it: their first inputs are the file's, written in Python.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tongwen.judge.inside import Value
from tongwen.judge.sanitize import parsed


@dataclass(slots=True)
class _Shape:
    """What stood at one place of the examples: kinds, and the shape of what they held."""

    kinds: set[type] = field(default_factory=set)
    inner: "_Shape | None" = None
    values: "_Shape | None" = None

    def see(self, example: Value) -> None:
        """Take an example in."""
        self.kinds.add(type(example))
        if isinstance(example, dict):
            self.values = self.values or _Shape()
            for each in example.values():
                self.values.see(each)
        elif isinstance(example, list | tuple | set):
            self.inner = self.inner or _Shape()
            for each in example:
                self.inner.see(each)

    def give(self, value: Value) -> Value:
        """The value with the types of the examples."""
        if isinstance(value, list):
            inner = self.inner or _Shape()
            return self._container(bool(value))(inner.give(each) for each in value)
        if isinstance(value, dict):
            values = self.values or _Shape()
            return {key: values.give(each) for key, each in value.items()}
        if isinstance(value, str) and self.kinds and self.kinds <= {int, float, complex}:
            return _number(value)
        return value

    def _container(self, is_filled: bool) -> type:
        """JSON writes tuples, sets and (empty, beside sets) dictionaries as lists, too."""
        if set in self.kinds and is_filled:
            return set
        if dict in self.kinds and list not in self.kinds and not is_filled:
            return dict
        return tuple if tuple in self.kinds and list not in self.kinds else list


def _number(text: str) -> float | complex | str:
    """The number that a text is, if it is one: JSON has none that are complex."""
    try:
        return complex(text) if "j" in text else float(text)
    except ValueError:
        return text


def typed_inputs(row: Mapping[str, Any], inputs: list[list[Any]]) -> list[list[Any]]:
    """Inputs with the types that the row's `assertion` shows.

    Args:
        row: A line of MBPP+: `assertion`, `entry_point`.
        inputs: Arguments of each call, as they are in its file.
    """
    shapes: dict[int, _Shape] = {}
    for call in ast.walk(parsed(row["assertion"])):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == row["entry_point"]:
            for place, argument in enumerate(call.args):
                shapes.setdefault(place, _Shape()).see(ast.literal_eval(argument))
    return [
        [shapes.get(place, _Shape()).give(value) for place, value in enumerate(arguments)]
        for arguments in inputs
    ]
