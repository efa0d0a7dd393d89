"""The history of a set of named values: what changed at each look, and everything at every 32nd change."""

import bisect
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Track"]

_KEYFRAMES = 32
"""A keyframe at every 32nd change: a value is found by one bisection and at most 31 changes."""


class Track:
    """Named values over time. A look is a number; looks are taken in ascending order.

    Attributes:
        looks: the looks at which something changed.
        changes: what changed then: the new values by name; None: there is no such value any more.
        last: the values now.
    """

    def __init__(self) -> None:
        self.looks: list[int] = []
        self.changes: list[dict[str, Any]] = []
        self.last: dict[str, Any] = {}
        self._keyframes: list[dict[str, Any]] = [{}]

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same history."""
        return isinstance(other, Track) and (self.looks, self.changes) == (other.looks, other.changes)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def note(self, look: int, values: dict[str, Any]) -> None:
        """At ``look`` the values are these; a value that is not among them stays as it was."""
        last = self.last
        change = {name: value for name, value in values.items() if last.get(name) != value}
        if change:
            self.append(look, change)

    def append(self, look: int, change: dict[str, Any]) -> None:
        """At ``look`` these values changed.

        Raises:
            ValueError: the last change was at a later look.
        """
        if self.looks and look < self.looks[-1]:
            raise ValueError(f"look must be {self.looks[-1]} or later, not {look!r}")
        self.looks.append(look)
        self.changes.append(change)
        for name, value in change.items():
            if value is None:
                self.last.pop(name, None)
            else:
                self.last[name] = value
        if len(self.looks) % _KEYFRAMES == 0:
            self._keyframes.append(dict(self.last))

    def at(self, look: int) -> dict[str, Any]:
        """The values at ``look``."""
        count = bisect.bisect_right(self.looks, look)
        if count == len(self.looks):
            return dict(self.last)
        whole = count // _KEYFRAMES
        return _after(self._keyframes[whole], self.changes[whole * _KEYFRAMES : count])

    def changed(self, look: int) -> dict[str, tuple[Any, Any]]:
        """What changed at ``look``: by name, the old value (None: there was none) and the new one."""
        first, last = bisect.bisect_left(self.looks, look), bisect.bisect_right(self.looks, look)
        if first == last:
            return {}
        before, after = self.at(look - 1), self.at(look)
        names = dict.fromkeys(name for change in self.changes[first:last] for name in change)
        return {name: (before.get(name), after.get(name)) for name in names}

    def insert(self, look: int, values: Mapping[str, Any]) -> None:
        """Put a look in before look number ``look``: at it ``values`` were these, the others as at the one before.

        Later looks count one more; what they tell stays as it was.
        """
        before, after = self.at(look - 1), self.at(look)
        here = _after(before, [dict(values)])
        first, last = bisect.bisect_left(self.looks, look), bisect.bisect_right(self.looks, look)
        self.looks[first:] = [one + 1 for one in self.looks[first:]]
        if here == before:
            return
        steps = [(look, _difference(before, here)), (look + 1, _difference(here, after))]
        put = [(one, change) for one, change in steps if change]
        self.looks[first:last] = [one for one, _ in put]
        self.changes[first:last] = [change for _, change in put]
        del self._keyframes[first // _KEYFRAMES + 1 :]
        for end in range(len(self._keyframes) * _KEYFRAMES, len(self.changes) + 1, _KEYFRAMES):
            self._keyframes.append(_after(self._keyframes[-1], self.changes[end - _KEYFRAMES : end]))

    def cut(self, look: int) -> None:
        """Forget what came after ``look``."""
        kept = bisect.bisect_right(self.looks, look)
        self.last = self.at(look)
        del self.looks[kept:], self.changes[kept:], self._keyframes[kept // _KEYFRAMES + 1 :]


def _difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {name: new.get(name) for name in {**old, **new} if old.get(name) != new.get(name)}


def _after(values: dict[str, Any], changes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    result = dict(values)
    for change in changes:
        result.update(change)
    return {name: value for name, value in result.items() if value is not None}
