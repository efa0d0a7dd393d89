"""Where two values differ first, in words."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from mklab.lab.forms.assigned import as_python

__all__ = ["first_difference", "kind_of"]

_NOTHING = object()


def kind_of(value: Any) -> str:
    """What kind of value it is, in words, with its length where it has one."""
    if isinstance(value, bool):
        return "True or False"
    if value is None:
        return "None"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return f"a text of {_some(len(value), 'character')}"
    if isinstance(value, (bytes, bytearray)):
        return _some(len(value), "byte")
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        return f"a {type(value).__name__} of {_some(len(value), 'item')}"
    return type(value).__name__


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_difference(expected: Any, got: Any, *, show: bool = True) -> str:
    """Where ``got`` differs from ``expected`` first; empty where they are equal, or no texts or tables.

    Of single letters and single words it says nothing, too: they are right or not.

    Args:
        expected, got: plain data.
        show: whether to say what was expected there.
    """
    if expected == got:
        return ""
    if isinstance(expected, (bytes, bytearray)) and isinstance(got, (bytes, bytearray)):
        return _in_rows(expected, got, "byte", show)
    if isinstance(expected, str) and isinstance(got, str):
        if max(len(expected), len(got)) < 2:
            return ""  # a letter is right or not
        if all(len(one) > 3 and one.isalpha() and one.islower() for one in (expected, got)):
            return ""  # and so is a word
        if "\n" in expected:
            return _in_rows(expected.splitlines(), got.splitlines(), "line", show)
        return _in_rows(expected, got, "character", show)
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        return _in_rows(expected, got, "item", show)
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        return _in_tables(expected, got, show)
    return ""


def _in_rows(expected: Sequence[Any], got: Sequence[Any], noun: str, show: bool) -> str:
    for number, (one, other) in enumerate(zip_longest(expected, got, fillvalue=_NOTHING)):
        if one is _NOTHING:
            return f"The first difference is {noun} {number}, counted from 0: there should be no {as_python(other)}."
        if one != other:
            yours = "yours has none" if other is _NOTHING else f"yours is {as_python(other)}"
            wanted = f", expected {as_python(one)}" if show else ""
            return f"The first difference is {noun} {number}, counted from 0: {yours}{wanted}."
    return "" if type(expected) is type(got) else f"It should be {kind_of(expected)}, not {kind_of(got)}."


def _in_tables(expected: Mapping[Any, Any], got: Mapping[Any, Any], show: bool) -> str:
    for key in [*expected, *(one for one in got if one not in expected)]:
        if expected.get(key, _NOTHING) == got.get(key, _NOTHING):
            continue
        if key not in expected:
            return f"There should be no {as_python(key)}."
        yours = f"yours is {as_python(got[key])}" if key in got else "yours has none"
        wanted = f", expected {as_python(expected[key])}" if show else ""
        return f"The first difference is at {as_python(key)}: {yours}{wanted}."
    return ""
