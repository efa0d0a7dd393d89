"""Where a run is to stop: read as a student types it, and looked for in a film."""

import pytest

from mklab import trace
from mklab.recording import Description, Film, Line, Place
from mklab.structs import Field, Struct
from mklab.widgets.condition import FORMS, Condition, chain, find, parse

NODE = Struct("node", Field("link", "u64", 2))


@pytest.fixture
def film() -> Film:
    """Six looks at a machine of two CPUs, with a list whose head is at 0x100."""
    place = Place("list", "kimages", 0x100, struct="node", link="link")
    film = Film([0, 1], [(0, 0x10000)], Description([NODE], [place]))
    lines = {0: [Line(0x1000, "90", "nop")]}
    film.extend([trace.Init(0, 0, 0, from_cpu=None)])
    film.look(0, time=0, writes=[(0x100, (0x100).to_bytes(8, "little") * 2)], lines=lines)
    film.look(0, time=10, writes=[(0x5004, b"ab")])
    film.extend([trace.Delivered(1, 20, 1, vector=0xEA, source="interrupt", rip=0x1000, handler=0x2000)])
    film.look(1, lines={1: [Line(0x2000, "f4", "hlt")]})
    film.extend([trace.OwnerChange(2, 30, 1, owner="kernel 1", planned=None, address=0x2000)])
    film.look(1)
    film.look(0, time=40, writes=[(0x100, (0x200).to_bytes(8, "little"))])
    film.look(0, time=50, lines={0: [Line(0x2000, "f4", "hlt")]})
    return film


@pytest.mark.parametrize(
    ("words", "look"),
    [
        ("0x2000", 2),
        ("breakpoint 0x2000 CPU 0", 5),
        ("address 0x3000", None),
        ("vector 0xEA", 2),
        ("Vector 234 cpu 1", 2),
        ("vector 0xEA cpu 0", None),
        ("owner", 3),
        ("owner cpu 1", 3),
        ("owner cpu 0", None),
        ("list", 4),
        ("write 0x5000", 1),
        ("write 0x5000 4", None),
        ("write 0x5005 1 cpu 0", 1),
        ("write 0x5005 1 cpu 1", None),
        ("event 2", 3),
        ("event 9", None),
        ("time 21", 3),
        ("time 1,000", None),
    ],
)
def test_a_condition_is_read_and_found(film: Film, words: str, look: int | None) -> None:
    condition = parse(words, 2)
    assert find(film, condition, 0, 5) == look
    assert parse(str(condition), 2) == condition
    if look is not None:
        assert find(film, condition, look, 5) != look, "a run that stands there would never leave"
        assert find(film, condition, 0, look - 1) is None


def test_every_form_that_is_shown_can_be_read() -> None:
    for words in FORMS:
        assert str(parse(words, 4)).split()[0] in {*words.lower().split(), "breakpoint"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "a place to stop must be like 0x3000200, .*, not ''"),
        ("vect 0xEA", "not 'vect 0xEA'"),
        ("vector", "not 'vector'"),
        ("owner 3", "not 'owner 3'"),
        ("vector 0x100", "vector must be 0 to 0xff, not 0x100"),
        ("vector 0xEA cpu 2", "cpu must be 0 to 1, not 2"),
        ("list cpu 1", "'list' is the whole machine's"),
        ("write 0x1000 0", "write must be told 1 to 4096 bytes, not 0"),
        ("vector 0xEA 4", "only 'write' is told how many bytes"),
    ],
)
def test_what_cannot_be_read_is_said(words: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(words, 2)


def test_a_corrupt_list_is_followed_as_far_as_it_goes() -> None:
    memory = {0x100: 0x200, 0x200: 0x300, 0x300: 0x200, 0x900: 0xDEAD}

    def read(address: int, size: int) -> bytes | None:
        return memory[address].to_bytes(size, "little") if address in memory else None

    assert [link for link, _ in chain(read, 0x100)] == [0x100, 0x200, 0x300]
    assert chain(read, 0x900)[-1] == (0xDEAD, None)
    assert Condition("list") == parse("list", 1)
