"""An EOI stops its CPU only where it lets an interrupt in; what follows comes before the next instruction anyway."""

import pytest

from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin
from mklab.trace import Delivered, Eoi
from tests.machine.guestcode import Code, long_mode

SOURCE = """
    mov $0xfee00000, %ebx
    mov $0x44041, %r8d          # to itself, vector 0x41
    mov $0x44052, %r9d
    mov %r8d, 0x300(%rbx)
    hlt
vector_41:
    cmp $0, %r12
    je 1f
    mov %r9d, 0x300(%rbx)       # this one has to wait: interrupts are off
1:  inc %rax
    movl $0, 0xb0(%rbx)
    before: inc %rax
    inc %rax
    sti
    inc %rax
    after: inc %rax
    hlt
vector_52:
    mov %rax, %rcx
    movl $0, 0xb0(%rbx)
    iretq
"""


def _ran(*, another: bool, budget: int = 1000) -> tuple[Machine, Code]:
    machine, code = long_mode(SOURCE, schedule=RoundRobin(budget), interrupts=True)
    registers = machine.registers(0)
    registers.r12 = another
    machine.patch_registers(0, registers)
    assert machine.run().reason == "idle"
    return machine, code


def test_the_time_of_an_eoi_within_a_block() -> None:
    """Instructions up to the store: four, and four of the handler."""
    machine, _ = _ran(another=False)
    (event,) = machine.trace.of(Eoi)
    assert (event.time, event.vector) == (8, 0x41)
    assert machine.registers(0).rax == 5


@pytest.mark.parametrize("budget", [1000, 3, 1])
def test_what_waits_comes_where_the_flags_let_it_in(budget: int) -> None:
    """Behind the shadow of STI; the EOI before has lowered the priority."""
    machine, code = _ran(another=True, budget=budget)
    _, second = machine.trace.of(Delivered)
    assert (second.vector, second.rip) == (0x52, code.symbols["after"])
    assert machine.registers(0).rcx == 4
    assert [event.vector for event in machine.trace.of(Eoi)] == [0x41, 0x52]


def test_an_eoi_lets_in_what_it_had_kept_out() -> None:
    """Two of one priority class, with interrupts on in the handler: the second comes right behind the first EOI."""
    machine, code = long_mode(
        """
        mov $0xfee00000, %ebx
        mov $0x44041, %r8d
        mov $0x44042, %r9d
        mov %r8d, 0x300(%rbx)
        hlt
        vector_41: sti
        mov %r9d, 0x300(%rbx)
        inc %rax
        movl $0, 0xb0(%rbx)
        behind: inc %rax
        hlt
        vector_42: mov %rax, %rcx
        movl $0, 0xb0(%rbx)
        iretq
        """,
        interrupts=True,
    )
    assert machine.run().reason == "idle"
    assert [(event.vector, event.rip) for event in machine.trace.of(Delivered)][1:] == [(0x42, code.symbols["behind"])]
    assert (machine.registers(0).rcx, machine.registers(0).rax) == (1, 2)


@pytest.mark.parametrize("another", [False, True])
def test_the_trace_is_the_same_on_both_engines(another: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    natively = _ran(another=another)[0].trace.sha256
    monkeypatch.setenv("MKLAB_ENGINE", "count")
    assert _ran(another=another)[0].trace.sha256 == natively


def test_it_does_not_stop_where_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[bool] = []
    pause = Machine.pause

    def noted(machine: Machine) -> None:
        paused.append(True)
        pause(machine)

    monkeypatch.setattr(Machine, "pause", noted)
    _ran(another=False)
    assert len(paused) == 1, "for the store to ICR"
