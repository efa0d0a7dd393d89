"""The trampoline and the kick (RFC v1, patches 1 and 2): defects 1 to 13."""

import struct

from mklab.guest import trampoline
from mklab.kernel.bootparam import E820_TYPE_RAM
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.kexec_file import Room
from mklab.kernel.layout import BOOT_PARAMS, HOST_END, LOW_MEMORY_END, WINDOW
from mklab.kernel.ptdump import ptdump_walk_pgd_level_checkwx, writable_and_executable
from mklab.kernel.purgatory import with_purgatory
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import SPIN, Starving, booted, kick_code, load_code, outcome, spawn, window
from mklab.machine.cpu import CpuState
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin
from mklab.trace import Fault, Shutdown

__all__ = ["DEFECTS"]

_BLOB = trampoline()
_MIB, _GIB = 1 << 20, 1 << 30
_ALIVE = 0xA5A5A5A5
_INT3_AND_HALT, _STOP = "ccf4", "faf4ebfd"
"""int3; hlt, and cli; 1: hlt; jmp 1b."""


def _base(host: Host) -> int:
    """Physical address of the trampoline that a kernel uses."""
    return host.machine.memory.read_u64(host.symbol("x86_trampoline_bsp_base"))


def _marker(host: Host) -> int:
    at = _base(host) + _BLOB.symbols["trampoline_status_bsp"]
    return int.from_bytes(host.machine.memory.read(at, 4), "little")


def _reservation() -> list[Finding]:
    """Boot a host, and read memblock's list of reserved regions in its memory."""
    host = booted(1)
    memory, base = host.machine.memory, _base(host)
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
    machine, base, size = host.machine, _base(host), len(_BLOB.data)
    tables = host.symbol("page_tables")
    runs = writable_and_executable(machine.memory, tables)
    linear = 0xFFFF888000000000 + base
    lines = ptdump_walk_pgd_level_checkwx(machine.memory, tables)
    text = outcome(host.kernel_write, host.symbol("startup_64"), b"\xf4")
    page = outcome(host.kernel_write, base + size - 1, b"\0")
    return [
        Finding(lines[0], runs == [(linear, size)] and f"{linear:x}" in lines[0]),
        Finding(lines[-1], f"{size // 4096} W+X pages" in lines[-1]),
        Finding(f"a store to the host's own text: {text}; to the executable page: {page}", text != page == "0"),
    ]


def _stack() -> list[Finding]:
    """Fill the bytes round physical 0x1200 with 0xDD, start a CPU, and look at them and at the trampoline's stack."""
    host = booted(2)
    machine = host.machine
    host.cpu_down(1)
    load_code(host, _STOP, window(1))
    machine.poke(0x11F0, b"\xdd" * 0x20)
    top = _base(host) + _BLOB.symbols["trampoline_stack_end"]
    before = machine.memory.read(top - 8, 8)
    host.multikernel_kexec(1)
    host.settle()
    low = machine.memory.read(0x11F0, 0x20)
    pushed = struct.unpack_from("<2I", low, 0xC)
    rest = low[:0xC] + low[0x14:]
    return [
        Finding(
            f"physical 0x11fc holds {pushed[0]:#010x} and 0x1200 holds {pushed[1]:#x}: the trampoline's two pushes",
            pushed == (_base(host) + _BLOB.symbols["startup_64"], 0x10) and rest == b"\xdd" * len(rest),
        ),
        Finding(
            f"the stack that it has for them, below {top:#x}, is untouched", machine.memory.read(top - 8, 8) == before
        ),
    ]


def _blind_status() -> list[Finding]:
    """Kick a CPU that is late, then one whose trampoline was destroyed, and ask what reboot(2) says of each."""
    host = booted(4)
    machine = host.machine
    kick_code(host, 1, SPIN, window(1))
    host.cpu_down(2)
    load_code(host, _STOP, window(2))
    machine.schedule = Starving(2)
    late = outcome(host.multikernel_kexec, 2)
    at_return = _marker(host)
    machine.schedule = RoundRobin()
    machine.run(100_000, lambda m: m.cpus[2].owner is not None)
    found = [
        Finding(
            f"a CPU that is late: reboot returns {late}, the marker is {at_return:#x}", (late, at_return) == ("0", 0)
        ),
        Finding(
            f"it comes up all the same, in {machine.cpus[2].owner}, and the marker stays {_marker(host):#x}",
            machine.cpus[2].owner == "kernel 2" and _marker(host) == _ALIVE,
        ),
    ]
    host.cpu_down(3)
    machine.poke(_base(host), bytes.fromhex(_STOP))
    dead = outcome(host.multikernel_kexec, 3)
    machine.run(100_000)
    found.append(
        Finding(
            f"a CPU that halts at the trampoline's first instruction, in {machine.cpus[3].mode} mode: "
            f"reboot returns {dead}, the marker is {_marker(host):#x}",
            (dead, _marker(host), machine.cpus[3].mode) == ("0", 0, "real"),
        )
    )
    return found


def _two_kicks(patience: bool) -> list[str | None]:
    """Owners of CPUs 1 and 2 after kernel 1 was kicked on the one and kernel 2 on the other."""
    host = booted(3, quantum=100)
    for cpu in (1, 2):
        host.cpu_down(cpu)
        host.load(minikernel_image(window(cpu), cpu, [cpu]))
        host.multikernel_kexec(cpu)
        if patience:
            host.wait_online(f"kernel {cpu}", cpu)
        host.kexec_load(0, [])
    host.settle(60_000)
    return [cpu.owner for cpu in host.machine.cpus[1:]]


def _one_mailbox() -> list[Finding]:
    """Kick CPU 1 with kernel 1 and at once CPU 2 with kernel 2; then the same, waiting for the first to come up."""
    hasty, patient = _two_kicks(False), _two_kicks(True)
    return [
        Finding(f"two quick kicks: CPU 1 runs {hasty[0]}, CPU 2 runs {hasty[1]}", hasty == ["kernel 2"] * 2),
        Finding(
            f"with a wait in between: CPU 1 runs {patient[0]}, CPU 2 runs {patient[1]}",
            patient == ["kernel 1", "kernel 2"],
        ),
    ]


def _wiped_tables() -> list[Finding]:
    """Let CPU 1 reload CR3 in a loop, on the trampoline's page tables, and kick CPU 2.

    Then the same with a minikernel, which has tables of its own.
    """
    host = booted(3)
    # 1: mov $256, %ecx; loop .; mov %cr3, %rax; mov %rax, %cr3; jmp 1b
    kick_code(host, 1, "b900010000e2fe0f20d80f22d8ebf1", window(1))
    host.run_until(lambda machine: machine.cpus[1].owner is not None, "the payload did not start")
    tables = host.machine.registers(1).cr3
    host.cpu_down(2)
    load_code(host, _STOP, window(2))
    outcome(host.multikernel_kexec, 2)  # it may be cut short
    stop = host.settle(100_000)
    faults = [event for event in host.machine.trace.of(Fault) if event.cpu == 1]

    other = booted(3)
    spawn(other, 1, 1)
    spawn(other, 2, 2)
    survivor = other.machine
    return [
        Finding(
            f"CPU 1 runs on the tables at {tables:#x}, in the trampoline",
            tables == _base(host) + _BLOB.symbols["pgtable"],
        ),
        Finding(f"CPU 2 is kicked: {stop.detail}", stop.reason == "reset" and bool(faults) and stop.cpu == 1),
        Finding(
            f"with page tables of its own at {survivor.registers(1).cr3:#x} CPU 1 goes on: {survivor.cpus[1].owner}",
            survivor.stopped is None and survivor.cpus[1].owner == "kernel 1",
        ),
    ]


def _entered_at(entry: int) -> tuple[Host, str, int]:
    """A host after a kick to ``entry``: it, what reboot(2) has returned, and the first entry of directory 0."""
    host = booted(2, ram=[(0, 64 * _MIB), (entry, 2 * _MIB)])
    host.cpu_down(1)
    load_code(host, _STOP, entry)
    kick = outcome(host.multikernel_kexec, 1)
    host.settle()
    return host, kick, host.machine.memory.read_u64(_base(host) + _BLOB.symbols["pgtable"] + 0x2000)


def _beyond_the_pdpt() -> list[Finding]:
    """Load a payload at 512 GiB and kick a CPU into it; then one at 5 GiB."""
    host, kick, first = _entered_at(512 * _GIB)
    extra = _base(host) + _BLOB.symbols["extra_directory"]
    stop = host.machine.stopped
    near, near_kick, near_first = _entered_at(5 * _GIB)
    return [
        Finding(
            f"entry 512 GiB: entry >> 30 is 512, one behind the PDPT; directory 0 begins with {first:#x}",
            first & ~0xFFF == extra,
        ),
        Finding(
            f"reboot returns {kick}, then {stop.detail if stop else 'nothing happens'}",
            kick == "0" and stop is not None and stop.reason == "reset",
        ),
        Finding(
            f"entry 5 GiB: reboot returns {near_kick}, directory 0 begins with {near_first:#x}, "
            f"CPU 1 runs {near.machine.cpus[1].owner}",
            near_first & ~0xFFF == 0 and near.machine.cpus[1].owner == "kernel 1",
        ),
    ]


def _reads(address: int) -> str:
    """Code that reads eight bytes at ``address`` and halts."""
    return "48b8" + address.to_bytes(8, "little").hex() + "488b00" + _STOP


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
    crossing = _high("e9fb0f0000".ljust(2 * 4096, "0") + _STOP, 6 * _GIB - 4096, pages=2)  # jmp .+4096
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
        seen = f"{faults[0].vector:#x} at {faults[0].cr2:#x}" if faults else "none"
        end = machine.stopped.reason if machine.stopped else "nothing else"
        right = bool(faults) and (faults[0].vector, faults[0].cr2, end) == (14, address, "reset")
        findings.append(Finding(f"{what}: exception {seen}; {end}", right))
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
        owners = [cpu.owner for cpu in machine.cpus]
        findings.append(
            Finding(
                f"{what}: {down[0].why if down else 'no shutdown'}; then "
                f"{f'a platform reset, and CPUs 0 and 1 run {owners}' if ended else 'nothing'}",
                bool(down) and ended and limit == 0,
            )
        )
    findings.append(
        Finding(f"an NMI to a kernel with an IDT: its console says {line!r}", other.machine.stopped is None)
    )
    return findings


def _child_with_low_memory(trampoline: bool) -> tuple[Host, int, bool]:
    """A host beside a kernel that takes low memory for its own, too.

    Returns:
        The host; where that kernel has its trampoline (0: nowhere); whether the host's is as it was before.
    """
    host = booted(2)
    memory = host.machine.memory
    mark = _base(host) + _BLOB.symbols["trampoline_location"]  # never used by the code
    host.cpu_down(1)
    ranges = [(0, LOW_MEMORY_END), (HOST_END, HOST_END + WINDOW)]
    host.load(minikernel_image(HOST_END, 1, [1], memory=ranges, trampoline=trampoline))
    host.machine.poke(mark, b"hostsown")
    host.multikernel_kexec(1)
    host.wait_online("kernel 1", 1)
    base = memory.read_u64(host.kernel("kernel 1").symbol("x86_trampoline_bsp_base"))
    return host, base, memory.read(mark, 8) == b"hostsown"


def _trampoline_of_a_child() -> list[Finding]:
    """Start a kernel whose memory map has low RAM, one whose map has none, and one that leaves the trampoline alone."""
    host, base, intact = _child_with_low_memory(True)
    _, none, untouched = _child_with_low_memory(False)
    other = booted(2)
    other.cpu_down(1)
    other.load(minikernel_image(HOST_END, 1, [1], trampoline=True))
    other.multikernel_kexec(1)
    other.settle()
    line = (other.machine.console("kernel 1").splitlines() or ["nothing"])[-1]
    return [
        Finding(f"the host's trampoline is at {_base(host):#x}, kernel 1 takes {base:#x}", base == _base(host)),
        Finding(f"the host's bytes there are {'intact' if intact else 'overwritten'}", not intact),
        Finding(f"without low memory kernel 1 says {line!r}", line.startswith("Kernel panic")),
        Finding(
            f"a kernel that knows it was spawned would take {none:#x}, and leave the bytes intact",
            none == 0 and untouched,
        ),
    ]


def _hosts_boot_params() -> list[Finding]:
    """On a host with a command line, start a payload that reads cmd_line_ptr of the boot_params in RSI.

    Then start a minikernel that is entered through purgatory.
    """
    host = booted(2, cmdline="root=/dev/host quiet")
    machine = host.machine
    kick_code(host, 1, "8b8628020000" + _STOP, window(1))  # mov 0x228(%rsi), %eax
    host.settle()
    seen = machine.registers(1)
    text = machine.memory.read(seen.rax & 0xFFFFFFFF, 32).split(b"\0")[0].decode("ascii", "replace")

    other = booted(2)
    other.cpu_down(1)
    room = Room([(HOST_END, HOST_END + WINDOW, E820_TYPE_RAM)], None)
    image = with_purgatory(minikernel_image(HOST_END, 1, [1]), room, checks=False)
    other.load(image)
    other.multikernel_kexec(1)
    other.wait_online("kernel 1", 1)
    own = other.machine.memory.read_u64(other.kernel("kernel 1").symbol("boot_params"))
    return [
        Finding(f"RSI is {seen.rsi:#x}, the host's boot_params", seen.rsi == BOOT_PARAMS),
        Finding(f"the command line that it leads to is {text!r}", text == "root=/dev/host quiet"),
        Finding(f"through purgatory, which sets it, RSI is {own:#x}", own != BOOT_PARAMS),
    ]


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
        4,
        "Success without looking",
        "patch 1, do_multikernel_boot_cpu: the marker is cleared right after the SIPIs, and nobody reads it",
        _blind_status,
    ),
    Defect(
        5,
        "One mailbox for all kicks",
        "patch 1, do_multikernel_boot_cpu: entry and boot_params have one place, and nobody waits until they are read",
        _one_mailbox,
    ),
    Defect(
        6,
        "Page tables wiped under a running CPU",
        "patch 2, startup_32: every CPU that starts zeroes the tables that the one before may still run on",
        _wiped_tables,
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
    Defect(
        11,
        "Every kernel sets up a trampoline",
        "patch 2, setup_trampolines_bsp: the test for a spawned kernel is commented out",
        _trampoline_of_a_child,
    ),
    Defect(
        12,
        "A 64-bit wakeup with a real-mode address",
        "patch 1, do_multikernel_boot_cpu: wakeup_secondary_cpu_64 is called with the 16-bit trampoline's address",
        None,
        "only firmware with a mailbox for CPUs (ACPI's wakeup structure, TDX) has that method; this machine has none",
    ),
    Defect(
        13,
        "The host's boot_params in RSI",
        "patch 2, x86_64_start_kernel and trampoline: RSI = orig_boot_params, whatever kernel is entered",
        _hosts_boot_params,
    ),
)
