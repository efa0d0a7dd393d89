"""How fast guest code runs: against Unicorn by itself, QEMU, and the naive way."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mklab.errors import MklabError
from mklab.lab.bench.guests import MEMORY, Guest, guest, machine_at_begin
from mklab.lab.bench.measure import median, ratio, seconds
from mklab.lab.bench.rows import Row, measure
from mklab.machine.engine.raw import Raw
from mklab.machine.layout import DEBUG_EXIT
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin

__all__ = ["QEMU", "qemu"]

QEMU = "qemu-system-x86_64"
_QUANTUM = 100_000
_MILLION = 1_000_000
_FOREVER = 1 << 40
_STORES, _SORTS, _BLOCKS = 6_000_000, 80, 500
"""Rounds: some 40 million instructions of each program, which is a tenth of a second of Unicorn by itself."""
_MANY = 64
_CPU_STORES = 60_000
_IPIS = 2_000


def _finish(machine: Machine) -> None:
    stop = machine.run(_FOREVER)
    if stop.reason != "exit":
        raise MklabError(f"the benchmark's guest has not come to its end: {stop.detail}")


def _alone(code: Guest) -> Raw:
    """Unicorn by itself, about to call the program."""
    machine = machine_at_begin(code, RoundRobin())
    return Raw(machine.memory, machine.registers(0))


def _speeds(program: str, rounds: int, quantum: int, pairs: int) -> tuple[float, float, float]:
    """Of the machine and of Unicorn by itself, in millions of instructions a second."""
    code = guest(program, rounds)
    instructions = 0

    def ours() -> float:
        nonlocal instructions
        machine = machine_at_begin(code, RoundRobin(quantum))
        before = machine.time
        spent = seconds(lambda: _finish(machine))
        instructions = machine.time - before
        return instructions / spent / _MILLION

    def raw() -> float:
        emulator = _alone(code)
        return instructions / seconds(emulator.run) / _MILLION

    return ratio(ours, raw, pairs)


@measure("speed")
def _speed(pairs: int) -> Iterator[Row]:
    for quantum, reach in ((1_000, None), (10_000, None), (_QUANTUM, 0.65), (_MILLION, None)):
        compared, _, alone = _speeds("stores", _STORES, quantum, pairs)
        name = "stores" if quantum == _QUANTUM else f"stores-{quantum}"
        yield Row(name, f"store loop, budget {quantum:,} / Unicorn by itself", compared, "x", reach)
        if quantum == _QUANTUM:
            yield Row("raw", "Unicorn by itself, the same loop", alone, "M instructions/s")
    compared, _, _ = _speeds("quicksort", _SORTS, _QUANTUM, pairs)
    yield Row("quicksort", f"quicksort, budget {_QUANTUM:,} / Unicorn by itself", compared, "x", 0.60)
    compared, _, _ = _speeds("blocks", _BLOCKS, 10_000, pairs)
    yield Row("blocks", "4,000 live blocks, budget 10,000 / Unicorn by itself", compared, "x", 0.50)


@measure("naive")
def _naive(pairs: int) -> Iterator[Row]:
    """What counting costs where the emulator itself counts (``count=``)."""
    code = guest("stores", _STORES // 10)

    def counted() -> float:
        emulator = _alone(code)
        return 1 / seconds(lambda: emulator.run_counted(_FOREVER))

    def alone() -> float:
        return 1 / seconds(_alone(code).run)

    compared, _, _ = ratio(counted, alone, pairs)
    yield Row("naive", "store loop, Unicorn's own count= / Unicorn by itself", compared, "x")


def qemu() -> str | None:
    """Where QEMU is installed, or None."""
    return shutil.which(QEMU)


def _qemu_seconds(code: Guest, folder: Path) -> float:
    file = folder / "guest"
    file.write_bytes(code.image)
    command = [
        *(QEMU, "-accel", "tcg", "-cpu", "Nehalem", "-m", str(MEMORY >> 20), "-kernel", str(file), "-no-reboot"),
        *("-display", "none", "-monitor", "none", "-serial", "none", "-net", "none", "-vga", "none"),
        *("-device", f"isa-debug-exit,iobase={DEBUG_EXIT.start:#x},iosize=4"),
    ]
    return seconds(lambda: subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=120))


@measure("qemu")
def _qemu(pairs: int) -> Iterator[Row]:
    """The same image; QEMU's start-up cancels out as the difference of a long and a short run."""
    if qemu() is None:
        return
    short, long = guest("stores", 1), guest("stores", 20 * _STORES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def ours() -> float:
            machine = machine_at_begin(guest("stores", 2 * _STORES), RoundRobin(_QUANTUM))
            return 2 / seconds(lambda: _finish(machine))

        def theirs() -> float:
            return 20 / (_qemu_seconds(long, folder) - _qemu_seconds(short, folder))

        compared, _, _ = ratio(ours, theirs, pairs)
    yield Row("qemu", f"store loop, budget {_QUANTUM:,} / QEMU's TCG on the same image", compared, "x", 0.33)


def _many(cpus: int, rounds: int) -> Machine:
    """``cpus`` CPUs, each about to write memory of its own."""
    machine = machine_at_begin(guest("stores", rounds), RoundRobin(_QUANTUM), cpus)
    first = machine.registers(0)
    for cpu in range(1, cpus):
        machine.patch_registers(cpu, replace(first, rsp=first.rsp - 64 * cpu))
    return machine


@measure("cpus")
def _cpus(pairs: int) -> Iterator[Row]:
    def speed(cpus: int, rounds: int) -> float:
        machine = _many(cpus, rounds)
        begin = machine.time
        # The first to come to its end ends the run; the others are as far, but for a quantum.
        spent = seconds(lambda: _finish(machine))
        return (machine.time - begin) / spent

    compared, _, _ = ratio(lambda: speed(_MANY, _CPU_STORES), lambda: speed(1, _MANY * _CPU_STORES), pairs)
    yield Row("cpus-64", f"64 CPUs / 1 CPU, all instructions, budget {_QUANTUM:,}", compared, "x", 0.65)


@measure("ipi")
def _ipi(pairs: int) -> Iterator[Row]:
    code = guest("ipi", _IPIS)

    def one() -> float:
        machine = machine_at_begin(code, RoundRobin(1_000), 2)
        waiting = replace(machine.registers(0), rip=code.symbols["wait"])
        waiting.rsp -= 2048
        machine.patch_registers(1, waiting)
        ready = code.symbols["arena"] + 8
        machine.run(until=lambda m: m.memory.read_u64(ready) != 0)
        return seconds(lambda: _finish(machine)) / _IPIS * _MILLION

    yield Row("ipi", "one IPI: ICR store, handler, EOI, back in the sender's loop", median(one, pairs), "us", 100)
