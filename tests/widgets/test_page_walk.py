"""The page walk as a picture: what a table's entry says, and what an address that leads nowhere ends in."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import ClassVar

import pytest

from mklab.recording import Film, Frame
from mklab.widgets import page_walk
from mklab.widgets.palette import LIGHT, Palette
from mklab.widgets.picture import Drawing, Picture, drawn
from mklab.widgets.view import View

PAGING = {"cr0": 0x80000011, "cr3": 0x1000, "cr4": 0x20, "efer": 0x500, "cs.base": 0, "cs.flags": 1 << 21, "rip": 0}


def film_of(*entries: tuple[int, int], **registers: int) -> Film:
    """A CPU with 4-level paging and the tables' entries that are given, by address."""
    film = Film([0], [(0, 0x10000)])
    writes = [(address, entry.to_bytes(8, "little")) for address, entry in entries]
    film.look(None, cause="start", registers={0: {**PAGING, **registers}}, writes=writes)
    return film


def frame(*entries: tuple[int, int], **registers: int) -> Frame:
    """The look at it."""
    return film_of(*entries, **registers).frame_of(0)


# PML4[0x100] -> PDPT[1] -> PD[2] -> PT[3]: a kernel's address.
LINEAR = 0xFFFF_8000_4040_3ABC
TABLES = [(0x1800, 0x2003), (0x2008, 0x3003), (0x3010, 0x4003), (0x4018, 0x8000_0000_0000_5121)]


def words(drawn: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(f"<svg>{drawn}</svg>").iter("text")]


def test_four_levels() -> None:
    found = frame(*TABLES, efer=0xD00)
    assert page_walk.tell(found, 0, LINEAR) == (
        "walk of 0xffff800040403abc\n"
        "PML4  0x1000[0x100]  0x2003  P R/W  -> 0x2000\n"
        "PDPT  0x2000[0x1]  0x3003  P R/W  -> 0x3000\n"
        "PD    0x3000[0x2]  0x4003  P R/W  -> 0x4000\n"
        "PT    0x4000[0x3]  0x8000000000005121  P A G XD  -> 0x5000\n"
        "Physical address 0x5abc, in a page of 4 KiB: read-only, not executable, for the kernel only."
    )
    said = words(page_walk.draw(found, 0, LINEAR, "Page walk", LIGHT, 600).content)
    indexes = ["0xffff800040403abc =", "PML4 0x100", "PDPT 0x1", "PD 0x2", "PT 0x3", "offset 0xabc"]
    assert [one for one in said if one in indexes] == indexes
    assert "table 0x4000, entry 0x3 at 0x4018" in said
    assert "maps the page 0x5000" in said


class Walk:
    """The walk of :data:`LINEAR` as a picture of its own."""

    name: ClassVar[str] = "walk"
    question: ClassVar[str] = "How does a linear address become a physical one?"

    def answer(self, view: View) -> str:
        return page_walk.result(self._frame(view).walk(0, LINEAR))

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        return page_walk.draw(self._frame(view), 0, LINEAR, "Page walk", palette, width)

    def body(self, view: View, width: int) -> str:
        return drawn(self, view, width)

    def tell(self, view: View) -> str:
        return page_walk.tell(self._frame(view), 0, LINEAR)

    def _frame(self, view: View) -> Frame:
        assert view.frame is not None
        return view.frame


def test_large_numbers_have_room(faults: Callable[[Picture, View], list[str]]) -> None:
    flags = 0x8000_0000_0000_007F
    film = film_of(*((address, entry | flags) for address, entry in TABLES), efer=0xD00)
    assert faults(Walk(), View.at_end(film)) == []


ENDS = [
    ({"cr0": 0x11}, 0x7C00, "CR0.PG is 0, paging is off: linear address 0x7c00 is physical address 0x7c00."),
    ({}, 0x8000_0000_0000, "General protection: the address is not canonical."),
    ({}, 0x1000, "Page fault: the PML4 entry is not present."),
    ({"efer": 0x500}, LINEAR, "Page fault: the PT entry has a reserved bit set."),
    ({"cr3": 0x70000}, 0, "No memory at 0x70000, where the PML4 entry would be, or it is not recorded."),
]


@pytest.mark.parametrize(("registers", "linear", "words_of_it"), ENDS)
def test_what_a_walk_ends_in(registers: dict[str, int], linear: int, words_of_it: str) -> None:
    found = frame(*TABLES, **registers)
    assert words_of_it in page_walk.tell(found, 0, linear)
    crosses = 0 if "paging is off" in words_of_it else 1 if "canonical" in words_of_it else 2
    picture = page_walk.draw(found, 0, linear, "Page walk", LIGHT, 480).content
    framed = f'stroke="{LIGHT.role("alert")}" stroke-width="2.5"/>'
    # The cross, and the frame of the table where the way ends.
    assert picture.count(framed) + picture.count(framed.replace("/>", " ")) == crosses
    assert " ".join(words(picture)).endswith(words_of_it)


@pytest.mark.parametrize(
    ("registers", "linear"),
    [
        # SDM "Segmentation in IA-32e Mode": in 64-bit code the base of CS counts for nothing.
        ({"cs.base": 0x96000, "rip": 0x1234}, 0x1234),
        ({"cs.base": 0x96000, "rip": 0x1234, "cs.flags": 0}, 0x97234),
        ({"cs.base": 0xFFFF0000, "rip": 0x1FFF0, "efer": 0, "cs.flags": 0}, 0xFFF0),
    ],
)
def test_where_the_next_instruction_lies(registers: dict[str, int], linear: int) -> None:
    assert page_walk.linear_rip({**PAGING, **registers}) == linear
