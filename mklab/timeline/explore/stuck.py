"""States from which the end cannot be reached any more: CPUs that wait in loops for what never comes."""

from collections.abc import Collection, Sequence

__all__ = ["first_stuck"]


def first_stuck(edges: Sequence[Sequence[int]], ends: Collection[int]) -> int | None:
    """The first state of those that go round for ever: no end can be reached, and whatever happens, it comes again.

    Args:
        edges: the states behind each state, by number; every transition counts, those left out by a reduction, too.
        ends: the states in which nothing can run.
    """
    before: list[list[int]] = [[] for _ in edges]
    for state, behind in enumerate(edges):
        for other in behind:
            before[other].append(state)
    alive = set(ends)
    waiting = list(ends)
    while waiting:
        for state in before[waiting.pop()]:
            if state not in alive:
                alive.add(state)
                waiting.append(state)
    lost = [state for state in range(len(edges)) if state not in alive]
    return min((min(one) for one in _closed(edges, lost)), default=None)


def _closed(edges: Sequence[Sequence[int]], states: Sequence[int]) -> list[list[int]]:
    """The strongly connected components that nothing leads out of (Tarjan, without recursion).

    Args:
        edges: as above.
        states: where to look; no edge leads out of them.
    """
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    component: dict[int, int] = {}
    found: list[list[int]] = []
    for root in states:
        if root in number:
            continue
        work = [(root, 0)]
        while work:
            state, at = work.pop()
            if at == 0:
                number[state] = low[state] = len(number)
                stack.append(state)
                on_stack.add(state)
            for place in range(at, len(edges[state])):
                other = edges[state][place]
                if other not in number:
                    work += [(state, place + 1), (other, 0)]
                    break
                if other in on_stack:
                    low[state] = min(low[state], number[other])
            else:
                if low[state] == number[state]:
                    members = []
                    while True:
                        one = stack.pop()
                        on_stack.discard(one)
                        component[one] = len(found)
                        members.append(one)
                        if one == state:
                            break
                    found.append(members)
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[state])
    return [
        members
        for name, members in enumerate(found)
        if all(component[other] == name for one in members for other in edges[one])
    ]
