"""Lets the real machine perform one transition, and sees what it touches.

A slice is run twice where need be: once to find where the CPU's next visible operation comes; then it is put back and
run to just before it.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from mklab.errors import MklabError
from mklab.machine.registers import Registers
from mklab.timeline.explore.operation import describe
from mklab.timeline.explore.stack import Dead, mask_of
from mklab.timeline.explore.stage import Stage
from mklab.timeline.explore.state import State, cpu_fields, set_cpu_fields
from mklab.timeline.explore.touched import Touched
from mklab.timeline.explore.transition import Access, Operation, Transition, apic_word, named_cpu
from mklab.timeline.explore.witness import Witness

__all__ = ["LONGEST", "Probe"]

LONGEST = 100_000
"""Instructions of a transition: a CPU that goes on for longer without a visible operation is stopped there."""


class _CutError(BaseException):
    """The slice has gone too far: a visible operation came, ``position`` instructions into the transition."""

    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position


class _SurpriseError(BaseException):
    """A CPU touches what was taken for another one's own."""


class _ForgottenError(BaseException):
    """A CPU reads what was forgotten."""


class Probe:
    """Performs transitions on the machine of ``stage``.

    Args:
        stage: the states.
        places: the words that CPUs share, memory and others, with their bits in the sets of a transition.
        points: those of them at which interleavings are enumerated.
        known: who has touched what else, as all processes know it.

    Attributes:
        fresh: who has touched what, as seen here since :meth:`take_fresh`.
        remembered: whether a CPU has read what was forgotten.
    """

    def __init__(self, stage: Stage, places: Mapping[int, int], points: Collection[int], known: Touched) -> None:
        self._stage = stage
        self._machine = stage.machine
        self._places = places
        self._points = points
        self._known = known
        self.fresh = Touched()
        self.remembered = False
        self._operations: dict[tuple[Any, ...], Operation] = {}
        self._own: list[tuple[set[int], set[int]]] = [(set(), set()) for _ in stage.machine.cpus]
        self._reads_own, self._writes_own = self._own[0]
        self.witness = Witness(stage.machine, self)
        self._dead = Dead()
        self._begin()
        self._gone = True

    def _begin(self) -> None:
        self._begun = self._gone = False
        self._undo: dict[int, int] = {}
        self._written: dict[int, int] = {}
        self._reads = self._writes = 0
        self._first: list[Access] = []
        self._event: tuple[str, Any] = ("", None)

    # What the witness tells

    def familiar(self, paddr: int, size: int, write: bool) -> bool:
        """Most accesses: within a word that the CPU is known to touch so, and that no other CPU has."""
        word = paddr >> 3
        if word not in (self._writes_own if write else self._reads_own) or (paddr & 7) + size > 8 or self._gone:
            return False
        mask = (1 << size) - 1 << (paddr & 7)
        if not write:
            return not self._dead.bytes_of(word) & mask & ~self._written.get(word, 0)
        if word not in self._undo:
            self._stage.before_write(word)
            self._undo[word] = self._stage.peek(word)
        self._written[word] = self._written.get(word, 0) | mask
        return True

    def touched(self, word: int, write: bool, position: int) -> None:
        """A word is about to be touched: perhaps that is too far."""
        if write and word >= 0 and word not in self._undo:
            self._stage.before_write(word)
            self._undo[word] = self._stage.peek(word)
        if self._gone:
            return
        place = self._places.get(word)
        if place is None:
            cpu = self.witness.cpu
            self.fresh.add(word, 0 if write else 1 << cpu, 1 << cpu if write else 0)
            named = named_cpu(word)
            if named is not None and named != cpu:
                # Whatever the other CPU does, a command changes what comes next.
                self.fresh.add(word, 1 << named, 0)
            if self._known.by_others(word, cpu, write):
                raise self._leaving(_SurpriseError())
            if word >= 0:
                (self._writes_own if write else self._reads_own).add(word)
            return
        if word in self._points and (position > 0 or self._begun):
            raise self._leaving(_CutError(position))
        if write:
            self._writes |= 1 << place
        else:
            self._reads |= 1 << place

    def accessed(self, paddr: int, size: int, write: bool, position: int) -> None:
        """The first instruction's accesses are kept; nothing that was forgotten may be read."""
        if self._gone:
            return
        for word in range(paddr >> 3, (paddr + size - 1 >> 3) + 1):
            mask = mask_of(word, paddr, size)
            if write:
                self._written[word] = self._written.get(word, 0) | mask
            elif self._dead.bytes_of(word) & mask & ~self._written.get(word, 0):
                raise self._leaving(_ForgottenError())
        if position == 0 and not self._begun:
            self._first.append(Access(paddr, size, write))

    def happened(self, kind: str, values: Any, position: int) -> None:
        """What the transition begins with."""
        if position == 0 and not self._begun and not self._gone and self._event[0] != "interrupt":
            self._event = kind, values

    def _leaving(self, why: BaseException) -> BaseException:
        """What is told after ``why`` is not to happen: the engine finishes its block of instructions."""
        self._gone = True
        return why

    def take_fresh(self) -> Touched:
        """Who has touched what since the last time."""
        fresh, self.fresh = self.fresh, Touched()
        return fresh

    def learn(self, known: Touched) -> None:
        """Who has touched what, as all processes know it now."""
        self._known = known
        for reads, writes in self._own:
            reads.clear()
            writes.clear()

    # Performing

    def perform(self, state: State, cpu: int, longest: int = LONGEST) -> Transition | None:
        """What ``cpu``, which can run in ``state``, does next; None: it touched what was taken for another one's own.

        Args:
            state, cpu: where, and who.
            longest: instructions after which it is stopped, visible operation or not.

        Raises:
            MklabError: a timer of a local APIC runs.
        """
        try:
            return self._perform(state, cpu, longest)
        finally:
            self._gone = True  # whoever looks at the machine now is no CPU

    def _perform(self, state: State, cpu: int, longest: int) -> Transition | None:
        stage, machine = self._stage, self._machine
        stage.put(state)
        self._begin()
        self._dead = stage.local(state.locals[cpu]).dead
        self.witness.begin(cpu)
        self._reads_own, self._writes_own = self._own[cpu]
        registers, choices = machine.registers(cpu), []
        before: dict[int, int] = {}
        first: list[Access] = []
        try:
            while True:
                choice, cut = self._slice(cpu, longest)
                if choice:
                    choices.append((cpu, choice))
                for word, value in self._undo.items():
                    before.setdefault(word, value)
                self._undo = {}
                if not self._begun:
                    self._begun, first = True, self._first
                if cut or self.witness.turn.stopped or machine.time - self.witness.start >= longest:
                    break
                if not machine._runnable(machine.cpus[cpu]):
                    break
            if machine._interrupts.deadline is not None:
                raise MklabError("the timer of a local APIC runs; what depends on time is not explored")
        except (_SurpriseError, _ForgottenError) as why:
            self.remembered |= isinstance(why, _ForgottenError)
            stage.disturbed({**self._undo, **before})
            return None
        except BaseException:
            stage.disturbed({**self._undo, **before})
            raise
        shared = tuple(access for access in first if self._is_shared(access))
        operation = self._describe(cpu, registers, shared)
        return self._result(state, cpu, before, choices, operation)

    def _describe(self, cpu: int, registers: Registers, accesses: tuple[Access, ...]) -> Operation:
        """The operation that a transition began with; what an instruction is called is remembered for this pass."""
        memory = self._machine.memory
        # Reading the code to name it is no access of the CPU's: behind the code may lie what others write.
        witness, memory.witness = memory.witness, None
        try:
            return self._named(cpu, registers, accesses)
        finally:
            memory.witness = witness

    def _named(self, cpu: int, registers: Registers, accesses: tuple[Access, ...]) -> Operation:
        key = cpu, registers.linear_rip, registers.cr3, registers.mode, self._event[0]
        if self._event[0] in ("step", "interrupt"):
            return describe(self._machine, cpu, registers, self._event, accesses)
        if key not in self._operations:
            self._operations[key] = describe(self._machine, cpu, registers, self._event, ())
        known = self._operations[key]
        kind = "memory" if accesses and known.kind == "start" else known.kind
        return replace(known, kind=kind, accesses=accesses)

    def _is_shared(self, access: Access) -> bool:
        words = range(access.paddr >> 3, (access.paddr + access.size - 1 >> 3) + 1)
        return any(word in self._places for word in words)

    def _result(
        self, state: State, cpu: int, before: dict[int, int], choices: list[Any], operation: Operation
    ) -> Transition:
        stage, machine, turn = self._stage, self._machine, self.witness.turn
        instructions = machine.time - self.witness.start
        place = self._places.get(apic_word(cpu))
        reads = self._reads | (0 if place is None else 1 << place)
        if turn.stopped:
            stage.disturbed(before)
            kept = (state.locals[cpu], state.apics[cpu], b"")
            return Transition(
                cpu, *kept, (), (), 0, instructions, tuple(choices), reads, self._writes, turn.stopped, operation
            )
        slept = stage.read_wake(cpu)
        stored = tuple(stage.note_shared(before))
        parts = (stage.note_local(cpu, self._written), stage.note_apic(cpu), stage.note_platform())
        return Transition(
            *(cpu, *parts, stored, tuple(turn.kept), slept, instructions),
            *(tuple(choices), reads, self._writes, "", operation),
        )

    def _slice(self, cpu: int, longest: int) -> tuple[int, bool]:
        """One slice, or as much of it as comes before the next visible operation.

        Returns:
            Its budget, 0 where nothing of it may run, and whether a visible operation comes next.
        """
        machine, turn = self._machine, self.witness.turn
        before, marks = machine.time, (self._reads, self._writes, len(turn.kept))
        written = dict(self._written)
        saved = self._save(cpu)
        try:
            with machine._from_inside():
                turn.take(machine.cpus[cpu], longest)
        except _CutError as cut:
            self._restore(cpu, saved)
            self._reads, self._writes = marks[:2]
            self._written = written
            self._gone = False
            del turn.kept[marks[2] :]
            budget = cut.position - (before - self.witness.start)
            if budget <= 0:
                return 0, True
            if not self._begun:
                self._first, self._event = [], ("", None)
            with machine._from_inside():
                turn.take(machine.cpus[cpu], budget)
            return budget, True
        return max(1, machine.time - before), False

    def _save(self, cpu: int) -> tuple[Any, ...]:
        machine = self._machine
        calls = copy.deepcopy([call.to_dict() for call in machine.calls if call.cpu == cpu])
        parts = machine.apics[cpu].state(), self._stage.msrs(cpu), self._stage.platform_data()
        context = machine.engine.save_context(cpu)
        return context, cpu_fields(machine.cpus[cpu]), calls, parts, machine.time

    def _restore(self, cpu: int, saved: tuple[Any, ...]) -> None:
        machine = self._machine
        context, fields, calls, (apic, msrs, platform), machine.time = saved
        for word, value in self._undo.items():
            self._stage.poke(word, value)
        self._stage.dropped(self._undo)
        self._undo = {}
        machine.engine.load_context(cpu, context)
        set_cpu_fields(machine.cpus[cpu], fields)
        machine.calls[:] = [call for call in machine.calls if call.cpu != cpu] + self._stage.calls_of(calls)
        machine.apics[cpu].restore(apic)
        self._stage.put_msrs(cpu, msrs)
        machine.board.take_commands()
        machine.board.reset_request = machine.board.exit_request = None
        machine.stopped = None
        self._stage.put_platform(platform)
