"""Grading a class: what was handed in is found, read and examined, as much of it at once as there are processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mklab import cluster
from mklab.errors import require
from mklab.lab.exercise import Exercise
from mklab.lab.grading import plan, submissions
from mklab.lab.grading.examination import Examined, examined
from mklab.lab.grading.plan import Line
from mklab.lab.grading.submissions import Found
from mklab.lab.verdict import Outcome
from mklab.stopping import asked_to_stop

__all__ = ["Grades", "Row", "grade"]

_PATIENCE = 0.2
"""Seconds between two looks whether to stop."""


@dataclass(frozen=True)
class Row:
    """An exercise of a student, graded.

    Attributes:
        line: what there was to do.
        examined: what came of it.
    """

    line: Line
    examined: Examined

    @property
    def outcome(self) -> Outcome:
        """What the verdict says."""
        return self.examined.verdict.outcome

    @property
    def note(self) -> str:
        """What an instructor should know besides."""
        return " ".join(one for one in (self.line.note, self.examined.note) if one)


@dataclass
class Grades:
    """A class, as far as it is graded.

    Attributes:
        exercises: those that are graded.
        students: their names.
        expected: how many rows there will be of each.
        rows: by student and exercise.
        problems: what was found in the submissions that could not be taken, in words, by student.
        others: names of what is no submission.
        missing: what could not be limited somewhere.
        interrupted: whether Ctrl-C ended it.
    """

    exercises: Sequence[Exercise]
    students: Sequence[str]
    expected: int = 0
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    others: Sequence[str] = ()
    missing: set[str] = field(default_factory=set)
    interrupted: bool = False

    def of(self, student: str) -> list[Row]:
        """The rows of a student, in the exercises' order."""
        return [self.rows[student, one.id] for one in self.exercises if (student, one.id) in self.rows]

    def is_complete(self, student: str) -> bool:
        """Whether all rows of a student are there."""
        return len(self.of(student)) == len(self.exercises)

    def add(self, row: Row) -> None:
        """One more row."""
        self.rows[row.line.student, row.line.exercise.id] = row
        self.missing.update(row.examined.missing)


def grade(
    folder: Path,
    *,
    checks: Path | None = None,
    labs: Sequence[str] = (),
    jobs: int = 1,
    dask: str | None = None,
    seed: int | None = None,
    trust_names: bool = False,
    told: Callable[[str, int, int], None] = lambda *_: None,
    graded: Callable[[Grades, str], None] = lambda *_: None,
) -> Grades:
    """Grade a folder of notebooks.

    Args:
        folder: with a notebook, or a folder of notebooks, for each student.
        checks: a folder of hidden checks and seeds.
        labs: which; all that occur by default.
        jobs: how many answers are examined at a time.
        dask: address of a Dask scheduler, whose workers examine; or :data:`mklab.cluster.HERE`.
        seed: of everybody's numbers; else they come from each student's name, or from ``checks``.
        trust_names: whether a student's name is what the notebook says.
        told: called with what is done now (``reading``, ``grading``), how much of it is done, and how much there is.
        graded: called with the grades so far and a student, all of whose rows are there.

    Returns:
        The grades. Ctrl-C keeps those that there are until then.

    Raises:
        MklabError: there is nothing that could be graded, or no cluster.
    """
    require("jobs", jobs, 1, 1024)
    kept = plan.hidden(checks)
    if labs:
        plan.chosen(labs, ())
    handed_in, others = submissions.find(folder)
    plan.apart(folder)
    with ExitStack() as stack:
        stopped = stack.enter_context(asked_to_stop(once=True))
        threads = stack.enter_context(ThreadPoolExecutor(jobs))
        reading = [threads.submit(submissions.read, one, folder) for one in handed_in]
        found: list[Found] = []
        for one in _done(reading, stopped):
            found.append(one.result())
            told("reading", len(found), len(reading))
        found.sort(key=lambda one: one.submission.student)
        grades = Grades(
            () if stopped() else plan.chosen(labs, found), [one.student for one in handed_in], others=others
        )
        grades.problems = {one.submission.student: one.problems for one in found if one.problems}
        lines = [plan.line(one, exercise, kept, seed, trust_names) for one in found for exercise in grades.exercises]
        grades.expected = len(lines)
        executor: Executor = threads
        if dask:
            executor = cluster.client(dask, stack, jobs).get_executor(pure=False, retries=1)
        _examine(lines, grades, executor, stopped, told, graded)
        grades.interrupted = stopped()
    return grades


def _examine(
    lines: Sequence[Line],
    grades: Grades,
    executor: Executor,
    stopped: Callable[[], bool],
    told: Callable[[str, int, int], None],
    graded: Callable[[Grades, str], None],
) -> None:
    def add(row: Row) -> None:
        grades.add(row)
        told("grading", len(grades.rows), len(lines))
        if grades.is_complete(row.line.student):
            graded(grades, row.line.student)

    asked: dict[Future[Examined], Line] = {}
    for one in lines:
        if one.question is not None and not stopped():
            asked[executor.submit(examined, one.question)] = one
    for one in lines:
        if one.known is not None and not stopped():
            add(Row(one, one.known))
    for future in _done(asked, stopped):
        try:
            add(Row(asked[future], future.result()))
        except Exception as error:  # of a cluster: a worker was lost, and with it this answer's examination
            add(Row(asked[future], plan.failed(asked[future], error)))


def _done(futures: Iterable[Future[Any]], stopped: Callable[[], bool]) -> Iterator[Future[Any]]:
    """Futures as they are done; after Ctrl-C those that have begun, and no other."""
    left = set(futures)
    while left:
        done, _ = wait(left, _PATIENCE, "FIRST_COMPLETED")
        if stopped():
            left = {one for one in left if not one.cancel()}
        left -= done
        yield from (one for one in done if not one.cancelled())
