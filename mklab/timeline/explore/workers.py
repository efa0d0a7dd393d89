"""Who expands states: this process, several processes of this computer, or a Dask cluster. The results are the same.

A state travels as keys and numbers. A process that does not know a part of it goes the way there once more, on its own
machine, which it has built by the experiment's name.
"""

import importlib
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mklab.errors import MklabError
from mklab.machine.machine import Machine
from mklab.timeline.explore.expand import Expander, Partition
from mklab.timeline.explore.invariants import Invariant
from mklab.timeline.explore.search import Batch, Done
from mklab.timeline.explore.state import State
from mklab.timeline.explore.touched import Touched
from mklab.timeline.explore.transition import Transition

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Experiment", "InProcess", "Remote", "begin_process", "build"]


@dataclass(frozen=True)
class Experiment:
    """A machine, and what is asked of it.

    Attributes:
        machine: as it is at the beginning.
        invariants: what is to hold.
        depth, at: see :func:`mklab.timeline.explore.explore`.
        what: in a sentence, what it is about.
    """

    machine: Machine
    invariants: Sequence[Invariant]
    depth: int | None = None
    at: Sequence[str | tuple[int, int]] = ("memory", "interrupts")
    what: str = ""


def build(name: str) -> Experiment:
    """The experiment that the function ``name`` (``package.module:function``) makes.

    Raises:
        ValueError: there is no such function, or it makes something else.
    """
    module, _, function = name.partition(":")
    try:
        experiment = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"factory must name a function as package.module:function, not {name!r}: {error}") from None
    if not isinstance(experiment, Experiment):
        raise ValueError(f"factory must name a function that makes an Experiment, not {name!r}")
    return experiment


class InProcess:
    """Expands states on a machine of this process.

    Args:
        machine: as it is at the beginning, and again after :meth:`close`.
        invariants: asked in every state.
        reduce: whether sleep sets are used.
        stopped: asked before each state.
    """

    def __init__(
        self,
        machine: Machine,
        invariants: Sequence[Invariant],
        *,
        reduce: bool = True,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._machine = machine
        self._invariants = invariants
        self._reduce = reduce
        self._stopped = stopped
        self._expander: Expander | None = None
        self._known: dict[int, tuple[int, int]] = {}

    def begin(self, partition: Partition) -> State:
        """A pass begins."""
        self.close()
        self._known = {}
        self._expander = Expander(self._machine, self._invariants, partition, Touched(), reduce=self._reduce)
        return self._expander.stage.first

    def close(self) -> None:
        """Leave the machine as it was."""
        if self._expander is not None:
            self._expander.close()
            self._expander = None

    @property
    def cpus(self) -> int:
        """How many CPUs the machine has."""
        return len(self._machine.cpus)

    @property
    def expander(self) -> Expander:
        """That of the pass under way."""
        assert self._expander is not None
        return self._expander

    def expand(self, batches: Sequence[Batch], known: Touched) -> Iterator[Done]:
        """One batch after the other."""
        if known.words != self._known:
            self._known = dict(known.words)
            self.expander.learn(known)
        for batch in batches:
            done = Done([], Touched(), False)
            for state, path, sleep in zip(batch.states, batch.paths, batch.sleeps, strict=True):
                if self._stopped():
                    return
                if not self.expander.stage.knows(state):
                    self.follow(path)
                done.expansions.append(self.expander.expand(state, sleep))
            done.fresh, done.remembered = self.expander.take_fresh(), self.expander.remembered
            yield done

    def follow(self, path: bytes) -> list[tuple[State, Transition]]:
        """Go along ``path`` from the beginning: each transition, and the state before it."""
        state, steps = self.expander.stage.first, []
        for cpu in path:
            transition = self.expander.transition(state, cpu)
            if transition is None:
                raise MklabError(f"CPU {cpu} does not go where it went before; is the experiment the same everywhere?")
            steps.append((state, transition))
            state = self.expander.settled(self.expander.after(state, transition))
        return steps

    def pilot(self) -> tuple[set[int], list[int]]:
        """Run the machine in a few plain orders.

        Returns:
            Words that CPUs share there, and how many transitions each CPU made in the longest of them.
        """
        stage, cpus = self.expander.stage, len(self._machine.cpus)
        longest = [0] * cpus
        for first in range(cpus):
            state, made, last, seen = stage.first, [0] * cpus, first - 1, {stage.first}
            stale = 0
            while (enabled := stage.enabled(state)) and stale < cpus and not self._stopped():
                cpu = min(enabled, key=lambda one: (one - last - 1) % cpus)
                transition = self.expander.try_out(state, cpu, _QUANTUM)
                if transition is None:
                    break
                state = self.expander.settled(self.expander.after(state, transition))
                # A CPU that waits in a loop, or goes on for long, lets the next one have its turn.
                new = state not in seen
                stale = 0 if new else stale + 1
                made[cpu] += new
                seen.add(state)
                last = cpu if transition.instructions >= _QUANTUM or not new else cpu - 1
                if sum(made) >= _PILOT:
                    break
            longest = max(longest, made, key=sum)
        return self.expander.take_fresh().shared, longest


_PATIENCE = 0.1
"""Seconds between two looks whether to stop."""
_PILOT, _QUANTUM = 500, 5000
"""Transitions of one plain order, and instructions after which the next CPU has its turn."""


class Future(Protocol):
    """A result to come, as concurrent.futures and Dask have it."""

    def result(self, timeout: float) -> Any:
        """Wait for it, but not longer than so many seconds: then a TimeoutError is raised."""

    def cancel(self) -> Any:
        """Nobody waits for it any more."""


class Executor(Protocol):
    """Something that calls functions in other processes."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        """Begin a call."""


@dataclass
class Remote:
    """Expands states in other processes, each with a machine of its own.

    Attributes:
        executor: reaches them.
        factory: how each builds its experiment.
        session: tells this exploration from others that the processes have seen.
        reduce: whether sleep sets are used.
        here: the same in this process, for the beginning.
        stopped: asked while waiting for each result.
    """

    executor: Executor
    factory: str
    session: str
    reduce: bool
    here: InProcess
    stopped: Callable[[], bool]
    _partition: Partition = field(default_factory=Partition)

    def begin(self, partition: Partition) -> State:
        """A pass begins."""
        self._partition = partition
        return self.here.begin(partition)

    def expand(self, batches: Sequence[Batch], known: Touched) -> Iterator[Done]:
        """Hand all of them out, and take the results in their order."""
        shipped = pickle.dumps((self._partition, known.words))
        task = self.session, self.factory, self.reduce, shipped
        with _ctrl_c_held_back():
            futures = [self.executor.submit(expand_there, *task, batch) for batch in batches]
        for future in futures:
            while not self.stopped():
                try:
                    done: Done = future.result(timeout=_PATIENCE)
                except TimeoutError:
                    continue
                yield done
                break
            else:
                break
        else:
            return
        for future in futures:
            future.cancel()


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Processes that begin now never see Ctrl-C, not even while they import; this one sees it afterwards."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_LOCK = threading.Lock()
_HERE: dict[str, Any] = {}
"""The session this process works for: its workers and their partition; and what tells that nobody waits any more."""


def begin_process(end: "Connection[Any, Any]") -> None:
    """This process works for another one, until that closes its end of a pipe; it decides what Ctrl-C means to both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _HERE["end"] = end


def expand_there(session: str, factory: str, reduce: bool, shipped: bytes, batch: Batch) -> Done:
    """Expand a batch in this process, for an exploration in another one.

    Raises:
        MklabError: nobody waits for it any more.
    """
    partition, words = pickle.loads(shipped)  # noqa: S301 what the exploration itself has sent
    with _LOCK:
        if _HERE.get("session") != session:
            experiment = build(factory)
            _HERE.update(
                session=session,
                workers=InProcess(experiment.machine, experiment.invariants, reduce=reduce, stopped=_nobody_waits),
                partition=None,
            )
        workers: InProcess = _HERE["workers"]
        if _HERE["partition"] != partition:
            workers.begin(partition)
            _HERE["partition"] = partition
        known = Touched()
        known.words = words
        for done in workers.expand([batch], known):
            return done
        raise MklabError("nobody waits for this batch any more")


def _nobody_waits() -> bool:
    return "end" in _HERE and _HERE["end"].poll()
