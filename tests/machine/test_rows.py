"""Slices in a row: the native library goes on by itself, and nobody can tell.

The same machine run slice by slice (it is asked something in between) is the oracle, and so is one without the library.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from mklab.machine.engine import Engine
from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.machine.schedule import RoundRobin, Schedule, Scripted, choices_of
from mklab.trace import ConsoleByte, Delivered, Slice, TimerExpired
from tests.machine.guestcode import CODE, RAM, long_mode
from tests.timeline.guests import PIECES, full_state

LOOP = "again: incl 0xe000; add %rax, %rcx; imul $7, %rcx, %rax; jmp again"
APIC = "mov $0xfee00000, %ebx; "
HANDLERS = "vector_41: vector_42: incl 0xe020; movl $0, 0xb0(%rbx); iretq; vector_6: addq $2, (%rsp); iretq"


def machine_with(source: str, schedule: Schedule, **arguments: Any) -> Machine:
    """One that nothing need be watched for: its CPUs have an owner as soon as they run."""
    machine, _ = long_mode(source, schedule=schedule, journalled=True, **arguments)
    machine.add_image(Image("host", [[0, RAM]], CODE))
    return machine


def one_by_one(_: Machine) -> bool:
    return False


@pytest.fixture
def stretches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each call of the engine's, how many more slices it may execute."""
    seen: list[int] = []
    run: Callable[..., Any] = Engine.run

    def noted(*arguments: Any, more: int = 0, **values: Any) -> Any:
        seen.append(more)
        return run(*arguments, more=more, **values)

    monkeypatch.setattr(Engine, "run", noted)
    return seen


def assert_same(
    make: Callable[[], Machine], budget: int, patch: pytest.MonkeyPatch, *, changes_itself: bool = False
) -> Machine:
    """Run so and so to the same end; a store into the running block is counted otherwise without the library."""
    row, single = make(), make()
    reasons = [row.run(budget).reason, single.run(budget, one_by_one).reason]
    assert full_state(row) == full_state(single)
    if not changes_itself:
        with patch.context() as context:
            context.setenv("MKLAB_ENGINE", "count")
            counted = make()
        assert not counted.engine.native
        reasons.append(counted.run(budget).reason)
        assert counted.trace.sha256 == row.trace.sha256
    assert len(set(reasons)) == 1
    return row


@pytest.mark.parametrize("quantum", [7, 100, 3000])
@pytest.mark.parametrize(
    "source",
    [
        pytest.param(LOOP, id="nothing but instructions"),
        pytest.param("mov $1000, %esi; 1: dec %esi; jnz 1b; hlt", id="halt"),
        pytest.param("mov $0x3f8, %edx; mov $0x61, %al; 1: mov $300, %ecx; loop .; out %al, (%dx); jmp 1b",
                     id="console"),
        pytest.param("1: mov $300, %ecx; loop .; rdtsc; add %rax, %rsi; jmp 1b", id="time stamps"),
        pytest.param(f"{APIC} 1: mov $300, %ecx; loop .; mov 0x20(%rbx), %eax; incl 0xe000; jmp 1b", id="APIC read"),
        pytest.param(f"{APIC} 1: mov $300, %ecx; loop .; movl $0x40042, 0x300(%rbx); nop; jmp 1b", id="own IPIs"),
        pytest.param(f"{APIC} movl $0x20041, 0x320(%rbx); movl $0xb, 0x3e0(%rbx); movl $700, 0x380(%rbx); {LOOP}",
                     id="a periodic timer"),
        pytest.param("mov $0x12345, %ecx; 1: mov $300, %eax; 2: dec %eax; jnz 2b; mov %cr0, %rax; mov %rax, %cr0;"
                     "jmp 1b", id="what Python executes"),
        pytest.param("1: mov $300, %ecx; loop .; ud2; jmp 1b", id="faults"),
        pytest.param("1: mov $300, %ecx; loop .; mov 0x30000000, %eax; jmp 1b", id="absent memory"),
        pytest.param("1: mov $300, %ecx; loop .; incb 1f-1(%rip); mov $1, %al; 1: mov %al, 0xe01c; jmp 1b",
                     id="code that changes"),
    ],
)  # fmt: skip
def test_a_row_of_slices_leaves_the_same_trace(
    source: str, quantum: int, stretches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = assert_same(
        lambda: machine_with(f"{source}; {HANDLERS}", RoundRobin(quantum), interrupts=True),
        7000,
        monkeypatch,
        changes_itself="incb" in source,
    )
    assert any(stretches) or quantum == 3000, "there were rows"
    again = machine_with(f"{source}; {HANDLERS}", Scripted(choices_of(machine.trace)), interrupts=True)
    again.run(7000)
    assert again.trace.sha256 == machine.trace.sha256, "it replays choice by choice"


def test_a_row_spares_calls() -> None:
    machine = machine_with(LOOP, RoundRobin(100))
    calls = 0
    begin = machine.engine.begin

    def counted(cpu: int) -> None:
        nonlocal calls
        calls += 1
        begin(cpu)

    machine.engine.begin = counted  # type: ignore[method-assign]
    machine.run(100_000)
    assert len(machine.trace.of(Slice)) == 1000
    assert calls < 30


def test_the_events_of_a_row_come_in_their_order() -> None:
    """What a callback records stands behind the slices that are over, and has its own time."""
    machine = machine_with(
        "mov $0x3f8, %edx; mov $0x61, %al; mov $499, %ecx; loop .; out %al, (%dx);" + LOOP, RoundRobin(100)
    )
    machine.run(1000)
    events = [event for event in machine.trace if isinstance(event, Slice | ConsoleByte)]
    at = next(i for i, event in enumerate(events) if isinstance(event, ConsoleByte))
    assert events[at].time == 503
    assert [event.time for event in events if isinstance(event, Slice)] == list(range(100, 1001, 100))
    assert at == 5


def test_a_row_ends_before_a_timer(stretches: list[int]) -> None:
    source = f"{APIC} movl $0xb, 0x3e0(%rbx); movl $0x41, 0x320(%rbx); movl $5000, 0x380(%rbx);" + LOOP
    machine = machine_with(f"{source}; {HANDLERS}", RoundRobin(100), interrupts=True)
    machine.run(8000)
    assert [event.time for event in machine.trace.of(TimerExpired)] == [5004]
    assert [event.time for event in machine.trace.of(Delivered)] == [5004]
    assert max(stretches) > 20
    assert {event.executed for event in machine.trace.of(Slice)} == {100}


def test_a_page_table_entry_that_was_changed_is_read_anew_in_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without INVLPG, the engine's TLB decides what is read: it is emptied between two slices, in a row or not."""
    source = """
        movl $1, 0xd000; movl $2, 0xe000
    1:  add 0xd000, %rax
        xorl $0x3000, 0x23000 + 8 * 0xd         /* 0xd000 is mapped to 0xd000 and to 0xe000 by turns */
        imul $3, %rax, %rax
        jmp 1b
    """
    assert_same(lambda: machine_with(source, RoundRobin(37)), 5000, monkeypatch)


@pytest.mark.parametrize("seed", range(12))
def test_rows_of_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(seed)
    pieces = [piece for piece in PIECES if "rep stosb" not in piece]
    own = [dice.choice(pieces) for _ in range(dice.randrange(2, 6))]
    spin = f"mov ${dice.randrange(20, 400)}, %ecx; loop ."
    source = f"cpu0: {APIC} again: {'; '.join([*own, spin])}; jmp again; {HANDLERS}"
    quantum = dice.randrange(1, 60)
    assert_same(
        lambda: machine_with(source, RoundRobin(quantum), interrupts=True),
        4000,
        monkeypatch,
        changes_itself="incb" in source,
    )


def test_two_cpus_are_never_in_a_row(stretches: list[int]) -> None:
    machine = machine_with("cpu0: jmp cpu0; cpu1: jmp cpu1", RoundRobin(100), cpus=2)
    machine.run(2000)
    assert not any(stretches)
    assert [event.cpu for event in machine.trace.of(Slice)] == [0, 1] * 10


def test_who_looks_sees_each_slice() -> None:
    class Looking:
        stride, each_event = 1 << 62, False
        seen: list[tuple[int, int]]

        def __init__(self, machine: Machine) -> None:
            self.machine, self.seen = machine, []

        def look(self, why: str) -> None:
            if why == "slice":
                self.seen.append((self.machine.time, self.machine.trace.count))

    machine, other = machine_with(LOOP, RoundRobin(100)), machine_with(LOOP, RoundRobin(100))
    looking = Looking(machine)
    machine.onlookers.append(looking)
    machine.run(3000)
    assert [time for time, _ in looking.seen] == list(range(100, 3001, 100))
    other.run(3000)
    assert other.trace.sha256 == machine.trace.sha256


def test_the_most_events_hold_in_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mklab.machine.machine.MOST_EVENTS", 50)
    machine = machine_with(LOOP, RoundRobin(10))
    before = machine.trace.count
    assert machine.run(1 << 40).reason == "events"
    assert machine.trace.count == before + 50
