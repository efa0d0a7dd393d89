"""Changed pages: both sources find exactly the pages that were written."""

import gc
import random
from pathlib import Path

import pytest

from mklab.machine.machine import Machine
from mklab.machine.memory import PAGE, PhysicalMemory
from mklab.timeline import comparison
from mklab.timeline.pages import ChangedPages, offered
from tests.machine.guestcode import DATA, long_mode

HIGH = 1 << 39


def memory() -> PhysicalMemory:
    """Two ranges with a hole between them, one above 4 GiB."""
    return PhysicalMemory([(0x10000, 2 << 20), (HIGH, 1 << 20)])


@pytest.fixture(params=offered())
def source(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_python_writes_are_found(source: str) -> None:
    ram = memory()
    ram.write(0x11000, b"before")
    found = ChangedPages(ram, source)
    assert found.source == source
    assert found.changed() == []
    ram.write(0x11FFF, b"ab")  # two pages
    ram.write(HIGH + 0x5000, b"c")
    assert found.changed() == [0x11000, 0x12000, HIGH + 0x5000]
    assert found.changed() == []


def test_reading_changes_nothing(source: str) -> None:
    ram = memory()
    found = ChangedPages(ram, source)
    for start, size in ram.ranges:
        ram.read(start, size)
    assert found.changed() == []


def test_many_scattered_pages(source: str) -> None:
    """More than one call of the kernel's finds."""
    ram = PhysicalMemory([(0, 64 << 20)])
    found = ChangedPages(ram, source)
    generator = random.Random(4)
    for _ in range(3):
        written = sorted(generator.sample(range(0, 64 << 20, PAGE), 5000))
        for page in written:
            ram.write(page + generator.randrange(PAGE), bytes([generator.randrange(1, 256)]))
        changed = found.changed()
        # A random byte may be the one that lay there.
        assert set(changed) <= set(written)
        assert len(changed) >= len(written) - (0 if source == "PAGEMAP_SCAN" else 200)


def test_guest_stores_are_found(source: str) -> None:
    machine, _ = long_mode(f"movl $1, {DATA:#x}\nmovb $1, {DATA + 0x3000:#x}\nhlt")
    found = ChangedPages(machine.memory, source)
    machine.run()
    assert set(found.changed()) >= {DATA & -PAGE, (DATA + 0x3000) & -PAGE}
    machine.run(100)
    assert found.changed() == []


def test_several_look_at_one_memory(source: str) -> None:
    ram = memory()
    first = ChangedPages(ram, source)
    ram.write(0x20000, b"1")
    second = ChangedPages(ram, source)
    ram.write(0x21000, b"2")
    assert second.changed() == [0x21000]
    assert first.changed() == [0x20000, 0x21000]
    del second
    gc.collect()
    ram.write(0x22000, b"3")
    assert first.changed() == [0x22000]


def test_both_sources_agree_on_one_memory() -> None:
    ram = memory()
    both = [ChangedPages(ram, name) for name in offered()]
    for address in (0x10000, 0x15000, HIGH):
        ram.write(address, b"\1")
    assert [one.changed() for one in both] == [[0x10000, 0x15000, HIGH]] * 2


def test_a_source_ends_with_the_last_that_looks() -> None:
    """Its file descriptors, too: a userfaultfd on memory that is gone would keep it."""
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        machine = Machine(1, 1 << 20)
        ChangedPages(machine.memory)
        del machine
        gc.collect()
    assert before == (len(list(Path("/proc/self/fd").iterdir())) if before else 0)


def test_a_host_that_swaps_is_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_never_swaps", lambda: False)
    ram = memory()
    found = ChangedPages(ram, "comparison")
    ram.write(HIGH, b"\1")
    assert found.changed() == [HIGH]


def test_sources_that_there_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"source must be one of \['PAGEMAP_SCAN', 'comparison'\], not 'soft-dirty'"):
        ChangedPages(memory(), "soft-dirty")
    monkeypatch.setattr("mklab.timeline.pagemap._SYSCALL", {})
    with pytest.raises(ValueError, match="source must be one that this host offers, not 'PAGEMAP_SCAN': PAGEMAP_SCAN"):
        ChangedPages(memory(), "PAGEMAP_SCAN")
    assert ChangedPages(memory()).source == "comparison"
