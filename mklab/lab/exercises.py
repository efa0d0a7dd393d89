"""Every exercise of the course, by its id."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from mklab.errors import MklabError
from mklab.lab.checking.hidden import hidden
from mklab.lab.exercise import Exercise

__all__ = ["LABS", "every", "find", "of"]

LABS = ("00", "01", "02", "03", "04", "05", "06", "07", "08")
"""The labs, in their order."""


def of(lab: str) -> tuple[Exercise, ...]:
    """The exercises of a lab, in their order.

    Raises:
        MklabError: there is no such lab.
    """
    if lab not in LABS:
        raise MklabError(f"there is no lab {lab!r}; there are {', '.join(LABS)}")
    found: tuple[Exercise, ...] = importlib.import_module(f"mklab.lab.lab{lab}").EXERCISES
    return found


def find(exercise: str, checks: str | Path | None = None) -> Exercise:
    """An exercise by its id.

    Args:
        exercise: the id, as in ``"04.2"``.
        checks: a folder of hidden checks, whose exercises come before those of the course.

    Raises:
        MklabError: there is no such exercise.
    """
    for one in of(exercise.split(".")[0]):
        if one.id == exercise:
            return hidden(one, Path(checks)) if checks is not None else one
    raise MklabError(f"there is no exercise {exercise!r}")


def every() -> Iterator[Exercise]:
    """All exercises, lab by lab."""
    for lab in LABS:
        yield from of(lab)
