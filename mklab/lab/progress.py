"""What a student has done so far: a small file beside the notebooks, which nobody else gets."""

import json
import os
import unicodedata
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mklab.errors import MklabError
from mklab.lab.verdict import Outcome

__all__ = ["FILE", "PLACE", "Done", "Progress", "seed_of"]

FILE = "mklab-progress.json"
_FORMAT = "mklab-progress-1"
PLACE = "MKLAB_PROGRESS"
"""Environment variable: a file to keep it in instead, so that building the notebooks leaves none behind."""


def seed_of(student: str) -> int:
    """The seed of a student's numbers, by the name; 0 without one.

    Upper and lower case, and how a system writes its accents, make no difference: a name is typed into a notebook, and
    comes to the grader as that of a file.
    """
    name = unicodedata.normalize("NFC", student.strip().casefold())
    return zlib.crc32(name.encode("utf-8", "replace")) if name else 0


@dataclass
class Done:
    """What was done on one exercise.

    Attributes:
        outcome: the best verdict so far.
        attempts: checks of something other than the stub.
        hints: the highest hint seen.
    """

    outcome: str = Outcome.NOT_ATTEMPTED
    attempts: int = 0
    hints: int = 0

    @property
    def passed(self) -> bool:
        """Whether the checks were passed once."""
        return self.outcome == Outcome.PASSED


@dataclass
class Progress:
    """All that was done.

    Attributes:
        path: the file.
        student: a name, from which the numbers of exercises come; may be empty.
        exercises: by id.
    """

    path: Path
    student: str = ""
    exercises: dict[str, Done] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Of the student's numbers; 0 without a name."""
        return seed_of(self.student)

    @classmethod
    def load(cls, path: Path | None = None) -> "Progress":
        """What the file holds; nothing yet where there is none.

        Raises:
            MklabError: the file is damaged, or something else. It is left as it is.
        """
        place = path or Path(os.environ.get(PLACE, FILE))
        if not place.is_file():
            return cls(place)
        try:
            data = json.loads(place.read_text(encoding="utf-8"))
            if data["format"] != _FORMAT:
                raise ValueError(data["format"])
            return cls(place, str(data["student"]), {str(id_): _done(one) for id_, one in data["exercises"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MklabError(
                f"{place} holds no progress that can be read ({type(error).__name__}): move it away to begin anew, or"
                " upload the copy that you have downloaded"
            ) from None

    def of(self, exercise: str) -> Done:
        """What was done on ``exercise``."""
        return self.exercises.setdefault(exercise, Done())

    def note(self, exercise: str, outcome: Outcome) -> None:
        """A check has said something about an answer that is more than the stub."""
        done = self.of(exercise)
        done.attempts += outcome is not Outcome.NOT_ATTEMPTED
        if not done.passed and outcome is not Outcome.NOT_CHECKED:
            done.outcome = outcome
        self.save()

    def save(self) -> None:
        """Write the file: beside it first, so that a computer that stops meanwhile leaves the old one."""
        data = {"format": _FORMAT, "student": self.student}
        whole = {**data, "exercises": {id_: asdict(one) for id_, one in sorted(self.exercises.items())}}
        beside = self.path.with_name(f"{self.path.name}.new")
        beside.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        beside.replace(self.path)


def _done(data: dict[str, object]) -> Done:
    attempts, hints = data["attempts"], data["hints"]
    if not isinstance(attempts, int) or not isinstance(hints, int):
        raise TypeError(attempts)
    return Done(Outcome(str(data["outcome"])), attempts, hints)
