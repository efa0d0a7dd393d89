"""Back and forward: each moment is what it was, what was recorded comes again, and acting anew ends it."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab.errors import MklabError
from mklab.kernel.host import Host
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin, Seeded
from mklab.machine.state import restore, state
from mklab.timeline import kept as module
from mklab.timeline.journal import ReplayError
from mklab.timeline.timeline import Timeline
from mklab.trace import Delivered, Input, OwnerChange, Slice
from tests.machine.guestcode import DATA
from tests.timeline.guests import PIECES, RACE, full_state, guest

PIECES_A_CPU = [list(PIECES), *RACE[1:]]


@pytest.fixture(params=[True, False], ids=["snapshots at every slice", "one snapshot"])
def often(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BETWEEN", 0.0 if request.param else 1e9)
    monkeypatch.setattr(module, "_SHARE", 0)


def busy(**arguments: object) -> Machine:
    """A machine that has run, with acts from outside in between."""
    machine = guest(PIECES_A_CPU, Seeded(3, 1, 300), on_shutdown="halt")
    Timeline(machine)
    for number in range(4):
        machine.run(1500)
        machine.poke(DATA + 0x700, bytes([number]))
        machine.printk("host", f"line {number}")
    machine.run(1500)
    return machine


def timeline(machine: Machine) -> Timeline:
    assert isinstance(machine.timeline, Timeline)
    return machine.timeline


@pytest.mark.usefixtures("often")
def test_every_moment_is_what_single_steps_make_of_it() -> None:
    """The oracle: other machines, each run to that moment by a script of its own."""
    machine = busy()
    line = timeline(machine)
    end, total = full_state(machine), line.instructions
    slices = machine.trace.of(Slice)
    chance = random.Random(2)
    for wanted in [0, 1, total - 1, *(chance.randrange(total) for _ in range(12))]:
        line.back(line.instructions - wanted) if wanted < line.instructions else line.forward(
            wanted - line.instructions
        )
        assert line.instructions == wanted
        oracle = guest(PIECES_A_CPU, on_shutdown="halt")
        done = 0
        for event in machine_events(line):
            if done == wanted and isinstance(event, Slice) and event.executed:
                break
            if isinstance(event, Slice) and event.cpu is not None:
                part = min(event.budget, wanted - done) if wanted - done < event.executed else event.budget
                before = oracle.trace.count
                while not any(isinstance(one, Slice) for one in oracle.trace.events[before:]):
                    oracle.advance(choice=(event.cpu, part))
                done += min(event.executed, wanted - done)
                if part < event.budget and done == wanted:
                    break
            elif isinstance(event, Input) and event.seq >= 24:
                if event.name == "poke":
                    oracle.poke(event.args["paddr"], machine.trace.blobs[event.args["sha256"]])
                elif event.name == "printk":
                    oracle.printk(**event.args)
        assert full_state(oracle)[:9] == full_state(machine)[:9]
    assert len(slices) > 10
    line.forward(total)
    assert full_state(machine) == end


def machine_events(line: Timeline) -> list[object]:
    return list(line._history.events)


@pytest.mark.usefixtures("often")
def test_going_to_each_event() -> None:
    machine = busy()
    line, events, end = timeline(machine), list(machine.trace.events), full_state(machine)
    for event in random.Random(4).sample(range(line.end), 60):
        line.seek(event)
        assert line.position > event
        assert machine.trace.events[: line.position] == events[: line.position]
        assert line.end == len(events)
        if not isinstance(events[event], Slice | Input):
            assert machine.time - events[event].time in (0, 1), "at once"
    line.seek(line.end - 1)
    assert full_state(machine) == end


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("unit", ["instruction", "slice"])
def test_back_and_forward_are_inverse(unit: str) -> None:
    machine = busy()
    line = timeline(machine)
    end, seen = full_state(machine), []
    for _ in range(8):
        line.back(3, unit)
        seen.append((line.position, line.instructions, full_state(machine)))
    assert len({(position, counted) for position, counted, _ in seen}) == 8
    if unit == "instruction":
        assert seen[0][1] - seen[-1][1] == 21
    for position, counted, state_then in reversed(seen):
        assert (line.position, line.instructions, full_state(machine)) == (position, counted, state_then)
        line.forward(3, unit)
    line.forward(1000, "slice")
    assert full_state(machine) == end
    line.back(10**9, unit)
    assert line.instructions == 0


def test_one_event_back_has_it_not_happened() -> None:
    machine = busy()
    line = timeline(machine)
    events = list(machine.trace.events)
    delivered = next(event for event in machine.trace.of(Delivered) if event.seq > len(events) // 2)
    line.seek(delivered.seq)
    assert machine.registers(delivered.cpu or 0).rip != delivered.rip
    line.back(1, "event")
    assert line.position <= delivered.seq
    line.forward(1, "event")
    assert line.position > delivered.seq


def test_a_moment_of_virtual_time() -> None:
    machine = busy()
    line, last = timeline(machine), machine.time
    for at in (0, 17, 1234, last - 1, last):
        line.seek_time(at)
        assert machine.time == at
    line.seek_time(last + 1000)
    assert machine.time == last


@pytest.mark.usefixtures("often")
def test_acting_at_an_earlier_moment_ends_what_was_recorded() -> None:
    machine = busy()
    line = timeline(machine)
    whole = line.end
    line.back(700)
    assert line.end == whole
    before = line.position
    machine.poke(DATA + 0x710, b"other")
    assert line.position == line.end == before + 2, "the slice cut short, and the poke"
    machine.run(500)
    assert line.end < whole
    after = full_state(machine)
    line.back(900)
    line.forward(900)
    assert full_state(machine) == after


def test_running_on_from_an_earlier_moment_finishes_its_slice() -> None:
    """So that stepping back and on again does not make another run."""
    machine = guest(RACE, RoundRobin(100))
    line = Timeline(machine)
    machine.run(10_000)
    whole = full_state(machine)
    line.back(2345)
    line.run(2345)
    assert full_state(machine)[:3] == whole[:3]


def test_step_by_step() -> None:
    machine = guest(RACE, RoundRobin(50))
    line = Timeline(machine)
    for _ in range(6):
        machine.step()
    whole = guest(RACE, RoundRobin(50))
    whole.run(400)
    for _ in range(60):
        before = line.instructions
        assert line.step() is None
        assert line.instructions == before + 1
    line.forward(10**6)
    assert machine.trace.events == whole.trace.events[: line.end]


def test_a_machine_that_ran_before_can_be_taken_back() -> None:
    """To power-on, from its trace."""
    machine = Machine(2)
    host = Host(machine)
    host.boot()
    end = machine.trace.sha256
    machine.timeline = None
    line = Timeline(machine)
    line.seek(0)
    assert (line.position, machine.time, host.machine.images) == (1, 0, {})
    entered = next(event for event in line._history.events if isinstance(event, OwnerChange))
    machine.seek(entered.seq)
    assert machine.cpus[0].owner == "host"
    line.forward(10**9)
    assert machine.trace.sha256 == end
    machine.back(5)
    assert line.instructions == line._history.instructions - 5
    host.printk("another future")
    assert line.position == line.end


def test_a_restored_machine_has_a_timeline_from_there() -> None:
    machine = busy()
    saved = state(machine)
    line = timeline(machine)
    line.back(100)
    restore(machine, saved)
    first = machine.trace.count
    assert (line.position, line.end) == (first, first)
    machine.run(500)
    line.back(10**6)
    assert line.position == first
    with pytest.raises(ValueError, match=f"event must be {first} to"):
        line.seek(0)


def test_snapshots_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BETWEEN", 0.0)
    monkeypatch.setattr(module, "_SHARE", 0)
    monkeypatch.setattr(module, "_MOST", 16)
    machine = guest(RACE, RoundRobin(10))
    line = Timeline(machine)
    machine.run(5000)
    assert len(line._kept.all) <= 17
    end = full_state(machine)
    line.back(4000)
    line.forward(4000)
    assert full_state(machine) == end


# Ctrl-C


def pressed(machine: Machine, times: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Ctrl-C at the n-th choice of the schedule from now."""
    choose, left = machine.schedule.choose, [times]

    def chosen(runnable: list[int]) -> tuple[int, int]:
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)
        return choose(runnable)

    monkeypatch.setattr(machine.schedule, "choose", chosen)
    return monkeypatch.undo


def test_ctrl_c_while_going_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = busy()
    line = timeline(machine)
    line.back(10)
    before, position, end = full_state(machine), line.position, line.end
    line._kept.all[1:] = []
    undo = pressed(machine, 5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        line.back(100)
    undo()
    assert (line.position, line.end) == (position, end)
    assert full_state(machine) == before
    line.forward(10**6)
    line.back(10)
    assert full_state(machine) == before


LONG = """
import signal, sys, time
from mklab.timeline.timeline import Timeline
from mklab.machine.schedule import RoundRobin
from tests.timeline.guests import guest
machine = guest([["lock incl 0xe000"]] * 2, RoundRobin(100))
line = Timeline(machine)
machine.run(200_000)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
{prepare}
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    {call}
    print("not interrupted")
except KeyboardInterrupt:
    line.back(3)
    line.forward(3)
    machine.run(100)
    print("usable", line.position == line.end)
"""


@pytest.mark.parametrize(
    ("prepare", "call"),
    [
        ("line._kept.all[1:] = []", "line.back(3)"),
        ("", "line.run(1 << 40)"),
        ("machine.schedule = RoundRobin(100_000_000)", "line.step()"),
    ],
)
def test_ctrl_c_in_a_long_call(prepare: str, call: str, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LONG.format(prepare=prepare, call=call)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["usable True"], done.stderr


def test_in_another_thread() -> None:
    machine = busy()
    line = timeline(machine)
    thread = threading.Thread(target=line.back, args=(500,))
    thread.start()
    thread.join()
    assert line.instructions == line._history.instructions - 500


# Misuse


def test_what_cannot_be_is_refused() -> None:
    machine = guest(RACE)
    with pytest.raises(MklabError, match="has no timeline"):
        machine.back()
    line = Timeline(machine)
    calls: list[tuple[Callable[[], None], str]] = [
        (lambda: line.back(0), "n must be 1 to"),
        (lambda: line.back(1, "year"), "unit must be one of instruction, event, slice, not 'year'"),
        (lambda: line.seek(10_000), "event must be 0 to"),
        (lambda: line.seek_time(-1), "at must be 0 to"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_run_that_cannot_be_made_again_leaves_the_machine_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = busy()
    line = timeline(machine)
    line._kept.all[1:] = []
    before = full_state(machine)
    monkeypatch.setattr(machine, "printk", lambda *_, **__: None)
    with pytest.raises(ReplayError):
        line.back(3)
    monkeypatch.undo()
    assert full_state(machine) == before
    line.back(3)
