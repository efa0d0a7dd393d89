"""What machines cost: made, kept, taken back in time, explored."""

import subprocess
import sys
from collections.abc import Iterator

from mklab.errors import MklabError
from mklab.lab.bench.capstone import MESSAGES
from mklab.lab.bench.guests import MEMORY
from mklab.lab.bench.measure import median, seconds
from mklab.lab.bench.rows import Row, measure
from mklab.machine.machine import MAX_CPUS, Machine

__all__ = ["in_fresh_process"]

_MANY = 64
_MIB = 1 << 20

_RESIDENT = """
import psutil
from mklab.machine.machine import Machine
machine = Machine({cpus}, {memory})
print(psutil.Process().memory_info().rss)
"""
_CAPSTONE = """
import time
begin = time.perf_counter()
from mklab.lab.bench.capstone import capstone
capstone()
print(time.perf_counter() - begin)
"""


def in_fresh_process(program: str) -> float:
    """The number that ``program`` prints.

    Raises:
        MklabError: it has failed.
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
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


@measure("capstone")
def _capstone(pairs: int) -> Iterator[Row]:
    spent = median(lambda: in_fresh_process(_CAPSTONE), pairs)
    yield Row("capstone", f"three kernels on four CPUs, {MESSAGES} messages, from import to done", spent, "s", 0.6)
