"""mk_shared_memory=: where the message area comes to lie."""

import re

import pytest

from mklab.kernel.host import Host
from mklab.kernel.kexec import KexecSegment
from tests.observed.reference import PAGE, PLAIN_RAM, boot, console, observed, printed, said, text


def resource(host: Host) -> tuple[int, int]:
    """The range that /proc/iomem has for it."""
    found = re.search(r"(\w+)-(\w+) : Multikernel Shared Memory", host.proc_iomem())
    assert found is not None
    return int(found[1], 16), int(found[2], 16)


def range_in(name: str) -> tuple[int, int]:
    """The range that the observation names."""
    found = re.search(r"(0x\w+)-(0x\w+)", text(name))
    assert found is not None
    return int(found[1], 16), int(found[2], 16)


@observed("h.ram")
def test_plain_ram() -> None:
    """Defect 33. The somebody to whom the pages go is an ordinary image, which waits in them to be started."""
    area = PLAIN_RAM + 0x10000
    host = boot(f"mk_shared_memory={area:#x}")
    assert any(line.startswith("Allocated and mapped") for line in console(host))
    data = [bytes([page]) * PAGE for page in range(1, 65)]
    host.kexec_load(0x6000000, [KexecSegment(b"".join(data), 0x6000000, 64 * PAGE)], 0)
    pages = [host.machine.memory.read(area + PAGE * page, PAGE) for page in range(5)]
    assert f"{sum(page in data for page in pages)} of {len(pages)} pages" in text("h.ram")
    host.send_by_hand(0x20, 0, slot=0, sender=77, type=88)  # a vector of no consequence
    host.settle()
    assert host.machine.memory.read(area, PAGE) != pages[0], "writing a slot changes it"


@observed("h.reserved")
def test_reserved_memory() -> None:
    """Defects 35 and 36."""
    host = boot("mk_shared_memory=0x10000000")
    using, failed, received = said("h.reserved")
    assert console(host)[:2] == [using, failed]
    assert all(host.cpu_online(cpu) for cpu in range(4)), "boot goes on"
    assert resource(host) == range_in("h.reserved")
    host.send_by_hand(0xEA, 0)
    host.settle()
    assert console(host)[-1] == received


@observed("h.above")
def test_beyond_the_end_of_ram() -> None:
    host = boot("mk_shared_memory=0x40000000")
    assert text("h.above").startswith("as reserved")
    assert console(host)[:2] == [line.replace("0x10000000", "0x40000000") for line in said("h.reserved")[:2]]
    assert resource(host) == range_in("h.above")


@observed("h.unaligned")
def test_an_unaligned_address() -> None:
    host = boot(f"mk_shared_memory={PLAIN_RAM + 0x100:#x}")
    assert any(line.startswith("Allocated and mapped") for line in console(host))
    assert resource(host) == range_in("h.unaligned")


@observed("h.bad")
def test_no_address_at_all(host: Host) -> None:
    bad = boot("mk_shared_memory=banana")
    assert said("h.bad")[0] in printed(bad)
    assert resource(bad) == resource(host), "as without it"


@pytest.mark.parametrize("first", [0x10000000, PLAIN_RAM + 0x100])
def test_its_size_is_that_of_the_observations(first: int) -> None:
    """Defect 34: 21504 bytes, not a multiple of a page."""
    last = resource(boot(f"mk_shared_memory={first:#x}"))[1]
    assert last - first == 0x53FF
