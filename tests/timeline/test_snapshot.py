"""Snapshots: the whole machine comes back, from any of them to any other, and nothing is left behind."""

import gc
import random
import resource
import sys
from collections.abc import Callable
from typing import Any

import pytest

from mklab.machine.machine import Machine
from mklab.machine.memory import PAGE
from mklab.machine.process import Call
from mklab.timeline.pages import offered
from mklab.timeline.snapshot import Snapshot, Snapshots
from mklab.trace import Event
from tests.machine.guestcode import CODE, DATA, assemble
from tests.timeline.guests import PIECES, RACE, full_state, guest

MOST_KIB = 10 << 10


@pytest.fixture(params=offered())
def snapshots(request: pytest.FixtureRequest) -> Callable[[Machine], Snapshots]:
    return lambda machine: Snapshots(machine, request.param)


Make = Callable[[Machine], Snapshots]


def test_any_comes_back_in_any_order(snapshots: Make) -> None:
    """A tree of moments: from each one the run may have gone on in several ways."""
    machine = guest([list(PIECES), *RACE[1:]])
    taken, chance = snapshots(machine), random.Random(1)
    known: list[tuple[Snapshot, tuple[object, ...], list[Event]]] = []
    for _ in range(60):
        if len(known) > 3 and chance.random() < 0.5:
            snapshot, state, events = chance.choice(known)
            taken.restore(snapshot)
            assert full_state(machine) == state
            assert machine.trace.events == events
        for _ in range(chance.randrange(3)):
            machine.run(chance.randrange(1, 900))
        if chance.random() < 0.3:
            machine.poke(DATA + PAGE * chance.randrange(8), b"poked")
        known.append((taken.take(), full_state(machine), list(machine.trace.events)))
    for snapshot, state, events in chance.sample(known, 30):
        taken.restore(snapshot)
        assert full_state(machine) == state
        assert machine.trace.events == events


def test_what_follows_is_the_same(snapshots: Make) -> None:
    machine = guest(RACE)
    machine.run(3000)
    taken = snapshots(machine)
    moment = taken.take()
    machine.run(9000)
    after = full_state(machine)
    taken.restore(moment)
    machine.run(9000)
    assert full_state(machine) == after


def test_only_changed_pages_are_held_and_equal_ones_once(snapshots: Make) -> None:
    machine = guest(RACE)
    taken = snapshots(machine)
    first = taken.take()
    machine.poke(0x100000, b"a")
    machine.poke(0x200FFF, b"bc")
    second = taken.take()
    machine.poke(0x100000, b"x")
    machine.memory.write(0x300000, bytes(8))
    third = taken.take()
    assert sorted(set(second.pages) - set(first.pages)) == [0x100000, 0x200000, 0x201000]
    assert sorted(third.pages) == sorted(second.pages), "a page written with what it held is as before"
    assert third.pages[0x200000] is second.pages[0x200000]
    assert third.pages[0x100000] != second.pages[0x100000]
    assert second.contexts[0] is first.contexts[0]


def test_code_that_was_changed_runs_as_it_was(snapshots: Make) -> None:
    """Whoever changed it: the translation is dropped, also where it is reached by a call."""
    machine = guest([["call 2f; jmp 3f; 2: movb $1, 0xe000; ret; 3:"]])
    taken = snapshots(machine)
    machine.run(100)
    moment = taken.take()
    at = machine.memory.read(CODE, 256).index(assemble("movb $1, 0xe000").data) + CODE + 7
    machine.poke(at, b"\2")
    machine.poke(DATA, b"\0")
    machine.run(100)
    assert machine.memory.read(DATA, 1) == b"\2"
    taken.restore(moment)
    machine.poke(DATA, b"\0")
    machine.run(100)
    assert machine.memory.read(DATA, 1) == b"\1"


def test_a_call_under_way_is_the_same_call(snapshots: Make) -> None:
    """Whoever waits for it holds it; and what it noted since is gone."""

    class Count:
        first = "count"

        def step(self, call: Call) -> str:
            call.values["seen"].append(len(call.values["seen"]))
            call.step = "count" if len(call.values["seen"]) < 5 else ""
            return "counted"

    machine = Machine(1, 4 << 20)
    machine.install("test", {"count": Count()}, {})
    code = assemble("sti; 1: hlt; jmp 1b")
    machine.poke(CODE, code.data)
    other = guest([["hlt"]])
    machine.poke(0, other.memory.read(0, 0x30000))
    machine.patch_registers(0, other.registers(0))
    call = machine.submit(Call("count", 0, "count", {"seen": []}))
    machine.run(100, lambda _: len(call.values["seen"]) == 2)
    taken = snapshots(machine)
    moment = taken.take()
    machine.run(100)
    assert (call.done, machine.calls) == (True, [])
    taken.restore(moment)
    assert machine.calls == [call]
    assert machine.calls[0] is call
    assert call.values == {"seen": [0, 1]}
    machine.run(100)
    assert call.done


def test_high_memory_comes_back_too(snapshots: Make) -> None:
    machine = Machine(1, [(0, 1 << 20), (1 << 39, 1 << 20)])
    taken = snapshots(machine)
    machine.poke((1 << 39) + 0x5000, b"high")
    moment = taken.take()
    machine.poke((1 << 39) + 0x5000, b"gone")
    taken.restore(moment)
    assert machine.memory.read((1 << 39) + 0x5000, 4) == b"high"


def test_a_thousand_round_trips_leak_nothing(snapshots: Make) -> None:
    machine = guest(RACE)
    taken = snapshots(machine)
    machine.run(2000)
    moment = taken.take()

    def round_trip() -> None:
        machine.run(50)
        machine.poke(0x100000, b"more")
        later = taken.take()
        taken.restore(moment)
        taken.restore(later)
        taken.restore(moment)

    for _ in range(50):
        round_trip()
    gc.collect()
    before = resident()
    for _ in range(1000):
        round_trip()
    gc.collect()
    assert resident() - before < MOST_KIB


def resident() -> Any:
    """The most that this process has had in memory, in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 10 if sys.platform == "darwin" else peak
