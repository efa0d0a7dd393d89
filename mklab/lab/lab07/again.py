"""A second run of a kernel that says hello: into a slot that was used before, and with NMIs once its CPU sleeps."""

from dataclasses import replace

from mklab.errors import MklabError
from mklab.guest.abi import MK_IPI_DATA
from mklab.lab import guestrun
from mklab.lab.exercise import LimitedRoundRobin, OutOfSlicesError, not_yet
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Ran
from mklab.lab.lab04.bench import gate
from mklab.lab.verdict import Verdict
from mklab.machine.cpu import CpuState
from mklab.machine.interrupts import NMI_VECTOR
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.registers import Segment
from mklab.trace import Fault, IpiSent, MessageTaken

__all__ = ["in_used_slot", "left_over", "woken"]

_USED = b"\xff"
_WIDTHS = {"sender_cpu": 4, "type": 4, "data_size": 8}
_NMI = 0x400
"""Delivery mode 4 in the low word of the ICR."""
_TIMES = 8
_BUDGET = 2_000
_IRETQ = b"\x48\xcf"
_BEHIND = 0x20000
"""Offset from the code's base of an IDT in free memory, the handler behind it."""
_HANDLER = 0x800


def in_used_slot(ran: Ran, slot: range) -> Ran:
    """Run the code of ``ran`` again, where ``slot`` is full of 0xff."""
    prepare = ran.place.prepare

    def prepared(machine: Machine, code: Code) -> None:
        machine.poke(slot.start, _USED * len(slot))
        prepare(machine, code)

    return guestrun.run(ran.code, replace(ran.place, prepare=prepared))


def left_over(ran: Ran, right: MessageTaken, slot: range) -> Verdict | None:
    """Whether the receiver of ``right`` found something else where the slot had been used."""
    taken = [one for one in ran.events if isinstance(one, MessageTaken) and one.cpu == right.cpu]
    if not taken:
        return None  # it waits for a free slot, perhaps
    first = taken[0]
    for name, got, wanted in (
        ("sender_cpu", first.sender, right.sender),
        ("type", first.type, right.type),
        ("data_size", first.size, right.size),
    ):
        if got != wanted:
            width = _WIDTHS[name]
            return not_yet(
                f"In an empty slot your message arrived. But in one that was full of 0xff, as others may leave it,"
                f" kernel 1 found {name} {got & (1 << 8 * width) - 1:#x}: your code does not store all of its {width}"
                " bytes, and the rest stays as it was.",
                f"event {first.seq}, {name} at {slot.start + MK_IPI_DATA.offsets[name]:#x}",
                f"{name} is a number of {8 * width} bits. How many does your store write? Look at the letter at its"
                " end: b, w, l, q.",
            )
    return None


def woken(ran: Ran, cpu: int) -> Verdict | None:
    """What ``cpu`` does when NMIs come, one after the other, whose handler only returns: whether it sleeps again."""
    machine, begin = ran.machine, ran.machine.trace.count
    if machine.cpus[cpu].state not in (CpuState.HALTED, CpuState.RUNNING):
        return None
    _give_handler(machine, ran.code.base + _BEHIND, cpu)
    machine.schedule = LimitedRoundRobin(_BUDGET, machine.trace)
    try:
        for _ in range(_TIMES):
            machine.store(0, APIC_BASE + 0x310, machine.cpus[cpu].apic_id << 24)
            machine.store(0, APIC_BASE + 0x300, _NMI)
            machine.run(_BUDGET)
    except (OutOfSlicesError, MklabError):
        pass  # what it has done until then is looked at all the same
    since = [one for one in machine.trace.events if one.seq >= begin and one.cpu == cpu]
    what = "The message arrived, and your CPU slept. Then CPU 0 sent it an NMI, whose handler (ours) only returns:"
    look = "HLT sleeps until the next interrupt, and nothing keeps an NMI away. What should come behind it?"
    if any(isinstance(one, IpiSent) for one in since):
        return not_yet(
            f"{what} to the instruction behind your HLT, and your kernel said hello once more.",
            f"CPU {cpu}, behind HLT",
            look,
        )
    at = next((one.rip for one in since if isinstance(one, Fault)), machine.registers(cpu).linear_rip)
    if ran.code.base <= at <= ran.code.base + ran.code.size and not any(isinstance(one, Fault) for one in since):
        return None
    return not_yet(
        f"{what} to the instruction behind your HLT. There CPU {cpu} ran on, beyond your code, and executed what lies"
        f" at {at:#x}.",
        f"CPU {cpu}, behind HLT",
        look,
    )


def _give_handler(machine: Machine, idt: int, cpu: int) -> None:
    """An IDT at ``idt`` with one gate, for NMI: its handler returns."""
    registers = machine.registers(cpu)
    handler = idt + _HANDLER
    machine.poke(handler, _IRETQ)
    machine.poke(idt + 16 * NMI_VECTOR, gate(handler, selector=registers.cs.selector))
    registers.idtr = Segment(0, idt, 16 * (NMI_VECTOR + 1) - 1)
    machine.patch_registers(cpu, registers, running=False)
