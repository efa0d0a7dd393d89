"""Timers, shadows and NMIs while CPUs take their turns."""

import json

import pytest

from mklab.machine.cpu import CpuState
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin
from mklab.machine.state import restore, state
from mklab.trace import Delivered, Fault, Slice, TimerExpired
from tests.machine.guestcode import RAM, long_mode

TIMER = "mov $0xfee00000, %ebx; movl $0xb, 0x3e0(%rbx); movl ${lvt:#x}, 0x320(%rbx); movl ${count}, 0x380(%rbx)\n"
"""Divide by 1; so the timer expires ``count`` instructions after the last store."""
PERIODIC, MASKED = 1 << 17, 1 << 16
EOI = "movl $0, 0xb0(%rbx)"


def timer(count: int, lvt: int = 0x41) -> str:
    return TIMER.format(lvt=lvt, count=count)


def deliveries(machine: Machine) -> list[tuple[int, int]]:
    return [(event.time, event.rip) for event in machine.trace.of(Delivered)]


# Timers


@pytest.mark.parametrize("quantum", [1, 3, 7, 1000])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_a_timer_interrupts_exactly_at_its_time(count: int, quantum: int) -> None:
    """In the middle of a slice as at its end: ``count`` NOPs are executed, then the handler is entered."""
    machine, code = long_mode(
        timer(count) + "sti\nafter:" + "nop;" * 20 + "cli; hlt; vector_41: cli; hlt",
        schedule=RoundRobin(quantum),
    )
    machine.run()
    assert [event.time for event in machine.trace.of(TimerExpired)] == [4 + count]
    # STI is the first instruction after the store, and its shadow covers one more.
    done = max(count, 2)
    assert deliveries(machine) == [(4 + done, code.symbols["after"] + done - 1)]


def test_another_cpus_timer_is_as_exact() -> None:
    """CPU 1's timer expires while CPU 0 runs; it wakes CPU 1 when its turn comes."""
    machine, _ = long_mode(
        f"cpu0: jmp cpu0\ncpu1: {timer(2500)} sti; hlt; vector_41: cli; hlt", cpus=2, schedule=RoundRobin(1000)
    )
    machine.run(6000)
    assert [(event.cpu, event.time) for event in machine.trace.of(TimerExpired)] == [(1, 1004 + 2500)]
    assert [event.cpu for event in machine.trace.of(Delivered)] == [1]
    slices = [event.executed for event in machine.trace.of(Slice) if event.cpu == 0][:-1]
    assert slices == [1000] * 5, "they stay whole"


def test_time_jumps_to_the_timer_that_wakes_a_cpu() -> None:
    machine, _ = long_mode(f"{timer(1_000_000)} sti; hlt; cli; hlt; vector_41: {EOI}; iretq")
    assert machine.run().reason == "idle"
    assert [event.time for event in machine.trace.of(TimerExpired)] == [1_000_004]
    assert machine.time == 1_000_004 + 2 + 2


def test_a_periodic_timer_keeps_its_pace() -> None:
    """However long the handler takes, and whether the CPU halts or not."""
    machine, _ = long_mode(
        f"{timer(50, PERIODIC | 0x41)} sti; 1: inc %rax; cmp $300, %rax; jb 1b; 2: hlt; jmp 2b;"
        f"vector_41: incl 0xe000; {EOI}; iretq"
    )
    machine.run(5000)
    times = [event.time for event in machine.trace.of(TimerExpired)]
    assert times == [4 + 50 * i for i in range(1, 101)]
    assert int.from_bytes(machine.memory.read(0xE000, 4), "little") in (98, 99)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(f"{timer(50)} cli; hlt", id="IF=0"),
        pytest.param(f"{timer(50, MASKED | 0x41)} sti; hlt", id="masked"),
        pytest.param(f"{timer(50)} movl $0x50, 0x80(%rbx); sti; hlt", id="TPR"),
        pytest.param(f"{timer(50, PERIODIC | 0x41)} movl $0x50, 0x80(%rbx); sti; hlt", id="periodic, TPR"),
        pytest.param(f"{timer(50)} movl $0xff, 0xf0(%rbx); sti; hlt", id="disabled"),
        pytest.param(f"{timer(50, 0x5)} sti; hlt", id="illegal vector"),
        pytest.param(f"{timer(0)} sti; hlt", id="count 0"),
    ],
)
def test_a_timer_that_wakes_nobody_leaves_the_machine_idle(source: str) -> None:
    machine, _ = long_mode(source)
    assert machine.run().reason == "idle"
    assert machine.time < 10


def test_unmasking_a_timer_that_has_expired() -> None:
    """The interrupt that was masked does not come later."""
    machine, _ = long_mode(f"{timer(3, MASKED | 0x41)} sti; nop; nop; nop; nop; movl $0x41, 0x320(%rbx); nop; cli; hlt")
    assert machine.run().reason == "idle"
    assert deliveries(machine) == []


def test_a_timer_waits_for_the_shadow_of_mov_ss() -> None:
    machine, code = long_mode(
        f"mov %ss, %eax; {timer(3)} sti; nop; mov %eax, %ss; shadowed: nop; after: nop; cli; hlt; vector_41: cli; hlt"
    )
    machine.run()
    assert [event.time for event in machine.trace.of(TimerExpired)] == [8]
    assert deliveries(machine) == [(9, code.symbols["after"])]


def test_sti_hlt_loses_no_timer() -> None:
    """The timer expires on STI; its shadow covers HLT, which ends at once."""
    machine, _ = long_mode(f"{timer(1)} sti; hlt; mov $7, %esi; cli; hlt; vector_41: {EOI}; iretq")
    assert machine.run().reason == "idle"
    assert machine.registers(0).rsi == 7


def test_a_timer_goes_on_in_a_restored_machine() -> None:
    source = f"{timer(40, PERIODIC | 0x41)} sti; 1: inc %rax; jmp 1b; vector_41: incl 0xe000; {EOI}; iretq"
    uncut, _ = long_mode(source, schedule=RoundRobin(30))
    machine, _ = long_mode(source, schedule=RoundRobin(30))
    for _ in range(12):
        machine.run(17)
        uncut.run(17)
        saved = json.loads(json.dumps(state(machine)))
        machine = Machine(1, ram=RAM)
        restore(machine, saved)
    assert state(machine) == state(uncut)
    assert uncut.memory.read(0xE000, 1)[0] == 4


# NMIs

WAIT = "mov $0x200, %ecx; 1: loop 1b\n"
NMI_TO_0 = "movl $0, 0x310(%rbx); movl $0x400, 0x300(%rbx)\n"
SENDER = f"cpu1: mov $0xfee00000, %ebx; {NMI_TO_0} {WAIT} {NMI_TO_0} {NMI_TO_0} 9: jmp 9b\n"


def test_a_second_nmi_waits_for_iret() -> None:
    """SDM "Handling Multiple NMIs"; of several that wait, one is kept."""
    machine, code = long_mode(
        f"cpu0: jmp cpu0; vector_2: incl 0xe000; mov $2000, %ecx; 2: loop 2b; last: iretq; {SENDER}",
        cpus=2,
        schedule=RoundRobin(10),
    )
    machine.run(14_000)
    first, second = machine.trace.of(Delivered)
    assert (first.rip, second.rip) == (code.symbols["cpu0"],) * 2, "not within the handler, and directly behind IRET"
    assert machine.memory.read(0xE000, 1) == b"\x02"
    assert not machine.cpus[0].nmi_blocked


@pytest.mark.parametrize("quantum", [1, 10, 1000])
def test_an_nmi_that_waits_comes_directly_after_iret(quantum: int) -> None:
    machine, code = long_mode(
        "mov $0xfee00000, %ebx; movl $0x40400, 0x300(%rbx); after: nop; cli; hlt;"
        "vector_2: incl 0xe000; cmpl $1, 0xe000; jne 1f; movl $0x40400, 0x300(%rbx); movl $0, 0x310(%rbx); "
        "nop; 1: iretq",
        schedule=RoundRobin(quantum),
    )
    machine.board.commands.clear()
    machine.run(3)
    machine.cpus[0].nmi_pending = True
    machine.run(5)
    assert machine.cpus[0].nmi_blocked
    machine.cpus[0].nmi_pending = True
    machine.run()
    assert [event.rip for event in machine.trace.of(Delivered)] == [code.symbols["after"] + 1] * 2
    assert machine.memory.read(0xE000, 1) == b"\x02"


def test_iret_unblocks_even_where_it_faults() -> None:
    """The manual's words; the #GP's handler is interrupted at its first instruction."""
    machine, code = long_mode(
        "nop; 1: jmp 1b; vector_2: incl 0xe000; cmpl $2, 0xe000; je 3f; movw $0x7ff8, 8(%rsp); bad: iretq; "
        "3: cli; hlt; vector_d: nop; hlt"
    )
    machine.run(5)
    machine.cpus[0].nmi_pending = True
    machine.run(2)
    machine.cpus[0].nmi_pending = True
    machine.run()
    assert [event.rip for event in machine.trace.of(Fault)] == [code.symbols["bad"]]
    assert [event.rip for event in machine.trace.of(Delivered)][1:] == [code.symbols["bad"], code.symbols["vector_d"]]


def test_a_blocked_nmi_survives_a_snapshot() -> None:
    machine, _ = long_mode("1: jmp 1b; vector_2: nop; nop; nop; nop; iretq")
    machine.run(5)
    machine.cpus[0].nmi_pending = True
    machine.run(2)
    machine.cpus[0].nmi_pending = True
    other = Machine(1, ram=RAM)
    restore(other, json.loads(json.dumps(state(machine))))
    for one in (machine, other):
        one.run(100)
        assert len(one.trace.of(Delivered)) == (2 if one is machine else 1)
    assert state(machine) == state(other)


def test_init_unblocks_nmis() -> None:
    machine, _ = long_mode("1: jmp 1b; cpu1: jmp cpu1", cpus=2)
    machine.cpus[1].nmi_blocked = True
    machine.store(0, APIC_BASE + 0x310, 1 << 24)
    machine.store(0, APIC_BASE + 0x300, 0x4500)
    assert machine.cpus[1].state is CpuState.WAIT_FOR_SIPI
    assert not machine.cpus[1].nmi_blocked
