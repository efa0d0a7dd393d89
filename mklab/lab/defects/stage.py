"""What the scenarios have in common: a machine with a booted host, kernels spawned on it, and small payloads."""

from collections.abc import Sequence

from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.machine.machine import Machine
from mklab.machine.memory import Range
from mklab.machine.schedule import RoundRobin

__all__ = ["booted", "load_code", "spawn", "window"]


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
