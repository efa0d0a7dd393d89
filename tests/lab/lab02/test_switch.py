"""Orders of the switch to protected mode: what the machine makes of them, against what each line needs."""

import hashlib

import pytest

from mklab.lab import lab02

NEEDS = {"E": "CG", "H": "CG", "A": "CE", "D": "ABCH"}
"""Lines that must stand before a line: stores and LGDT go through DS; ESI, the table's address, the bit, the target."""
LINES = "ABCDEGH"


def order(number: int) -> str:
    """An order of the seven lines, most of them nearly right."""
    digest = hashlib.sha256(str(number).encode()).digest()
    letters = list("CGEHABD")
    first, second = digest[0] % 7, digest[1] % 7
    letters[first], letters[second] = letters[second], letters[first]
    return "".join(letters)


def works(letters: str) -> bool:
    return all(letters.index(one) < letters.index(line) for line, before in NEEDS.items() for one in before)


@pytest.mark.parametrize("letters", sorted({order(number) for number in range(12)}))
def test_an_order_passes_where_each_line_has_what_it_needs(letters: str) -> None:
    exercise = next(one for one in lab02.EXERCISES if one.id == "02.6")
    verdict = exercise.examine(f'order = "{letters}"')
    assert verdict.passed == works(letters), repr(verdict)
    assert verdict.next_step
