"""Exercise 07.2: every student's machine has a plan, and a plan that is wrong shows on it."""

import ast

import pytest

from mklab.guest.abi import NR_CPUS
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.lab.lab07 import plan
from mklab.lab.lab07.site import CPUS, KERNELS, RAM_END, Plan, carry_out, site
from mklab.lab.verdict import Outcome


@pytest.mark.parametrize("seed", range(60))
def test_every_machine_has_a_plan_without_conflict(seed: int) -> None:
    where = site(seed)
    lines = dict(line.split(" = ") for line in plan.solve(seed).splitlines())
    cpu, base, slot = (ast.literal_eval(lines[name]) for name in ("cpu", "base", "slot"))
    windows = sorted((base[one], base[one] + WINDOW) for one in KERNELS)
    taken = [*windows, (where.buffer.start, where.buffer.stop)]
    assert all(a[1] <= b[0] or b[1] <= a[0] for i, a in enumerate(taken) for b in taken[i + 1 :])
    assert windows[0][0] >= HOST_END
    assert windows[1][1] <= RAM_END
    assert {*cpu.values(), 0, where.kept} == set(range(CPUS))
    assert all(slot[one] == where.apic_ids[cpu[one]] < NR_CPUS for one in KERNELS)


def test_on_every_machine_logical_and_physical_numbers_differ_where_it_matters() -> None:
    differ = [any(where.apic_ids[one] != one for one in range(1, CPUS)) for where in map(site, range(60))]
    assert all(differ)


def test_a_wrong_slot_is_not_read() -> None:
    where = site(0)
    free = [one for one in range(1, CPUS) if one != where.kept]
    cpus = dict(zip(KERNELS, free, strict=True))
    bases = {"kernel 1": 0x3000000, "kernel 2": 0x4000000}
    wrong = carry_out(where, Plan(cpus, bases, {"kernel 1": 40, "kernel 2": where.apic_ids[free[1]]}))
    assert wrong.trouble == ""
    assert wrong.answered == ["kernel 2"]
    found = wrong.found["kernel 1"]
    assert found is not None
    assert (found.type, found.size) == (0, 0)


def test_a_cpu_that_there_is_not_is_told_as_the_host_tells_it() -> None:
    gone = carry_out(site(0), Plan({"kernel 1": 7, "kernel 2": 1}, dict.fromkeys(KERNELS, HOST_END), {}))
    assert gone.trouble.startswith("kernel 1: ")


@pytest.mark.parametrize("seed", [1, 2])
def test_each_known_mistake_gets_its_message_on_other_machines_too(seed: int) -> None:
    exercise = plan.EXERCISE
    for mistake in exercise.mistakes:
        verdict = exercise.examine(mistake.apply(exercise.solution(seed)), seed)
        assert verdict.outcome is Outcome.NOT_YET, (mistake.name, repr(verdict))
        assert mistake.message in verdict.message, (mistake.name, repr(verdict))
