"""Breakpoints and watchpoints: where they stop, exactly, and that nothing else changes."""

import random

import pytest

from mklab.guest.abi import Work
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import HOST_END
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.machine.registers import RFLAGS
from mklab.machine.schedule import RoundRobin, Seeded
from mklab.timeline import kept as module
from mklab.timeline.replay import replay
from mklab.timeline.stops import Breakpoint, MemoryWatch, OwnerWatch, StopPoint, ValueWatch, VectorWatch
from mklab.timeline.timeline import Timeline
from mklab.trace import Delivered, Input, OwnerChange, Step
from tests.machine.guestcode import CODE, DATA, long_mode
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


@pytest.mark.parametrize("quantum", [1, 33, 900])
def test_a_breakpoint_misses_no_pass(quantum: int) -> None:
    """Nor one in what is left of the slice in which it has just stopped."""
    machine = guest([["incl 0xe000; nop; nop"], ["nop"]], RoundRobin(quantum))
    line = Timeline(machine)
    incl = machine.registers(0).rip + 5
    assert machine.memory.read(incl, 3) == b"\xff\x04\x25"
    line.stops.append(Breakpoint(incl))
    for passes in range(12):
        assert line.run(10_000).reason == "breakpoint"
        assert (machine.registers(0).rip, number(machine)) == (incl, passes)


def test_the_slice_that_ends_the_run_is_looked_at_too() -> None:
    """The machine goes no further behind it, so nobody asks it whether it is to stop."""
    machine, _ = long_mode("nop; incl 0xe000; nop; lidt 0xe100; int3", schedule=RoundRobin(1000), journalled=True)
    line = Timeline(machine)
    stops: list[StopPoint] = [Breakpoint(CODE + 1), MemoryWatch(DATA, 4), Breakpoint(CODE + 9)]
    line.stops += stops
    for reason, rip in (("breakpoint", 1), ("watchpoint", 8), ("breakpoint", 9), ("reset", None)):
        stop = line.run()
        assert stop.reason == reason
        assert rip is None or machine.registers(0).rip == CODE + rip


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
    assert machine.time == delivered[0].time
    assert machine.registers(2).rip == delivered[0].handler
    line.run(10_000)
    assert len([event for event in machine.trace.of(Delivered) if event.cpu == 2]) == 2


@pytest.mark.parametrize("quantum", [70, 1, 900])
def test_a_vector_stops_before_its_handlers_first_instruction(quantum: int) -> None:
    """Every delivery of a run is found, where another machine, left alone, had it; CPU 2 is halted in between."""
    pieces = [RACE[0], ["lock incl 0xe000"], ["incl 0xe004", "hlt"]]
    machine, alone = (guest(pieces, RoundRobin(quantum)) for _ in range(2))
    alone.run(30_000, until=lambda one: sum(event.cpu == 2 for event in one.trace.of(Delivered)) > 5)
    expected = [event for event in alone.trace.of(Delivered) if event.cpu == 2][:6]
    line = Timeline(machine)
    line.stops.append(VectorWatch(0x41, cpu=2))
    assert len(expected) == 6
    for event in expected:
        assert line.run(30_000).reason == "watchpoint"
        after = machine.registers(2)
        assert (machine.time, after.rip, after.rflags & RFLAGS.IF) == (event.time, event.handler, 0)
        assert int.from_bytes(machine.memory.read(after.rsp, 8), "little") == event.rip
        assert line.position == event.seq + 1
        state = full_state(machine)
        line.step()
        assert machine.time == event.time + 1
        assert machine.registers(2).rip != event.handler
        line.back(1)
        assert machine.time == event.time
        line.seek_time(event.time + 1)
        line.back(2)
        assert line.run(30_000).reason == "watchpoint"
        assert full_state(machine) == state


@pytest.mark.parametrize("quantum", [1, 7, 400])
def test_a_breakpoint_at_a_handler_stops_where_it_was_entered(quantum: int) -> None:
    """And not before its interrupt is delivered, where another instruction, or HLT, is what one sees."""
    pieces = [["movl $0x1000000, 0x310(%rbx); movl $0x4041, 0x300(%rbx)", "nop; nop; nop"], ["hlt"]]
    machine, alone = (guest(pieces, RoundRobin(quantum)) for _ in range(2))
    alone.run(2_000)
    handler, delivered = alone.trace.of(Delivered)[0].handler, [one.time for one in alone.trace.of(Delivered)]
    line = Timeline(machine)
    line.stops.append(Breakpoint(handler, cpu=1))
    times: list[int] = []
    while len(times) < 4:
        assert line.run(2_000).reason == "breakpoint"
        assert (machine.registers(1).rip, machine.cpus[1].state) == (handler, CpuState.RUNNING)
        times.append(machine.time)
        before = machine.memory.read_u64(0xE020)
        line.step()
        assert machine.memory.read_u64(0xE020) == before + 1
        line.back()
        assert line.run(2_000).reason == "breakpoint", "it was not entered again yet"
        assert machine.time == times[-1]
    assert times == delivered[: len(times)]
    line.forward(10**9)
    both = min(len(alone.trace.events), len(machine.trace.events)) - 1
    assert machine.trace.events[:both] == alone.trace.events[:both]


def test_who_acts_where_a_handler_is_entered_is_recorded_and_replayed() -> None:
    machine = guest(RACE, RoundRobin(70))
    line = Timeline(machine)
    line.stops.append(VectorWatch(0x41, cpu=2))
    line.run(10_000)
    machine.poke(DATA + 0x800, b"here")
    line.stops.clear()
    line.run(300)
    assert [event.name for event in machine.trace.of(Input)][-2:] == ["enter_handler", "poke"]
    again = replay(machine.trace)
    # But for the schedule: its choices are replayed, not asked for.
    assert (full_state(again)[:9], full_state(again)[10:]) == (full_state(machine)[:9], full_state(machine)[10:])
    with pytest.raises(ValueError, match="cpu must be one on which an interrupt is due, not 0"):
        guest(RACE).enter_handler(0)


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


THERE_AND_BACK = ["mov $0xe000, %edi", "nop", "movl $5, (%rdi)", "nop", "movl $5, (%rdi)", "movl $0, (%rdi)", "nop"]


@pytest.mark.parametrize("quantum", [2_000, 13, 1])
def test_what_changes_and_changes_back_within_a_slice(quantum: int) -> None:
    """0, 5, 5, 0 in each pass: two changes, each found behind its instruction; the second store of 5 is none."""
    machine = guest([THERE_AND_BACK, ["nop"]], RoundRobin(quantum))
    line = Timeline(machine)
    line.stops.append(MemoryWatch(DATA, 4))
    for expected in (5, 0) * 4:
        stop = line.run(10_000)
        assert (stop.reason, stop.cpu, number(machine)) == ("watchpoint", 0, expected)
        here = machine.registers(0).rip
        assert machine.memory.read(here, 1) == b"\x90", "behind the first store of 5 and that of 0"
        line.back()
        assert number(machine) == 5 - expected
        assert machine.memory.read(machine.registers(0).rip, 2) == b"\xc7\x07"
        line.forward()
        assert machine.registers(0).rip == here


def test_which_cpu_changes_it_and_back() -> None:
    machine = guest([THERE_AND_BACK] * 2, RoundRobin(500))
    line = Timeline(machine)
    line.stops.append(MemoryWatch(DATA, 4, cpu=1))
    assert [line.run(10_000).cpu for _ in range(3)] == [1, 1, 1]


def test_a_store_beside_it_and_one_of_the_same_value_are_no_changes() -> None:
    machine = guest([["mov $0xe000, %edi", "incl -4(%rdi)", "movl $0, (%rdi)", "incl 4(%rdi)"]], RoundRobin(300))
    line = Timeline(machine)
    line.stops.append(MemoryWatch(DATA, 4))
    assert line.run(2_000).reason == "budget"


def test_a_value_made_of_what_it_points_to() -> None:
    """A pointer at 0xe000 leads to 0xe100; what lies there goes there and back."""
    pieces = ["mov $0xe100, %edi", "incl (%rdi)", "decl (%rdi)", "nop"]
    machine = guest([pieces], RoundRobin(1_000))
    machine.poke(DATA, (DATA + 0x100).to_bytes(8, "little"))
    line = Timeline(machine)
    line.stops.append(ValueWatch(lambda one: one.memory.read(one.memory.read_u64(DATA), 4), "what is pointed to"))
    line.run(10_000)
    assert machine.memory.read(DATA + 0x100, 4) == b"\1\0\0\0"


def test_an_interrupts_frame_is_pushed_there() -> None:
    """It changes the stack, where nothing of the handler is executed; popped, it lies there still."""
    machine = guest(RACE, RoundRobin(400))
    line = Timeline(machine)
    pushed = machine.registers(2).rsp - 40
    line.stops.append(MemoryWatch(pushed, 40, cpu=2))
    assert line.run(10_000).reason == "watchpoint"
    delivered = [event for event in machine.trace.of(Delivered) if event.cpu == 2]
    assert [event.time for event in delivered] == [machine.time]
    assert machine.registers(2).rip == delivered[0].handler


def test_registers_that_change_are_seen_between_slices() -> None:
    machine = guest([["nop"], ["nop"]], RoundRobin(50))
    line = Timeline(machine)
    line.stops.append(ValueWatch(lambda one: one.registers(0).rip, "RIP of CPU 0", cpu=0))
    assert line.run(1_000).reason == "watchpoint"
    assert machine.time == 1


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
