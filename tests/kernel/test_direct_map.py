"""How process context reaches memory: by the host's page tables in guest RAM."""

import pytest

from mklab.errors import MklabError, OopsError
from mklab.kernel.direct_map import PAGE_OFFSET
from mklab.kernel.host import Host
from mklab.kernel.layout import HOST_BASE, HOST_END, TRAMPOLINE_BASE
from mklab.kernel.ptdump import ptdump_walk_pgd_level_checkwx
from mklab.machine.machine import Machine
from mklab.paging import walk

PAGE = 4096


@pytest.fixture(scope="module")
def host() -> Host:
    machine = Machine(1)
    host = Host(machine)
    host.boot()
    return host


def test_text_is_read_only_and_data_is_not(host: Host) -> None:
    with pytest.raises(OopsError, match=r"write page fault at ffff888001000000 \(error_code 0003\)"):
        host.kernel_write(HOST_BASE, b"x")
    before = host.machine.memory.read(HOST_BASE, PAGE)
    data = host.symbol("handler_records")
    host.kernel_write(data, b"abc")
    assert host.machine.memory.read(data, 3) == b"abc"
    assert host.machine.memory.read(HOST_BASE, PAGE) == before


def test_a_page_that_is_no_ram_of_the_hosts_is_mapped_when_asked(host: Host) -> None:
    host.kernel_write(HOST_END + 0xFFE, b"over")  # across a page
    assert host.machine.memory.read(HOST_END + 0xFFE, 4) == b"over"
    host.kernel_write(1 << 39, b"nothing is there")


def test_what_is_written_before_the_fault_stays(host: Host) -> None:
    with pytest.raises(OopsError):
        host.kernel_write(HOST_BASE - 2, b"abcd")
    assert host.machine.memory.read(HOST_BASE - 2, 2) == b"ab"


def test_ram_appears_at_page_offset(host: Host) -> None:
    """As the CPU would translate it, with the registers that it really has."""
    registers = host.machine.registers(0)
    for paddr in (0, 0x9E000, 0x100000, HOST_BASE, 0x1FFF000):
        assert walk(host.machine.memory, registers, PAGE_OFFSET + paddr).paddr == paddr
    for paddr in (0x9F000, HOST_END, HOST_END * 2):
        assert walk(host.machine.memory, registers, PAGE_OFFSET + paddr).paddr is None
    assert host.direct_map.registers.cr3 == registers.cr3


def test_low_addresses_are_not_mapped(host: Host) -> None:
    """So a null pointer of the host's guest code faults."""
    assert walk(host.machine.memory, host.machine.registers(0), 0x10).paddr is None


def test_the_page_that_syzbot_saw(host: Host) -> None:
    """Defect 2, rfc-observed a.wx: the lines of a real kernel."""
    lines = ptdump_walk_pgd_level_checkwx(host.machine.memory, host.symbol("page_tables"))
    assert lines == [
        "x86/mm: Found insecure W+X mapping at address 0xffff888000096000",
        "x86/mm: Checked W+X mappings: FAILED, 9 W+X pages found.",
    ]


def test_nothing_is_insecure_without_the_trampoline(host: Host) -> None:
    """The walk finds what is there: with NX set again, it passes."""
    machine = Machine(1)
    other = Host(machine)
    other.boot()
    for page in range(9):
        level, entry, value = walk(
            machine.memory, machine.registers(0), PAGE_OFFSET + TRAMPOLINE_BASE + page * PAGE
        ).entries[-1]
        assert level == "PT"
        machine.poke(entry, (value | 1 << 63).to_bytes(8, "little"))
    lines = ptdump_walk_pgd_level_checkwx(machine.memory, other.symbol("page_tables"))
    assert lines == ["x86/mm: Checked W+X mappings: passed, no W+X pages found."]


def test_a_kernel_without_symbols_says_so(host: Host) -> None:
    from mklab.kernel.instance import Kernel

    with pytest.raises(MklabError, match="kernel 7 is not loaded; what asks for it needs a minikernel"):
        Kernel(host.machine, "kernel 7").symbol("page_tables")
