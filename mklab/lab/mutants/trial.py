"""Each mutant of an exercise's solution is examined; those that pass are told apart."""

import ast
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from mklab.lab import exercises, source
from mklab.lab.exercise import Exercise, Mistake
from mklab.lab.mutants import Mutant, of_code, of_python, of_values
from mklab.lab.mutants.effects import effect, same_for_inputs
from mklab.lab.verdict import Outcome

__all__ = [
    "LEAST",
    "MOST",
    "Fate",
    "Tally",
    "fate",
    "mutants_of",
    "rate",
    "run",
    "sample",
    "summary",
    "tally",
    "to_dict",
]

MOST = 40
"""Mutants of one exercise that a full run examines; of more than that, as many are chosen by chance."""


LEAST = 0.95
"""The share of those that are not equivalent which must be rejected."""


@dataclass(frozen=True)
class Fate:
    """What became of a mutant.

    Attributes:
        mutant: its name.
        rejected: whether the check said anything but a pass.
        why: of one that passed: why it is as good as the solution; empty: it should have been rejected.
    """

    mutant: str
    rejected: bool
    why: str = ""

    @property
    def escaped(self) -> bool:
        """Whether it passed, and is not as good as the solution."""
        return not self.rejected and not self.why


@dataclass(frozen=True)
class Tally:
    """The fates of an exercise's mutants."""

    exercise: str
    made: int
    fates: tuple[Fate, ...]

    @property
    def rejected(self) -> int:
        """How many were rejected."""
        return sum(one.rejected for one in self.fates)

    @property
    def escaped(self) -> tuple[Fate, ...]:
        """Those that should have been rejected."""
        return tuple(one for one in self.fates if one.escaped)

    @property
    def equivalent(self) -> int:
        """How many passed and are as good as the solution."""
        return len(self.fates) - self.rejected - len(self.escaped)


def mutants_of(exercise: Exercise) -> list[Mutant]:
    """All mutants of an exercise's solution, none twice, none that is an answer declared right."""
    solution = exercise.solution()
    lang = source.answer_cell(exercise.id)[1]
    if lang != "python":
        found = list(of_code.mutants(solution, lang))
    elif of_values.is_values(solution):
        found = list(of_values.mutants(solution, exercise.question))
    else:
        found = list(of_python.mutants(solution))
    right = {_bare(solution), *(_bare(one) for one in _declared(exercise, solution))}
    seen: dict[str, Mutant] = {}
    for one in found:
        if _bare(one.text) not in right:
            seen.setdefault(one.text, one)
    return list(seen.values())


def _declared(exercise: Exercise, solution: str) -> list[str]:
    """The other answers that the exercise declares right; a test shows that they pass."""
    return [one.apply(solution) if isinstance(one, Mistake) else one for one in exercise.alternatives]


def _bare(text: str) -> str:
    """An answer without what does not count: for Python its syntax tree, else its words."""
    try:
        return ast.unparse(ast.parse(text))
    except SyntaxError:
        return " ".join(text.split())


def sample(exercise: Exercise, most: int) -> list[Mutant]:
    """``most`` mutants, or all; the same ones at every time."""
    found = mutants_of(exercise)
    return found if len(found) <= most else random.Random(exercise.id).sample(found, most)  # noqa: S311


def fate(exercise: Exercise, mutant: Mutant) -> Fate:
    """Examine a mutant; if it passes, ask whether it does what the solution does.

    Raises:
        AssertionError: the check failed by itself, which no answer may make it do.
    """
    outcome = exercise.examine(mutant.text).outcome
    assert outcome is not Outcome.NOT_CHECKED, f"{exercise.id}: the check fails on {mutant.name}"
    if outcome is not Outcome.PASSED:
        return Fate(mutant.name, True)
    mine, its = effect(exercise, exercise.solution()), effect(exercise, mutant.text)
    why = mine.same_as(its)
    if not why and mine.calls and not mine.acts:
        why = same_for_inputs(exercise, exercise.solution(), mutant.text, mine.calls)
    return Fate(mutant.name, False, why)


def tally(exercise_id: str, most: int = MOST) -> Tally:
    """Try out the mutants of one exercise."""
    exercise = exercises.find(exercise_id)
    return Tally(
        exercise_id,
        len(mutants_of(exercise)),
        tuple(fate(exercise, mutant) for mutant in sample(exercise, most)),
    )


def run(ids: Sequence[str], most: int = MOST, processes: int | None = None) -> Iterator[Tally]:
    """Try out the mutants of many exercises, in processes of their own; the tallies come in the order of ``ids``."""
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(tally, ids, [most] * len(ids))


def rate(tallies: Iterable[Tally]) -> float:
    """The share of mutants that change what an answer does, and are rejected; 1 where there are none."""
    found = list(tallies)
    rejected, escaped = sum(one.rejected for one in found), sum(len(one.escaped) for one in found)
    return rejected / (rejected + escaped) if rejected + escaped else 1.0


def summary(tallies: Sequence[Tally]) -> str:
    """The figures of a run in a sentence or two."""
    rejected, escaped = sum(one.rejected for one in tallies), sum(len(one.escaped) for one in tallies)
    equivalent = sum(one.equivalent for one in tallies)
    return (
        f"{rejected} of {rejected + escaped} mutants that change what an answer does were rejected"
        f" ({100 * rate(tallies):.1f} %). {equivalent} more do what the solution does."
    )


def to_dict(one: Tally) -> dict[str, Any]:
    """A tally as plain data."""
    return {
        "id": one.exercise,
        "made": one.made,
        "examined": len(one.fates),
        "rejected": one.rejected,
        "equivalent": one.equivalent,
        "escaped": [fate.mutant for fate in one.escaped],
    }
