"""Booting: the trampoline's page, what is insecure about it, and the message area."""

import re

from mklab.guest.abi import MK_IPI_DATA, NR_CPUS
from mklab.kernel.host import Host
from mklab.kernel.layout import SHARED_MEMORY
from mklab.kernel.ptdump import ptdump_walk_pgd_level_checkwx, writable_and_executable
from mklab.paging import walk
from tests.observed.reference import boot, console, observed, printed, said, text


@observed("a.tramp")
def test_the_trampolines_place() -> None:
    assert said("a.tramp")[0] in printed(boot())


@observed("a.memblock")
def test_it_is_reserved_twice_the_second_time_far_too_much(host: Host) -> None:
    """Defect 1."""
    ranges = re.findall(r"(0x\w+)-(0x\w+)", text("a.memblock"))
    expected = [(int(first, 16), int(last, 16)) for first, last in ranges]
    read, regions = host.machine.memory.read_u64, host.symbol("memblock_reserved")
    found = [(read(regions + 16 * index), read(regions + 16 * index + 8)) for index in range(8)]
    assert [(base, base + size - 1) for base, size in found if base == 0x96000] == expected


@observed("a.cpa")
def test_the_line_about_a_violation(host: Host) -> None:
    """What it says must hold in the page tables, where the page before has no X."""
    assert said("a.cpa")[0] in console(boot())
    found = re.search(r"violation: (\w+) -> (\w+) range: 0x(\w+) - 0x\w+ PFN (\w+)", text("a.cpa"))
    assert found is not None
    old, new, linear, pfn = (int(number, 16) for number in found.groups())
    entries = [walk(host.machine.memory, host.machine.registers(0), linear + to).entries[-1] for to in (-4096, 0)]
    assert [value for _, _, value in entries] == [old | (pfn - 1) << 12, new | pfn << 12]


@observed("a.wx")
def test_the_page_that_syzbot_saw() -> None:
    """Defect 2. The lines are a walk of the page tables in guest RAM."""
    host = boot()
    assert [line for line in printed(host) if line.startswith("x86/mm")] == said("a.wx")
    memory, tables = host.machine.memory, host.symbol("page_tables")
    assert ptdump_walk_pgd_level_checkwx(memory, tables) == said("a.wx")
    assert writable_and_executable(memory, tables) == [(0xFFFF888000096000, 36864)]


@observed("a.shm")
def test_the_message_area(host: Host) -> None:
    host = boot()
    lines = console(host)
    assert lines[: len(said("a.shm"))] == said("a.shm")
    assert f"size={NR_CPUS * MK_IPI_DATA.size + 4096} bytes" in lines[0]
    assert int.from_bytes(host.machine.memory.read(host.symbol("mk_shared_phys"), 8), "little") == SHARED_MEMORY


@observed("a.iomem")
def test_one_line_inside_system_ram_and_none_for_the_trampoline(host: Host) -> None:
    lines = host.proc_iomem().splitlines()
    assert [line for line in lines if "Multikernel" in line] == said("a.iomem")
    outer = lines[lines.index(said("a.iomem")[0]) - 1]
    assert outer.endswith(" : System RAM")
    assert not outer.startswith(" ")
    assert "00096000" not in host.proc_iomem()
