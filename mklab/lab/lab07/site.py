"""A machine for which a student plans, and what becomes of a plan that is carried out on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mklab.errors import MklabError
from mklab.guest.abi import MK_PING, MULTIKERNEL_VECTOR, NR_CPUS
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.lab.exercise import LimitedRoundRobin, OutOfSlicesError
from mklab.lab.lab07.numbers import chosen
from mklab.machine.machine import Machine
from mklab.trace import MessageTaken

__all__ = ["CPUS", "KERNELS", "RAM_END", "Carried", "Plan", "Site", "carry_out", "site"]

CPUS = 4
KERNELS = ("kernel 1", "kernel 2")
RAM_END = 0x5000000
_APIC_IDS = ((0, 2, 4, 6), (0, 4, 1, 5), (0, 2, 1, 3), (0, 4, 8, 12), (0, 5, 3, 9), (0, 3, 7, 2))
_BUFFERS = (0x2400000, 0x2800000, 0x2F00000, 0x3400000, 0x3800000, 0x4400000, 0x4800000)
_BUFFER_SIZE = 0x100000
_SLICES = 4000


@dataclass(frozen=True)
class Site:
    """A machine to plan for.

    Attributes:
        apic_ids: the physical id of each CPU.
        kept: the host's CPU besides CPU 0 that it does not give away.
        buffer: memory into which a device writes by itself.
    """

    apic_ids: tuple[int, ...]
    kept: int
    buffer: range

    def __str__(self) -> str:
        *ids, last = map(str, self.apic_ids)
        return (
            f"CPUs 0 to {CPUS - 1} have the APIC ids {', '.join(ids)} and {last}. RAM is from 0 to {RAM_END:#x}."
            f" The host"
            f" has everything below {HOST_END:#x}, and keeps CPUs 0 and {self.kept}. A device writes by itself"
            f" (DMA) into"
            f" {self.buffer.start:#x} to {self.buffer.stop:#x}."
        )


def site(seed: int) -> Site:
    """The machine of a student."""
    buffer = chosen("buffer", seed, _BUFFERS)
    kept = chosen("kept CPU", seed, (1, 2, 3))
    return Site(chosen("APIC ids", seed, _APIC_IDS), kept, range(buffer, buffer + _BUFFER_SIZE))


@dataclass(frozen=True)
class Plan:
    """Who gets what, by kernel: its CPU (the host's number), where its 16 MiB begin, and the number of its slot."""

    cpu: Mapping[str, int]
    base: Mapping[str, int]
    slot: Mapping[str, int]

    def window(self, kernel: str) -> range:
        """Its memory."""
        return range(self.base[kernel], self.base[kernel] + WINDOW)


@dataclass
class Carried:
    """What became of a plan.

    Attributes:
        machine: it, at the end.
        trouble: what went wrong on the way, in words; empty: every call returned 0.
        found: by kernel, what its CPU found in its slot when the host wrote to it; None: it took no message.
        answered: the kernels whose answer came back.
    """

    machine: Machine
    trouble: str = ""
    found: dict[str, MessageTaken | None] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)


def carry_out(where: Site, plan: Plan) -> Carried:
    """Boot a host there, spawn both kernels as ``plan`` says, and write to each."""
    machine = Machine(CPUS, RAM_END, apic_ids=where.apic_ids)
    host = Host(machine)
    host.boot()
    machine.schedule = LimitedRoundRobin(_SLICES, machine.trace)
    carried = Carried(machine)
    for number, kernel in enumerate(KERNELS, 1):
        cpu = plan.cpu[kernel]
        try:
            own = where.apic_ids[cpu] if 0 <= cpu < CPUS else cpu
            others = [one for one in where.apic_ids if one != own]
            machine.plan(cpu if 0 <= cpu < CPUS else 0, kernel)
            host.cpu_down(cpu)
            host.load(minikernel_image(plan.base[kernel], number, [own, *others]))
            host.multikernel_kexec(cpu)
            if plan.base[kernel] >= RAM_END:
                raise MklabError("load and kick returned 0, and there is no RAM where it could come up")
            host.wait_online(kernel, cpu)
            host.kexec_load(0, [])
        except (ValueError, MklabError, OutOfSlicesError) as error:
            carried.trouble = f"{kernel}: {error}"
            return carried
    for kernel in KERNELS:
        carried.found[kernel] = None
        if 0 <= plan.slot[kernel] < NR_CPUS:
            _write(carried, host, plan, kernel)
    return carried


def _write(carried: Carried, host: Host, plan: Plan, kernel: str) -> None:
    machine, cpu = carried.machine, plan.cpu[kernel]
    begin, text = machine.trace.count, f"you are {kernel}".encode()
    values = {"slot": plan.slot[kernel], "sender": 0, "type": MK_PING, "size": len(text)}
    try:
        host.send_by_hand(MULTIKERNEL_VECTOR, machine.cpus[cpu].apic_id, data=text, **values)
        host.settle()
    except (MklabError, OutOfSlicesError) as error:
        carried.trouble = f"{kernel}: {error}"
    taken = [one for one in machine.trace.of(MessageTaken) if one.seq >= begin]
    carried.found[kernel] = next((one for one in taken if one.cpu == cpu), None)
    if any(one.cpu == 0 and bytes.fromhex(one.payload) == text for one in taken):
        carried.answered.append(kernel)
