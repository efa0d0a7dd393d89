"""The history of RAM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.recording.contents import PAGE, Contents, Write

RAM = [(0x10000, 4 * PAGE), (1 << 39, PAGE)]
SIZE = 4 * PAGE
WRITES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=40)), max_size=90)


@given(WRITES, st.integers(-1, 90))
def test_any_moment_and_any_cut(writes: list[tuple[int, bytes]], cut: int) -> None:
    """Against a plain copy of all RAM for each look."""
    contents, kept = Contents(RAM, 1 << 20), [bytes(SIZE)]
    for look, (offset, data) in enumerate(writes):
        stored = data[: SIZE - offset]
        contents.note_write(look, 0x10000 + offset, stored)
        kept.append(kept[-1][:offset] + stored + kept[-1][offset + len(stored) :])
    for look, expected in enumerate(kept, -1):
        assert contents.read(look, 0x10000, SIZE) == expected
        for one in contents.writes(look):
            place = slice(one.address - 0x10000, one.end - 0x10000)
            assert (one.old, one.new) == (kept[look][place], expected[place])
    again = Contents(RAM, 1 << 20)
    for run in contents.runs():
        again.put_back(run[0], run[1], run[3], run[2])
    assert list(again.runs()) == list(contents.runs())
    assert again.read(len(writes), 0x10000, SIZE) == kept[-1]
    contents.cut(cut)
    assert contents.read(len(writes), 0x10000, SIZE) == kept[min(cut, len(writes) - 1) + 1]


@given(WRITES, st.lists(st.tuples(st.integers(0), st.integers(0, SIZE - 1), st.binary(min_size=1)), max_size=40))
def test_looks_put_in_between(writes: list[tuple[int, bytes]], later: list[tuple[int, int, bytes]]) -> None:
    """Against a plain copy of all RAM for each look."""
    contents, kept = Contents(RAM, 1 << 20), [bytes(SIZE)]

    def stored(ram: bytes, offset: int, data: bytes) -> bytes:
        return (ram[:offset] + data + ram[offset + len(data) :])[:SIZE]

    for look, (offset, data) in enumerate(writes):
        contents.note_write(look, 0x10000 + offset, data[: SIZE - offset])
        kept.append(stored(kept[-1], offset, data))
    for place, offset, data in later if writes else []:
        look = place % (len(kept) - 1)
        ram = stored(kept[look], offset, data)
        pages = {0x10000 + at: ram[at : at + PAGE] for at in range(0, SIZE, PAGE)}
        contents.insert(look, pages)
        kept.insert(look + 1, ram)
    for look, expected in enumerate(kept, -1):
        assert contents.read(look, 0x10000, SIZE) == expected
        changed = b"".join(bytes([one.old != one.new]) for one in contents.writes(look))
        assert bool(changed) == (look >= 0 and kept[look] != expected)
    again = Contents(RAM, 1 << 20)
    for run in contents.runs():
        again.put_back(run[0], run[1], run[3], run[2])
    assert list(again.runs()) == list(contents.runs())
    assert again.held == contents.held


def test_what_comes_after_a_cut() -> None:
    """Long enough for keyframes on both sides of it."""
    contents = Contents(RAM, 1 << 20)
    for look in range(100):
        contents.note_write(look, 0x10000 + look % 7, bytes([look + 1]))
    contents.cut(20)
    before = contents.read(20, 0x10000, 8)
    for look in range(21, 100):
        contents.note_write(look, 0x10010 + look % 7, bytes([look + 1]))
    for look in range(21, 100):
        later = [max((one + 1 for one in range(21, look + 1) if one % 7 == place), default=0) for place in range(7)]
        assert contents.read(look, 0x10000, 8) == before
        assert contents.read(look, 0x10010, 7) == bytes(later)


def test_neighbours_are_one_write_and_strangers_two() -> None:
    contents = Contents(RAM, 1 << 20)
    contents.note_write(0, 0x10000, b"ab\0\0\0\0ef")
    contents.note_write(0, 0x10FFE, b"1234")  # across a page
    contents.note_write(1, 0x10001, b"c")
    assert contents.writes(0) == [
        Write(0x10000, 8, bytes(8), b"ab\0\0\0\0ef"),
        Write(0x10FFE, 4, bytes(4), b"1234"),
    ]
    assert contents.writes(1) == [Write(0x10001, 1, b"b", b"c")]
    assert contents.writes(2) == []


def test_a_store_of_what_lay_there_is_not_seen() -> None:
    contents = Contents(RAM, 1 << 20)
    contents.note_write(0, 0x10000, b"same")
    contents.note_write(1, 0x10000, b"same")
    assert contents.writes(1) == []


def test_what_is_too_much_is_told_by_its_place() -> None:
    contents = Contents(RAM, 10)
    contents.note_write(0, 0x10000, b"12345678")
    contents.note_write(1, 0x10000, b"abcdefgh")  # too much
    contents.note_write(2, 0x11000, b"ij")
    contents.note_write(3, 0x10000, b"x")
    assert contents.held == 10
    assert contents.read(0, 0x10000, 8) == b"12345678"
    assert contents.read(1, 0x10000, 8) is None
    assert contents.writes(1) == [Write(0x10000, 8, b"12345678", None)]
    assert contents.writes(3) == [Write(0x10000, 1, None, None)]
    assert contents.read(3, 0x11000, 2) == b"ij"
    again = Contents(RAM, 10)
    for run in contents.runs():
        again.put_back(run[0], run[1], run[3], run[2])
    assert [again.read(look, 0x10000, 8) for look in range(4)] == [b"12345678", None, None, None]
    contents.cut(0)
    assert (contents.held, contents.read(3, 0x10000, 8)) == (8, b"12345678")


@pytest.mark.parametrize(("address", "size"), [(0xFFFF, 2), (0x13FFF, 2), (0, 1), (0x10000, -1)])
def test_where_there_is_no_ram(address: int, size: int) -> None:
    contents = Contents(RAM, 1 << 20)
    assert contents.read(0, address, size) is None
    with pytest.raises(ValueError, match="address must be one of 2 bytes of RAM, not 65535"):
        contents.note_write(0, 0xFFFF, b"ab")


def test_who_wrote_last() -> None:
    contents = Contents(RAM, 1 << 20)
    contents.note_write(3, 0x10010, b"a")
    contents.note_write(7, 0x10020, b"b")
    assert [contents.last_write(look, 0x10FFF) for look in (2, 3, 6, 9)] == [None, 3, 3, 7]
    assert contents.last_write(9, 0x11000) is None
