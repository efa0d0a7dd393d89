"""The trampoline with a part of it exchanged, and a machine whose CPU 1 goes through it: for labs 02 and 03."""

from collections.abc import Sequence
from functools import cache

from mklab.guest import source_texts
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import BOOT_PARAMS, HOST_END, TRAMPOLINE_BASE
from mklab.lab.exercise import not_yet
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place, Ran
from mklab.lab.verdict import Verdict
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.memory import Range
from mklab.machine.schedule import RoundRobin

__all__ = [
    "CPU",
    "ELSEWHERE",
    "ENTRY",
    "KERNEL",
    "NAME",
    "around",
    "arrived",
    "at",
    "kick",
    "moved",
    "offline",
    "place",
    "rested",
    "source",
]

CPU = 1
"""The CPU that goes through it."""
ENTRY = HOST_END
"""Where the kernel lies that it is to reach."""
ELSEWHERE = 0x57000
"""Another place below 1 MiB, as Linux might have found one: the code must run there as well."""
KERNEL = "kernel 1"
NAME = "trampoline_64_bsp.S"

_BUDGET = 400_000
_SOON = 200
_ICR_LOW, _ICR_HIGH = APIC_BASE + 0x300, APIC_BASE + 0x310
_INIT_ASSERT, _INIT_DEASSERT, _SIPI = 0xC500, 0x8500, 0x600


@cache
def source() -> str:
    """The trampoline's source, for a cell's linker script.

    Its 32-bit and 64-bit code may begin anywhere, so that an answer may be longer than ours; the data keep their place.
    """
    text = source_texts(NAME)[NAME].replace('.section .x86_trampoline_bsp, "awx"', ".text")
    for fixed in ("\t.org 0x05c\n", "\t.org 0x104\n"):
        assert text.count(fixed) == 1
        text = text.replace(fixed, "")
    return text


def around(first: str, last: str, between: str = "") -> tuple[str, str]:
    """What stands before and behind a part of the source: the lines from the one with ``first`` to that with ``last``.

    What follows begins with the label ``part_end``, and ``between``.
    """
    lines = source().splitlines(keepends=True)
    begin = next(n for n, line in enumerate(lines) if first in line)
    end = next(n for n, line in enumerate(lines) if last in line and n >= begin)
    return "".join(lines[:begin]), f"part_end:\n{between}" + "".join(lines[end + 1 :])


def offline(ram: int | Sequence[Range] = 64 << 20, on_shutdown: str = "halt") -> Host:
    """A host on CPU 0 of two; CPU 1 is offline, and a kernel for it is loaded at :data:`ENTRY`."""
    machine = Machine(2, ram, on_shutdown=on_shutdown)
    host = Host(machine)
    host.boot()
    host.cpu_down(CPU)
    host.load(minikernel_image(ENTRY, 1, [CPU, 0]))
    return host


def kick(machine: Machine, base: int = TRAMPOLINE_BASE) -> None:
    """INIT, asserted and de-asserted, and a SIPI, by stores to CPU 0's ICR, as do_multikernel_boot_cpu sends them."""
    for low in (_INIT_ASSERT, _INIT_DEASSERT, _SIPI | base >> 12):
        machine.store(0, _ICR_HIGH, machine.cpus[CPU].apic_id << 24)
        machine.store(0, _ICR_LOW, low)


def _machine() -> Machine:
    return offline().machine


def _start(machine: Machine, code: Code, base: int = TRAMPOLINE_BASE) -> None:
    for symbol, value in (("kernel_phys_addr", ENTRY), ("boot_params_phys_addr", BOOT_PARAMS)):
        machine.poke(code.symbols[symbol] - code.base + base, value.to_bytes(8, "little"))
    kick(machine, base)


def place() -> Place:
    """The trampoline's page: CPU 1 is sent there by INIT and SIPI, and is to come to rest in the kernel."""
    return Place(
        "real", TRAMPOLINE_BASE, cpu=None, watch=CPU, budget=_BUDGET, ends="halt", make=_machine, prepare=_start
    )


def at(ran: Ran, symbol: str) -> Machine | None:
    """The machine as it stood when CPU 1 came to ``symbol``: it is run again. None: it did not come soon."""
    return _until(ran.place.begin(ran.code), ran.code.symbols[symbol])


def moved(code: Code, symbol: str) -> Machine | None:
    """A machine on which the same bytes lie at :data:`ELSEWHERE`, as it stands when CPU 1 comes to ``symbol`` there."""
    machine = _machine()
    machine.poke(ELSEWHERE, code.data)
    _start(machine, code, ELSEWHERE)
    return _until(machine, code.symbols[symbol] - code.base + ELSEWHERE)


def _until(machine: Machine, address: int) -> Machine | None:
    machine.schedule = RoundRobin(1)
    stop = machine.run(_SOON, lambda machine: machine.registers(CPU).linear_rip == address)
    return machine if stop.reason == "until" else None


def arrived(ran: Ran) -> bool:
    """Whether the kernel runs on CPU 1 and has said so."""
    return ran.machine.cpus[CPU].owner == KERNEL and f"{KERNEL} up" in ran.machine.console(KERNEL)


def rested(next_step: str) -> Verdict:
    """What a student hears whose CPU 1 came to rest with nothing wrong, but not in the kernel."""
    return not_yet(f"CPU {CPU} halted before it had come to the kernel.", next_step=next_step)
