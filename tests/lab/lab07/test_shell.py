"""The machine on which kernels are started one after the other: slow CPUs, a busy one, and a process that sleeps."""

import pytest

from mklab.lab.lab07.shell import MILLISECOND, ImpatientError, Shell, Uneven, busy_machine
from mklab.machine.schedule import RoundRobin, schedule_of


def test_slow_cpus_get_short_turns() -> None:
    schedule = Uneven(1000, 20, (1, 3))
    assert [schedule.choose([0, 1, 2, 3]) for _ in range(5)] == [(0, 1000), (1, 20), (2, 1000), (3, 20), (0, 1000)]


def test_an_uneven_schedule_goes_on_from_its_state() -> None:
    one = Uneven(1000, 20, (1,))
    one.choose([0, 1])
    other = schedule_of(one.state())
    assert other.state() == one.state()
    assert other.choose([0, 1]) == (1, 20)
    with pytest.raises(ValueError, match="must be of an Uneven schedule, not 'RoundRobin'"):
        Uneven().restore(RoundRobin().state())
    with pytest.raises(ValueError, match="share must be"):
        Uneven(10, 11)


def test_a_process_sleeps_as_long_as_it_says_and_no_longer_than_it_may() -> None:
    machine = busy_machine()
    shell = Shell(machine, 3)
    before = machine.time
    shell.msleep(2)
    assert machine.time - before >= 2 * MILLISECOND
    assert shell.slept == 2
    with pytest.raises(ImpatientError, match="3 ms are over"):
        shell.msleep(2)
    with pytest.raises(ValueError, match="ms must be"):
        shell.msleep(0)


def test_cpu_3_never_rests() -> None:
    machine = busy_machine()
    assert not machine.idle
    assert machine.run(MILLISECOND).reason == "budget"
    assert machine.runnable == [3]


def test_what_was_read_is_noted() -> None:
    shell = Shell(busy_machine())
    shell.read(0x96000, 4)
    assert shell.reads == {0x96000}
    assert not shell.saw_entry
