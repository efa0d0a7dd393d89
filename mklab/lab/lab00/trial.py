"""Exercise 00.3: a machine with a host, on which a student's function is tried."""

from typing import Any

from mklab.kernel.host import Host
from mklab.lab.checking.answer import Answer, AnswerError, Offer
from mklab.lab.exercise import LimitedRoundRobin, OutOfSlicesError
from mklab.machine.machine import Machine
from mklab.recording import Recording

__all__ = ["BASE", "CPU", "KERNEL", "TEXT", "Trial"]

CPU = 3
BASE = 0x3000000
TEXT = b"hello"
KERNEL = "kernel 1"

_SLICES = 800
"""Slices that a check runs after the host has booted: many times what the solution takes."""
_CALLS = ("cpu_down", "cpu_up", "load", "multikernel_kexec", "wait_online", "multikernel_send_ipi_data", "settle")
"""What a student's function may ask of the host."""


class Trial:
    """A machine with a host on four CPUs, on which a student's function is tried."""

    def __init__(self) -> None:
        self.machine = Machine(cpus=4)
        self.host = Host(self.machine)
        self.host.boot()
        self.begin = 0
        self.error: Exception | None = None
        self.line = ""
        self.overran = False

    def run(self, answer: Answer) -> None:
        """Call the student's function, then let the machine settle.

        Raises:
            AnswerError: the function came to no end, or failed by itself.
        """
        self.machine.schedule = LimitedRoundRobin(_SLICES, self.machine.trace)
        self.begin = self.machine.trace.count
        try:
            answer.call("boot_second_kernel", host=Offer(self.host, _CALLS))
        except AnswerError as error:
            if error.cause is None:
                raise
            self.error, self.line = error.cause, error.where(answer.source)
        self.overran = isinstance(self.error, OutOfSlicesError)
        try:
            self.host.settle()
        except OutOfSlicesError:
            self.overran = True
        self.recording = Recording([cpu.apic_id for cpu in self.machine.cpus])
        self.recording.extend(self.machine.trace.events)

    def since(self, kind: type[Any]) -> list[Any]:
        """The events of one kind since the student's function was called."""
        return [event for event in self.machine.trace.of(kind) if event.seq >= self.begin]
