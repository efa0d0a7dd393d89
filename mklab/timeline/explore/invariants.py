"""What is to hold in every state: what is built in, and one's own."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from mklab.errors import require
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.machine.registers import RFLAGS
from mklab.timeline.explore.stage import Stage
from mklab.timeline.explore.state import State
from mklab.timeline.explore.transition import Access, Operation, Transition

__all__ = ["Always", "AtTheEnd", "Invariant", "NoDataRace", "NoDeadlock", "NoLostMessage", "Question", "Situation"]

Question = Callable[[Machine], str | None]
"""Says in words what is wrong with a machine, or None."""


class Situation:
    """A state as invariants see it.

    Attributes:
        transitions: what each CPU that can run would do next.
        stuck: whether the CPUs that can run go round for ever.
    """

    def __init__(
        self,
        machine: Machine,
        stage: Stage,
        state: State,
        transitions: Collection[Transition],
        *,
        stuck: bool = False,
    ) -> None:
        self.stuck = stuck
        self._machine = machine
        self._stage = stage
        self._state = state
        self.transitions = transitions

    @property
    def final(self) -> bool:
        """Whether nothing can happen any more: no CPU can run, or those that can go round for ever."""
        return self.stuck or not self.transitions

    @property
    def state(self) -> State:
        """The state itself."""
        return self._state

    @property
    def stopped(self) -> bool:
        """Whether the platform was reset, or the run ended."""
        return not self._state.platform

    @property
    def machine(self) -> Machine:
        """The machine in this state, to be looked at only; made on demand."""
        self._stage.put(self._state)
        return self._machine


class Invariant(Protocol):
    """Something that is to hold.

    Attributes:
        name: how it is called.
    """

    name: str

    def violated(self, situation: Situation) -> str | None:
        """In words, how ``situation`` violates it; or None."""


class Always:
    """One's own, asked in every state.

    Attributes:
        question: what is asked.
    """

    def __init__(self, question: Question) -> None:
        self.name = getattr(question, "__name__", "invariant").strip("_")
        self.question = question

    def violated(self, situation: Situation) -> str | None:
        """What the question says."""
        return self.question(situation.machine)


class AtTheEnd(Always):
    """One's own, asked where nothing can happen any more."""

    def violated(self, situation: Situation) -> str | None:
        """What the question says."""
        return self.question(situation.machine) if situation.final else None


class NoDataRace:
    """No two CPUs are about to access the same memory, one of the two to write, unless both accesses synchronise.

    An access synchronises where it is a locked instruction or XCHG, a step of a kernel function, or lies in ``sync``:
    ranges ``(start, end)`` of memory whose plain loads and stores are acquire and release, as they are on x86 for
    variables that the program's author has declared atomic. An instruction that reads and writes without LOCK is
    neither: hardware makes two accesses of it, with others in between. Two such accesses can happen at the same time
    where, and only where, some execution has them unordered by happens-before (docs/exploration.md).
    """

    name = "no data race"

    def __init__(self, sync: Sequence[tuple[int, int]] = ()) -> None:
        for start, end in sync:
            require("the start of a range of sync", start, 0, end)
        self.sync = tuple(sync)

    def violated(self, situation: Situation) -> str | None:
        """The first pair."""
        ready = [one.operation for one in situation.transitions if one.operation.accesses]
        for at, mine in enumerate(ready):
            for other in ready[at + 1 :]:
                for access in mine.accesses:
                    for against in other.accesses:
                        if access.conflicts(against) and not (
                            self.synchronises(mine, access) and self.synchronises(other, against)
                        ):
                            kinds = ["writes" if one.write else "reads" for one in (access, against)]
                            return (
                                f"data race at {max(access.paddr, against.paddr):#x}: {mine} {kinds[0]} "
                                f"{access.size} bytes at {access.paddr:#x}, {other} {kinds[1]} {against.size} bytes "
                                f"at {against.paddr:#x}, and nothing orders the two"
                            )
        return None

    def synchronises(self, operation: Operation, access: Access) -> bool:
        """Whether this access of that operation does."""
        if operation.atomic:
            return True
        others = [one for one in operation.accesses if one.write != access.write]
        is_update = any(
            one.paddr < access.paddr + access.size and access.paddr < one.paddr + one.size for one in others
        )
        return not is_update and any(start <= access.paddr < end for start, end in self.sync)


class NoDeadlock:
    """Where nothing can happen any more, no work is left: no call, no interrupt that a halted CPU will never take.

    Nor does a CPU wait in a loop for what cannot come; that is only known once everything was looked through.

    Args:
        pending: says in words what else is left, or None.
    """

    name = "no deadlock"

    def __init__(self, pending: Question | None = None) -> None:
        self._pending = pending

    def violated(self, situation: Situation) -> str | None:
        """What is left."""
        if not situation.final or situation.stopped:
            return None
        machine = situation.machine
        left = [f"{one.operation} goes round for ever" for one in situation.transitions]
        left += [f"{call.function} on CPU {call.cpu} has not returned" for call in machine.calls]
        for cpu in machine.cpus:
            vector = machine.apics[cpu.index].pending
            if cpu.state is CpuState.HALTED and vector is not None:
                flags = machine.registers(cpu.index).rflags
                why = "" if flags & RFLAGS.IF else ", with interrupts off"
                left.append(f"CPU {cpu.index} is halted{why}, and interrupt {vector:#x} waits for it")
        more = self._pending(machine) if self._pending is not None else None
        left += [more] if more else []
        return f"every CPU waits for what cannot come: {'; '.join(left)}" if left else None


class NoLostMessage:
    """Where nothing can happen any more, every message sent was received, as often as it was sent.

    Args:
        sent, received: the messages, read from the machine.
    """

    name = "no lost message"

    def __init__(
        self, sent: Callable[[Machine], Sequence[object]], received: Callable[[Machine], Sequence[object]]
    ) -> None:
        self._sent = sent
        self._received = received

    def violated(self, situation: Situation) -> str | None:
        """Those that are missing."""
        return self.question(situation.machine) if situation.final and not situation.stopped else None

    def question(self, machine: Machine) -> str | None:
        """The same of a machine on which nothing can happen any more."""
        sent, received = list(self._sent(machine)), list(self._received(machine))
        rest = list(received)
        lost = []
        for message in sent:
            if message in rest:
                rest.remove(message)
            else:
                lost.append(message)
        if not lost:
            return None
        return f"sent {_list(sent)}, received {_list(received)}: {_list(lost)} was lost"


def _list(messages: Sequence[object]) -> str:
    return ", ".join(map(str, messages)) or "nothing"
