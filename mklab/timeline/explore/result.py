"""What an exploration has found, and what it has covered."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mklab.machine.machine import Machine, Stop
from mklab.machine.schedule import Scripted
from mklab.timeline.explore.transition import Operation

if TYPE_CHECKING:
    from mklab.timeline.explore.search import Search

__all__ = ["Counterexample", "Coverage", "Exploration", "covered"]


@dataclass(frozen=True)
class Counterexample:
    """A shortest way to a violation.

    Attributes:
        invariant: its name.
        what: how it is violated.
        steps: what the CPUs do, one visible operation after the other, in words.
        choices: CPU and budget of each slice from the beginning on, as :class:`Scripted` has them.
        clocks: for a data race, the vector clock of each step.
        operations: the steps as data: who, where in the code, which accesses.
    """

    invariant: str
    what: str
    steps: tuple[str, ...]
    choices: tuple[tuple[int, int], ...]
    clocks: tuple[tuple[int, ...], ...] = ()
    operations: tuple[Operation, ...] = ()

    @property
    def schedule(self) -> Scripted:
        """The choices as a schedule."""
        return Scripted(self.choices)

    def replay(self, machine: Machine) -> Stop | None:
        """Let ``machine``, which is as the explored one was at the beginning, go the same way; it records.

        Returns:
            Why it can go no further, where it cannot.
        """
        schedule = self.schedule
        machine.schedule = schedule
        while schedule.made < len(schedule.choices):
            stop = machine.step()
            if stop is not None:
                return stop
        return None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "invariant": self.invariant,
            "what": self.what,
            "steps": list(self.steps),
            "choices": [list(choice) for choice in self.choices],
            "clocks": [list(clock) for clock in self.clocks],
        }


@dataclass(frozen=True)
class Coverage:
    """How far the exploration has come.

    Attributes:
        states: different states reached.
        transitions: transitions followed.
        pruned: transitions left out, for another order of the same leads to the same state.
        performed: transitions that the machine has executed; what the others do was known from one of these.
        finals: states in which nothing can run.
        depth: the longest path followed, in transitions.
        bound: the bound that was given, or None.
        complete: whether every state was reached that can be.
        interrupted: whether it was stopped.
        passes: how often it began anew, having found more memory that CPUs share.
        shared: bytes of memory that CPUs share, in whole words of 8.
        seconds: how long it took.
    """

    states: int
    transitions: int
    pruned: int
    performed: int
    finals: int
    depth: int
    bound: int | None
    complete: bool
    interrupted: bool
    passes: int
    shared: int
    seconds: float

    @property
    def statement(self) -> str:
        """What may be claimed, in a sentence."""
        if self.complete:
            reach = "every interleaving"
        elif self.interrupted:
            reach = f"every interleaving of up to {max(self.depth - 1, 0)} visible operations (stopped there)"
        else:
            reach = f"every interleaving of up to {self.depth} visible operations"
        return (
            f"{reach}: {self.states:,} states, {self.transitions:,} transitions ({self.pruned:,} more pruned, "
            f"{self.performed:,} executed by the machine), {self.finals:,} final states, {self.shared} shared bytes"
        )


def covered(search: "Search", depth: int | None, seconds: float) -> Coverage:
    """How far ``search``, bounded by ``depth`` transitions of a path, has come in ``seconds``."""
    now = search.current
    return Coverage(
        states=len(now.parents),
        transitions=now.transitions,
        pruned=now.pruned,
        performed=now.performed,
        finals=len(now.finals),
        depth=len(now.levels) - 1,
        bound=depth,
        complete=now.complete,
        interrupted=search.interrupted,
        passes=search.passes,
        shared=8 * len(search.partition.shared),
        seconds=round(seconds, 3),
    )


@dataclass(frozen=True)
class Exploration:
    """The result.

    Attributes:
        counterexample: the shortest violation, or None.
        coverage: what was looked through.
        invariants: names of what was to hold.
        finals: what tells the final states apart: digests, in no order that means anything.
    """

    counterexample: Counterexample | None
    coverage: Coverage
    invariants: tuple[str, ...]
    finals: frozenset[bytes] = frozenset()

    @property
    def holds(self) -> bool:
        """Whether no violation was found in what was covered."""
        return self.counterexample is None

    def __str__(self) -> str:
        """In words."""
        names = ", ".join(self.invariants)
        if self.counterexample is None:
            return f"no violation of {names} in {self.coverage.statement}"
        lines = [f"{self.counterexample.invariant} is violated: {self.counterexample.what}", "the way there:"]
        lines += [f"  {step}" for step in self.counterexample.steps]
        return "\n".join([*lines, f"looked through {self.coverage.statement}"])

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        coverage = {**vars(self.coverage), "statement": self.coverage.statement}
        counterexample = None if self.counterexample is None else self.counterexample.to_dict()
        return {
            "holds": self.holds,
            "invariants": list(self.invariants),
            "counterexample": counterexample,
            "coverage": coverage,
        }
