"""RAM against a dictionary of bytes."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.machine.layout import APIC_BASE
from mklab.machine.memory import PhysicalMemory

GIB = 1 << 30
RANGES = [(0, 0x4000), (5 * GIB, 0x2000)]
ADDRESSES = st.integers(0, 0x4000) | st.integers(5 * GIB - 4, 5 * GIB + 0x2000)


@given(st.lists(st.tuples(ADDRESSES, st.binary(min_size=1, max_size=40)), max_size=12))
def test_it_keeps_what_is_written_and_says_so(writes: list[tuple[int, bytes]]) -> None:
    memory, model, told = PhysicalMemory(RANGES), dict[int, int](), []
    memory.on_write = lambda start, end: told.append((start, end))
    expected = []
    for paddr, data in writes:
        inside = any(start <= paddr and paddr + len(data) <= start + size for start, size in RANGES)
        assert memory.contains(paddr, len(data)) is inside
        if inside:
            memory.write(paddr, data)
            model.update(enumerate(data, paddr))
            expected.append((paddr, paddr + len(data)))
        else:
            with pytest.raises(ValueError, match="must lie in RAM, not"):
                memory.write(paddr, data)
    assert told == expected
    for start, size in RANGES:
        assert memory.read(start, size) == bytes(model.get(start + i, 0) for i in range(size))


@given(st.lists(st.tuples(st.integers(0, 0x3FF0), st.binary(min_size=1, max_size=16)), max_size=6))
def test_a_state_is_put_back(writes: list[tuple[int, bytes]]) -> None:
    memory, other = PhysicalMemory(RANGES), PhysicalMemory(RANGES)
    other.write(0x1000, b"old contents")
    told = []
    other.on_write = lambda start, end: told.append((start, end))
    for paddr, data in writes:
        memory.write(paddr, data)
    other.restore(json.loads(json.dumps(memory.state())))
    assert all(other.read(*one) == memory.read(*one) for one in RANGES)
    assert told == [(0, 0x4000), (5 * GIB, 5 * GIB + 0x2000)], "what was translated from there is stale"


def test_a_state_names_only_pages_that_hold_something() -> None:
    memory = PhysicalMemory(RANGES)
    memory.write(0x2FFF, b"\x01")
    memory.write(5 * GIB + 0x1000, b"\x02")
    low, high = memory.state()
    assert (list(low["pages"]), list(high["pages"])) == (["0x2000"], [hex(5 * GIB + 0x1000)])


def test_writing_nothing_is_no_write() -> None:
    memory, told = PhysicalMemory(RANGES), []
    memory.on_write = lambda start, end: told.append((start, end))
    memory.write(0x1000, b"")
    assert told == []


def test_numbers_are_little_endian() -> None:
    memory = PhysicalMemory([(0, 0x1000)])
    memory.write(8, bytes.fromhex("0102030405060708"))
    assert memory.read_u64(8) == 0x0807060504030201
    assert memory.size == 0x1000


def test_ranges_are_sorted() -> None:
    memory = PhysicalMemory(reversed(RANGES))
    assert memory.ranges == RANGES
    assert [(start, end) for start, end, _ in memory.buffers] == [(0, 0x4000), (5 * GIB, 5 * GIB + 0x2000)]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([], "ranges must hold at least one range of RAM, not []"),
        ([(0x10, 0x1000)], "a range of RAM must be whole pages of 4096 bytes, not (16, 4096)"),
        ([(0, 0x1001)], "a range of RAM must be whole pages of 4096 bytes, not (0, 4097)"),
        ([(0, 0)], "the size of a range of RAM must be 1 to 68719476736 bytes, not 0"),
        ([(-4096, 4096)], "the start of a range of RAM must be 0 to 1099511627776, not -4096"),
        ([(0, 0x2000), (0x1000, 0x1000)], "ranges of RAM must not overlap, not (4096, 4096)"),
        ([(APIC_BASE - 4096, 0x2000)], "RAM must leave out the local APIC at 0xfee00000, not (4276088832, 8192)"),
        ([(1 << 40, 4096)], "RAM must end below 2**40, not (1099511627776, 4096)"),
    ],
)
def test_ram_that_cannot_be_is_refused(ranges: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PhysicalMemory(ranges)


@pytest.mark.parametrize(("paddr", "size"), [(0x3FFF, 2), (0x4000, 1), (-1, 1), (5 * GIB + 0x1FF9, 8)])
def test_reading_beyond_ram_is_refused(paddr: int, size: int) -> None:
    with pytest.raises(ValueError, match=re.escape(f"must lie in RAM, not {(hex(paddr), size)!r}")):
        PhysicalMemory(RANGES).read(paddr, size)


def test_the_state_of_another_memory_is_refused() -> None:
    state = PhysicalMemory([(0, 0x1000)]).state()
    memory = PhysicalMemory([(0, 0x2000)])
    memory.write(0, b"kept")
    with pytest.raises(ValueError, match=re.escape("the state must be of RAM [(0, 8192)], not [(0, 4096)]")):
        memory.restore(state)
    assert memory.read(0, 4) == b"kept"
