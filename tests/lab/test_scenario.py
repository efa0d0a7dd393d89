"""The scenario as a driver of pictures."""

import pytest

from mklab.lab.scenario import Scenario
from mklab.lab.telling import describe
from mklab.recording import Recording


def test_step_by_step_and_at_once_are_the_same_run() -> None:
    stepped, at_once = Scenario(), Scenario()
    titles = []
    while not stepped.finished:
        titles.append(stepped.title)
        stepped.step()
    at_once.run()
    assert describe(stepped) == describe(at_once)
    assert titles[0] == "take CPU 2 offline"
    assert "wait until it is up" in titles
    assert titles[-1] == "let it answer"
    stepped.step()  # nothing is left to do, and nothing happens
    assert describe(stepped) == describe(at_once)


def test_each_step_shows_something() -> None:
    scenario = Scenario(2)
    while not scenario.finished:
        before = scenario.recording.count
        scenario.step()
        assert scenario.recording.count > before


def test_the_recording_is_that_of_the_trace() -> None:
    scenario = Scenario()
    scenario.run()
    whole = Recording([cpu.apic_id for cpu in scenario.machine.cpus])
    whole.extend(scenario.machine.trace)
    assert scenario.recording == whole
    assert [span.owner for span in scenario.recording.cpus] == ["host", "host", "kernel 1", "host"]


def test_reset_begins_anew() -> None:
    scenario = Scenario(2)
    scenario.run()
    first = describe(scenario)
    scenario.reset()
    assert not scenario.finished
    assert scenario.machine.cpus[1].owner == "host"
    scenario.run()
    assert describe(scenario) == first


@pytest.mark.parametrize("cpus", [1, 65, 0, -1, "4"])
def test_how_many_cpus(cpus: int) -> None:
    with pytest.raises(ValueError, match=rf"cpus must be 2 to 64 .*, not {cpus!r}"):
        Scenario(cpus)
