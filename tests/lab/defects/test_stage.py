"""What the scenarios are made of."""

import errno

import pytest

from mklab.errors import KexecError, MklabError
from mklab.lab.defects.stage import SPIN, Starving, booted, kick_code, outcome, page_fault, running, words
from mklab.machine.schedule import RoundRobin
from mklab.trace import Fault


class TestStarving:
    def test_the_starved_one_waits_for_all_others(self) -> None:
        schedule = Starving(1, 50)
        assert [schedule.choose([0, 1, 2]) for _ in range(4)] == [(0, 50), (2, 50), (0, 50), (2, 50)]
        assert schedule.choose([1]) == (1, 50)

    def test_state_and_its_inverse(self) -> None:
        schedule, other = Starving(1, 50), Starving(0)
        schedule.choose([0, 1, 2])
        other.restore(schedule.state())
        assert other.state() == schedule.state()
        assert other.choose([0, 1, 2]) == (2, 50)

    def test_states_of_other_schedules_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must be of a Starving schedule, not 'RoundRobin'"):
            Starving(0).restore(RoundRobin().state())
        with pytest.raises(ValueError, match="must be of a RoundRobin schedule, not 'Starving'"):
            RoundRobin().restore(Starving(0).state())


def test_outcome() -> None:
    def refuse() -> None:
        raise KexecError(errno.EBUSY, "f", "why")

    def die() -> None:
        raise MklabError("oops")

    assert [outcome(lambda: 5), outcome(refuse), outcome(die)] == ["0", "-EBUSY", "oops"]


def test_in_words() -> None:
    assert [words(values) for values in ([], [1], [1, 2], "abc")] == ["none", "1", "1 and 2", "a, b and c"]
    faults = [Fault(0, 0, 1, vector=vector, error=0, rip=0, cr2=0x1000) for vector in (14, 6)]
    assert [page_fault(one) for one in ([], faults, faults[1:])] == [
        "no exception",
        "page fault at 0x1000",
        "exception 6",
    ]
    machine = booted(2).machine
    assert running(machine) == "CPU 0 runs host, CPU 1 runs host"
    machine.power.reset_platform("a test", 0)
    assert running(machine) == "no CPU runs any kernel"


def test_what_spins_is_not_disturbed_by_a_kick() -> None:
    host = booted(3)
    kick_code(host, 1, SPIN, 0x2000000)
    kick_code(host, 2, SPIN, 0x2001000)
    host.machine.run(100_000)
    assert [cpu.owner for cpu in host.machine.cpus] == ["host", "kernel 1", "kernel 2"]
    assert host.machine.registers(1).cr3 == 0x70000
    assert host.machine.stopped is None
