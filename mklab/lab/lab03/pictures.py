"""What the notebook shows: the way from the 32-bit code on, a table of modes, and an image across a GiB."""

from dataclasses import replace

from mklab.kernel.host import Host
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab import trampoline
from mklab.lab.lab02.pictures import way
from mklab.machine.machine import Machine
from mklab.recording import Film
from mklab.trace import Fault, ModeChange, OwnerChange, Shutdown
from mklab.widgets.modes import bits_of, mode_of
from mklab.widgets.player import Player
from mklab.widgets.steps import last_step
from mklab.widgets.view import View

__all__ = ["crossing_run", "from_startup_32", "modes"]

_BITS = ("CR4.PAE", "EFER.LME", "CR0.PG", "EFER.LMA", "CS.D", "CS.L")
_STARTUP_32 = 0x5C
_GIB = 1 << 30


def from_startup_32() -> Player:
    """A player of the way of CPU 1, which stands where the 32-bit code begins."""
    player = Player(way())
    film = player.film
    for look in film.looks:
        rip = film.frame_of(look.number).registers(trampoline.CPU).get("rip")
        if look.cpu == trampoline.CPU and rip == TRAMPOLINE_BASE + _STARTUP_32:
            player.seek(look.number)
            break
    return player


def modes(film: Film, begin: int, end: int) -> str:
    """The instructions from offset ``begin`` to ``end`` in the page that change a bit which decides on the mode."""
    rows = [f"{'':40}" + "".join(f"{name.partition('.')[2]:>5}" for name in _BITS) + "  mode"]
    for look in film.looks:
        if look.cpu != trampoline.CPU:
            continue
        step = last_step(replace(View.at_look(film, look.number), cpu=trampoline.CPU))
        if step is None or step.executed is None or not begin <= step.executed.linear - TRAMPOLINE_BASE < end:
            continue
        bits, before = bits_of(step.after), bits_of(step.before)
        if bits == before and look.number > 0 and len(rows) > 1:
            continue
        values = "".join(f"{int(bits[name]):>5}" for name in _BITS)
        rows.append(f"{step.executed.linear:#x}  {step.executed.text:<30}{values}  {mode_of(step.after).words}")
    return "\n".join(rows)


def crossing_run() -> str:
    """Kick CPU 1 into an image that lies across 7 GiB, and say what it does."""
    start = 7 * _GIB - 4096
    machine = Machine(2, [(0, 64 << 20), (start, 8192)])
    host = Host(machine)
    host.boot()
    host.cpu_down(trampoline.CPU)
    # jmp to the second page, which halts.
    code = b"\xe9" + (4096 - 5).to_bytes(4, "little")
    host.kexec_load(start, [KexecSegment(code.ljust(4096, b"\x90") + b"\xf4", start, 8192)])
    begin = machine.trace.count
    host.multikernel_kexec(trampoline.CPU)
    host.settle()
    rows: list[str] = []
    for event in machine.trace.events:
        if event.seq < begin or event.cpu != trampoline.CPU or (rows and rows[-1].endswith("shutdown")):
            continue
        match event:
            case ModeChange():
                rows.append(f"{event.time:>9,}  mode: {event.mode}")
            case OwnerChange() if event.owner:
                rows.append(f"{event.time:>9,}  in {event.owner}, at {event.address:#x}")
            case Fault():
                rows.append(f"{event.time:>9,}  exception {event.vector} at {event.rip:#x}, address {event.cr2:#x}")
            case Shutdown():
                rows.append(f"{event.time:>9,}  shutdown")
    rows.append(f"{machine.time:>9,}  {machine.stopped.detail if machine.stopped else 'the machine goes on'}")
    return "\n".join(rows)
