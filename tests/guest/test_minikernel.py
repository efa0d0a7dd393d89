"""The minikernel's machine code, where the whole way through does not reach it."""

import pytest

from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import HOST_END
from mklab.machine.machine import Machine
from mklab.machine.uart import DATA, IIR_FCR, LSR, Uart
from mklab.trace import Fault, MessageTaken


@pytest.fixture(scope="module")
def running() -> tuple[Machine, Host]:
    """A host on CPU 0, and a second kernel on CPU 1."""
    machine = Machine(2)
    host = Host(machine)
    host.boot()
    host.cpu_down(1)
    host.load(minikernel_image(HOST_END, 1, [1, 0]))
    host.multikernel_kexec(1)
    assert machine.run(until=lambda _: host.is_up("kernel 1", 1)).reason == "until"
    return machine, host


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 255, 256])
def test_a_message_of_any_size_comes_back(running: tuple[Machine, Host], size: int) -> None:
    """Short ones and long ones take different ways through compiled loops."""
    machine, host = running
    payload = bytes(97 + i % 26 for i in range(size))
    host.multikernel_send_ipi_data(1, payload)
    assert machine.run().reason == "idle"
    there, back = machine.trace.of(MessageTaken)[-2:]
    assert (there.cpu, there.sender, there.size, bytes.fromhex(there.payload)) == (1, 0, size, payload)
    assert (back.cpu, back.sender, back.size, bytes.fromhex(back.payload)) == (0, 1, size, payload)
    assert machine.console("host").splitlines()[-1] == f"host: answer from CPU 1: {payload.decode()}"
    assert machine.trace.of(Fault) == []


def test_it_runs_with_sse_switched_off(running: tuple[Machine, Host]) -> None:
    """As the trampoline leaves it: CR4.OSFXSR is clear, so an SSE instruction would be #UD."""
    machine, _ = running
    assert [machine.registers(cpu).cr4 for cpu in range(2)] == [0x20, 0x20]


@pytest.mark.parametrize(("fifo", "most"), [(True, 16), (False, 1)], ids=["16550A", "without a FIFO"])
def test_the_console_sends_what_the_fifo_holds(fifo: bool, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one look at the line status, as Linux' serial8250_console_fifo_write does."""
    bursts: list[int] = []
    read, write = Uart.read, Uart.write

    def looked(uart: Uart, offset: int, size: int) -> int:
        if offset == LSR:
            bursts.append(0)
        value = read(uart, offset, size)
        return value if fifo or offset != IIR_FCR else value & 0x3F

    def written(uart: Uart, offset: int, size: int, value: int) -> None:
        if offset == DATA:
            bursts[-1] += 1
        write(uart, offset, size, value)

    monkeypatch.setattr(Uart, "read", looked)
    monkeypatch.setattr(Uart, "write", written)
    machine = Machine(1)
    Host(machine).boot()
    text = machine.console("host")
    assert "\nhost up, boot_params at 0x" in text
    assert max(bursts) == most
    assert sum(bursts) == len(text)
