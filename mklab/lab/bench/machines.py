"""What machines cost: made, kept, taken back in time, explored."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

from mklab.errors import MklabError
from mklab.lab.bench.guests import MEMORY, guest, machine_at_begin
from mklab.lab.bench.measure import median, seconds
from mklab.lab.bench.rows import Row, measure
from mklab.lab.capstone import MESSAGES
from mklab.lab.interleavings import EXPERIMENTS
from mklab.machine.machine import MAX_CPUS, Machine
from mklab.machine.schedule import RoundRobin
from mklab.timeline.explore import explore
from mklab.timeline.pages import offered
from mklab.timeline.snapshot import Snapshots
from mklab.timeline.timeline import Timeline

__all__ = ["in_fresh_process"]

_MANY = 64
_MIB = 1 << 20
_MILLION = 1_000_000
_PAGES = 200
_LONG = 10 * _MILLION
_EXPERIMENT = "three-senders"

_RESIDENT = """
import psutil
from mklab.machine.machine import Machine
machine = Machine({cpus}, {memory})
print(psutil.Process().memory_info().rss)
"""
_CAPSTONE = """
import time
begin = time.perf_counter()
from mklab.lab.capstone import capstone
capstone()
print(time.perf_counter() - begin)
"""


def in_fresh_process(program: str, environment: Mapping[str, str] | None = None) -> float:
    """The number that ``program`` prints; ``environment`` is added to this process's own.

    Raises:
        MklabError: it has failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        raise MklabError(f"a measurement has failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


@measure("create")
def _create(pairs: int) -> Iterator[Row]:
    Machine(1, MEMORY)  # what is asked of the emulator once
    spent = median(lambda: seconds(lambda: Machine(_MANY, MEMORY)), pairs)
    yield Row("create-64", "making a machine of 64 CPUs and 64 MiB", spent, "s", 0.1)

    def resident(cpus: int) -> float:
        return in_fresh_process(_RESIDENT.format(cpus=cpus, memory=MEMORY))

    each = median(lambda: (resident(MAX_CPUS) - resident(1)) / (MAX_CPUS - 1) / _MIB, pairs)
    yield Row("memory-per-cpu", "memory of each further CPU", each, "MiB", 0.1)


@measure("snapshot")
def _snapshot(pairs: int) -> Iterator[Row]:
    """Of a slice of a million instructions that has written 200 pages."""
    for source, reach in (("PAGEMAP_SCAN", 1), ("comparison", 12)):
        if source not in offered():
            continue
        machine = machine_at_begin(guest("pages", _LONG), RoundRobin(_MILLION))
        snapshots = Snapshots(machine, source)

        def one(machine: Machine = machine, snapshots: Snapshots = snapshots) -> float:
            machine.step()
            spent = seconds(snapshots.take)
            return spent * 1000

        one()
        name = "snapshot" if source == "PAGEMAP_SCAN" else "snapshot-portable"
        yield Row(name, f"snapshot of 64 MiB, {_PAGES} pages written, by {source}", median(one, pairs), "ms", reach)


@measure("back")
def _back(pairs: int) -> Iterator[Row]:
    machine = machine_at_begin(guest("stores", _LONG), RoundRobin(100_000))
    timeline = Timeline(machine)
    timeline.run(_LONG)
    spent = median(lambda: seconds(timeline.back), pairs)
    yield Row("step-back", f"one step back in a run of {_LONG:,} instructions", spent * 1000, "ms", 100)


@measure("explore")
def _explore(pairs: int) -> Iterator[Row]:
    def speed() -> float:
        experiment = EXPERIMENTS[_EXPERIMENT]()
        states = 0

        def all_of_it() -> None:
            nonlocal states
            states = explore(experiment.machine, experiment.invariants).coverage.states

        spent = seconds(all_of_it)
        return states / spent

    found = median(speed, pairs)
    yield Row("explore", "exploration of v1's mailbox with three senders, one process", found, "states/s", 3000)


@measure("capstone")
def _capstone(pairs: int) -> Iterator[Row]:
    # With the modules compiled, as an installation leaves them, wherever this runs; compiling them takes 0.15 s.
    with tempfile.TemporaryDirectory() as compiled:
        environment = {"PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        in_fresh_process(_CAPSTONE, environment)
        spent = median(lambda: in_fresh_process(_CAPSTONE, environment), pairs)
    yield Row("capstone", f"three kernels on four CPUs, {MESSAGES} messages, from import to done", spent, "s", 0.6)
