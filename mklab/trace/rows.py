"""Events as rows, for files: the fields of each kind once, and of each event only their values."""

import functools
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any

from mklab.trace.event import Event

__all__ = ["events_of", "kinds_of", "rows_of"]


def kinds_of(events: Iterable[Event]) -> list[list[Any]]:
    """Of each kind among ``events`` its name and its fields, but ``seq``."""
    return [[kind.__name__, _names(kind)] for kind in dict.fromkeys(map(type, events))]


def rows_of(events: Iterable[Event], kinds: Iterable[list[Any]]) -> Iterator[tuple[Any, ...]]:
    """Of each event the place of its kind in ``kinds`` (as :func:`kinds_of` told it), and the values of its fields."""
    read = {Event.kinds[name]: (number, attrgetter(*names)) for number, (name, names) in enumerate(kinds)}
    for event in events:
        number, values = read[type(event)]
        yield number, *values(event)


def events_of(kinds: Iterable[list[Any]], rows: Iterable[list[Any]], first: int) -> Iterator[Event]:
    """The inverse of :func:`rows_of`: the events, which are numbered from ``first`` on.

    Raises:
        ValueError: a kind is unknown or has other fields, or a value is not of its field's type.
        LookupError, TypeError: these are no rows.
    """
    known = [_known(name, names) for name, names in kinds]
    for seq, (number, *values) in enumerate(rows, first):
        kind, allowed = known[number]
        for value, types_ in zip(values, allowed, strict=True):
            if type(value) not in types_:
                raise ValueError(f"the values of event {seq} must be those of {kind.__name__}, not {values!r}")
        yield kind(seq, *values)


def _known(name: str, names: list[str]) -> tuple[type[Event], list[frozenset[type]]]:
    kind = Event.kinds.get(name)
    if kind is None:
        raise ValueError(f"kind must name an event, not {name!r}")
    if names != _names(kind):
        raise ValueError(f"{name} must have the fields {_names(kind)}, not {names!r}")
    return kind, _types(name)


def _names(kind: type[Event]) -> list[str]:
    return [one.name for one in fields(kind)][1:]


@functools.cache
def _types(name: str) -> list[frozenset[type]]:
    """The types that each field but ``seq`` may have; a bool is an int, too."""
    kind, result = Event.kinds[name], []
    hints = typing.get_type_hints(kind)
    for field in _names(kind):
        hint = hints[field]
        allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        plain = {typing.get_origin(one) or one for one in allowed}
        result.append(frozenset(plain | {bool} if int in plain else plain))
    return result
