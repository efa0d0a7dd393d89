"""A driver that runs a machine for the pictures, and takes it back."""

import random
import time

import pytest

from mklab.errors import MklabError
from mklab.kernel.host import Host
from mklab.lab.driver import MachineDriver, schedule_from, schedule_in_words
from mklab.lab.scenario import Scenario
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin, Scripted, Seeded
from mklab.trace import OwnerChange
from mklab.widgets.driver import Runner
from mklab.widgets.stage import Stage


@pytest.fixture(scope="module")
def straight() -> Scenario:
    """The scenario without a driver: what every way through it must come to."""
    scenario = Scenario()
    scenario.run()
    return scenario


@pytest.fixture
def driver() -> MachineDriver:
    return Scenario().driver


def stand(driver: MachineDriver) -> None:
    """The machine stands where the driver says."""
    look = driver.film.looks[driver.look]
    # The look at an event within an instruction is from before its end.
    assert driver.machine.time - look.time in (0, 1)


def test_it_is_a_driver(driver: MachineDriver) -> None:
    assert isinstance(driver, Runner)
    assert Stage.of(driver).driver is driver


def test_a_scenario_has_one_driver() -> None:
    scenario = Scenario(2)
    assert scenario.driver is scenario.driver
    assert Stage.of(scenario).driver is scenario.driver


def test_steps_show_something_and_lead_to_the_end(driver: MachineDriver, straight: Scenario) -> None:
    events = [driver.film.looks[driver.look].event]
    while not driver.step():
        stand(driver)
        events.append(driver.film.looks[driver.look].event)
    assert events == sorted(set(events))
    assert driver.step() == "the scenario is finished"
    assert driver.machine.trace.sha256 == straight.machine.trace.sha256
    assert driver.film.events == list(straight.machine.trace)


def test_back_leads_through_the_same_moments(driver: MachineDriver) -> None:
    there = []
    for _ in range(6):
        there.append(driver.look)
        driver.step("message")
    for look in reversed(there[1:]):
        assert driver.back("message") is None
        assert driver.look == look
        stand(driver)
    driver.back("message")
    assert driver.look == 0
    assert driver.back() == "the film begins here"


@pytest.mark.parametrize("seed", range(6))
def test_every_way_through_comes_to_the_same_end(seed: int, straight: Scenario) -> None:
    """Steps, returns and places to stop, by chance: a run that goes on from there is the same run."""
    chance, driver = random.Random(seed), Scenario().driver
    places = ["list", "vector 0xea", "owner cpu 2", "event 900", "time 170000", "write 0x96000 64"]
    for _ in range(6):
        match chance.randrange(7):
            case 0 | 1:
                driver.step(chance.choice(["event", "message"]))
            case 2:
                driver.back()
            case 3:
                driver.seek(chance.randrange(len(driver.film.looks)))
            case 4:
                driver.step("instruction")
            case 5:
                driver.back("instruction")
            case _:
                driver.stop_at([chance.choice(places)])
                driver.run()
                driver.stop_at([])
        stand(driver)
    driver.run()
    assert driver.machine.trace.sha256 == straight.machine.trace.sha256
    assert driver.film.events == list(straight.machine.trace)


def test_instructions_go_one_by_one_both_ways(driver: MachineDriver) -> None:
    while driver.film.looks[driver.look].event < 900:
        driver.step()
    assert driver.step("instruction") is None
    began = driver.film.looks[driver.look].time
    times = []
    for _ in range(5):
        driver.step("instruction")
        stand(driver)
        times.append(driver.film.looks[driver.look].time)
    assert times == list(range(began + 1, began + 6))
    for time_ in (began + 4, began + 3):
        driver.back("instruction")
        assert driver.film.looks[driver.look].time == time_
    # One instruction changes few registers; a whole slice would have changed most.
    assert 1 <= len(driver.film.frame_of(driver.look).changed(driver.film.looks[driver.look].cpu or 0)) <= 4


def test_a_breakpoint_stops_before_its_instruction(driver: MachineDriver, straight: Scenario) -> None:
    entry = straight.machine.trace.of(OwnerChange)[-1].address
    driver.stop_at([f"{entry:#x}"])
    why = driver.run()
    assert why is not None
    assert why.startswith("breakpoint: ")
    assert f"{entry:#x}" in why
    cpu = driver.cpu
    assert cpu is not None
    assert driver.machine.registers(cpu).linear_rip == entry
    assert driver.film.frame_of(driver.look).code(cpu)[0].linear == entry, "the pictures stand there, too"
    assert driver.step("instruction") is None
    assert driver.machine.registers(cpu).linear_rip != entry
    assert driver.run() == "the scenario is finished"


def test_what_a_run_can_stop_at(driver: MachineDriver, straight: Scenario) -> None:
    first = next(one for one in straight.machine.trace.of(OwnerChange) if one.seq >= straight.booted and one.cpu == 2)
    driver.stop_at(["owner cpu 2"])
    assert "the owner of CPU 2 changed" in (driver.run() or "")
    assert driver.film.recording.spans[2][-1].start.event <= first.seq
    driver.reset()
    driver.stop_at(["event 900"])
    assert driver.run() == "event 900"
    assert driver.film.looks[driver.look].event >= 900
    driver.reset()
    driver.stop_at(["list"])
    assert "the kimage list" in (driver.run() or "")
    driver.reset()
    driver.stop_at(["time 160,000"])
    assert driver.run() == "time 160,000"
    assert driver.machine.time >= 160_000
    with pytest.raises(ValueError, match="cpu must be 0 to 3, not 4"):
        driver.stop_at(["owner cpu 4"])


def test_a_run_is_cut_into_stretches(driver: MachineDriver, straight: Scenario) -> None:
    driver.begin()
    stretches = 0
    while not (why := driver.advance(0)):
        stretches += 1
        assert driver.look == len(driver.film.looks) - 1
    assert stretches > 20
    assert why == "the scenario is finished"
    assert driver.machine.trace.sha256 == straight.machine.trace.sha256


def test_a_run_has_a_limit() -> None:
    driver = MachineDriver(Scenario(), 5000)
    assert driver.run() == "5,000 instructions are over; Run goes on"
    first = driver.machine.time
    driver.run()
    assert driver.machine.time > first


def test_reset_with_another_schedule(driver: MachineDriver, straight: Scenario) -> None:
    assert driver.schedule == "round robin 1,000"
    driver.reset("seed 3")
    assert driver.schedule == "seed 3"
    driver.run()
    seeded = driver.machine.trace.sha256
    assert seeded != straight.machine.trace.sha256
    driver.reset()
    assert driver.schedule == "seed 3", "the same again"
    driver.run()
    assert driver.machine.trace.sha256 == seeded
    driver.reset("round robin")
    driver.run()
    assert driver.machine.trace.sha256 == straight.machine.trace.sha256


def test_a_machine_of_ones_own() -> None:
    host = Host(Machine(2))
    host.boot()
    driver = MachineDriver(host.machine)
    host.submit("cpu_down", {"cpu": 1})
    why = driver.run()
    assert why == "every CPU waits and nothing can wake one"
    assert driver.look == len(driver.film.looks) - 1
    count = driver.film.count
    driver.reset()
    assert driver.look == 0
    assert driver.film.count == count, "what was recorded is still there"
    driver.step()
    stand(driver)
    driver.reset("seed 1")
    assert driver.schedule == "seed 1"


def test_the_recorded_future_outlasts_steps_by_an_instruction() -> None:
    """Be the slice as long as it may."""
    driver = Scenario(2).driver
    driver.reset("round robin 50000")
    driver.run()
    sha256, events = driver.machine.trace.sha256, list(driver.film.events)
    looks = [(look.event, look.time) for look in driver.film.looks]
    times = [time for _, time in looks]
    long = next(one for one in range(1, len(times)) if times[one] - times[one - 1] > 25_000)
    driver.seek(long)
    driver.back("instruction")
    assert driver.film.looks[driver.look].time == times[long] - 1
    driver.seek(long - 1)
    for over in (1, 2, 3):
        assert driver.step("instruction") is None
        assert driver.film.looks[driver.look].time == times[long - 1] + over
        stand(driver)
    assert driver.film.events == events
    assert [
        (look.event, look.time)
        for look in driver.film.looks
        if look.time not in range(times[long - 1] + 1, times[long])
    ] == looks
    assert driver.run() == "the scenario is finished"
    assert driver.machine.trace.sha256 == sha256


def test_an_act_that_was_refused_stays_refused() -> None:
    scenario = Scenario()
    scenario.host.submit("cpu_down", {"cpu": 2})
    scenario.host.settle()
    driver, refusal = scenario.driver, "cpu_down: CPU 2 is not online in the host"
    with pytest.raises(MklabError, match=refusal):
        driver.run()
    end = driver.look
    assert end == len(driver.film.looks) - 1 > 0, "the pictures show what led to it"
    for again in (driver.run, driver.step):
        with pytest.raises(MklabError, match=refusal):
            again()
    driver.back()
    assert driver.look < end
    for again in (driver.run, driver.run):
        with pytest.raises(MklabError, match=refusal):
            again()
    assert scenario.title == "take CPU 2 offline"
    driver.reset()
    assert driver.run() == "the scenario is finished"


def test_a_step_that_fails_shows_where_it_came_to() -> None:
    scenario = Scenario()
    scenario.host.submit("cpu_down", {"cpu": 2})
    scenario.host.settle()
    driver = scenario.driver
    with pytest.raises(MklabError):
        driver.step("message")
    assert driver.look == len(driver.film.looks) - 1 > 0


def test_schedules_in_words() -> None:
    for words in ("round robin 1,000", "round robin 7", "seed 12"):
        assert schedule_in_words(schedule_from(words)) == words
    assert isinstance(schedule_from("round robin"), RoundRobin)
    assert isinstance(schedule_from("seed"), Seeded)
    assert schedule_in_words(Scripted()) == "Scripted"
    with pytest.raises(ValueError, match=r"schedule must be 'round robin', .*, not 'fair'"):
        schedule_from("fair")


def test_a_step_ends_though_time_is_short(driver: MachineDriver) -> None:
    """A stretch of no time still gets on."""
    before = driver.machine.time
    begun = time.monotonic()
    driver.begin()
    while driver.machine.time == before:
        assert driver.advance(0) is None
    assert time.monotonic() > begun
