"""Pushing against a statement of the limit rules, byte by byte (SDM "Limit Checking", "Data Segments", expand-down)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.machine.fault import GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, Registers, Segment
from mklab.machine.stack import push

LIMITS = st.one_of(st.integers(0, 64), st.integers(0xFFC0, 0x10040), st.just(0xFFFFFFFF))
OFFSETS = st.one_of(st.integers(0, 80), st.integers(0xFFC0, 0x10050), st.integers(0xFFFFFFC0, 0xFFFFFFFF))
NEAR = st.integers(-3, 3).map(lambda distance: (distance,))
"""How far beyond the limit the outermost value would lie; in a tuple, to tell it from an offset."""


def may_reach(ss: Segment, offset: int) -> bool:
    """Whether one byte of the segment may be reached."""
    if ss.flags & 1 << 10:
        return ss.limit < offset <= (0xFFFFFFFF if ss.flags & 1 << 22 else 0xFFFF)
    return offset <= ss.limit


@settings(max_examples=500)
@given(LIMITS, st.one_of(OFFSETS, NEAR), st.booleans(), st.booleans(), st.sampled_from([2, 4]), st.integers(1, 9))
def test_limits(limit: int, where: int | tuple[int], big: bool, down: bool, width: int, count: int) -> None:
    esp = where if isinstance(where, int) else limit + 1 + where[0] + (width * count if down else 0) & 0xFFFFFFFF
    memory = PhysicalMemory([(0, 1 << 20)])
    ss = Segment(0x10, 0x40000, limit, 0x9300 | big << 22 | down << 10)
    values = [0x11223300 + i for i in range(count)]
    top = 1 << 32 if big else 1 << 16
    places = [(esp - width * (i + 1)) % top for i in range(count)]
    allowed = all(may_reach(ss, place + byte) for place in places for byte in range(width))
    linear = LinearMemory(memory, Registers(cr0=CR0.PE))
    if not allowed:
        with pytest.raises(GuestFaultError, match="no room") as raised:
            push(linear, ss, esp, values, width, error=0x55, user=False)
        assert (raised.value.vector, raised.value.error) == (12, 0x55)
        assert memory.read(0, 1 << 20) == bytes(1 << 20), "nothing was pushed"
        return
    after = push(linear, ss, esp, values, width, error=0x55, user=False)
    assert after == (places[-1] if big else esp - esp % top + places[-1])
    for value, place in zip(values, places, strict=True):
        at = (ss.base + place) % (1 << 32)
        if at + width <= 1 << 20:
            assert memory.read(at, width) == value.to_bytes(4, "little")[:width]


def test_a_segment_that_is_not_present() -> None:
    linear = LinearMemory(PhysicalMemory([(0, 0x1000)]), Registers(cr0=CR0.PE))
    with pytest.raises(GuestFaultError, match="0x10 has no room"):
        push(linear, Segment(0x10, 0, 0xFFFFFFFF, 0xC01300), 0x100, [1], 4, error=0, user=False)
