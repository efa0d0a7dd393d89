"""Reading length: no cell is a wall of text, and a lab takes about as long as its title says."""

import re
from collections.abc import Sequence

from mklab.lab.texts import Complaint
from mklab.lab.texts.prose import Text, plain

__all__ = ["MOST_WORDS_IN_A_CELL", "MOST_WORDS_IN_A_LAB", "WORDS_A_MINUTE", "check", "exercise_minutes", "reading"]

MOST_WORDS_IN_A_CELL = 180
MOST_WORDS_IN_A_LAB = 4000
WORDS_A_MINUTE = 130
"""Of a technical text in a language that is not everybody's first."""
_SLACK = 1.35
"""How far the minutes that are claimed may be from those that are reckoned, either way."""

_EXERCISE = re.compile(r"^#+ Exercise (\d\d\.\d+)", re.MULTILINE)
_MINUTES = re.compile(r"(\d+) minutes?\b")
_CLAIM = re.compile(r"\*\*Time:?\*\*:? (\d+) minutes")


def reading(text: Text) -> int:
    """How many words a cell has to read; a table is looked up in, not read."""
    return sum(len(line.split()) for line in plain(text.markdown).splitlines() if not line.startswith("|"))


def exercise_minutes(cells: Sequence[Text]) -> dict[str, int]:
    """The minutes of each exercise whose text names them, by its id."""
    found = {}
    for text in cells:
        if (exercise := _EXERCISE.search(text.markdown)) and (minutes := _MINUTES.search(text.markdown)):
            found[exercise[1]] = int(minutes[1])
    return found


def check(name: str, cells: Sequence[Text], exercises: Sequence[str]) -> list[Complaint]:
    """Cells and labs that are too long, and minutes that do not add up.

    Args:
        name: of the lab's script.
        cells: its Markdown cells.
        exercises: the ids of its exercises.
    """
    found = [
        Complaint(text.where, f"{count} words in a cell, and {MOST_WORDS_IN_A_CELL} are the most")
        for text in cells
        if (count := reading(text)) > MOST_WORDS_IN_A_CELL
    ]
    total = sum(map(reading, cells))
    if total > MOST_WORDS_IN_A_LAB:
        found.append(Complaint(name, f"{total} words, and {MOST_WORDS_IN_A_LAB} are the most"))
    minutes = exercise_minutes(cells)
    found += [
        Complaint(name, f"the text of exercise {one} does not say how many minutes it takes")
        for one in exercises
        if one not in minutes
    ]
    claim = next((match for text in cells[:1] if (match := _CLAIM.search(text.markdown))), None)
    if claim is None:
        found.append(Complaint(name, "the first cell does not say **Time:** N minutes"))
        return found
    claimed, reckoned = int(claim[1]), total / WORDS_A_MINUTE + sum(minutes.values())
    if not reckoned / _SLACK <= claimed <= reckoned * _SLACK:
        found.append(
            Complaint(name, f"{claimed} minutes are claimed; reading and exercises come to about {reckoned:.0f}")
        )
    return found
