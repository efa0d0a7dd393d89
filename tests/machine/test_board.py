"""What a running CPU reaches, with a machine made of nothing else."""

import json
from typing import Any

import pytest

from mklab.machine.board import Board
from mklab.machine.cpu import Cpu
from mklab.trace import AbsentAccess, ApicWrite, ConsoleByte, Eoi, Event

COM1, LINE_STATUS = 0x3F8, 0x3FD
ICR_LOW, EOI, TPR, ID = 0x300, 0xB0, 0x80, 0x20


class FakeMachine:
    """Two CPUs: the first is the host's, the second nobody's."""

    def __init__(self) -> None:
        self.cpus = [Cpu(0, 4, owner="host"), Cpu(1, 9)]
        self.current = 0
        self.now = 1234
        self.events: list[tuple[type[Event], int | None, dict[str, Any]]] = []
        self.pauses = 0

    def emit(self, kind: type[Event], cpu: int | None, **values: object) -> None:
        self.events.append((kind, cpu, values))

    def pause(self) -> None:
        self.pauses += 1


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def board(machine: FakeMachine) -> Board:
    return Board(machine)


def test_each_cpu_has_a_local_apic_of_its_own(machine: FakeMachine, board: Board) -> None:
    assert board.apic_read(ID) == 4 << 24
    machine.current = 1
    assert board.apic_read(ID) == 9 << 24
    board.apic_write(TPR, 0x50)
    assert [apic.tpr for apic in board.apics] == [0, 0x50]
    assert machine.events == [(ApicWrite, 1, {"offset": TPR, "value": 0x50})]
    assert machine.pauses == 1, "what follows comes before the next instruction"


def test_a_command_waits_until_it_is_taken(machine: FakeMachine, board: Board) -> None:
    machine.current = 1
    board.apic_write(ICR_LOW, 0x400EA)
    ((sender, icr),) = board.take_commands()
    assert (sender, icr.vector, icr.shorthand) == (1, 0xEA, "self")
    assert board.take_commands() == []


def test_eoi_names_what_is_done(machine: FakeMachine, board: Board) -> None:
    apic = board.apics[0]
    apic.svr = 0x1FF
    for vector in (0x41, 0x62):
        apic.accept(vector)
        apic.acknowledge()
    for _ in range(3):
        board.apic_write(EOI, 0)
    assert machine.events == [(Eoi, 0, {"vector": vector}) for vector in (0x62, 0x41, None)]
    assert apic.isr == 0


def test_ports_lead_to_the_kernel_that_owns_the_cpu(machine: FakeMachine, board: Board) -> None:
    for owner, byte in (("host", 65), ("kernel 1", 66)):
        machine.cpus[0].owner = owner
        board.port_write(COM1, 1, byte)
    assert machine.events == [
        (ConsoleByte, 0, {"kernel": "host", "byte": 65}),
        (ConsoleByte, 0, {"kernel": "kernel 1", "byte": 66}),
    ]
    board.console("host").receive(b"x")
    assert board.port_read(LINE_STATUS, 1) & 1 == 0, "kernel 1 has received nothing"
    machine.cpus[0].owner = "host"
    assert board.port_read(LINE_STATUS, 1) & 1
    assert board.port_read(COM1, 1) == ord("x")


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF)])
def test_nobodys_cpu_reaches_no_port(machine: FakeMachine, board: Board, size: int, ones: int) -> None:
    """A row in docs/fidelity.md."""
    machine.current = 1
    assert board.port_read(COM1, size) == ones
    board.port_write(COM1, size, 65)
    assert machine.events == []


@pytest.mark.parametrize("cpu", [0, 1])
def test_anybody_can_reset_the_platform(machine: FakeMachine, board: Board, cpu: int) -> None:
    machine.current = cpu
    board.port_write(0xCF9, 1, 2)
    assert (board.reset_request, machine.pauses) == (None, 0), "bit 2 resets, bit 1 only says how"
    board.port_write(0xCF9, 1, 6)
    assert board.reset_request == (cpu, f"CPU {cpu} wrote 0x6 to port 0xcf9")
    assert machine.pauses == 1


def test_why_there_was_an_nmi(machine: FakeMachine, board: Board) -> None:
    """NMI status and control register: bits 6 and 7, no device has asked for one. Whoever owns the CPU reads it."""
    for owner in (None, "host"):
        machine.cpus[0].owner = owner
        assert board.port_read(0x61, 1) == 0x21


def test_absent_memory_is_an_event(machine: FakeMachine, board: Board) -> None:
    board.absent(0x12345, True)
    assert machine.events == [(AbsentAccess, 0, {"address": 0x12345, "write": True})]


def test_cpuid_and_the_clock(machine: FakeMachine, board: Board) -> None:
    machine.current = 1
    _, ebx, _, _ = board.cpuid(1, 0)
    assert (ebx >> 24, ebx >> 16 & 0xFF) == (9, 2)
    assert board.timestamp() == 1234


def test_its_state_is_put_back(board: Board) -> None:
    board.apics[1].accept(0x41)
    board.console("kernel 1").receive(b"waiting")
    board.console("host").write(7, 1, 0x5A)
    other = Board(FakeMachine())
    other.console("gone")
    other.restore(json.loads(json.dumps(board.state())))
    assert other.state() == board.state()
    assert (other.apics[1].irr, other.console("kernel 1").read(0, 1)) == (1 << 0x41, ord("w"))
