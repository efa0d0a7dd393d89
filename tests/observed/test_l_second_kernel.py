"""A second kernel: theirs was another Linux, here it is the minikernel, with the host's own code."""

import re

import pytest

from mklab.errors import MklabError
from mklab.guest.abi import MK_IPI_DATA, Work
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.instance import Kernel
from mklab.kernel.layout import LOW_MEMORY_END, SHARED_MEMORY, TRAMPOLINE_BASE
from mklab.kernel.ptdump import ptdump_walk_pgd_level_checkwx
from tests.observed.reference import console, observed, printed, said, text

CHILD = 0x10000000
WINDOW = (CHILD, CHILD + (4 << 20))
LOW = (0, LOW_MEMORY_END)
VECTOR = 0xEA


def start(host: Host, *ram: tuple[int, int], apicids: tuple[int, ...] = (1,), shared: int = 0) -> Kernel:
    """The child on CPU 1, with v1's own behaviour: no agreed area, and a trampoline of its own if it finds room."""
    host.cpu_down(1)
    image = minikernel_image(CHILD, 1, apicids, memory=ram, shared=shared, agreed=False, trampoline=True)
    host.load(image)
    host.multikernel_kexec(1)
    host.settle()
    return host.kernel("kernel 1")


def alive(host: Host) -> None:
    """The host goes on: it sends itself a message and takes it."""
    before = len(console(host))
    host.multikernel_send_ipi_data(3, b"lives on", 1)
    host.settle()
    assert any("lives on" in line for line in console(host)[before:])


@observed("l.nolow")
def test_without_low_memory(host: Host) -> None:
    """Defect 11."""
    start(host, WINDOW)
    assert console(host, "kernel 1")[-1] == said("l.nolow")[0]
    alive(host)


@observed("l.low")
def test_with_low_memory(host: Host) -> None:
    """Defect 11."""
    child = start(host, LOW, WINDOW)
    base = host.machine.memory.read_u64(child.symbol("x86_trampoline_bsp_base"))
    assert base == TRAMPOLINE_BASE == host.machine.memory.read_u64(host.symbol("x86_trampoline_bsp_base"))
    assert f"picks {base:#x} for its own trampoline = the host page" in text("l.low")
    assert child.cpu_online(0)
    assert child.apicid(0) == 1
    lines = ptdump_walk_pgd_level_checkwx(host.machine.memory, child.symbol("page_tables"))
    assert lines == said("a.wx")
    assert said("a.cpa")[0] in console(host, "kernel 1")
    alive(host)


@observed("l.ipi")
def test_from_the_child_to_the_host(host: Host) -> None:
    child = start(host, LOW, WINDOW)
    before = len(console(host))
    found = re.search(r"(\d+) messages types (\d+)-(\d+)", text("l.ipi"))
    assert found is not None
    number, first, last = map(int, found.groups())
    for kind in range(first, last + 1):
        # The host's slot 0, which is no memory of the child's, and then the ICR.
        child.store(SHARED_MEMORY, b"\1\0\0\0" + kind.to_bytes(4, "little") + bytes(8))
        child.send_by_hand(VECTOR, 0)
        host.settle()
    lines = [line for line in console(host)[before:] if line.startswith("Multikernel IPI")]
    assert lines == [
        f"Multikernel IPI received on CPU 0 (physical id 0) from CPU 1 type={first + index}" for index in range(number)
    ]


@observed("l.ipi2")
def test_from_the_host_to_a_child_with_an_area_of_its_own(host: Host) -> None:
    start(host, LOW, WINDOW)
    host.send_by_hand(VECTOR, 1, slot=1, sender=9, type=9)
    host.settle()
    lines = [line for line in console(host, "kernel 1") if line.startswith("Multikernel IPI received")]
    assert lines == [f"{said('l.ipi2')[0]}"]


@observed("l.smp")
def test_a_child_takes_running_cpus(host: Host) -> None:
    """Defect 16, the other way round: no line of the host's says so."""
    child = start(host, LOW, WINDOW, apicids=(1, 2, 3))
    waiting = host.submit_work(Work.SEND_IPI_DATA, [3, 0, 1, 10_000_000], via=2)  # "init", busy on CPU 2
    host.machine.run(5000)
    assert not waiting.done
    lines, log = len(printed(host)), len(console(host))
    child.cpu_up(1)
    child.cpu_up(2)
    assert [cpu.owner for cpu in host.machine.cpus] == ["host", "kernel 1", "kernel 1", "kernel 1"]
    assert printed(host)[lines:] == []
    assert waiting.reason == "CPU 2, on which it ran, was reset"
    assert all(host.cpu_online(cpu) for cpu in (2, 3)), "so the host believes"
    assert not [line for line in console(host)[log:] if "CPU 2" in line and "up" in line]
    assert text("l.smp").startswith("child brings up APIC ids 2 and 3, taken from the running host; no host message")
    child.send_by_hand(VECTOR, 0)
    host.settle()
    assert text("l.smp").endswith("host init stops, CPU 0 still logs IPIs")
    assert "on CPU 0 (physical id 0)" in "\n".join(console(host)[log:])


@observed("l.shmres")
def test_the_hosts_area_outside_the_childs_memory(host: Host) -> None:
    """Defect 35."""
    child = start(host, LOW, WINDOW, shared=SHARED_MEMORY)
    failed, not_initialized = said("l.shmres")
    assert failed in console(host, "kernel 1")
    assert child.cpu_online(0)
    host.send_by_hand(VECTOR, 1)
    host.settle()
    assert console(host, "kernel 1")[-1].endswith(not_initialized.removeprefix("..."))


@observed("l.reboot")
def test_a_child_that_reboots(host: Host) -> None:
    """By the reset control register, as Linux does on such a machine."""
    child = start(host, LOW, WINDOW)
    child.out(0xCF9, 6)
    stop = host.settle()
    assert (stop.reason, stop.cpu) == ("reset", 1)
    assert text("l.reboot") == "whole machine resets"
    assert all(cpu.owner is None for cpu in host.machine.cpus)


def read_everywhere(child: Kernel) -> None:
    for gib in range(64):
        child.load_memory(gib << 30, 1)


@observed("l.panic")
def test_a_child_that_panics(host: Host) -> None:
    """It runs out of pages for its page tables."""
    child = start(host, LOW, WINDOW)
    with pytest.raises(MklabError):
        read_everywhere(child)
    assert console(host, "kernel 1")[-1] == "Kernel panic - not syncing: no page left for page tables"
    assert text("l.panic") == "host unaffected"
    alive(host)


def test_what_shows_of_a_child_that_shares_the_hosts_area(host: Host) -> None:
    """l.shmram and l.both (docs/fidelity.md): the area is zeroed, and a message reaches the host (defect 31)."""
    host.send_by_hand(0x20, 0, slot=5, sender=1, type=2, size=3)
    host.settle()
    slot = SHARED_MEMORY + 5 * MK_IPI_DATA.size
    assert host.machine.memory.read(slot, 16) != bytes(16)
    area = (SHARED_MEMORY & -4096, (SHARED_MEMORY & -4096) + 0x6000)
    child = start(host, LOW, area, WINDOW, shared=SHARED_MEMORY)
    assert host.machine.memory.read(slot, 16) == bytes(16)
    assert "Multikernel IPI support initialized" in console(host, "kernel 1")
    child.send_by_hand(VECTOR, 0, slot=0, sender=1, type=77)
    host.settle()
    assert any(line.endswith("from CPU 1 type=77") for line in console(host))
