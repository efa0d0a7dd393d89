"""The recorded runs of lab 07: what a student finds with the notebook's tools is what the check wants."""

import pytest

from mklab.errors import MklabError
from mklab.lab.lab07 import review, trespass, wiped
from mklab.lab.lab07.hazards import Hasty, Hazards
from mklab.lab.lab07.runs import SeededRun, first_store, window
from mklab.lab.lab07.story import story
from mklab.lab.lab07.trespass import Later
from mklab.lab.lab07.wiped import Sudden
from mklab.lab.session import timeline
from mklab.trace import Fault, Printk


def changes(run: SeededRun, address: int, size: int, last: int) -> tuple[int, int]:
    """Between which two events the bytes got the value of event ``last``: by halving, without a watchpoint."""
    line = timeline(run.machine)

    def value(event: int) -> bytes:
        line.seek(event)
        return run.machine.memory.read(address, size)

    wanted, low, high = value(last), run.booted, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if value(middle) == wanted else (middle, high)
    return low, high


def record(run: SeededRun) -> Fault:
    """Run it, so that it can be taken back; its first exception."""
    timeline(run.machine)
    run.run()
    return next(iter(run.machine.trace.of(Fault)))


def test_the_gate_was_written_over_when_and_by_whom_the_facts_say() -> None:
    facts, run = trespass.facts(0), Later(0)
    fault = record(run)
    assert (fault.cpu, fault.error) == (facts["failed"], 0xEA << 3 | 2 | 1)
    # The gate's first byte is the same before: it is never zero again once the victim has filled it.
    low, high = changes(run, facts["gate"], 16, fault.seq)
    events = run.machine.trace.events
    assert events[low].time <= facts["time"] <= events[high].time
    line = timeline(run.machine)
    line.seek_time(facts["time"])
    assert run.machine.memory.read(facts["gate"], 1) == b"\0"
    line.seek_time(facts["time"] - 1)
    assert run.machine.memory.read(facts["gate"], 1) != b"\0"
    assert facts["gate"] in window(run.victim)
    assert facts["planned"] == f"kernel {run.victim}"
    assert facts["cpu"] == run.cpu_of(run.culprit)


def test_the_notebooks_watchpoint_stops_at_the_store_that_is_asked_for() -> None:
    right, run = wiped.facts(1), Sudden(1)
    run.driver.run()
    run.driver.seek(0)
    run.driver.stop_at([f"write {right['table']:#x} 8 cpu {right['writer']}"])
    times = []
    while run.driver.run() and not run.machine.stopped:
        owner = run.machine.cpus[right["died"]].owner
        times.append((run.machine.time, owner))
        if owner == "kernel 2":
            break
    assert times[-1] == (right["time"], "kernel 2")


def test_the_small_kernel_dies_on_the_table_that_the_facts_name() -> None:
    facts, run = wiped.facts(2), Sudden(2)
    fault = record(run)
    assert fault.vector == 14
    assert fault.cpu == facts["died"] != facts["writer"]
    timeline(run.machine).seek(fault.seq - 1)
    assert run.machine.registers(facts["died"]).cr3 == facts["table"]
    assert run.machine.memory.read_u64(facts["table"]) == 0


def test_seeds_give_other_cpus() -> None:
    for kind in (Sudden, Later, Hazards):
        assert len({kind.order(seed) for seed in range(30)}) == 6


def test_the_evidence_of_the_review_is_what_the_recording_says() -> None:
    run = Hazards(0)
    run.run()
    found = review.evidence(run)
    first = next(one for one in run.recording.incidents if one.kind == "against plan")
    assert first.cpu == run.cpu_of(2)
    assert [first.at.event] == found["wrong_image"]
    printed = [text for _, text in run.recording.lines("kernel 1") if "type=10" in text]
    assert all("type=101" in text for text in printed)
    spans = run.recording.spans[run.cpu_of(1)]
    assert any(span.start.event == found["taken_cpu"][-1] and span.owner is None for span in spans)
    assert not run.machine.stopped
    assert not any("-E" in one.text for one in run.machine.trace.of(Printk))


def test_two_quick_kicks_run_one_image() -> None:
    run = Hasty(0)
    run.run()
    assert [run.machine.cpus[run.cpu_of(number)].owner for number in (1, 2)] == ["kernel 2", "kernel 2"]


def test_a_story_is_in_order_and_its_numbers_are_those_of_the_events() -> None:
    run = Hazards(0)
    run.run()
    rows = [line.split(maxsplit=3) for line in story(run).splitlines()[1:]]
    numbers = [int(row[0]) for row in rows]
    assert numbers == sorted(numbers)
    assert numbers[0] >= run.booted
    for row in rows:
        event = run.machine.trace.events[int(row[0])]
        assert f"{event.time:,}" == row[1]
        assert row[2] == ("-" if event.cpu is None else str(event.cpu))
    assert any(row[3].startswith("prints: kernel 1 up") for row in rows)


def test_a_store_that_never_comes_is_an_error() -> None:
    with pytest.raises(MklabError, match="nobody has stored anything at 0x3fff000"):
        first_store(Hasty(0), 0x3FFF000, 8, lambda _: True)
