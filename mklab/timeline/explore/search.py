"""The search: breadth first, level by level, so that the first violation found has a shortest path.

Every state is reached at its least depth, although sleep sets leave transitions out (docs/exploration.md proves it), so
a bound on the depth means what it says. What CPUs share is found on the way: where a CPU touches what was taken for
another one's own, the level is finished and the search begins anew, knowing better.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mklab.timeline.explore.expand import Expansion, Partition
from mklab.timeline.explore.state import State
from mklab.timeline.explore.stuck import first_stuck
from mklab.timeline.explore.touched import Touched

__all__ = ["Batch", "Done", "Points", "Search", "Workers"]

_BATCH = 64
"""States that a worker is handed at a time."""


@dataclass(frozen=True)
class Points:
    """Where interleavings are enumerated.

    Attributes:
        memory: at memory that CPUs share; True: all of it, otherwise in these ranges of addresses ``(start, end)``.
        ipis: where IPIs are sent and interrupts delivered, and at ports that CPUs share.
    """

    memory: bool | tuple[tuple[int, int], ...] = True
    ipis: bool = True

    def chosen(self, words: set[int]) -> frozenset[int]:
        """Those of ``words`` that are such points."""
        return frozenset(word for word in words if self._is_one(word))

    def _is_one(self, word: int) -> bool:
        if word < 0 or isinstance(self.memory, bool):
            return self.ipis if word < 0 else bool(self.memory)
        return any(start < (word + 1) << 3 and word << 3 < end for start, end in self.memory)


@dataclass(frozen=True, slots=True)
class Batch:
    """Work for a worker: states, how to come there, and who need not be tried."""

    states: tuple[State, ...]
    paths: tuple[bytes, ...]
    sleeps: tuple[int, ...]


@dataclass(slots=True)
class Done:
    """What a worker has found: an expansion for each state, and who has touched what."""

    expansions: list[Expansion]
    fresh: Touched
    remembered: bool


class Workers(Protocol):
    """Expands states: in this process or in others."""

    def begin(self, partition: Partition) -> State:
        """A pass begins with ``partition``; the state at the beginning."""

    def expand(self, batches: Sequence[Batch], known: Touched) -> Iterator[Done]:
        """The results, in the order of the batches; fewer where the workers are stopped.

        Args:
            batches: the work.
            known: who had touched what before this level.
        """


@dataclass
class _Pass:
    """One pass over the states, with one partition.

    Attributes:
        parents: index of the state's parent, and the CPU that led here, by state's index.
        index: number of each state.
        levels: states on each level.
        expanded: how many of the last level are done.
        transitions, pruned, performed: followed; left out; those followed or left out that the machine has executed.
        edges: who leads from each state to which other one, in the order of the states' numbers.
        finals: the states in which nothing can run.
        violation: the invariant's name, what it says, and the path.
        complete: whether all states were reached.
        cut: whether some were left out for the bound on the depth.
    """

    parents: list[tuple[int, int]] = field(default_factory=lambda: [(-1, -1)])
    index: dict[State, int] = field(default_factory=dict)
    levels: list[int] = field(default_factory=list)
    expanded: int = 0
    transitions: int = 0
    performed: int = 0
    pruned: int = 0
    edges: list[list[tuple[int, State]]] = field(default_factory=list)
    finals: set[State] = field(default_factory=set)
    violation: tuple[str, str, bytes] | None = None
    complete: bool = False
    cut: bool = False

    def stuck(self) -> State | None:
        """The first state that comes again for ever, with no end in reach; once everything was looked through."""
        if not self.complete:
            return None
        edges = [[self.index[state] for _, state in behind] for behind in self.edges]
        number = first_stuck(edges, [self.index[state] for state in self.finals])
        return None if number is None else list(self.index)[number]

    def path(self, at: int) -> bytes:
        """The CPUs that lead to the state with that number, one after the other."""
        cpus = []
        while at > 0:
            at, cpu = self.parents[at]
            cpus.append(cpu)
        return bytes(reversed(cpus))


class Search:
    """Looks through all states that can be reached.

    Args:
        workers: who expands states.
        depth: transitions of a path at most; None: no bound.
        points: where interleavings are enumerated.
        progress: called now and then with this object.
        most: states after which no further level is begun; None: no bound.

    Attributes:
        current: the pass under way, or the last one.
        passes: how many there were.
        partition: what CPUs share, as the last pass had it.
        interrupted: whether the workers were stopped before its end.
    """

    def __init__(
        self,
        workers: Workers,
        depth: int | None,
        points: Points,
        progress: Callable[["Search"], None],
        most: int | None = None,
    ) -> None:
        self._workers = workers
        self._depth = depth
        self._points = points
        self._progress = progress
        self._most = most
        self.current = _Pass()
        self.passes = 0
        self.partition = Partition()
        self.interrupted = False

    def run(self, shared: set[int]) -> None:
        """Search, and begin anew as long as something new is found to be shared.

        Args:
            shared: words that are known to be shared before.
        """
        forget = True
        while True:
            memory = tuple(sorted(word for word in shared if word >= 0))
            others = tuple(sorted((word for word in shared if word < 0), reverse=True))
            self.partition = Partition(memory, others, self._points.chosen(shared), forget)
            more, remembered = self._search()
            self.passes += 1
            if self.interrupted or not (more or remembered):
                return
            shared = shared | more
            forget = forget and not remembered

    def _search(self) -> tuple[set[int], bool]:
        """One pass; the words that are found to be shared beside those known, and whether to forget no more."""
        known = Touched()
        first = self._workers.begin(self.partition)
        self.current = now = _Pass(index={first: 0})
        level: dict[State, int] = {first: 0}
        while level:
            now.levels.append(len(level))
            last = self._depth is not None and len(now.levels) > self._depth
            states = list(level)
            fresh, remembered = Touched(), False
            behind: dict[State, int] = {}
            batches = [self._batch(states[at : at + _BATCH], level) for at in range(0, len(states), _BATCH)]
            at = 0
            for done in self._workers.expand(batches, known):
                fresh.merge(done.fresh)
                remembered |= done.remembered
                for expansion in done.expansions:
                    self._take(states[at], expansion, behind, last)
                    at += 1
                now.expanded = at
                self._progress(self)
            if at < len(states):
                self.interrupted = True
                return set(), False
            known.merge(fresh)
            if known.shared or remembered:
                return known.shared, remembered
            if now.violation is not None:
                return set(), False
            if last and now.cut:
                return set(), False
            if behind and self._most is not None and len(now.parents) > self._most:
                return set(), False
            level = behind
        now.complete = True
        return set(), False

    def _batch(self, states: list[State], sleeps: dict[State, int]) -> Batch:
        now = self.current
        paths = tuple(now.path(now.index[state]) for state in states)
        return Batch(tuple(states), paths, tuple(sleeps[state] for state in states))

    def _take(self, state: State, expansion: Expansion, behind: dict[State, int], last: bool) -> None:
        """Note what lies behind ``state``; on the ``last`` level nothing is followed any more."""
        now = self.current
        here = now.index[state]
        now.performed += expansion.engine
        if expansion.final:
            now.finals.add(state)
        if expansion.violations and now.violation is None:
            name, words = expansion.violations[0]
            now.violation = name, words, now.path(here)
        if last:
            now.cut |= bool(expansion.children)
            return
        now.transitions += len(expansion.children)
        now.pruned += len(expansion.pruned)
        now.edges.append([(child.cpu, child.state) for child in (*expansion.children, *expansion.pruned)])
        for child in expansion.children:
            if child.state in behind:
                behind[child.state] &= child.sleep
            elif child.state not in now.index:
                now.index[child.state] = len(now.parents)
                now.parents.append((here, child.cpu))
                behind[child.state] = child.sleep
