"""Happens-before by vector clocks: what a path through the interleavings orders, and what it leaves open.

Two operations are ordered where one CPU performs both, where both synchronise and touch the same memory, where one
sends an IPI to the CPU that the other runs on, or through others (Lamport's happens-before; the clocks are Mattern's).
"""

from collections.abc import Callable, Sequence

from mklab.timeline.explore.transition import Access, Operation, Transition

__all__ = ["Clock", "clocks", "unordered"]

Clock = tuple[int, ...]
"""For each CPU, how many of its operations are known to have happened."""


def clocks(
    transitions: Sequence[Transition], cpus: int, synchronises: Callable[[Operation, Access], bool]
) -> list[Clock]:
    """The clock of each operation, as its CPU has it when the operation has happened.

    Args:
        transitions: one after the other.
        cpus: how many CPUs there are.
        synchronises: whether an access of an operation does.
    """
    now = [[0] * cpus for _ in range(cpus)]
    memory: list[tuple[Access, Clock]] = []
    inboxes = [[0] * cpus for _ in range(cpus)]
    result = []
    for transition in transitions:
        cpu, operation = transition.cpu, transition.operation
        mine = now[cpu]
        if operation.kind == "interrupt" or any(inboxes[cpu]):
            _join(mine, inboxes[cpu])
        mine[cpu] += 1
        synchronising = [one for one in operation.accesses if synchronises(operation, one)]
        for access in synchronising:
            for before, clock in memory:
                if access.conflicts(before):
                    _join(mine, clock)
        clock = tuple(mine)
        memory += [(access, clock) for access in synchronising]
        for _, _, targets in transition.commands:
            for target in targets:
                _join(inboxes[target], clock)
        result.append(clock)
    return result


def _join(into: list[int], clock: Sequence[int]) -> None:
    into[:] = map(max, into, clock)


def unordered(one: Clock, cpu: int, other: Clock, other_cpu: int) -> bool:
    """Whether neither of two operations, by CPUs ``cpu`` and ``other_cpu``, happens before the other."""
    return one[cpu] > other[cpu] and other[other_cpu] > one[other_cpu]
