"""IPIs, NMIs and priorities on the model and in QEMU: one image on two CPUs, whose handlers log their local APIC."""

import functools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.differential import harness, qemu
from tests.differential.harness import assemble

LOG, LOG_SIZE = 0x70000, 0x8000
CPUS = 2


@dataclass(frozen=True)
class Entry:
    """What a handler found: the attempt, its vector, TPR, PPR, and the vectors in ISR and IRR.

    ``stack``, ``extra``, ``initial`` and ``timer`` are CPU 0's: ESP, what the attempt keeps there, the timer's initial
    count and its LVT.
    """

    attempt: int
    vector: int
    tpr: int
    ppr: int
    isr: tuple[int, ...]
    irr: tuple[int, ...]
    stack: int
    extra: int
    initial: int
    timer: int


def vectors(words: tuple[int, ...]) -> tuple[int, ...]:
    """The bits of a 256-bit register that are set."""
    return tuple(vector for vector in range(256) if words[vector // 32] >> vector % 32 & 1)


def entries(log: bytes) -> list[list[Entry]]:
    """The log of each CPU."""
    result: list[list[Entry]] = []
    for cpu in range(CPUS):
        result.append([])
        for words in struct.iter_unpack("<32I", log[cpu * LOG_SIZE : (cpu + 1) * LOG_SIZE]):
            if any(words):
                attempt, vector, tpr, ppr = words[:4]
                isr, irr = vectors(words[4:12]), vectors(words[12:20])
                result[-1].append(Entry(attempt, vector, tpr, ppr, isr, irr, *words[20:24]))
    return result


@pytest.fixture(scope="module")
def in_qemu(
    require_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], list[list[Entry]]]:
    """A function that returns the logs of a run in QEMU."""
    binary = require_tool("qemu-system-x86_64")

    @functools.cache
    def run() -> list[list[Entry]]:
        with qemu.finished(binary, assemble("apic.S").setup(CPUS), tmp_path_factory.mktemp("qemu")) as seen:
            assert seen.ended == "done"
            return entries(seen.memory(LOG, CPUS * LOG_SIZE))

    return run


@functools.cache
def on_model() -> list[list[Entry]]:
    """The logs of a run on the model."""
    ended, machine = harness.run_on_model(assemble("apic.S").setup(CPUS))
    assert ended == "done"
    return entries(machine.memory.read(LOG, CPUS * LOG_SIZE))


@pytest.mark.parametrize("cpu", range(CPUS))
def test_handlers_find_the_same(cpu: int, in_qemu: Callable[[], list[list[Entry]]]) -> None:
    assert on_model()[cpu] == in_qemu()[cpu]


def test_the_order_is_the_manual_s() -> None:
    """SDM "Interrupt, Task, and Processor Priority": the higher vector first, a class that is in service keeps out."""
    order: dict[int, list[int]] = {}
    for entry in on_model()[0]:
        order.setdefault(entry.attempt, []).append(entry.vector)
    assert order[1] == [0x5F, 0x51, 0x41, 0x31]
    assert order[2] == [0xFE, 0x80, 0x7F, 0x10]
    assert order[3] == [0x45, 0x65, 0x4F, 0x35]
    assert order[4] == [0x60, 0x5E, 0x45, 0x65, 0x4F, 0x35]
    assert order[5] == [0x6A, 0x70, 0x6F, 0x61]
    nested = on_model()[0][9]
    assert (nested.vector, nested.isr, nested.irr) == (0x65, (0x45, 0x65), (0x35, 0x4F))


def test_destinations_are_the_manual_s() -> None:
    """SDM "Determining IPI Destination"."""
    at = [{(entry.attempt, entry.vector) for entry in log} for log in on_model()]
    assert {vector for attempt, vector in at[1] if attempt < 12} == {
        *(0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0xC0, 0xA1, 0xA2, 0xA4)
    }
    assert {vector for attempt, vector in at[0] if 6 <= attempt < 12} == {0x93, 0x94, 0x96, 0x97, 0xA2}
