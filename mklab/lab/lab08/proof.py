"""What exploration says of code that a student wrote: every interleaving is looked through, a counterexample told."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mklab.errors import MklabError
from mklab.lab.exercise import not_yet
from mklab.lab.guestrun import Ran
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.timeline.disassembly import is_atomic
from mklab.timeline.explore import AtTheEnd, Counterexample, Exploration, Invariant, NoDataRace, NoDeadlock, explore
from mklab.timeline.explore.transition import Operation

__all__ = ["Found", "Task", "prove"]

_MOST_STATES = 5_000
"""Several times what a good answer has."""
_MOST_STEPS = 40
"""Steps of a counterexample that are told."""


@dataclass(frozen=True)
class Task:
    """What the code is to do.

    Attributes:
        sent: the messages that are sent.
        taken: reads what was received.
        sync: the words by which CPUs synchronise: ranges ``(start, end)``.
        words: names of the words that CPUs share, by address.
        shared: where they lie: ranges ``(start, end)``.
        show: how a message is shown.
        labels: what lines of the cell are called, where they have names; empty: by their numbers.
    """

    sent: tuple[int, ...]
    taken: Callable[[Machine], Sequence[int]]
    sync: tuple[tuple[int, int], ...]
    words: Mapping[int, str]
    shared: tuple[tuple[int, int], ...]
    show: Callable[[int], str] = hex
    labels: Mapping[int, str] = field(default_factory=dict)

    def wrong(self, machine: Machine) -> str | None:
        """What is wrong with ``machine`` where nothing can happen any more."""
        return None if sorted(self.taken(machine)) == sorted(self.sent) else "not what was sent"

    def shown(self, messages: Sequence[int]) -> str:
        """Messages in words."""
        return ", ".join(map(self.show, messages)) or "nothing"


@dataclass(frozen=True)
class Found:
    """A counterexample, and the machine that went its way.

    Attributes:
        task, ran: what was to be done, and the plain run of the code.
        way: the counterexample.
        machine: as it stands at its end.
    """

    task: Task
    ran: Ran
    way: Counterexample
    machine: Machine

    @property
    def kind(self) -> str:
        """``race``, ``strange`` (nobody has sent it), ``lost``, ``twice`` or ``stuck`` (a CPU waits for ever)."""
        if self.way.invariant == NoDataRace.name:
            return "race"
        taken, sent = list(self.task.taken(self.machine)), self.task.sent
        if any(one not in sent for one in taken):
            return "strange"
        if any(cpu.state is CpuState.RUNNING for cpu in self.machine.cpus):
            return "stuck"
        if any(one not in taken for one in sent):
            return "lost"
        return "twice" if len(taken) > len(sent) else "stuck"

    @property
    def taken(self) -> list[int]:
        """What was received."""
        return list(self.task.taken(self.machine))

    def line(self, operation: Operation) -> str:
        """``line 4: lock cmpxchgq ...``; without a number where it is none of the cell's."""
        number = self.ran.line(operation.rip) if operation.rip else None
        if self.task.labels:
            label = self.task.labels.get(number or 0, "")
            return f"{label}: {operation.text}" if label else operation.text
        return f"line {number}: {operation.text}" if number else operation.text

    def touches(self, cpu: int) -> list[tuple[str, bool]]:
        """Which shared words ``cpu`` touches, one after the other, and whether it writes them."""
        return [touch for one in self.way.operations if one.cpu == cpu for touch in self.named(one)]

    def named(self, one: Operation) -> list[tuple[str, bool]]:
        """Which shared words one step touches, and whether it writes them."""
        return [(self.task.words.get(access.paddr, f"{access.paddr:#x}"), access.write) for access in one.accesses]

    def stores(self, cpu: int) -> list[str]:
        """The shared words that ``cpu`` writes, one after the other."""
        return [name for name, write in self.touches(cpu) if write]

    def steps(self) -> str:
        """The way, a line for each step; of a long one, its end."""
        lines = [
            f"{at:>3}  CPU {one.cpu}  {self.line(one)}{self._effect(one)}"
            for at, one in enumerate(self.way.operations, 1)
        ]
        if len(lines) > _MOST_STEPS:
            lines = [f"{len(lines) - _MOST_STEPS} steps, then", *lines[-_MOST_STEPS:]]
        return "\n".join(lines)

    def _effect(self, one: Operation) -> str:
        """Which shared words a step touches; empty where none has a name."""
        names: dict[str, set[bool]] = {}
        for access in one.accesses:
            if access.paddr in self.task.words:
                names.setdefault(self.task.words[access.paddr], set()).add(access.write)
        kinds = {frozenset({True}): "writes", frozenset({False}): "reads"}
        told = [f"{kinds.get(frozenset(how), 'reads and writes')} {name}" for name, how in names.items()]
        return f"  ({', '.join(told)})" if told else ""

    def clash(self, name: str) -> tuple[Operation, Operation] | None:
        """Two CPUs that have read the word ``name`` both before one of them wrote it, and have both written it."""
        reads: dict[int, int] = {}
        writes: list[tuple[int, Operation]] = []
        for at, one in enumerate(self.way.operations):
            for access in one.accesses:
                if self.task.words.get(access.paddr) != name:
                    continue
                if not access.write:
                    reads[one.cpu] = at
                    continue
                for before, other in writes:
                    if other.cpu != one.cpu and reads.get(one.cpu, at) < before and reads.get(other.cpu, at) < before:
                        return other, one
                writes.append((at, one))
        return None

    def verdict(self, happened: str, next_step: str) -> Verdict:
        """Not yet, with the way to it."""
        return not_yet(
            happened,
            f"the {len(self.way.operations)} steps below: the shortest way to this, found among all",
            next_step,
            expected=f"received: {self.task.shown(self.task.sent)}, each once, in any order of arrival",
            got=f"received: {self.task.shown(self.taken)}\n{self.steps()}",
        )


def prove(ran: Ran, task: Task, tell: Callable[[Found], Verdict | None], passed: str) -> Verdict:
    """Look through every interleaving of the code that ``ran`` ran once.

    Args:
        ran: a plain run, which ended as it should.
        task: what the code is to do.
        tell: says what a counterexample shows; None: the general words serve.
        passed: what is told of code without counterexample, before what was covered.
    """
    try:
        result, race = _explored(ran, task)
    except MklabError as error:
        return not_yet(f"Your code does something that cannot be explored: {error}.", next_step="Take that out.")
    if result.counterexample is not None:
        machine = ran.place.begin(ran.code)
        result.counterexample.replay(machine)
        found = Found(task, ran, result.counterexample, machine)
        return tell(found) or _general(found)
    if race is not None:
        machine = ran.place.begin(ran.code)
        race.replay(machine)
        found = Found(task, ran, race, machine)
        return tell(found) or _raced(found)
    if not result.coverage.complete:
        return not_yet(
            f"Your code has more than {_MOST_STATES:,} states: no counterexample was found in"
            f" {result.coverage.statement}, but that is not all.",
            next_step="Let each CPU touch shared memory less often: fewer stores, no counters on the way.",
        )
    return Verdict(
        Outcome.PASSED,
        f"{passed} No counterexample in {result.coverage.statement}.",
        next_step="Say what was shown, and no more: these senders, so many messages, steps in sequence. Store buffers"
        " are not part of this machine.",
    )


def _explored(ran: Ran, task: Task) -> tuple[Exploration, Counterexample | None]:
    """A search for what goes wrong at the end; and the first data race, where there is one."""
    effects: list[Invariant] = [AtTheEnd(task.wrong), NoDeadlock()]
    machine = ran.place.begin(ran.code)
    result = explore(machine, [*effects, NoDataRace(task.sync)], most=_MOST_STATES, shared=task.shared)
    found = result.counterexample
    if found is None or found.invariant != NoDataRace.name:
        return result, None
    # A race is the cause; what comes of it says more.
    return explore(machine, effects, most=_MOST_STATES, shared=task.shared), found


def _general(found: Found) -> Verdict:
    match found.kind:
        case "strange":
            strange = [one for one in found.taken if one not in found.task.sent]
            happened = f"The receiver took {found.task.shown(strange)}, which nobody has sent."
        case "lost":
            missing = [one for one in found.task.sent if one not in found.taken]
            happened = f"{found.task.shown(missing)} was lost."
        case "twice":
            happened = "A message was received more often than it was sent."
        case _:
            happened = f"The machine comes to a halt or goes round for ever: {found.way.what}."
    return found.verdict(happened, "Follow the steps below: which one is the first that should not have happened?")


def _raced(found: Found) -> Verdict:
    """Nothing went wrong at the end, here."""
    machine = found.machine
    lines = {cpu.index: found.ran.line(machine.registers(cpu.index).linear_rip) for cpu in machine.cpus}
    where = ", ".join(f"CPU {cpu} stands before line {line} of your cell" for cpu, line in lines.items() if line)
    if any(_is_plain_update(text) for text in re.findall(r"CPU \d+: (.*?) at 0x", found.way.what)):
        return not_yet(
            "An instruction of yours reads and writes a shared word without LOCK. This machine carries it out in one"
            " step; on hardware it is two accesses, and another CPU comes in between.",
            where,
            "Which prefix makes a read and a write one access?",
        )
    return not_yet(
        f"Nothing was lost here, but two CPUs can touch the same bytes at the same time: {found.way.what}.",
        where,
        "Which of your words says who may touch these bytes, and who has looked at it?",
    )


def _is_plain_update(text: str) -> bool:
    """Whether an instruction reads and writes its operand in memory, and nothing makes that one access."""
    names = ("cmpxchg", "xadd", "inc", "dec", "add", "sub", "and", "or", "xor", "bts", "btr", "btc", "not", "neg")
    return not is_atomic(text) and text.split()[0].rstrip("bwlq") in (*names, *(name.rstrip("bwlq") for name in names))
