"""The 16550A as its data sheet has it."""

import json

import pytest

from mklab.machine.uart import Uart

DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)


@pytest.fixture
def sent() -> list[int]:
    return []


@pytest.fixture
def uart(sent: list[int]) -> Uart:
    return Uart(sent.append)


def test_a_byte_written_goes_out(uart: Uart, sent: list[int]) -> None:
    for byte in b"ok":
        assert uart.read(LSR, 1) & 0x20, "the transmitter is empty"
        uart.write(DATA, 1, byte)
    uart.write(DATA, 2, 0x1FF)
    assert bytes(sent) == b"ok\xff"


def test_how_many_bytes_wait(uart: Uart) -> None:
    assert uart.waiting == 0
    uart.receive(b"ab")
    assert uart.waiting == 2
    uart.read(DATA, 1)
    assert uart.waiting == 1


def test_bytes_received_wait_in_order(uart: Uart) -> None:
    assert not uart.read(LSR, 1) & 1
    assert uart.read(DATA, 1) == 0
    uart.receive(b"ab")
    uart.receive(b"c")
    read = []
    while uart.read(LSR, 1) & 1:
        read.append(uart.read(DATA, 1))
    assert bytes(read) == b"abc"


def test_the_divisor_hides_data_and_interrupt_enable(uart: Uart, sent: list[int]) -> None:
    uart.write(IER, 1, 5)
    uart.receive(b"x")
    uart.write(LCR, 1, 0x83)
    uart.write(DATA, 1, 0x0C)
    uart.write(IER, 1, 0x01)
    assert (uart.read(DATA, 1), uart.read(IER, 1)) == (0x0C, 1)
    uart.write(LCR, 1, 0x03)
    assert (uart.read(IER, 1), uart.read(DATA, 1)) == (5, ord("x"))
    assert sent == []


def test_scratch_register_and_fifo_tell_the_model(uart: Uart) -> None:
    """How Linux's autoconfig finds a 16550A."""
    uart.write(SCR, 1, 0xA5)
    assert uart.read(SCR, 1) == 0xA5
    uart.write(IIR_FCR, 1, 1)
    assert uart.read(IIR_FCR, 1) & 0xC0 == 0xC0
    uart.write(IIR_FCR, 1, 0)
    assert uart.read(IIR_FCR, 1) & 0xC0 == 0


@pytest.mark.parametrize("register", [LSR, MSR])
def test_status_registers_are_read_only(uart: Uart, register: int) -> None:
    before = uart.read(register, 1)
    uart.write(register, 1, 0)
    assert uart.read(register, 1) == before != 0


def test_its_state_is_put_back(uart: Uart) -> None:
    uart.receive(b"waiting")
    uart.write(LCR, 1, 0x80)
    uart.write(DATA, 1, 12)
    uart.write(SCR, 1, 9)
    other = Uart(lambda _: None)
    other.restore(json.loads(json.dumps(uart.state())))
    assert other.state() == uart.state()
    other.write(LCR, 1, 3)
    assert (other.read(DATA, 1), other.read(SCR, 1)) == (ord("w"), 9)
