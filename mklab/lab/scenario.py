"""The scenario of lab 00, `mklab demo` and the README: further kernels are loaded, started, and answer messages.

A :class:`Scenario` can be run at once or step by step; :attr:`Scenario.driver` steers it for the pictures, which can
also go back in it.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mklab.errors import MklabError, require
from mklab.guest.abi import MK_PING, MULTIKERNEL_VECTOR, NR_CPUS
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import LoadedImage
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.machine.layout import DEFAULT_RAM
from mklab.machine.machine import Machine, Stop
from mklab.machine.process import Call
from mklab.machine.schedule import Schedule
from mklab.recording import Recording
from mklab.trace import (
    Delivered,
    Eoi,
    Event,
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

if TYPE_CHECKING:
    from mklab.lab.driver import MachineDriver

__all__ = ["MOST_KERNELS", "Act", "Scenario"]

MOST_KERNELS = 15
"""Spawned kernels of one scenario: each has a window of 16 MiB."""

_VISIBLE = (
    *(Delivered, Eoi, Fault, Init, IpiSent, Lost, MessageTaken, ModeChange, OwnerChange, PlatformReset, Printk),
    *(Shutdown, Sipi),
)
"""Events at which one step of a picture ends."""

_LIMIT = 20_000_000
_PING = b"ping"
_NOTHING = LoadedImage("ELF64", 0, ())
"""kexec_load without a segment unloads."""


@dataclass
class Act:
    """One act of a scenario.

    Attributes:
        title: what it does, in words.
        begin: starts it; what it returns is waited for (None: nothing).
        done: whether it is over; None: as soon as every CPU waits.
    """

    title: str
    begin: Callable[[], Call | None]
    done: Callable[[], bool] | None = None


class _Progress(NamedTuple):
    """How far the acts are, from a moment on.

    Attributes:
        events, time: the moment: how many events had happened, and virtual time.
        begun: how many acts have begun.
        under_way: whether the last of them is under way.
        refused: why its call was refused: then no act goes on from here.
    """

    events: int
    time: int
    begun: int
    under_way: bool
    refused: str


class Scenario:
    """A host on every CPU; CPUs are taken offline, minikernels loaded and started on them, and messages exchanged.

    Args:
        cpus: how many CPUs, 2 to 64.
        kernels: how many spawned kernels, 1 to 15, and less than ``cpus``. One runs on CPU 2, if it is the only one;
            several run on CPUs 1, 2, ... The host sends each a message and is answered; with two or more, kernel 1
            sends one to kernel 2.

    Attributes:
        machine, host: the machine, with the host booted, and its host kernel.
        cpu: the CPU that kernel 1 gets.
        booted: number of the first event after the host has booted.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, cpus: int = 4, kernels: int = 1) -> None:
        require("cpus", cpus, 2, NR_CPUS, " (a second kernel needs a CPU of its own)")
        require("kernels", kernels, 1, min(MOST_KERNELS, cpus - 1), " (each needs a CPU, and the host one)")
        self._count = cpus
        self._kernels = kernels
        self._driver: MachineDriver | None = None
        self.reset()

    def reset(self, schedule: Schedule | None = None) -> None:
        """Power off and on again; the host boots. ``schedule`` chooses who runs; None: round robin."""
        self.machine = Machine(self._count, max(DEFAULT_RAM, HOST_END + self._kernels * WINDOW), schedule)
        self.host = Host(self.machine)
        self.cpu = self.cpu_of(1)
        self._recording = Recording([cpu.apic_id for cpu in self.machine.cpus])
        self._last: Event | None = None
        self._call: Call | None = None
        self._plan = self._planned()
        self._next = 0
        self._current: Act | None = None
        self._unjudged = False
        self._refused = ""
        self._progress: list[_Progress] = []
        self.host.boot()
        self.booted = self.machine.trace.count
        self._note_progress()

    @property
    def driver(self) -> MachineDriver:
        """What steers it for the pictures."""
        if self._driver is None:
            from mklab.lab.driver import MachineDriver  # it would import this module

            self._driver = MachineDriver(self)
        return self._driver

    @property
    def recording(self) -> Recording:
        """What has happened since power-on."""
        events = self.machine.trace.events
        known = self._recording.count
        if known > len(events) or (known and self._last is not events[known - 1]):
            # It was taken back meanwhile, and has perhaps gone on in another way.
            self._recording, known = Recording([cpu.apic_id for cpu in self.machine.cpus]), 0
        self._recording.extend(events[known:])
        self._last = events[-1]
        return self._recording

    def cpu_of(self, number: int) -> int:
        """The CPU on which spawned kernel ``number`` (from 1) is started."""
        return number if self._kernels > 1 else min(2, self._count - 1)

    @property
    def kernels(self) -> list[str]:
        """The names of the spawned kernels."""
        return [f"kernel {number}" for number in range(1, self._kernels + 1)]

    def _planned(self) -> list[Act]:
        acts = []
        for number in range(1, self._kernels + 1):
            acts += self._spawning(number)
        for number in range(1, self._kernels + 1):
            acts += self._asking(number)
        return acts + (self._between_two() if self._kernels > 1 else [])

    def _spawning(self, number: int) -> list[Act]:
        """The acts that start kernel ``number`` on its CPU."""
        cpu, host, name = self.cpu_of(number), self.host, f"kernel {number}"
        others = [one for one in range(self._count) if one != cpu]
        image = minikernel_image(HOST_END + (number - 1) * WINDOW, number, [cpu, *others])

        def load() -> Call:
            self.machine.plan(cpu, name)
            return host.submit_load(image)

        acts = [
            Act(f"take CPU {cpu} offline", lambda: host.submit("cpu_down", {"cpu": cpu}), self._returned),
            Act("load the image with kexec_load", load, self._returned),
            Act(f"kick CPU {cpu}", lambda: host.submit("multikernel_kexec", {"cpu": cpu}), self._returned),
            Act("wait until it is up", lambda: None, lambda: host.is_up(name, cpu)),
        ]
        if number < self._kernels:
            # A kick starts the oldest image (defect 21).
            acts.append(Act("unload the image", lambda: host.submit_load(_NOTHING), self._returned))
        return acts

    def _asking(self, number: int) -> list[Act]:
        """The host sends kernel ``number`` a message."""
        cpu = self.cpu_of(number)
        return [
            Act("send it a message", lambda: self.host.submit_message(cpu, _PING), self._returned),
            Act("let it answer", lambda: None),
        ]

    def _between_two(self) -> list[Act]:
        """Kernel 1 sends kernel 2 a message past the API, whose numbers name only its own CPUs (defect 29)."""
        sender, target = self.cpu_of(1), self.cpu_of(2)
        values = {"slot": target, "sender": sender, "type": MK_PING, "size": len(_PING)}

        def send() -> Call:
            return self.host.kernel("kernel 1").submit_by_hand(MULTIKERNEL_VECTOR, target, data=_PING, **values)

        return [
            Act("let kernel 1 send kernel 2 a message", send, self._returned),
            Act("let kernel 2 answer", lambda: None),
        ]

    def _returned(self) -> bool:
        call = self._call
        if call is not None and call.errno:
            self._refused = f"{call.function}: {call.reason}"
            self._note_progress()
            raise MklabError(self._refused)
        return call is None or call.done

    @property
    def title(self) -> str:
        """The act that is under way, or ``"finished"``."""
        if self._current:
            return self._current.title
        return "finished" if self.finished else self._plan[self._next].title

    @property
    def finished(self) -> bool:
        """Whether every act is over."""
        return self._next == len(self._plan) and self._current is None

    def step(self) -> None:
        """Go on until something can be seen to have happened."""
        limit = self.machine.time + _LIMIT
        while not self.finished:
            before = self.machine.trace.count
            self.advance(self.machine.step)
            trace = self.machine.trace
            new = trace.events[len(trace.events) - (trace.count - before) :]
            if any(isinstance(event, _VISIBLE) for event in new):
                return
            if self.machine.time > limit:
                raise MklabError(f"nothing happened for {_LIMIT} instructions while it was to {self.title}")

    def run(self) -> None:
        """Go on to the end."""
        while not self.finished:
            self.step()

    def advance(self, run: Callable[[], Stop | None]) -> Stop | None:
        """Begin the next act, or let the machine run once: ``run`` lets it, and says why it cannot, or has stopped.

        Returns:
            Where the machine was stopped on the way, by a breakpoint or a watchpoint.

        Raises:
            MklabError: the act cannot come to its end.
        """
        if self._refused:
            raise MklabError(self._refused)
        if self._current is None:
            self._current = self._plan[self._next]
            self._next += 1
            self._call = self._current.begin()
            self._note_progress()
            return None
        stop = None
        if not self._unjudged:
            stop = run()
            if stop and stop.reason in ("breakpoint", "watchpoint"):
                # Whether the act is over is asked where the slice ends.
                self._unjudged = True
                return stop
        self._unjudged = False
        if self.machine.idle if self._current.done is None else self._current.done():
            self._current = None
            self._note_progress()
        elif stop:
            raise MklabError(f"it was to {self._current.title}, but {stop.detail}")
        return None

    def resume(self) -> None:
        """The machine was taken to another moment: the acts go on from there."""
        here = (self.machine.trace.count, self.machine.time)
        del self._progress[bisect.bisect_right(self._progress, here, key=lambda one: (one.events, one.time)) :]
        last = self._progress[-1]
        self._next, self._refused = last.begun, last.refused
        self._current = self._plan[self._next - 1] if last.under_way else None
        self._unjudged = last.under_way and here > (last.events, last.time)
        # A call that is not under way any more has returned.
        self._call = self.machine.calls[-1] if self.machine.calls else None

    def _note_progress(self) -> None:
        trace, under_way = self.machine.trace, self._current is not None
        self._progress.append(_Progress(trace.count, self.machine.time, self._next, under_way, self._refused))
