"""Mutants of answers that are values: letters, orders, numbers."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from mklab.lab.forms.assigned import as_python
from mklab.lab.forms.parsons import Lines
from mklab.lab.mutants import Mutant

__all__ = ["is_values", "mutants"]


def is_values(source: str) -> bool:
    """Whether an answer is nothing but names and what is assigned to them."""
    try:
        return all(_assignment(one) is not None for one in ast.parse(source).body)
    except SyntaxError:
        return False


def _assignment(node: ast.stmt) -> tuple[str, Any] | None:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            try:
                return name, ast.literal_eval(value)
            except ValueError:
                return None
    return None


def mutants(source: str, question: object) -> Iterator[Mutant]:
    """Every other letter, neighbouring order, dropped or added letter, and number next to the right one.

    Args:
        source: the solution.
        question: the exercise's, which says which letters there are.
    """
    found = [one for node in ast.parse(source).body if (one := _assignment(node)) is not None]
    names = [name for name, _ in found]
    for name, value in found:
        if name == "confidence":  # however sure somebody is, it is no mistake
            continue
        letters = _letters(question, name, value)
        for other in _others(value, letters):
            lines = [f"{one} = {as_python(other if one == name else kept)}" for one, kept in found]
            yield Mutant(f"{name} = {as_python(other)}", "\n".join(lines) + "\n")
    for first, second in pairwise(names):
        values = dict(found)
        if values[first] != values[second] and "confidence" not in (first, second):
            values[first], values[second] = values[second], values[first]
            lines = [f"{one} = {as_python(values[one])}" for one in names]
            yield Mutant(f"{first} and {second} are exchanged", "\n".join(lines) + "\n")


def _letters(question: object, name: str, value: Any) -> str:
    """The letters that an answer may hold; of a text that is none of letters: nothing."""
    if isinstance(question, Lines):
        return "".join(question.by_letter)
    if name == "choice" and hasattr(question, "prediction"):
        return "".join(question.prediction.lettered())
    return "ABCD" if isinstance(value, str) and len(value) == 1 and value in "ABCDEFGH" else ""


def _others(value: Any, letters: str) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, str) and len(value) == 1 and letters:
        yield from (one for one in letters if one != value)
    elif isinstance(value, str) and letters:
        yield from _orders(value, letters)
    elif isinstance(value, (str, bytes)):
        if value:
            yield value[:-1]
    elif isinstance(value, (list, tuple)):
        yield from _rows(value)
    elif isinstance(value, dict):
        for key, one in value.items():
            for other in _others(one, ""):
                yield {**value, key: other}


def _orders(order: str, letters: str) -> Iterator[str]:
    for place in range(len(order)):
        yield order[:place] + order[place + 1 :]
    for place in range(len(order) - 1):
        yield order[:place] + order[place + 1] + order[place] + order[place + 2 :]
    for letter in letters:
        if letter not in order:
            for place in range(len(order) + 1):
                yield order[:place] + letter + order[place:]


def _rows(row: Any) -> Iterator[Any]:
    kind = type(row)
    for place, one in enumerate(row):
        yield kind([*row[:place], *row[place + 1 :]])
        for other in _others(one, ""):
            yield kind([*row[:place], other, *row[place + 1 :]])
    for place in range(len(row) - 1):
        if row[place] != row[place + 1]:
            yield kind([*row[:place], row[place + 1], row[place], *row[place + 2 :]])
