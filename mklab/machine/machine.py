"""The machine: CPUs, memory, local APICs and serial ports put together, run as a schedule decides."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

from mklab.errors import MklabError, require
from mklab.machine.acts import Acts, Observer
from mklab.machine.attached import Onlooker, Timeline
from mklab.machine.board import Board
from mklab.machine.cpu import Cpu, CpuState
from mklab.machine.engine import Engine
from mklab.machine.interruptible import Interruptible
from mklab.machine.interrupts import InterruptBus
from mklab.machine.layout import DEFAULT_RAM
from mklab.machine.memory import PhysicalMemory, Range
from mklab.machine.ownership import Image, Observation
from mklab.machine.power import Power
from mklab.machine.process import Call, KernelFunction
from mklab.machine.registers import Registers
from mklab.machine.schedule import RoundRobin, Schedule, repeats, schedule_of
from mklab.machine.stop import Stop
from mklab.machine.turn import Turn
from mklab.recording import Description
from mklab.trace import ConsoleByte, Input, Trace

__all__ = ["Machine", "Stop"]

MAX_CPUS = 255
"""In xAPIC mode: ids have 8 bits, and 0xFF names all CPUs."""
MAX_X2APIC_CPUS = 1024
_BROADCAST, _X2APIC_BROADCAST = 0xFF, 0xFFFFFFFF
MOST_EVENTS = 500_000
"""Events of one run: a guest that does nothing but cause some would fill the memory of the notebook's process."""


class Machine(Acts):
    """A small x86 SMP machine.

    Args:
        cpus: how many CPUs, 1 to 255 (with ``x2apic`` to 1024); CPU 0 is the bootstrap processor.
        ram: bytes of RAM from address 0, or ``(start, size)`` ranges.
        schedule: who runs next; :class:`RoundRobin` by default.
        apic_ids: physical id of each CPU; 0, 1, 2, ... by default.
        on_shutdown: what a triple fault does: ``reset`` (as PC chipsets wire it) or ``halt`` (only that CPU stops).
        x2apic: whether firmware hands the local APICs over in x2APIC mode: ids of 32 bits, registers by MSR, no page.
        debug_exit: whether there is a device at port 0xF4 that ends the run.

    Attributes:
        memory, trace, cpus, apics, engine, board: its parts; ``apics[i]`` belongs to ``cpus[i]``.
        arguments: what it was made with, as plain data.
        time: virtual time: instructions executed by all CPUs, and the gaps in which none could run.
        images: the kernels in memory, by name.
        functions: kernel functions by name.
        observers: called with ``("sent" or "delivered", target, vector, sender or None)`` for IPIs; they hold no state.
        installed: who has made functions and observers known.
        timeline: what goes back in time with it, where somebody has made one.
        onlookers: whoever wants to look at the machine where it stands still.
        description, texts: what the kernels say lies where, and the files that tell of it: for pictures only.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        cpus: int = 4,
        ram: int | Sequence[Range] = DEFAULT_RAM,
        schedule: Schedule | None = None,
        apic_ids: Sequence[int] | None = None,
        on_shutdown: str = "reset",
        *,
        x2apic: bool = False,
        debug_exit: bool = False,
    ) -> None:
        highest = (_X2APIC_BROADCAST if x2apic else _BROADCAST) - 1
        if x2apic:
            require("cpus", cpus, 1, MAX_X2APIC_CPUS)
        else:
            require("cpus", cpus, 1, MAX_CPUS, " (the id 0xFF means all CPUs; x2apic=True allows more)")
        ids = list(range(cpus)) if apic_ids is None else list(apic_ids)
        for one in ids:
            require("each of apic_ids", one, 0, highest)
        if len(ids) != cpus or len(set(ids)) != cpus:
            raise ValueError(f"apic_ids must be {cpus} different numbers from 0 to {highest}, not {ids!r}")
        if on_shutdown not in ("reset", "halt"):
            raise ValueError(f"on_shutdown must be 'reset' or 'halt', not {on_shutdown!r}")
        self.trace = Trace()
        self.time = 0
        self.memory = PhysicalMemory([(0, ram)] if isinstance(ram, int) else ram)
        self.memory.after_write = self._note_write
        self._schedule: Schedule = schedule or RoundRobin()
        self._inside = True
        self.on_shutdown = on_shutdown
        self.x2apic = x2apic
        self.cpus = [Cpu(index, apic_id) for index, apic_id in enumerate(ids)]
        self.images: dict[str, Image] = {}
        self.calls: list[Call] = []
        self.functions: dict[str, KernelFunction] = {}
        self.observers: dict[str, Observer] = {}
        self.installed: list[str] = []
        self.timeline: Timeline | None = None
        self.onlookers: list[Onlooker] = []
        self.description = Description()
        self.texts: dict[str, Callable[[], str]] = {}
        self.stopped: Stop | None = None
        self._interrupts = InterruptBus(self)
        self.board = Board(self, debug_exit)
        self.apics = self.board.apics
        self.current = 0
        self.arguments: dict[str, Any] = {
            "cpus": cpus,
            "ram": [list(one) for one in self.memory.ranges],
            "schedule": self.schedule.state(),
            "apic_ids": ids,
            "on_shutdown": on_shutdown,
            "x2apic": x2apic,
            "debug_exit": debug_exit,
        }
        # Without the schedule: a script with the same choices makes the same run, to the same digest.
        told = {name: value for name, value in self.arguments.items() if name != "schedule"}
        self.trace.emit(Input, 0, None, name="power_on", args=copy.deepcopy(told))
        self.engine = Engine(self.memory, self.board, cpus)
        self.interruptible = Interruptible(self.engine.stop)
        self._observation = Observation(self, self.engine, self._interrupts)
        self._turn = Turn(self, self._interrupts, self._observation, self.interruptible)
        self.power = Power(self, self.engine, self._observation)
        self._inside = False

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any]) -> Self:
        """A machine as another one's :attr:`arguments` describe it; without a schedule it gets the default.

        Raises:
            ValueError: an argument is out of range, missing, or unknown.
        """
        rest = dict(arguments)
        try:
            ram, schedule = [(start, size) for start, size in rest.pop("ram")], rest.pop("schedule", None)
            return cls(ram=ram, schedule=schedule and schedule_of(schedule), **rest)
        except (LookupError, TypeError, OSError, OverflowError, MemoryError) as error:
            raise ValueError(f"arguments must be those of a machine, not {str(arguments)[:80]!r}: {error}") from None

    # Looking

    def registers(self, cpu: int) -> Registers:
        """The registers of ``cpu``."""
        self._check(cpu)
        return self.engine.registers(cpu)

    def interrupt_flags(self, cpu: int) -> tuple[bool, bool]:
        """Of ``cpu``: whether its last instruction was STI or a load of SS, and RFLAGS.IF."""
        return self.engine.interrupt_flags(cpu)

    def console(self, kernel: str) -> str:
        """What ``kernel`` has printed on its serial port, in the events held."""
        data = bytes(event.byte for event in self.trace.of(ConsoleByte) if event.kernel == kernel)
        return data.decode("ascii", "replace")

    @property
    def now(self) -> int:
        """Virtual time, also while a CPU runs."""
        return self.time + (self.engine.executed if self._turn.running else 0)

    @property
    def idle(self) -> bool:
        """Whether every CPU waits, or the platform was reset."""
        return bool(self.stopped) or not any(self._runnable(cpu) for cpu in self.cpus)

    def emit(self, kind: Any, cpu: int | None, **values: Any) -> None:
        """Record an event now."""
        running = self._turn.running
        self.trace.emit(kind, self.time + self.engine.executed if running else self.time, cpu, **values)
        if running and self.onlookers and any(one.each_event for one in self.onlookers):
            self.pause()

    def look(self, why: str) -> None:
        """Let the onlookers look."""
        for one in self.onlookers:
            one.look(why)

    # Going back

    def back(self, n: int = 1, unit: str = "instruction") -> None:
        """Undo the last ``n`` instructions, events or slices; see :class:`mklab.timeline.timeline.Timeline`.

        Raises:
            MklabError: this machine has no timeline.
        """
        self._timeline.back(n, unit)

    def seek(self, event: int) -> None:
        """Go to the moment just after the event with that number; as :meth:`back`."""
        self._timeline.seek(event)

    @property
    def _timeline(self) -> Timeline:
        if self.timeline is None:
            raise MklabError("this machine has no timeline; make one before it runs: Timeline(machine)")
        return self.timeline

    # Running

    def run(self, budget: int = 5_000_000, until: Callable[["Machine"], bool] | None = None) -> Stop:
        """Run until nothing can run, ``until`` holds, or ``budget`` instructions were executed.

        ``until`` is asked between slices. Ctrl-C ends the run between two instructions and raises KeyboardInterrupt;
        the machine can go on afterwards.
        """
        require("budget", budget, 1, 1 << 62, " instructions")
        end = self.time + budget
        most = self.trace.count + MOST_EVENTS
        with self.interruptible:
            while True:
                if self.stopped:
                    return self.stopped
                if until is not None and until(self):
                    return Stop("until", None, "the condition holds")
                if self.interruptible.requested:
                    raise KeyboardInterrupt
                if self.time >= end:
                    return Stop("budget", self.current, f"{budget} instructions executed; {self._where(self.current)}")
                if self.trace.count >= most:
                    return Stop("events", self.current, f"{MOST_EVENTS:,} events; {self._where(self.current)}")
                slices = 1 if until else most - self.trace.count
                if not self.advance(end - self.time, slices=slices):
                    return self._nothing_runs()

    def step(self) -> Stop | None:
        """Run one slice, or one step of a call; None where there is more to run. Ctrl-C acts as in :meth:`run`."""
        with self.interruptible:
            advanced = not self.stopped and self.advance()
        return None if advanced else self.stopped or self._nothing_runs()

    def advance(self, left: int | None = None, choice: tuple[int, int] | None = None, *, slices: int = 1) -> bool:
        """Let the schedule's choice run once, or time pass while every CPU waits; False where nothing can happen.

        For those who run the machine within ``machine.interruptible``, which this does not enter; others call
        :meth:`run` or :meth:`step`.

        Args:
            left: the most instructions.
            choice: a CPU and its budget, instead of the schedule's. The schedule is asked all the same, so that it
                goes on afterwards as if the choice had been its own.
            slices: the most slices, where one follows another without anything between them that anybody could see.

        Raises:
            ValueError: the CPU chosen cannot run, or its budget is not positive.
        """
        runnable = self.runnable
        before, self._inside = self._inside, True
        try:
            if not runnable:
                return self._skip()
            index, budget = self._schedule.choose(runnable)
            if choice is not None:
                index, budget = choice
            if index not in runnable or budget < 1:
                chosen = (index, budget)
                raise ValueError(f"schedule must choose one of {runnable} and a budget from 1 on, not {chosen!r}")
            if left is not None:
                slices, budget = min(slices, left // budget), min(budget, left)
            alone = slices > 1 and len(runnable) == 1 and not self.onlookers and not self.calls
            self._turn.take(self.cpus[index], budget, slices - 1 if alone and repeats(self._schedule) else 0)
        finally:
            self._inside = before
        return True

    def _skip(self) -> bool:
        """Let time pass while every CPU waits: to the next event on the way to what can wake one. False: nothing can.

        A timer that wakes nobody does not keep the machine from being idle.
        """
        wakes = [call.wake for call in self.calls if call.wake > self.time]
        wakes += [at for at in map(self._interrupts.wakes_at, self.cpus) if at is not None]
        if not wakes:
            return False
        deadline = self._interrupts.deadline
        self.time = max(self.time, min(wakes if deadline is None else [*wakes, deadline]))
        self._interrupts.tick()
        self.look("time")
        return True

    @property
    def runnable(self) -> list[int]:
        """The CPUs among which the schedule can choose now."""
        running = CpuState.RUNNING
        return [cpu.index for cpu in self.cpus if cpu.state is running or self._runnable(cpu)]

    def _runnable(self, cpu: Cpu) -> bool:
        if cpu.state is CpuState.RUNNING:
            return True
        if cpu.state is CpuState.HALTED:
            return self._interrupts.deliverable(cpu) is not None or self.ready_call(cpu) is not None
        return False

    def ready_call(self, cpu: Cpu) -> Call | None:
        """The call that ``cpu`` could go on with now, or None."""
        for call in self.calls:
            if call.cpu == cpu.index:
                return call if call.wake <= self.time else None
        return None

    def _nothing_runs(self) -> Stop:
        down = [cpu for cpu in self.cpus if cpu.state is CpuState.SHUTDOWN]
        if down:
            return Stop("shutdown", down[0].index, f"CPU {down[0].index} is shut down, and no other CPU can run")
        return Stop("idle", None, "every CPU waits and nothing can wake one")

    def _where(self, cpu: int) -> str:
        return f"CPU {cpu} stands at {self.engine.registers(cpu).linear_rip:#x}"

    def observe(self, what: str, cpu: int, vector: int, sender: int | None) -> None:
        """Tell the observers that an IPI was sent to, or delivered on, ``cpu``."""
        for observer in self.observers.values():
            observer(what, cpu, vector, sender)

    def stop_for_good(self, reason: str, cpu: int | None, detail: str, code: int | None = None) -> None:
        """Nothing runs any more, until a kernel is entered anew."""
        self.stopped = Stop(reason, cpu, detail, code)

    def pause(self) -> None:
        """Stop the running CPU before its next instruction."""
        self.engine.stop()
