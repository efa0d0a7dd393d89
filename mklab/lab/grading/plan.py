"""What there is to do in a grading: whose answers to which exercises, on which numbers."""

import csv
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mklab.errors import MklabError
from mklab.lab import exercises, source
from mklab.lab.checking.answer import readable
from mklab.lab.exercise import Exercise
from mklab.lab.grading.examination import Examined, Question
from mklab.lab.grading.reader import LONGEST
from mklab.lab.grading.submissions import Found
from mklab.lab.progress import seed_of
from mklab.lab.verdict import Outcome, Verdict

__all__ = ["Hidden", "Line", "apart", "chosen", "failed", "hidden", "line"]

_SEEDS = "seeds.csv"


@dataclass(frozen=True)
class Hidden:
    """What an instructor keeps elsewhere.

    Attributes:
        checks: texts, by exercise.
        seeds: by a student's name.
    """

    checks: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """An exercise of a student: what is to be examined, or what is known without.

    Attributes:
        student, exercise: whose, and which.
        notebook: the file that holds the answer; may be empty.
        text: the answer; may be empty.
        seed: of the student's numbers.
        note: what an instructor should know about how the answer was found; may be empty.
        question: what is to be examined; None: nothing.
        known: the verdict where nothing is to be examined.
    """

    student: str
    exercise: Exercise
    notebook: str = ""
    text: str = ""
    seed: int = 0
    note: str = ""
    question: Question | None = None
    known: Examined | None = None


def hidden(folder: Path | None) -> Hidden:
    """The hidden checks and seeds in a folder.

    Raises:
        MklabError: there is no such folder, it holds none, or what it holds cannot be read.
    """
    if folder is None:
        return Hidden()
    if not folder.is_dir():
        raise MklabError(f"hidden checks are looked for in a folder, which {folder} is not")
    apart(folder)
    checks, known = {}, {one.id for one in exercises.every()}
    try:
        for path in sorted(folder.glob("[0-9][0-9].*.py")):
            if path.stem not in known:
                raise MklabError(f"{path} is a check for no exercise: `mklab exercises` lists them")
            checks[path.stem] = path.read_text(encoding="utf-8")
            compile(checks[path.stem], str(path), "exec")
        seeds = _seeds(folder / _SEEDS)
    except (OSError, ValueError, SyntaxError) as error:
        raise MklabError(f"{folder} holds hidden checks that cannot be read: {error}") from None
    if not checks and not seeds:
        raise MklabError(f"{folder} holds neither a check, such as 04.2.py, nor {_SEEDS}")
    return Hidden(checks, seeds)


def apart(folder: Path) -> None:
    """Refuse a folder in a place that answers can read.

    Raises:
        MklabError: it is in one.
    """
    for place in readable():
        if Path(place) != Path("/") and folder.resolve().is_relative_to(Path(place).resolve()):
            raise MklabError(f"{folder} lies in {place}, which answers can read: move it elsewhere")


def _seeds(path: Path) -> dict[str, int]:
    """Seeds by a student's name, from a table with the columns ``student`` and ``seed``."""
    if not path.is_file():
        return {}
    seeds = {}
    with path.open(encoding="utf-8-sig", newline="") as table:
        for row in csv.DictReader(table):
            try:
                seeds[_key(row["student"])] = int(row["seed"], 0)
            except (KeyError, TypeError, ValueError):
                raise MklabError(
                    f"{path} must have the columns student and seed, and a number in each seed, not {dict(row)!r}"
                ) from None
    return seeds


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().casefold())


def chosen(labs: Sequence[str], found: Sequence[Found]) -> list[Exercise]:
    """The exercises of some labs, or of those that occur in the notebooks.

    Raises:
        MklabError: there is no such lab, or no notebook holds an answer.
    """
    if labs:
        return [one for lab in sorted(set(labs)) for one in exercises.of(lab)]
    occur = {exercise.split(".")[0] for one in found for exercise in one.answers} & {*exercises.LABS}
    if not occur:
        told = "; ".join(problem for one in found for problem in one.problems[:1])
        raise MklabError(f"no notebook holds an answer to an exercise of the course{': ' if told else ''}{told[:500]}")
    return [one for lab in sorted(occur) for one in exercises.of(lab)]


def line(found: Found, exercise: Exercise, kept: Hidden, seed: int | None, trusted: bool) -> Line:
    """What there is to do about an exercise of a student.

    Args:
        found: the student's answers.
        exercise: which.
        kept: hidden checks and seeds.
        seed: of everybody's numbers; None: each student has others.
        trusted: whether the name counts that a notebook gives to ``lab.open``.
    """
    student = found.submission.student
    own = _seed(found, kept, seed, trusted)
    texts = found.answers.get(exercise.id, ())
    attempts = [one for one in texts if not exercise.is_stub(one[1])]
    if not texts:
        return Line(student, exercise, seed=own, known=Examined(_without_answer(found, exercise)))
    notebook, text = (attempts or texts)[-1]
    note = f"{len(attempts)} cells answer it; the last one counts." if len(attempts) > 1 else ""
    told = Line(student, exercise, notebook, text[:LONGEST], own, note)
    if not attempts:
        return _known(told, Outcome.NOT_ATTEMPTED, "The cell is as it was given.")
    if len(text) > LONGEST:
        return _known(told, Outcome.NOT_YET, f"The cell has more than {LONGEST:,} characters, and was not examined.")
    others = _others(found, own) if exercise.given is not None else ()
    question = Question(student, exercise.id, text, own, kept.checks.get(exercise.id), others)
    return replace(told, question=question)


def _known(told: Line, outcome: Outcome, happened: str) -> Line:
    return replace(told, known=Examined(Verdict(outcome, happened, exercise=told.exercise.id)))


def _without_answer(found: Found, exercise: Exercise) -> Verdict:
    """The verdict where no cell answers an exercise: nothing can be said if a notebook could not be read."""
    if found.problems:
        return Verdict(Outcome.NOT_CHECKED, f"{found.problems[0]}.", exercise=exercise.id)
    magic = source.magic(exercise.id, source.answer_cell(exercise.id)[1]).strip()
    return Verdict(Outcome.NOT_ATTEMPTED, f"No cell begins with {magic}.", exercise=exercise.id)


def failed(one: Line, error: Exception) -> Examined:
    """What there is to say where an examination was lost."""
    happened = f"Its examination was lost: {type(error).__name__}: {error}"
    return Examined(Verdict(Outcome.NOT_CHECKED, happened, next_step="Grade again.", exercise=one.exercise.id))


def _seed(found: Found, kept: Hidden, seed: int | None, trusted: bool) -> int:
    student = found.submission.student
    if seed is not None:
        return seed
    if _key(student) in kept.seeds:
        return kept.seeds[_key(student)]
    return seed_of(found.name if trusted else student)


def _others(found: Found, own: int) -> tuple[tuple[int, str], ...]:
    """Whose numbers a student may have had instead."""
    named = [(seed_of(found.name), "the name that the notebook gives")] if found.name else []
    return tuple(one for one in [*named, (0, "a notebook without a name")] if one[0] != own)
