"""Exercise 00.2: what reboot sets in motion, in an order that works on the machine."""

from mklab.guest import trampoline
from mklab.kernel import apicdef
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import BOOT_PARAMS
from mklab.lab import forms
from mklab.lab.defects.stage import outcome, trampoline_base
from mklab.lab.exercise import not_yet
from mklab.lab.forms.parsons import Order, WrongOrder
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.trace import Init, OwnerChange, PlatformReset

__all__ = ["in_order"]

_CPU = 3
_BASE = 0x2000000
_KERNEL = "kernel 1"
_LINES = {
    "A": "SIPI to CPU 3, with the page of the trampoline",
    "B": "write the image's entry address into the trampoline",
    "C": "cpu_down(3): CPU 3 leaves the host and halts",
    "D": "INIT to CPU 3",
    "E": "kexec_load: copy the image to 0x2000000",
    "F": "cpu_down(1): CPU 1 leaves the host and halts",
}
_ICR_INIT = (
    apicdef.APIC_INT_LEVELTRIG | apicdef.APIC_INT_ASSERT | apicdef.APIC_DM_INIT,
    apicdef.APIC_INT_LEVELTRIG | apicdef.APIC_DM_INIT,
)
"""INIT asserted and taken back, as wakeup_secondary_cpu_via_init does (arch/x86/kernel/smpboot.c)."""


class _Run:
    """The lines, carried out one after the other on a machine with a booted host.

    Attributes:
        lost: the line after which CPU 3 ran into memory that holds no kernel.
    """

    def __init__(self, letters: str) -> None:
        self.machine = Machine(cpus=4)
        self.host = Host(self.machine)
        self.host.boot()
        self.begin = self.machine.trace.count
        self.lost = ""
        for letter in letters:
            self._perform(letter)
            if self.machine.run(until=self._in_empty_memory).reason == "until":
                self.lost = letter
                return
            if self.reset is not None:
                return

    def _perform(self, letter: str) -> None:
        match letter:
            case "A":
                self.host.icr_write(0, apicdef.APIC_DM_STARTUP | trampoline_base(self.host) >> 12, _CPU)
            case "B":
                self._mailbox()
            case "C":
                outcome(self.host.cpu_down, _CPU)  # it may wait for ever: then the machine shows it
            case "D":
                for low in _ICR_INIT:
                    self.host.icr_write(0, low, _CPU)
            case "E":
                outcome(self.host.load, minikernel_image(_BASE, 1, [_CPU, 0, 1, 2]))
            case _:
                outcome(self.host.cpu_down, 1)

    def _in_empty_memory(self, machine: Machine) -> bool:
        """Whether CPU 3 executes where the image should be, and is not: zeros, which are instructions too."""
        loaded = _KERNEL in machine.images
        return not loaded and machine.cpus[_CPU].state is CpuState.RUNNING and self._rip >= _BASE

    @property
    def _rip(self) -> int:
        return self.machine.registers(_CPU).linear_rip

    def _mailbox(self) -> None:
        """What do_multikernel_boot_cpu leaves for the trampoline."""
        for symbol, value in (("kernel_phys_addr", _BASE), ("boot_params_phys_addr", BOOT_PARAMS)):
            address = trampoline_base(self.host) + trampoline().symbols[symbol]
            self.host.kernel_write(address, value.to_bytes(8, "little"))

    @property
    def reset(self) -> PlatformReset | None:
        """Whether the platform was reset."""
        return next((event for event in self.machine.trace.of(PlatformReset)), None)

    @property
    def inits(self) -> int:
        """How often CPU 3 took an INIT."""
        return sum(event.seq >= self.begin and event.cpu == _CPU for event in self.machine.trace.of(Init))

    @property
    def entered(self) -> int:
        """When CPU 3 entered kernel 1."""
        changes = self.machine.trace.of(OwnerChange)
        return next(event.time for event in changes if event.cpu == _CPU and event.owner == _KERNEL)

    @property
    def is_up(self) -> bool:
        """Whether CPU 3 runs kernel 1, which says so."""
        return self.machine.cpus[_CPU].owner == _KERNEL and self.host.is_up(_KERNEL, _CPU)


def _judge(order: Order, _seed: int) -> Verdict:
    """Carry the lines out, and look whose CPU 3 is, and what the host believes."""
    run = _Run(order.letters)
    if run.lost or run.reset is not None:
        return not_yet(
            "CPU 3 went through the trampoline and jumped to 0x2000000, where nobody had put a kernel. It executes"
            " whatever lies there.",
            order.place("A"),
            "What must lie at 0x2000000 before a CPU is sent there?",
        )
    if not run.is_up:
        return _not_up(run, order)
    if run.host.cpu_online(_CPU):
        where = order.place("C") or order.place("D")
        return not_yet(
            "Kernel 1 runs on CPU 3, and the host believes that CPU 3 is still its own: INIT took it away in the middle"
            " of its work, and the host will wait for it for ever.",
            where,
            "Which line makes the host itself give CPU 3 up, and what must it come before?",
        )
    if not run.host.cpu_online(1):
        return not_yet(
            "Kernel 1 is up, but CPU 1 no longer runs the host.",
            order.place("F"),
            "Ordinary kexec stops the other CPUs, since it replaces the kernel. Does this one have to?",
        )
    return Verdict(
        Outcome.PASSED,
        "CPU 3 left the host, took INIT and SIPI, went through the trampoline, and entered kernel 1 at instruction"
        f" {run.entered:,}.",
        next_step="Compare with the details of the events in the dashboard: the kick has the same steps.",
    )


def _not_up(run: _Run, order: Order) -> Verdict:
    """Why kernel 1 does not run on CPU 3, after a run in which nothing broke."""
    cpu = run.machine.cpus[_CPU]
    if cpu.state is CpuState.WAIT_FOR_SIPI:
        early = (
            " The SIPI came first, to a CPU that had not been reset, and was ignored." if "A" in order.letters else ""
        )
        return not_yet(
            f"CPU 3 was reset by INIT and waits for a SIPI.{early}",
            order.place("A") or order.place("D"),
            "A SIPI counts only for a CPU that waits for one. What makes it wait?",
        )
    if run.inits and cpu.owner == "host":
        return not_yet(
            "CPU 3 went through the trampoline and came up in the host again. The trampoline still held the entry"
            " address of the last CPU that it had started, which was one of the host's own.",
            order.place("B") or order.place("A"),
            "Where does the trampoline learn where to jump, and when must that be there?",
        )
    if "A" in order.letters:
        return not_yet(
            "CPU 3 ignored the SIPI and is where it was: no INIT has reset it.",
            order.place("A"),
            "A SIPI counts only for a CPU that waits for one. What makes it wait?",
        )
    return not_yet(
        "Nothing has started: CPU 3 took neither INIT nor SIPI.",
        "",
        "Which two lines reach the CPU itself? They are the interrupts of the kick.",
    )


in_order = forms.parsons(
    "00.2",
    "What reboot sets in motion",
    _LINES,
    _judge,
    (
        "Watch CPU 2 in the dashboard again, step by step: what is said of it, and in which order?",
        "Ask of each line what must be true before it. INIT takes a CPU from whoever runs on it; SIPI sends a reset CPU"
        " into the trampoline; the trampoline jumps to the address that was left in it.",
        "Five of the six lines. The last one is A: once the CPU runs, it is too late to prepare anything.",
    ),
    (
        WrongOrder("CBDAE", "loaded after SIPI", "where nobody had put a kernel"),
        WrongOrder("DCEBA", "INIT before the CPU is given up", "the host believes that CPU 3 is still its own"),
        WrongOrder("EBDA", "the CPU is not given up", "INIT took it away in the middle of its work"),
        WrongOrder("CEBAD", "SIPI before INIT", "The SIPI came first, to a CPU that had not been reset"),
        WrongOrder("CEBA", "no INIT", "CPU 3 ignored the SIPI"),
        WrongOrder("CEDAB", "the entry is written after SIPI", "came up in the host again"),
        WrongOrder("CEDA", "the entry is not written", "The trampoline still held the entry address"),
        WrongOrder("CFEBDA", "another CPU is stopped as well", "CPU 1 no longer runs the host"),
        WrongOrder("CEBD", "no SIPI", "was reset by INIT and waits for a SIPI"),
        WrongOrder("CEB", "only prepared", "CPU 3 took neither INIT nor SIPI"),
    ),
    also=("ECBDA", "BCEDA", "CDEBA", "BECDA", "CBEDA", "CEDBA"),
)
