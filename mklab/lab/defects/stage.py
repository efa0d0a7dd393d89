"""What the scenarios have in common: a machine with a booted host, kernels spawned on it, and small payloads."""

from collections.abc import Callable, Sequence
from typing import Any

from mklab.errors import KexecError, MklabError, require
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.machine.machine import MAX_X2APIC_CPUS, Machine
from mklab.machine.memory import Range
from mklab.machine.schedule import KINDS, RoundRobin
from mklab.trace import Printk

__all__ = [
    "SPIN",
    "STOP",
    "Starving",
    "booted",
    "held",
    "kick_code",
    "load_code",
    "outcome",
    "printed",
    "spawn",
    "trampoline_base",
    "window",
]

SPIN = "b8000007000f22d8ebfe"
"""Code that spins: mov $BOOT_PAGE_TABLES, %eax; mov %rax, %cr3; 1: jmp 1b. On those tables no kick disturbs it."""

STOP = "faf4ebfd"
"""Code that halts for good: cli; 1: hlt; jmp 1b."""


class Starving(RoundRobin):
    """Round robin in which one CPU gets a turn only while no other can run: it is slow, or its caller is preempted.

    Raises:
        ValueError: ``starved`` or ``quantum`` is out of range.
    """

    def __init__(self, starved: int, quantum: int = 1000) -> None:
        super().__init__(quantum)
        require("starved", starved, 0, MAX_X2APIC_CPUS - 1)
        self.starved = starved

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """The next of the others, if there is one."""
        return super().choose([cpu for cpu in runnable if cpu != self.starved] or runnable)

    def state(self) -> dict[str, Any]:
        """The starved CPU, the quantum and the last choice."""
        return super().state() | {"kind": "Starving", "starved": self.starved}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        if state["kind"] != "Starving":
            raise ValueError(f"the state must be of a Starving schedule, not {state['kind']!r}")
        super().restore(state | {"kind": "RoundRobin"})
        self.starved = state["starved"]


KINDS["Starving"] = lambda: Starving(0)


def booted(
    cpus: int = 4,
    *,
    cmdline: str = "",
    ram: int | Sequence[Range] = 64 << 20,
    quantum: int = 1000,
    apic_ids: Sequence[int] | None = None,
) -> Host:
    """A booted host on a machine of its own; from 32 MiB on memory is for spawned kernels.

    Args:
        cpus, ram, apic_ids: of the machine.
        cmdline: the host's.
        quantum: instructions that each CPU executes in turn, once the host is up.
    """
    machine = Machine(cpus, ram, apic_ids=apic_ids)
    host = Host(machine)
    host.boot(cmdline)
    machine.schedule = RoundRobin(quantum)
    return host


def window(number: int) -> int:
    """Where the memory of spawned kernel ``number`` (from 1) begins."""
    return HOST_END + (number - 1) * WINDOW


def spawn(host: Host, number: int, cpu: int, base: int | None = None) -> None:
    """Take ``cpu`` offline, start minikernel ``number`` there, and unload its image, so that the next can be started.

    Without the unloading, the next kick would start this image again (defect 21).
    """
    host.cpu_down(cpu)
    host.load(minikernel_image(window(number) if base is None else base, number, [cpu]))
    host.multikernel_kexec(cpu)
    host.wait_online(f"kernel {number}", cpu)
    host.kexec_load(0, [])


def load_code(host: Host, code: str, paddr: int) -> None:
    """Load machine code (hex digits) at ``paddr``, page aligned, as a multikernel image that is entered there."""
    host.kexec_load(paddr, [KexecSegment(bytes.fromhex(code), paddr, 0x1000)])


def kick_code(host: Host, cpu: int, code: str, paddr: int) -> None:
    """Take ``cpu`` offline and let it run ``code`` at ``paddr``, on the trampoline's page tables; unload the image."""
    host.cpu_down(cpu)
    load_code(host, code, paddr)
    host.multikernel_kexec(cpu)
    host.kexec_load(0, [])


def outcome(function: Callable[..., object], *args: Any, **keywords: Any) -> str:
    """What a system call comes to: ``"0"``, the errno as ``"-EBUSY"``, or in words how it died in the kernel."""
    try:
        function(*args, **keywords)
    except KexecError as error:
        return f"-{error.name}"
    except MklabError as error:
        return str(error)
    return "0"


def trampoline_base(host: Host) -> int:
    """Physical address of the host's trampoline, x86_trampoline_bsp_base."""
    return host.machine.memory.read_u64(host.symbol("x86_trampoline_bsp_base"))


def printed(host: Host) -> list[str]:
    """The log of the host's process context, line by line."""
    return [event.text for event in host.machine.trace.of(Printk) if event.kernel == host.name]


def held(host: Host, lock: str) -> bool:
    """Whether the host's memory says that ``kexec_lock`` or ``system_transition_mutex`` is held."""
    return bool(host.kimages.state.get(lock))
