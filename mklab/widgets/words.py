"""Numbers in words, as the pictures' answers and twins have them."""

from collections.abc import Sequence

__all__ = ["NOTHING_YET", "NOT_LOOKED_AT", "listed"]

NOTHING_YET = "Nothing recorded yet. Press Step (S), or run the cell above."
"""What every picture says before anything has happened."""
NOT_LOOKED_AT = "Nobody looked at the machine up to this moment: registers and memory are not recorded."
"""What a picture of registers or memory says of a film, or a part of it, that holds events only."""


def listed(numbers: Sequence[int], prefix: str = "") -> str:
    """``1 and 2``, ``0 to 3 and 7``: ascending numbers, each behind ``prefix``; three or more in a row are a range."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = []
    for run in runs:
        names = [f"{prefix}{number}" for number in run]
        words += [f"{names[0]} to {names[-1]}"] if len(run) > 2 else names
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
