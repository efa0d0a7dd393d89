"""The kick, and what a CPU that starts finds (RFC v1, patches 1 and 2): defects 4 to 6 and 11 to 13."""

from mklab.guest import trampoline
from mklab.kernel.bootparam import E820_TYPE_RAM
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec_file import Room
from mklab.kernel.layout import BOOT_PARAMS, HOST_END, LOW_MEMORY_END, WINDOW
from mklab.kernel.purgatory import with_purgatory
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import (
    SPIN,
    STOP,
    Starving,
    booted,
    kick_code,
    load_code,
    outcome,
    spawn,
    trampoline_base,
    window,
)
from mklab.machine.schedule import RoundRobin
from mklab.trace import Fault

__all__ = ["DEFECTS"]

_BLOB = trampoline()
_ALIVE = 0xA5A5A5A5


def _marker(host: Host) -> int:
    at = trampoline_base(host) + _BLOB.symbols["trampoline_status_bsp"]
    return int.from_bytes(host.machine.memory.read(at, 4), "little")


def _blind_status() -> list[Finding]:
    """Kick a CPU that is late, then one whose trampoline was destroyed, and ask what reboot(2) says of each."""
    host = booted(4)
    machine = host.machine
    kick_code(host, 1, SPIN, window(1))
    host.cpu_down(2)
    load_code(host, STOP, window(2))
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
    machine.poke(trampoline_base(host), bytes.fromhex(STOP))
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
    load_code(host, STOP, window(2))
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
            tables == trampoline_base(host) + _BLOB.symbols["pgtable"],
        ),
        Finding(f"CPU 2 is kicked: {stop.detail}", stop.reason == "reset" and bool(faults) and stop.cpu == 1),
        Finding(
            f"with page tables of its own at {survivor.registers(1).cr3:#x} CPU 1 goes on: {survivor.cpus[1].owner}",
            survivor.stopped is None and survivor.cpus[1].owner == "kernel 1",
        ),
    ]


def _child_with_low_memory(trampoline: bool) -> tuple[Host, int, bool]:
    """A host beside a kernel that takes low memory for its own, too.

    Returns:
        The host; where that kernel has its trampoline (0: nowhere); whether the host's is as it was before.
    """
    host = booted(2)
    memory = host.machine.memory
    mark = trampoline_base(host) + _BLOB.symbols["trampoline_location"]  # never used by the code
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
    hosts = trampoline_base(host)
    return [
        Finding(
            f"the host's trampoline is at {hosts:#x}, kernel 1 takes {base:#x}",
            base == hosts,
        ),
        Finding(f"the host's bytes there are {'intact' if intact else 'overwritten'}", not intact),
        Finding(f"without low memory kernel 1 says {line!r}", line.startswith("Kernel panic")),
        Finding(
            f"a kernel that knows it was spawned would take {f'{none:#x}' if none else 'none'}, and "
            f"{'leave the bytes as they are' if untouched else 'overwrite them'}",
            none == 0 and untouched,
        ),
    ]


def _hosts_boot_params() -> list[Finding]:
    """On a host with a command line, start a payload that reads cmd_line_ptr of the boot_params in RSI.

    Then start a minikernel that is entered through purgatory.
    """
    host = booted(2, cmdline="root=/dev/host quiet")
    machine = host.machine
    kick_code(host, 1, "8b8628020000" + STOP, window(1))  # mov 0x228(%rsi), %eax
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
