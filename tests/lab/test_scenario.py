"""The scenario as a driver of pictures."""

import pytest

from mklab.lab.scenario import Scenario
from mklab.lab.telling import describe
from mklab.recording import Recording
from mklab.trace import Message


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
    assert "send it a message" in titles
    # The answer may come while the call that sends is still under way.
    assert titles[-1] in ("send it a message", "let it answer")
    stepped.step()  # nothing is left to do, and nothing happens
    assert describe(stepped) == describe(at_once)


def test_each_step_shows_something() -> None:
    """But for the last one, perhaps, which finds that every CPU waits."""
    scenario = Scenario(2)
    while not scenario.finished:
        before = scenario.recording.count
        scenario.step()
        assert scenario.recording.count > before or scenario.finished


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


def test_several_kernels_each_with_a_cpu_and_a_window() -> None:
    scenario = Scenario(5, 3)
    scenario.run()
    machine = scenario.machine
    assert [cpu.owner for cpu in machine.cpus] == ["host", "kernel 1", "kernel 2", "kernel 3", "host"]
    assert not any(cpu.owner != cpu.planned for cpu in machine.cpus)
    bases = [machine.images[name].ranges[0][0] for name in scenario.kernels]
    assert bases == [0x2000000, 0x3000000, 0x4000000]
    messages = [(event.cpu, event.to_cpu, event.type) for event in machine.trace.of(Message)]
    asked = [(0, 1, 1), (1, 0, 2), (0, 2, 1), (2, 0, 2), (0, 3, 1), (3, 0, 2)]
    assert messages == [*asked, (1, 2, 1), (2, 1, 2)]
    assert machine.console("kernel 2").splitlines()[-1] == "kernel 2: message from CPU 1: ping"
    assert machine.console("kernel 1").splitlines()[-1] == "kernel 1: answer from CPU 2: ping"


@pytest.mark.parametrize(("cpus", "kernels", "most"), [(4, 4, 3), (2, 2, 1), (64, 16, 15), (4, 0, 3)])
def test_how_many_kernels(cpus: int, kernels: int, most: int) -> None:
    with pytest.raises(ValueError, match=rf"kernels must be 1 to {most} .*, not {kernels}"):
        Scenario(cpus, kernels)
