"""Lab 04: what its demonstrations show, and that its numbers are the machine's."""

import struct

import pytest

from mklab.lab import exercises
from mklab.lab.lab04 import bench, diagnosis, fates, nesting, one_ipi, priorities, sending, silent, three_ipis
from mklab.lab.verdict import Outcome
from mklab.machine.machine import Machine

RUNS = 0x40008


def runs(machine: Machine) -> int:
    return int.from_bytes(machine.memory.read(RUNS, 4), "little")


@pytest.mark.parametrize(
    ("machine", "expected"), [(one_ipi(), 1), (three_ipis(), 1), (three_ipis(interrupts_on=True), 2)]
)
def test_how_often_the_handler_runs(machine: Machine, expected: int) -> None:
    assert machine.run(50_000).reason == "idle"
    assert runs(machine) == expected
    assert fates(machine).endswith(f"has counted {expected} run{'s' * (expected > 1)}.")


def test_the_second_and_the_third_merge_where_interrupts_are_off() -> None:
    machine = three_ipis()
    machine.run(50_000)
    assert fates(machine).count("merged") == 2


def test_handlers_nest_only_through_a_trap_gate_behind_eoi() -> None:
    rows = [line.split() for line in nesting().splitlines()[1:]]
    assert {(gate, eoi): int(depth) for gate, eoi, depth, _ in rows} == {
        ("interrupt", "first"): 1,
        ("interrupt", "last"): 1,
        ("trap", "first"): 4,
        ("trap", "last"): 1,
    }


def test_a_gate_has_its_fields_where_the_manual_has_them() -> None:
    low, selector, ist, access, middle, high, rest = struct.unpack("<HHBBHII", bench.gate(0x123456789ABCDEF0, 0xF))
    assert (high << 32 | middle << 16 | low, selector, ist, access, rest) == (0x123456789ABCDEF0, 0x10, 0, 0x8F, 0)


@pytest.mark.parametrize("seed", range(4))
class TestFourSilentMachines:
    def test_each_has_a_cause_of_its_own(self, seed: int) -> None:
        facts = diagnosis._facts(seed)
        assert sorted(facts[name] for name in ("first", "second", "third", "fourth")) == list("ABCD")
        assert facts[("first", "second", "third", "fourth")[facts["lost"] - 1]] == "A"

    def test_without_its_cause_the_handler_runs_but_for_the_one_that_lost_it(self, seed: int) -> None:
        facts = diagnosis._facts(seed)
        for name, machine in zip(("first", "second", "third", "fourth"), silent(seed), strict=True):
            before, apic = runs(machine), machine.apics[3]
            registers = machine.registers(3)
            registers.rflags |= 1 << 9
            apic.write(0xF0, 0x1FF)
            apic.write(0x80, 0)
            apic.write(0xB0, 0)
            machine.patch_registers(3, registers)
            machine.run(1_000)
            assert (runs(machine) > before) == (facts[name] != "A"), facts[name]


def test_what_is_deliverable_is_what_the_manual_says() -> None:
    for irr in ([], [0x31], [0xEA], [0x31, 0xEA], [0xE0, 0xEF]):
        for isr in ([], [0x31], [0xE1], [0x31, 0xF0]):
            for tpr in (0, 0x30, 0xDF, 0xE0, 0xFF):
                ppr = max([tpr, *isr], key=lambda vector: vector >> 4)
                ready = [vector for vector in irr if vector // 16 > ppr // 16]
                assert priorities.deliverable(irr, isr, tpr, True) == max(ready, default=None)
                assert priorities.deliverable(irr, isr, tpr, False) is None


def test_the_bit_of_a_vector_is_where_the_manual_has_it() -> None:
    for seed in range(6):
        vector, facts = sending._vector(seed), sending._facts(seed)
        assert facts == {"address": 0xFEE00200 + (vector >> 5) * 16, "word": 1 << (vector & 31)}


def test_ids_that_are_guessed_do_not_pass() -> None:
    """The check's APIC ids follow from the seed: what suits one machine must not suit another."""
    exercise = exercises.find("04.2")
    cell = "void send_ipi(unsigned int apic_id)\n{\n"
    cell += "    volatile unsigned int *apic = (volatile unsigned int *)0xFEE00000UL;\n"
    for seed in (0, 1):
        ids = sending._ids(seed)
        guess = f"    apic[0xC4] = (apic_id == {ids[2]} ? {ids[2]}u : {ids[1]}u) << 24;\n    apic[0xC0] = 0xEA;\n}}\n"
        assert exercise.examine(cell + guess, seed).outcome is Outcome.PASSED
        assert exercise.examine(cell + guess, seed + 2).outcome is Outcome.NOT_YET
