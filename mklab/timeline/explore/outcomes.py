"""All ends that a machine can come to, and the graph of the states on the way: for small machines, in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mklab.machine.machine import Machine
from mklab.timeline.explore.invariants import Situation
from mklab.timeline.explore.pilot import EVERYWHERE, At, chosen_points, pilot
from mklab.timeline.explore.result import Counterexample, Coverage, covered
from mklab.timeline.explore.search import Search
from mklab.timeline.explore.state import State
from mklab.timeline.explore.workers import InProcess

__all__ = ["Outcome", "Outcomes", "follow", "outcomes"]


@dataclass(frozen=True)
class Outcome:
    """A state in which nothing can happen any more.

    Attributes:
        state: its number.
        told: what was said of the machine there.
        way: a shortest way to it, replayable.
    """

    state: int
    told: str
    way: Counterexample


@dataclass(frozen=True)
class Outcomes:
    """The graph of states, and its ends.

    Attributes:
        edges: of each state, by its number: who can go on, and to which state. State 0 is the beginning.
        ends: the final states, in the order of their numbers.
        coverage: what was looked through.
    """

    edges: tuple[tuple[tuple[int, int], ...], ...]
    ends: tuple[Outcome, ...]
    coverage: Coverage

    @cached_property
    def orders(self) -> int | None:
        """In how many orders the visible operations can come, from the beginning to an end; None: without bound."""
        ways: list[int | None] = [None] * len(self.edges)
        stack = [0]
        entered = set()
        while stack:
            state = stack[-1]
            behind = [to for _, to in self.edges[state]]
            missing = [to for to in behind if ways[to] is None]
            if state in entered and any(to in entered for to in missing):
                return None  # it goes round in a circle
            entered.add(state)
            if missing:
                stack += missing
                continue
            ways[state] = sum(ways[to] or 0 for to in behind) if behind else 1
            entered.discard(state)
            while stack and ways[stack[-1]] is not None:
                stack.pop()
        return ways[0]


class _Told:
    """Asks its question in every final state, and notes what is said."""

    name = "outcome"

    def __init__(self, tell: Callable[[Machine], str]) -> None:
        self._tell = tell
        self.said: dict[State, str] = {}

    def violated(self, situation: Situation) -> str | None:
        """Nothing is: it only notes."""
        if situation.final and situation.state not in self.said:
            self.said[situation.state] = self._tell(situation.machine)
        return None


def outcomes(machine: Machine, tell: Callable[[Machine], str], *, at: At = EVERYWHERE) -> Outcomes:
    """Look through the interleavings of ``machine`` from where it stands; afterwards it stands there again.

    Args:
        machine: the machine.
        tell: says in words what has become of a machine on which nothing can happen any more.
        at: as :func:`mklab.timeline.explore.explore` has it.

    Raises:
        ValueError: ``at`` names no such places.
        MklabError: the machine does something that is not explored.
    """
    began = time.monotonic()
    told = _Told(tell)
    here = InProcess(machine, [told])
    try:
        points = chosen_points(at)
        shared, _ = pilot(here, points)
        search = Search(here, None, points, lambda _: None)
        search.run(shared)
        now = search.current
        edges = tuple(tuple((cpu, now.index[to]) for cpu, to in behind) for behind in now.edges)
        finals = sorted(now.index[state] for state in now.finals)
        states = list(now.index)
        ends = tuple(
            Outcome(number, told.said[states[number]], _way(here, told.said[states[number]], now.path(number)))
            for number in finals
        )
        return Outcomes(edges, ends, covered(search, None, time.monotonic() - began))
    finally:
        here.close()


def follow(machine: Machine, cpus: Sequence[int]) -> Counterexample:
    """The way on which these CPUs take one step each, in that order; the machine stays where it stands.

    Args:
        machine: the machine.
        cpus: who takes each step, as the operations of a way have them.

    Raises:
        MklabError: a CPU that cannot run is to take a step.
    """
    here = InProcess(machine, [])
    try:
        pilot(here, chosen_points(EVERYWHERE))
        return _way(here, "the steps that were given", bytes(cpus))
    finally:
        here.close()


def _way(here: InProcess, what: str, path: bytes) -> Counterexample:
    transitions = [transition for _, transition in here.follow(path)]
    operations = tuple(one.operation for one in transitions)
    choices = tuple(choice for one in transitions for choice in one.choices)
    return Counterexample("outcome", what, tuple(map(str, operations)), choices, operations=operations)
