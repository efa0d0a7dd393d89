"""Orders of the switch to long mode: what the machine makes of them, against what each step needs."""

import pytest

from mklab.lab import lab03
from mklab.lab.lab02.pictures import way
from mklab.lab.lab03 import pictures

NEEDS = {"C": "ADFG", "E": "C"}
"""PG needs PAE, tables, CR3 and LME; the far return needs PG."""
ORDERS = ("ADFGCE", "GFDACE", "DGAFCE", "GDFCAE", "CGDFAE", "GDACFE", "EGDFAC", "GDFECA", "ADGCFE")


@pytest.mark.parametrize("letters", ORDERS)
def test_an_order_passes_where_each_step_has_what_it_needs(letters: str) -> None:
    exercise = next(one for one in lab03.EXERCISES if one.id == "03.5")
    works = all(letters.index(one) < letters.index(step) for step, before in NEEDS.items() for one in before)
    verdict = exercise.examine(f'order = "{letters}"')
    assert verdict.passed == works, repr(verdict)


def test_the_table_of_modes() -> None:
    rows = [row.split() for row in pictures.modes(way(), 0x5C, 0x104).splitlines()[1:]]
    bits = {row[1]: [int(one) for one in row if one in ("0", "1")] for row in rows}
    assert bits["lretl"] == [1, 1, 1, 1, 0, 1]
    paging = next(row for row in rows if "compatibility" in row)
    assert [int(one) for one in paging if one in ("0", "1")] == [1, 1, 1, 1, 1, 0]
    assert [row[-4] for row in rows][-1] != "compatibility"


def test_an_image_across_7_gib_faults_at_7_gib() -> None:
    said = pictures.crossing_run()
    assert "in kernel 1, at 0x1bffff000" in said
    assert "exception 14 at 0x1c0000000, address 0x1c0000000" in said
    assert "The platform was reset" in said


def test_the_player_stands_at_the_32_bit_code() -> None:
    player = pictures.from_startup_32()
    registers = player.film.frame_of(player.look).registers(1)
    assert (registers["rip"], registers["cs"]) == (0x9605C, 8)
