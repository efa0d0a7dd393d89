"""The trampoline, from its page to the jump (RFC v1, patch 2): defects 1 to 3 and 7 to 10."""

import struct

from mklab.guest import trampoline
from mklab.kernel.host import Host
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.ptdump import ptdump_walk_pgd_level_checkwx, writable_and_executable
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import (
    SPIN,
    STOP,
    booted,
    kick_code,
    load_code,
    outcome,
    page_fault,
    running,
    spawn,
    trampoline_base,
    window,
)
from mklab.machine.cpu import CpuState
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.trace import Fault, Shutdown

__all__ = ["DEFECTS"]

_BLOB = trampoline()
_MIB, _GIB = 1 << 20, 1 << 30
_INT3_AND_HALT = "ccf4"


def _reservation() -> list[Finding]:
    """Boot a host, and read memblock's list of reserved regions in its memory."""
    host = booted(1)
    memory, base = host.machine.memory, trampoline_base(host)
    size = len(_BLOB.data)
    count = int.from_bytes(memory.read(host.symbol("memblock_reserved_count"), 4), "little")
    regions = struct.unpack(f"<{2 * count}Q", memory.read(host.symbol("memblock_reserved"), 16 * count))
    found = [length for start, length in zip(regions[::2], regions[1::2], strict=True) if start == base]
    most = max(found)
    end = base + most
    return [
        Finding(
            f"the trampoline takes {size:#x} bytes at {base:#x}, and {base:#x}-{end - 1:#x} is reserved",
            size in found and most == base + size,
        ),
        Finding(f"{(end - _MIB) // 1024} KiB above 1 MiB are lost with it", end > _MIB),
    ]


def _w_and_x() -> list[Finding]:
    """Boot a host, and walk its page tables as CONFIG_DEBUG_WX does at the end of a boot."""
    host = booted(1)
    machine, base, size = host.machine, trampoline_base(host), len(_BLOB.data)
    tables = host.symbol("page_tables")
    runs = writable_and_executable(machine.memory, tables)
    linear = 0xFFFF888000000000 + base
    lines = ptdump_walk_pgd_level_checkwx(machine.memory, tables)
    text = outcome(host.kernel_write, host.symbol("startup_64"), b"\xf4")
    page = outcome(host.kernel_write, base + size - 1, b"\0")
    return [
        Finding(lines[0], runs == [(linear, size)] and f"{linear:x}" in lines[0]),
        Finding(lines[-1], f"{size // 4096} W+X pages" in lines[-1]),
        Finding(
            f"a store to the host's own text: {text}; to the executable page: it {'succeeds' if page == '0' else page}",
            text != page == "0",
        ),
    ]


def _stack() -> list[Finding]:
    """Fill the bytes round physical 0x1200 and the top of the trampoline's stack with 0xDD, start a CPU, and look."""
    host = booted(2)
    machine = host.machine
    host.cpu_down(1)
    load_code(host, STOP, window(1))
    machine.poke(0x11F0, b"\xdd" * 0x20)
    top = trampoline_base(host) + _BLOB.symbols["trampoline_stack_end"]
    machine.poke(top - 8, b"\xdd" * 8)
    host.multikernel_kexec(1)
    host.settle()
    low = machine.memory.read(0x11F0, 0x20)
    pushed = struct.unpack_from("<2I", low, 0xC)
    rest = low[:0xC] + low[0x14:]
    return [
        Finding(
            f"physical 0x11fc holds {pushed[0]:#010x} and 0x1200 holds {pushed[1]:#x}: the trampoline's two pushes",
            pushed == (trampoline_base(host) + _BLOB.symbols["startup_64"], 0x10) and rest == b"\xdd" * len(rest),
        ),
        Finding(
            f"the stack that it has for them, below {top:#x}, is untouched",
            machine.memory.read(top - 8, 8) == b"\xdd" * 8,
        ),
    ]


def _entered_at(entry: int) -> tuple[Host, str, int]:
    """A host after a kick to ``entry``: it, what reboot(2) has returned, and the first entry of directory 0."""
    host = booted(2, ram=[(0, 64 * _MIB), (entry, 2 * _MIB)])
    host.cpu_down(1)
    load_code(host, STOP, entry)
    kick = outcome(host.multikernel_kexec, 1)
    host.settle()
    return host, kick, host.machine.memory.read_u64(trampoline_base(host) + _BLOB.symbols["pgtable"] + 0x2000)


def _beyond_the_pdpt() -> list[Finding]:
    """Load a payload at 512 GiB and kick a CPU into it; then one at 5 GiB."""
    host, kick, first = _entered_at(512 * _GIB)
    extra = trampoline_base(host) + _BLOB.symbols["extra_directory"]
    stop = host.machine.stopped
    near, near_kick, near_first = _entered_at(5 * _GIB)
    return [
        Finding(
            f"entry 512 GiB: entry >> 30 is 512, one behind the PDPT, where directory 0 begins: it has {first:#x} now, "
            f"the extra directory at {extra:#x}, in the place of the first 2 MiB, and the trampoline in them",
            first & ~0xFFF == extra,
        ),
        Finding(
            f"reboot returns {kick}, then {stop.detail if stop else 'nothing happens'}",
            kick == "0" and stop is not None and stop.reason == "reset",
        ),
        Finding(
            f"entry 5 GiB: reboot returns {near_kick}, directory 0 begins with {near_first:#x}, the first 2 MiB as "
            f"they are; CPU 1 runs {near.machine.cpus[1].owner or 'nothing'}",
            near_first & ~0xFFF == 0 and near.machine.cpus[1].owner == "kernel 1",
        ),
    ]


def _reads(address: int) -> str:
    """Code that reads eight bytes at ``address`` and halts."""
    return "48b8" + address.to_bytes(8, "little").hex() + "488b00" + STOP


def _high(code: str, entry: int, *, pages: int = 1) -> Machine:
    """A machine with RAM at 4, 5 and 6 GiB, after CPU 1 was kicked to ``entry``."""
    host = booted(2, ram=[(0, 64 * _MIB), (4 * _GIB, 4096), (5 * _GIB, 4096), (6 * _GIB - 4096, 8192)])
    host.cpu_down(1)
    host.kexec_load(entry, [KexecSegment(bytes.fromhex(code), entry, pages * 4096)])
    host.multikernel_kexec(1)
    host.settle()
    return host.machine


def _one_gib() -> list[Finding]:
    """Kick CPUs into payloads at 5 GiB that read 5 GiB and 4 GiB, and into one that crosses from 5 to 6 GiB."""
    inside, below = (_high(_reads(address), 5 * _GIB) for address in (5 * _GIB, 4 * _GIB))
    crossing = _high("e9fb0f0000".ljust(2 * 4096, "0") + STOP, 6 * _GIB - 4096, pages=2)  # jmp .+4096
    findings = [
        Finding(
            f"an image at 5 GiB that reads 5 GiB: CPU 1 is {inside.cpus[1].state}",
            inside.stopped is None and inside.cpus[1].state is CpuState.HALTED,
        )
    ]
    for what, machine, address in (
        ("an image at 5 GiB that reads 4 GiB, where there is RAM", below, 4 * _GIB),
        ("an image from 6 GiB - 4096 to 6 GiB + 4096", crossing, 6 * _GIB),
    ):
        faults = [event for event in machine.trace.of(Fault) if event.cpu == 1]
        seen = page_fault(faults)
        end = "the platform is reset" if machine.stopped else "nothing else happens"
        right = bool(faults) and (faults[0].vector, faults[0].cr2) == (14, address) and machine.stopped is not None
        findings.append(Finding(f"{what}: {seen}; {end}", right))
    return findings


def _nmi(host: Host, cpu: int) -> None:
    machine = host.machine
    machine.store(0, APIC_BASE + 0x310, machine.cpus[cpu].apic_id << 24)
    machine.store(0, APIC_BASE + 0x300, 0x400)
    host.settle(100_000)


def _no_idt() -> list[Finding]:
    """Execute INT3 in a payload that runs on the trampoline's IDT, and send an NMI to another.

    Send an NMI to a minikernel, too, which has an IDT of its own.
    """
    trap = booted(2)
    kick_code(trap, 1, _INT3_AND_HALT, window(1))
    trap.settle()
    spinning = booted(2)
    kick_code(spinning, 1, SPIN, window(1))
    spinning.machine.run(50_000)
    limit = spinning.machine.registers(1).idtr.limit
    _nmi(spinning, 1)
    other = booted(2)
    spawn(other, 1, 1)
    _nmi(other, 1)
    line = other.machine.console("kernel 1").splitlines()[-1]
    findings = []
    for what, host in ((f"INT3 (IDT limit {limit})", trap), ("an NMI from the host", spinning)):
        machine = host.machine
        down = [event for event in machine.trace.of(Shutdown) if event.cpu == 1]
        ended = machine.stopped is not None and machine.stopped.reason == "reset"
        findings.append(
            Finding(
                f"{what}: {down[0].why if down else 'no shutdown'}; then "
                f"{f'the platform is reset, and {running(machine)}' if ended else 'nothing'}",
                bool(down) and ended and limit == 0,
            )
        )
    findings.append(
        Finding(f"an NMI to a kernel with an IDT: its console says {line!r}", other.machine.stopped is None)
    )
    return findings


DEFECTS: tuple[Defect, ...] = (
    Defect(
        1,
        "A reservation that ends nowhere",
        "patch 2, setup_trampolines_bsp: memblock_reserve(mem, mem + size), whose second argument is a size",
        _reservation,
    ),
    Defect(
        2,
        "Writable and executable low memory",
        "patch 2, configure_trampolines_bsp: set_memory_x on pages that stay writable (syzbot's report)",
        _w_and_x,
    ),
    Defect(
        3,
        "A stack that is left behind",
        "patch 2, startup_32: SS becomes flat, ESP stays an offset in the trampoline's segment",
        _stack,
    ),
    Defect(
        7,
        "An index beyond its table",
        "patch 2, startup_64: PDPT[entry >> 30] without a mask of nine bits",
        _beyond_the_pdpt,
    ),
    Defect(
        8,
        "One GiB above 4 GiB",
        "patch 2, startup_64: only the GiB that holds the entry is mapped, whatever else the image has",
        _one_gib,
    ),
    Defect(
        9,
        "An empty IDT",
        "patch 2, trampoline: LIDT with limit 0, so that any exception or NMI is a triple fault",
        _no_idt,
    ),
    Defect(
        10,
        "No check for long mode",
        "patch 2, trampoline: the check for long mode is commented out",
        None,
        "every CPU of this machine has long mode, and EFER.LME can be set on each",
    ),
)
