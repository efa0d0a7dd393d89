"""Breakpoints and watchpoints: where they stop, exactly, and that nothing else changes."""

import random

import pytest

from mklab.guest.abi import Work
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import HOST_END
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin, Seeded
from mklab.timeline import timeline as module
from mklab.timeline.stops import Breakpoint, MemoryWatch, OwnerWatch, StopPoint, ValueWatch, VectorWatch
from mklab.timeline.timeline import Timeline
from mklab.trace import Delivered, OwnerChange, Step
from tests.machine.guestcode import DATA
from tests.timeline.guests import PIECES, RACE, full_state, guest

COUNTER = [["mov $0xe000, %edi", "incl (%rdi)", "nop", "nop"]] * 2


@pytest.fixture
def host() -> Host:
    made = Host(Machine(4))
    made.boot()
    return made


@pytest.fixture(params=[True, False], ids=["snapshots at every slice", "one snapshot"], autouse=True)
def often(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BETWEEN", 0.0 if request.param else 1e9)
    monkeypatch.setattr(module, "_SHARE", 0)


def number(machine: Machine) -> int:
    return int.from_bytes(machine.memory.read(DATA, 4), "little")


def test_a_breakpoint_stops_before_each_pass() -> None:
    machine = guest(COUNTER, RoundRobin(33))
    line = Timeline(machine)
    machine.run(20)
    incl = machine.registers(0).rip
    while machine.memory.read(incl, 2) != b"\xff\x07":
        line.step()
        incl = machine.registers(0).rip
    line.stops.append(Breakpoint(incl, cpu=0))
    passes = []
    for _ in range(9):
        stop = line.run(10_000)
        assert (stop.reason, stop.cpu, machine.registers(0).rip) == ("breakpoint", 0, incl)
        passes.append((line.instructions, machine.registers(0).rip))
        before = number(machine)
        line.step()
        assert number(machine) == before + 1
        line.back()
    assert len(set(passes)) == 9
    line.stops[:] = [Breakpoint(incl, cpu=1)]
    assert line.run(500).reason == "budget", "CPU 1 has code of its own"


def test_a_watchpoint_stops_behind_each_change() -> None:
    machine = guest(COUNTER, Seeded(1, 1, 60))
    line = Timeline(machine)
    line.stops.append(MemoryWatch(DATA, 4))
    for expected in range(1, 12):
        stop = line.run(10_000)
        assert stop.reason == "watchpoint"
        assert number(machine) == expected
        line.back()
        assert number(machine) == expected - 1
        line.forward()


def test_a_watchpoint_on_one_cpu() -> None:
    machine = guest(COUNTER, RoundRobin(40))
    line = Timeline(machine)
    line.stops.append(MemoryWatch(DATA, 4, cpu=1))
    stop = line.run(10_000)
    assert stop.cpu == 1
    line.back()
    before = number(machine)
    line.forward()
    assert number(machine) == before + 1
    assert machine.trace.events[-1].cpu == 1


def test_a_vector() -> None:
    machine = guest(RACE, RoundRobin(70))
    line = Timeline(machine)
    line.stops.append(VectorWatch(0x41, cpu=2))
    stop = line.run(10_000)
    assert (stop.reason, stop.cpu) == ("watchpoint", 2)
    delivered = [event for event in machine.trace.of(Delivered) if event.cpu == 2]
    assert len(delivered) == 1
    assert machine.time == delivered[0].time + 1
    line.run(10_000)
    assert len([event for event in machine.trace.of(Delivered) if event.cpu == 2]) == 2


def test_an_owner_and_a_value_of_ones_own() -> None:
    machine = Machine(2)
    host = Host(machine)
    line = Timeline(machine)
    host.start()
    line.stops.append(OwnerWatch())
    assert line.run().reason == "watchpoint"
    (change,) = machine.trace.of(OwnerChange)
    assert change.owner == "host"
    assert machine.time - change.time <= 1
    line.stops[:] = [ValueWatch(lambda _: host.cpu_online(0), "CPU 0 is online")]
    assert "CPU 0 is online" in line.run().detail
    assert host.cpu_online(0)
    line.back()
    assert not host.cpu_online(0)


def test_the_list_of_images(host: Host) -> None:
    """A kernel function changes it in a step, and a rogue guest by a store."""
    machine = host.machine
    line = Timeline(machine)
    line.stops.append(ValueWatch(lambda _: host.kimages.contents(), "kexec_image_list"))
    call = host.submit_load(minikernel_image(HOST_END, 1, [2, 0, 1, 3]))
    assert line.run().reason == "watchpoint"
    assert (call.step, machine.trace.of(Step)[-1].step) == ("unlock", "install")
    line.run()
    (image,) = host.kimages
    call = host.submit_work(Work.STORE, [image.address("list_next") + 2, 1], b"X")
    stop = line.run()
    assert (stop.reason, stop.cpu) == ("watchpoint", 0)
    changed = host.kimages.contents()
    line.back()
    assert host.kimages.contents() != changed


def test_the_first_of_several_in_a_slice() -> None:
    machine = guest(RACE, RoundRobin(1000))
    line = Timeline(machine)
    entry = machine.registers(1).rip
    line.stops += [MemoryWatch(DATA, 4), Breakpoint(entry), VectorWatch(0x41)]
    stops = [line.run(20_000) for _ in range(6)]
    moments = []
    line.back(10**9)
    line.stops[:] = line.stops[::-1]
    for stop in stops:
        assert line.run(20_000).reason == stop.reason
        moments.append(line.instructions)
    assert moments == sorted(moments)


@pytest.mark.parametrize("seed", range(2))
def test_stopping_does_not_change_the_run(seed: int) -> None:
    """Nor does stepping to and fro in between: the same events, to the digest."""
    pieces = [list(PIECES), *RACE[1:]]
    machine, alone = (guest(pieces, Seeded(seed, 1, 400), on_shutdown="halt") for _ in range(2))
    alone.run(4_000)
    line = Timeline(machine)
    stops: list[StopPoint] = [MemoryWatch(0xE024), VectorWatch(0x41), Breakpoint(machine.registers(0).rip + 10)]
    line.stops += stops
    chance = random.Random(seed)
    while line.instructions < 4_000:
        stop = line.run(4_000 - line.instructions)
        if chance.random() < 0.3:
            steps = chance.randrange(1, 20)
            line.back(min(steps, line.instructions or 1))
        if stop.reason == "budget" and line.instructions >= 4_000:
            break
    line.forward(10**9)
    both = min(len(alone.trace.events), len(machine.trace.events)) - 1
    assert machine.trace.events[:both] == alone.trace.events[:both]
    assert both > 100


def test_the_engine_forgets_breakpoints_afterwards() -> None:
    machine = guest(COUNTER)
    line = Timeline(machine)
    line.stops.append(Breakpoint(machine.registers(0).rip))
    line.run(100)
    line.stops.clear()
    assert line.run(5000).reason == "budget"
    assert full_state(machine)
