"""The benchmark's programs: they do what they say, the same on the machine, in Unicorn by itself and in QEMU."""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab.lab.bench.execution import QEMU
from mklab.lab.bench.guests import MEMORY, guest, machine_at_begin
from mklab.machine.engine.raw import Raw
from mklab.machine.schedule import RoundRobin
from mklab.paging import walk

PROGRAMS = [("stores", 3_000), ("quicksort", 1), ("blocks", 2), ("pages", 450)]


@pytest.mark.parametrize(("program", "rounds"), PROGRAMS)
def test_the_machine_and_unicorn_by_itself_do_the_same(program: str, rounds: int) -> None:
    code = guest(program, rounds)
    machine = machine_at_begin(code, RoundRobin(777))
    alone = machine_at_begin(code, RoundRobin())
    Raw(alone.memory, alone.registers(0)).run()
    assert machine.run().reason == "exit"
    arena = code.symbols["arena"], 1 << 20
    assert machine.memory.read(*arena) == alone.memory.read(*arena)
    assert any(alone.memory.read(*arena))


@pytest.mark.parametrize(
    ("program", "rounds", "each"), [("stores", 3_000, 7), ("blocks", 2, 32_002), ("pages", 450, 5)]
)
def test_a_round_has_as_many_instructions_as_it_says(program: str, rounds: int, each: int) -> None:
    times = []
    for number in (rounds, 2 * rounds):
        machine = machine_at_begin(guest(program, number), RoundRobin())
        begin = machine.time
        machine.run()
        times.append(machine.time - begin)
    assert (times[1] - times[0]) // rounds == each


def test_what_is_sorted_is_sorted() -> None:
    code = guest("quicksort", 1)
    machine = machine_at_begin(code, RoundRobin(100_000))
    machine.run()
    numbers = struct.unpack("<4096I", machine.memory.read(code.symbols["arena"], 4 * 4096))
    seed, filled = 1, []
    for _ in range(4096):
        seed = (seed * 1103515245 + 12345) & 0xFFFFFFFF
        filled.append(seed)
    assert list(numbers) == sorted(filled)


def test_pages_writes_200_pages() -> None:
    code = guest("pages", 450)
    machine = machine_at_begin(code, RoundRobin(100_000))
    machine.run()
    arena = code.symbols["arena"]
    written = [page for page in range(300) if any(machine.memory.read(arena + 4096 * page, 4096))]
    assert written == list(range(200))


def test_data_cannot_be_executed_and_text_can() -> None:
    """A store to memory that may be executed is slow: the figures would say nothing."""
    code = guest("stores", 1)
    machine = machine_at_begin(code, RoundRobin())
    never = 1 << 63
    for symbol, executable in (("program", True), ("arena", False)):
        entry = walk(machine.memory, machine.registers(0), code.symbols[symbol]).entries[-1][2]
        assert (not entry & never) is executable


@pytest.mark.parametrize(("program", "rounds"), PROGRAMS)
def test_qemu_runs_them_to_their_end(
    program: str, rounds: int, require_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "guest"
    file.write_bytes(guest(program, rounds).image)
    done = subprocess.run(
        [
            *(str(require_tool(QEMU)), "-accel", "tcg", "-cpu", "Nehalem", "-m", str(MEMORY >> 20), "-no-reboot"),
            *("-display", "none", "-monitor", "none", "-serial", "none", "-net", "none", "-vga", "none"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", str(file)),
        ],
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
