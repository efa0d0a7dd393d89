"""Every interleaving of a machine's CPUs, as far as any of them can notice the others (docs/exploration.md)."""

import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from rich.console import Console

from mklab import cluster
from mklab.errors import require
from mklab.machine.machine import Machine
from mklab.stopping import asked_to_stop
from mklab.timeline.explore.clocks import clocks
from mklab.timeline.explore.invariants import (
    Always,
    AtTheEnd,
    Invariant,
    NoDataRace,
    NoDeadlock,
    NoLostMessage,
    Question,
)
from mklab.timeline.explore.outcomes import Outcome, Outcomes, follow, outcomes
from mklab.timeline.explore.pilot import At, chosen_points, pilot
from mklab.timeline.explore.progress import Bar
from mklab.timeline.explore.result import Counterexample, Coverage, Exploration, covered
from mklab.timeline.explore.search import Search
from mklab.timeline.explore.state import digest
from mklab.timeline.explore.workers import Experiment, InProcess, Remote, begin_process, build

__all__ = [
    "Always",
    "AtTheEnd",
    "Counterexample",
    "Coverage",
    "Experiment",
    "Exploration",
    "Invariant",
    "NoDataRace",
    "NoDeadlock",
    "NoLostMessage",
    "Outcome",
    "Outcomes",
    "explore",
    "follow",
    "outcomes",
]


def explore(
    machine: Machine | str,
    invariant: Invariant | Question | Sequence[Invariant | Question] | None = None,
    *,
    depth: int | None = None,
    at: At | None = None,
    most: int | None = None,
    shared: Sequence[tuple[int, int]] = (),
    reduce: bool = True,
    processes: int = 1,
    dask: str | None = None,
    progress: bool = False,
) -> Exploration:
    """Look through the interleavings of ``machine`` from where it stands; afterwards it stands there again.

    Args:
        machine: the machine, or ``package.module:function``, which makes an :class:`Experiment`: what other processes
            build theirs by.
        invariant: what is to hold in every state: built in, or a function of the machine that says in words what is
            wrong, or None; it may look at the machine and must not change it. None: those of the experiment.
        depth: visible operations of a path at most; None: those of the experiment, or no bound.
        at: where interleavings are enumerated: ``"memory"`` that CPUs share, ``"interrupts"`` (where IPIs are sent and
            interrupts delivered, and at shared ports), or ranges ``(start, end)`` of memory instead of all of it.
            What is left out happens in one order only, and the result claims nothing about others.
        most: states after which it ends with the level under way; None: no bound.
        shared: ranges ``(start, end)`` of memory that count as shared from the beginning, whoever touches them; what
            else CPUs share is found. A loop that waits for such memory is short.
        reduce: whether to leave out transitions that lead nowhere new; without, every one is followed.
        processes: of this computer that share the work.
        dask: address of a Dask scheduler whose workers share it.
        progress: whether to draw a progress bar on standard error.

    Returns:
        The shortest violation, as a schedule, and what was covered. Ctrl-C keeps what was found until then.

    Raises:
        ValueError: an argument is out of range, or ``machine`` names nothing of the kind.
        MklabError: the machine does something that is not explored: a timer, an IPI with lowest-priority delivery.
    """
    require("processes", processes, 1, 256)
    factory = machine if isinstance(machine, str) else ""
    if not factory and (processes > 1 or dask):
        raise ValueError("machine must be the name of a function for other processes to call, not a machine")
    experiment = build(factory) if factory else Experiment(machine, ())  # type: ignore[arg-type]
    invariants = experiment.invariants if invariant is None else [_invariant(one) for one in _several(invariant)]
    if factory and invariant is not None and (processes > 1 or dask):
        raise ValueError(f"invariant must be None, for other processes take those of the experiment, not {invariant!r}")
    depth = experiment.depth if depth is None else depth
    if depth is not None:
        require("depth", depth, 0, 1 << 20, " visible operations")
    if most is not None:
        require("most", most, 1, 1 << 30, " states")
    points = chosen_points(experiment.at if at is None else at)
    began = time.monotonic()
    with ExitStack() as stack:
        stopped = stack.enter_context(asked_to_stop())
        here = InProcess(experiment.machine, invariants, reduce=reduce, stopped=stopped)
        stack.callback(here.close)
        workers: Any = here
        if dask or processes > 1:
            executor = cluster.client(dask, stack) if dask else _processes(processes, stack)
            workers = Remote(executor, factory, uuid.uuid4().hex, reduce, here, stopped)
        known, lengths = pilot(here, points, shared)
        bar = stack.enter_context(Bar(lengths, depth, Console(stderr=True))) if progress else None
        search = Search(workers, depth, points, bar or (lambda _: None), most)
        search.run(known)
        _look_for_stuck(search, here)
        return _result(search, here, invariants, depth, time.monotonic() - began)


def _several(invariant: Any) -> Sequence[Any]:
    return invariant if isinstance(invariant, list | tuple) else [invariant]


def _invariant(one: Any) -> Invariant:
    if hasattr(one, "violated"):
        found: Invariant = one
        return found
    if not callable(one):
        raise TypeError(f"invariant must be one that is built in, or a function of the machine, not {one!r}")
    return Always(one)


def _processes(count: int, stack: ExitStack) -> Any:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, context, initializer=begin_process, initargs=(theirs,))
    stack.callback(executor.shutdown, wait=False, cancel_futures=True)
    # What they are at is of no use to anybody then, and this process would wait for it when it ends.
    stack.callback(ours.close)
    return executor


def _look_for_stuck(search: Search, here: InProcess) -> None:
    """Ask the invariants about CPUs that wait in loops for ever."""
    now = search.current
    state = now.stuck() if now.violation is None else None
    if state is None:
        return
    path = now.path(now.index[state])
    here.follow(path)
    for name, words in here.expander.ask_stuck(state):
        now.violation = name, words, path
        return


def _result(
    search: Search, here: InProcess, invariants: Sequence[Invariant], depth: int | None, seconds: float
) -> Exploration:
    now = search.current
    coverage = covered(search, depth, seconds)
    counterexample = None if now.violation is None else _counterexample(here, invariants, *now.violation)
    finals = frozenset(digest(repr(state)) for state in now.finals)
    return Exploration(counterexample, coverage, tuple(one.name for one in invariants), finals)


def _counterexample(
    here: InProcess, invariants: Sequence[Invariant], name: str, what: str, path: bytes
) -> Counterexample:
    transitions = [transition for _, transition in here.follow(path)]
    operations = tuple(one.operation for one in transitions)
    choices = tuple(choice for transition in transitions for choice in transition.choices)
    races = [one for one in invariants if isinstance(one, NoDataRace) and one.name == name]
    times: tuple[tuple[int, ...], ...] = ()
    if races:
        times = tuple(clocks(transitions, here.cpus, races[0].synchronises))
    return Counterexample(name, what, tuple(map(str, operations)), choices, times, operations)
