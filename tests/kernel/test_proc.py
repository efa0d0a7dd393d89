"""/proc as RFC v1 shapes it; the host's message area where the command line puts it."""

import pytest

from mklab.kernel.host import Host
from mklab.kernel.layout import SHARED_MEMORY
from mklab.machine.machine import Machine
from mklab.trace import Printk

NOT_INITIALISED = "Multikernel IPI received but shared memory not initialized"


def boot(cmdline: str = "", cpus: int = 1) -> Host:
    host = Host(Machine(cpus))
    host.boot(cmdline)
    return host


class TestIomem:
    def test_one_line_inside_system_ram_and_none_for_the_trampoline(self) -> None:
        """rfc-observed a.iomem."""
        assert boot().proc_iomem() == (
            "00000000-0009efff : System RAM\n"
            "00100000-01ffffff : System RAM\n"
            "  01ffa000-01fff3ff : Multikernel Shared Memory\n"
            "fee00000-fee00fff : Local APIC\n"
        )

    def test_a_crash_region(self) -> None:
        lines = boot("crashkernel=4M@0x1400000").proc_iomem().splitlines()
        assert "  01400000-017fffff : Crash kernel" in lines


def test_hostname() -> None:
    host = boot()
    assert host.proc_hostname() == "(none)\n"
    host.kernel_write(host.symbol("nodename"), b"owned!\0")
    assert host.proc_hostname() == "owned!\n"


class TestSharedMemory:
    """rfc-observed a.shm and h.*."""

    def test_allocated(self) -> None:
        lines = boot().machine.console("host").splitlines()
        assert lines[:3] == [
            f"Allocated and mapped multikernel shared memory: phys={SHARED_MEMORY:#x}, "
            f"virt={0xFFFF888000000000 + SHARED_MEMORY:x}, size=21504 bytes",
            "Multikernel IPI support initialized",
            f"Registered multikernel shared memory in resource tree: {SHARED_MEMORY:#x}-{SHARED_MEMORY + 0x53FF:#x}",
        ]

    def test_plain_ram_is_zeroed_and_stays_unreserved(self) -> None:
        """h.ram, defect 33: the page allocator hands it out all the same."""
        machine = Machine(1)
        machine.poke(0x1B00000, b"somebody's")
        host = Host(machine)
        host.boot("mk_shared_memory=0x1b00000")
        assert machine.memory.read(0x1B00000, 10) == bytes(10)
        assert host.kimages.pages.alloc_pages() == 0x1B00000
        reserved = host.symbol("memblock_reserved")
        starts = [machine.memory.read_u64(reserved + 16 * index) for index in range(8)]
        assert 0x1B00000 not in starts

    @pytest.mark.parametrize("address", [0x2000000, 0x40000000])
    def test_what_is_no_ram_of_the_hosts_cannot_be_mapped(self, address: int) -> None:
        """h.reserved and h.above, defects 35 and 36: boot goes on, and the range is registered anyway."""
        host = boot(f"mk_shared_memory={address:#x}")
        assert host.machine.console("host").splitlines()[:3] == [
            f"Using specified physical address {address:#x} for multikernel shared memory",
            f"Failed to map shared memory at {address:#x} for multikernel IPI data",
            f"Registered multikernel shared memory in resource tree: {address:#x}-{address + 0x53FF:#x}",
        ]
        assert f"{address:08x}-{address + 0x53FF:08x} : Multikernel Shared Memory\n" in host.proc_iomem()
        host.send_by_hand(0xEA, 0)
        host.settle()
        assert host.machine.console("host").splitlines()[-1] == NOT_INITIALISED

    def test_an_unaligned_address_is_accepted(self) -> None:
        """h.unaligned."""
        assert "01b00100-01b054ff : Multikernel Shared Memory" in boot("mk_shared_memory=0x1b00100").proc_iomem()

    def test_a_malformed_one_is_ignored(self) -> None:
        """h.bad."""
        host = boot("mk_shared_memory=banana")
        assert host.machine.trace.of(Printk)[0].text == "Malformed early option 'mk_shared_memory'"
        assert "01ffa000-01fff3ff : Multikernel Shared Memory" in host.proc_iomem()


class TestInterrupts:
    def test_messages_count_as_function_calls(self) -> None:
        """rfc-observed f.one, defect 40: no row of its own."""
        host = boot(cpus=2)
        before = host.proc_interrupts()
        assert before.splitlines()[0].split() == ["CPU0", "CPU1"]
        host.send_by_hand(0xEA, 1)
        host.settle()
        after = [line.split(maxsplit=3) for line in host.proc_interrupts().splitlines()[1:]]
        rows = {label: counts for label, *counts in (line.split(maxsplit=3) for line in before.splitlines()[1:])}
        assert rows["CAL:"] == ["0", "0", "Function call interrupts"]
        assert ["CAL:", "0", "1", "Function call interrupts"] in after
        assert {line[0] for line in after} == rows.keys()


def test_what_nobody_asked_for_is_said() -> None:
    """rfc-observed f.stray and f.nmi, but for the reason, which is a port's."""
    host = boot(cpus=2)
    host.send_by_hand(0xA0, 0)
    host.settle()
    assert host.machine.console("host").splitlines()[-1] == "No irq handler for 0.160"
    host.send_by_hand(0x400, 0)
    host.settle()
    lines = host.machine.console("host").splitlines()[-2:]
    assert lines[0].startswith("Uhhuh. NMI received for unknown reason")
    assert lines[1] == "Dazed and confused, but trying to continue"


def test_memblock_reserves_far_too_much() -> None:
    """Defect 1, rfc-observed a.memblock: a size where an end was meant."""
    host = boot()
    memory, first = host.machine.memory, host.symbol("memblock_reserved")
    regions = [(memory.read_u64(first + 16 * i), memory.read_u64(first + 16 * i + 8)) for i in range(3)]
    assert (0x96000, 0x9000) in regions
    assert (0x96000, 0x9F000) in regions, "0x96000 to 0x134fff"
