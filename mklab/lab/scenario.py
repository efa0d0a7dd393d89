"""The scenario of lab 00, `mklab demo` and the README: a second kernel is loaded, started, and answers a message.

A :class:`Scenario` is a driver for the pictures: it can be run at once or step by step.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mklab.errors import MklabError, require
from mklab.guest.abi import NR_CPUS
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import HOST_END
from mklab.machine.machine import Machine
from mklab.machine.process import Call
from mklab.recording import Recording
from mklab.trace import (
    Delivered,
    Eoi,
    Fault,
    Init,
    IpiSent,
    Lost,
    MessageTaken,
    ModeChange,
    OwnerChange,
    PlatformReset,
    Printk,
    Shutdown,
    Sipi,
)

__all__ = ["Act", "Scenario"]

_VISIBLE = (
    *(Delivered, Eoi, Fault, Init, IpiSent, Lost, MessageTaken, ModeChange, OwnerChange, PlatformReset, Printk),
    *(Shutdown, Sipi),
)
"""Events at which one step of a picture ends."""

_LIMIT = 20_000_000
_PING = b"ping"


@dataclass
class Act:
    """One act of a scenario.

    Attributes:
        title: what it does, in words.
        begin: starts it; what it returns is waited for (None: nothing).
        done: whether it is over.
    """

    title: str
    begin: Callable[[], Call | None]
    done: Callable[[], bool]


class Scenario:
    """A host on every CPU; one CPU is taken offline, a minikernel is loaded and started on it, and a message exchanged.

    Args:
        cpus: how many CPUs, 2 to 64.

    Attributes:
        machine, host: the machine, with the host booted, and its host kernel.
        cpu: the CPU that the second kernel gets.
        recording: what has happened since power-on.
        booted: number of the first event after the host has booted.

    Raises:
        ValueError: ``cpus`` is out of range.
    """

    def __init__(self, cpus: int = 4) -> None:
        require("cpus", cpus, 2, NR_CPUS, " (a second kernel needs a CPU of its own)")
        self._count = cpus
        self.reset()

    def reset(self) -> None:
        """Power off and on again; the host boots."""
        self.machine = Machine(self._count)
        self.host = Host(self.machine)
        self.cpu = min(2, self._count - 1)
        self.recording = Recording([cpu.apic_id for cpu in self.machine.cpus])
        self._recorded = 0
        self._call: Call | None = None
        self._acts = self._plan()
        self._current: Act | None = None
        self.host.boot()
        self.booted = self.machine.trace.count
        self._record()

    def _plan(self) -> list[Act]:
        cpu, host = self.cpu, self.host
        others = [one for one in range(self._count) if one != cpu]
        image = minikernel_image(HOST_END, 1, [cpu, *others])

        def load() -> Call:
            self.machine.plan(cpu, "kernel 1")
            return host.submit_load(image)

        return [
            Act(f"take CPU {cpu} offline", lambda: host.submit("cpu_down", {"cpu": cpu}), self._returned),
            Act("load the image with kexec_load", load, self._returned),
            Act(f"kick CPU {cpu}", lambda: host.submit("multikernel_kexec", {"cpu": cpu}), self._returned),
            Act("wait until it is up", lambda: None, lambda: host.is_up("kernel 1", cpu)),
            Act("send it a message", lambda: host.submit_message(cpu, _PING), self._returned),
            Act("let it answer", lambda: None, lambda: self.machine.idle),
        ]

    def _returned(self) -> bool:
        call = self._call
        if call is not None and call.errno:
            raise MklabError(f"{call.function}: {call.reason}")
        return call is None or call.done

    @property
    def title(self) -> str:
        """The act that is under way, or ``"finished"``."""
        return self._current.title if self._current else self._acts[0].title if self._acts else "finished"

    @property
    def finished(self) -> bool:
        """Whether every act is over."""
        return not self._acts and self._current is None

    def step(self) -> None:
        """Go on until something can be seen to have happened."""
        limit = self.machine.time + _LIMIT
        while not self.finished:
            self._advance()
            if self._record():
                return
            if self.machine.time > limit:
                raise MklabError(f"nothing happened for {_LIMIT} instructions while it was to {self.title}")

    def run(self) -> None:
        """Go on to the end."""
        while not self.finished:
            self.step()

    def _advance(self) -> None:
        """Begin the next act, or let the machine run once."""
        if self._current is None:
            self._current = self._acts.pop(0)
            self._call = self._current.begin()
            return
        stop = self.machine.step()
        if self._current.done() or (stop and not self._acts):
            self._current = None
        elif stop:
            raise MklabError(f"it was to {self._current.title}, but {stop.detail}")

    def _record(self) -> bool:
        """Take over what is new in the trace; whether any of it can be seen."""
        new = self.machine.trace.events[self._recorded :]
        self._recorded += len(new)
        self.recording.extend(new)
        return any(isinstance(event, _VISIBLE) for event in new)
