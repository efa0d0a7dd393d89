"""What the notebook shows: a film of the way from SIPI to a kernel, and tables from it."""

from dataclasses import replace
from functools import cache

from mklab.guest import trampoline as prebuilt
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab import trampoline
from mklab.lab.lab02.stack import LOW_PAGE
from mklab.machine.machine import Machine
from mklab.recording import Film
from mklab.timeline.record import record
from mklab.trace import ApicWrite, Ignored, Init, Sipi
from mklab.widgets.player import Player
from mklab.widgets.steps import last_step
from mklab.widgets.view import View

__all__ = ["from_sipi", "kick_table", "kicked", "steps", "way"]

_BASE, _CPU = TRAMPOLINE_BASE, trampoline.CPU
_FILL = 0xDD
_ICR = (0x300, 0x310)
_NOISE = ("IP", "EIP", "RIP", "FLAGS", "EFLAGS", "RFLAGS", "SHADOW")
_REP, _LOOP = 0x89, (0xC7, 0xC9, 0xCE, 0xD1, 0xD2)
"""Offsets of the instructions that run thousands of times: six pages of zeros, 2048 entries; and what comes then."""
_LAST = 1200


@cache
def way() -> Film:
    """CPU 1 from the kick to a kernel: a look at each instruction, but not at each turn of the long loops."""
    host = trampoline.offline()
    machine = host.machine
    # As it was copied: CPU 1 has come this way before, as a CPU of the host.
    machine.poke(_BASE, prebuilt().data)
    machine.poke(LOW_PAGE.start, bytes([_FILL]) * len(LOW_PAGE))
    recorder = record(machine)
    begun = machine.trace.count
    host.submit("multikernel_kexec", {"cpu": _CPU})
    machine.run(until=lambda machine: any(one.seq > begun for one in machine.trace.of(Sipi)))
    while machine.cpus[_CPU].owner != trampoline.KERNEL:
        left = _left(machine)
        if left > _LAST:
            machine.step()  # as the schedule has it: the host's CPU has its turns, too
        else:
            machine.advance(choice=(_CPU, left or 1))
    machine.run()
    return recorder.stop()


def _left(machine: Machine) -> int:
    """How many instructions a long loop has before it ends; 0: CPU 1 is in none."""
    registers = machine.registers(_CPU)
    offset = registers.linear_rip - _BASE
    if offset == _REP:
        return registers.rcx
    if offset not in _LOOP:
        return 0
    at = _LOOP.index(offset)
    return 5 * registers.rcx + (1 if at == 4 else -at)


def from_sipi() -> Player:
    """A player of that film, which stands behind the first instruction of CPU 1."""
    player = Player(way())
    player.seek(next(look.number for look in player.film.looks if look.cpu == _CPU))
    return player


def steps(film: Film, begin: int, end: int) -> str:
    """What CPU 1 executed from offset ``begin`` to ``end`` in the page, and what each instruction changed."""
    rows = []
    for look in film.looks:
        if look.cpu != _CPU or look.cause != "slice":
            continue
        step = last_step(replace(View.at_look(film, look.number), cpu=_CPU))
        if step is None or step.executed is None or not begin <= step.executed.linear - _BASE < end:
            continue
        changed = [f"{one.name} {one.old} -> {one.new}" for one in step.changes if one.name not in _NOISE]
        rows.append(f"{step.executed.linear:#x}  {step.executed.text:<28}  {'; '.join(changed)}".rstrip())
    return "\n".join(rows)


def kick_table(film: Film, *, second: bool = False) -> str:
    """What the host stores into its ICR at a kick, and what the CPU that is named makes of it.

    Args:
        film: of the kick.
        second: what comes after the first SIPI, instead of what comes up to it.
    """
    rows = [f"{'event':>6}  {'instruction':>11}"]
    events = film.events[film.looks[0].event :]
    first = next(number for number, event in enumerate(events) if isinstance(event, Sipi)) + 1
    for event in events[first:] if second else events[:first]:
        match event:
            case ApicWrite() if event.offset in _ICR:
                words = f"CPU {event.cpu} stores {event.value:#010x} at offset {event.offset:#x} of its APIC"
            case Init():
                words = f"CPU {event.cpu}: INIT; it is in wait-for-SIPI"
            case Sipi():
                words = f"CPU {event.cpu}: SIPI, vector {event.vector:#x}; it begins at {event.vector << 12:#x}"
            case Ignored():
                words = f"CPU {event.cpu}: {event.what} is ignored: {event.why}"
            case _:
                continue
        rows.append(f"{event.seq:>6}  {event.time:>11,}  {words}")
    return "\n".join(rows)


def kicked() -> Machine:
    """A machine after a kick; before it, the bytes at LOW_PAGE and at the top of the trampoline's stack were 0xDD."""
    host = trampoline.offline()
    machine, top = host.machine, _BASE + prebuilt().symbols["trampoline_stack_end"]
    for area in (LOW_PAGE, range(top - 16, top)):
        machine.poke(area.start, bytes([_FILL]) * len(area))
    host.multikernel_kexec(_CPU)
    host.settle()
    return machine
