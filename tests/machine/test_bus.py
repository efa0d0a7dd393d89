"""Devices at their ports."""

import pytest

from mklab.machine.bus import Bus


class Recorder:
    """A device that answers with its offset and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        return 0x50 + offset + size * 16

    def write(self, offset: int, size: int, value: int) -> None:
        self.told.append((offset, size, value))


def test_a_device_gets_offsets() -> None:
    bus, first, second = Bus(), Recorder(), Recorder()
    bus.attach(0x60, 2, first)
    bus.attach(0x62, 4, second)
    bus.write(0x61, 1, 7)
    bus.write(0x62, 4, 8)
    assert (first.told, second.told) == ([(1, 1, 7)], [(0, 4, 8)])
    assert bus.read(0x65, 2) == 0x50 + 3 + 32


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF)])
def test_nobody_answers_with_ones(size: int, ones: int) -> None:
    bus, device = Bus(), Recorder()
    bus.attach(0x60, 2, device)
    for port in (0x5F, 0x62):
        assert bus.read(port, size) == ones
        bus.write(port, size, 1)
    assert device.told == []


@pytest.mark.parametrize(("start", "size"), [(0x60, 1), (0x5F, 2), (0x61, 8), (0x50, 0x40)])
def test_a_port_has_one_device(start: int, size: int) -> None:
    bus = Bus()
    bus.attach(0x60, 2, Recorder())
    with pytest.raises(ValueError, match=rf"^start must leave free what another device has at 0x60, not {start:#x}$"):
        bus.attach(start, size, Recorder())
