"""What a machine can come to: the graph of its states, each ending with a shape and a word, and the way to one."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

__all__ = ["KINDS", "End", "Graph", "Run", "answer", "runs", "tell"]

KINDS = ("good", "lost", "torn")
"""How an exchange of messages can end: all arrived; one is missing; one arrived that nobody had sent."""


@dataclass(frozen=True)
class End:
    """A state in which nothing can happen any more.

    Attributes:
        state: its number in the graph.
        kind: one of :data:`KINDS`.
        words: what has become of the messages.
        steps: a shortest way to it: who does what.

    Raises:
        ValueError: there is no such kind.
    """

    state: int
    kind: str
    words: str
    steps: tuple[tuple[int, str], ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")


@dataclass(frozen=True)
class Run:
    """Steps of one CPU that follow each other: the numbers of the first and the last, from 1, and what they are."""

    cpu: int
    first: int
    last: int
    words: str

    @property
    def numbers(self) -> str:
        """``4`` or ``4-7``."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Graph:
    """States and endings, as plain data.

    Attributes:
        question: what the picture answers.
        edges: of each state, by its number: which CPU can go on, and to which state. State 0 is the beginning.
        ends: the endings; the picture sorts them by kind.

    Raises:
        ValueError: an edge or an ending names a state that is not there.
    """

    question: str
    edges: Sequence[Sequence[tuple[int, int]]]
    ends: Sequence[End]

    def __post_init__(self) -> None:
        named = [to for behind in self.edges for _, to in behind] + [end.state for end in self.ends]
        for state in named:
            if not 0 <= state < len(self.edges):
                raise ValueError(f"edges and ends must name states 0 to {len(self.edges) - 1}, not {state!r}")

    @cached_property
    def depths(self) -> list[int]:
        """How many steps each state is away from the beginning, at least; 0 for one that nothing leads to."""
        depths = {0: 0}
        queue = deque([0])
        while queue:
            state = queue.popleft()
            for _, to in self.edges[state]:
                if to not in depths:
                    depths[to] = depths[state] + 1
                    queue.append(to)
        return [depths.get(state, 0) for state in range(len(self.edges))]

    @property
    def cpus(self) -> list[int]:
        """The CPUs that do something, ascending."""
        return sorted({cpu for behind in self.edges for cpu, _ in behind})

    @cached_property
    def sorted_ends(self) -> list[End]:
        """The endings, the good ones first."""
        return sorted(self.ends, key=lambda end: (KINDS.index(end.kind), end.state))

    def way(self, end: End) -> list[int]:
        """The states along the steps to ``end``, from the beginning; as far as there are edges for them."""
        states = [0]
        for cpu, _ in end.steps:
            behind = dict(self.edges[states[-1]])
            if cpu not in behind:
                break
            states.append(behind[cpu])
        return states


def runs(end: End) -> list[Run]:
    """The steps to ``end``, those of one CPU that follow each other together."""
    found, number = [], 0
    for cpu, steps in groupby(end.steps, key=lambda step: step[0]):
        words = [step for _, step in steps]
        found.append(Run(cpu, number + 1, number + len(words), ", ".join(words)))
        number += len(words)
    return found


def answer(graph: Graph, chosen: End | None) -> str:
    """How many states and endings there are, and which one is chosen."""
    kinds = [end.kind for end in graph.ends]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)
    states, ends = _some(len(graph.edges), "state"), _some(len(kinds), "ending")
    words = f"{states} can be reached, and {ends}: {counts}."
    if chosen is not None:
        words += f" The thick line is a shortest way to one that is {chosen.kind}: {chosen.words}."
    return words


def tell(graph: Graph, chosen: End | None) -> str:
    """The picture in words: the endings, and the way to the chosen one."""
    lines = ["ending  steps  what has become of the messages"]
    for end in graph.sorted_ends:
        mark = ">" if end is chosen else " "
        lines.append(f"{mark} {end.kind:<6}{len(end.steps):>5}  {end.words}")
    if chosen is not None:
        lines += ["", f"The way to the ending marked >, {chosen.kind}:"]
        lines += [f"{run.numbers:>6}  CPU {run.cpu}  {run.words}" for run in runs(chosen)]
    return "\n".join(lines)


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
