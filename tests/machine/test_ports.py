"""Ports of the whole platform."""

import json

import pytest

from mklab.machine.machine import Machine, Stop
from mklab.machine.ownership import Image
from mklab.machine.ports import PlatformPorts
from mklab.machine.state import restore, state
from mklab.trace import Input, PlatformReset
from tests.machine.guestcode import RAM, assemble, load, long_mode


@pytest.mark.parametrize(
    ("port", "value", "resets"),
    [
        (0xCF9, 0x06, True),
        (0xCF9, 0x04, True),
        (0xCF9, 0x02, False),
        (0x92, 0x01, True),
        (0x92, 0x03, True),
        (0x92, 0x02, False),
        (0x64, 0xFE, True),
        (0x64, 0xF0, True),
        (0x64, 0xFF, False),
        (0x64, 0xAA, False),
        (0x64, 0x0E, False),
        (0x60, 0xFE, None),
        (0x3F8, 0xFE, None),
    ],
)
def test_what_resets(port: int, value: int, resets: bool | None) -> None:
    """PIIX's RST_CPU, the PS/2's fast reset, the 8042's pulse of output line 0 (commands F0 to FF, bit 0 clear)."""
    assert PlatformPorts().write(port, value) is resets


@pytest.mark.parametrize(("port", "value"), [(0xCF9, 6), (0x92, 1), (0x64, 0xFE)])
def test_a_reset_names_its_cause(port: int, value: int) -> None:
    """By a CPU that belongs to nobody."""
    machine, _ = long_mode(
        f"cpu0: jmp cpu0; cpu1: mov ${port}, %edx; mov ${value}, %al; outb %al, %dx; jmp cpu1", cpus=2
    )
    stop = machine.run()
    assert (stop.reason, stop.cpu) == ("reset", 1)
    assert machine.trace.of(PlatformReset)[0].why == f"CPU 1 wrote {value:#x} to port {port:#x}"


def test_the_usual_ways_to_the_ports() -> None:
    """Wait until the keyboard controller takes a command; set address line 20 without touching its neighbour."""
    machine, _ = long_mode(
        "in $0x92, %al; or $2, %al; out %al, $0x92; 1: in $0x64, %al; test $2, %al; jnz 1b; mov $0xfe, %al; "
        "out %al, $0x64; hlt"
    )
    assert machine.run(100).detail.startswith("CPU 0 wrote 0xfe to port 0x64")


def test_absent_ports_read_all_ones() -> None:
    machine, _ = long_mode("in $0x60, %al; mov %eax, %esi; mov $0x500, %dx; in %dx, %eax; hlt")
    machine.run()
    assert (machine.registers(0).rsi & 0xFF, machine.registers(0).rax) == (0xFF, 0xFFFFFFFF)


def test_cmos_is_one_memory_for_all_and_survives_a_reset() -> None:
    machine, _ = long_mode("mov $0x8f, %al; out %al, $0x70; mov $0x0a, %al; out %al, $0x71; cpu1: hlt", cpus=2)
    machine.run()
    assert machine.board.ports.cmos[0x0F] == 0x0A, "bit 7 of the index is not part of it"
    machine.out(1, 0x70, 0x0F)
    assert machine.board.port_read(0x71, 1) == 0x0A
    machine.out(1, 0x71, 0x55)
    machine.out(1, 0xCF9, 6)
    assert machine.board.ports.cmos[0x0F] == 0x55
    assert machine.run().detail.startswith("CPU 1 wrote 0x6 to port 0xcf9")


def test_process_context_writes_ports_as_its_cpu() -> None:
    machine = Machine(2, ram=RAM)
    machine.out(1, 0x70, 5)
    _, written = machine.trace.of(Input)
    assert (written.name, written.args) == ("out", {"cpu": 1, "port": 0x70, "value": 5})
    for arguments in ((2, 0x70, 0), (0, 0x10000, 0), (0, 0x70, 256)):
        with pytest.raises(ValueError, match="must be"):
            machine.out(*arguments)


def test_their_state_is_put_back() -> None:
    machine, _ = long_mode("hlt")
    machine.out(0, 0x70, 7)
    machine.out(0, 0x71, 9)
    other = Machine(1, ram=RAM)
    saved = json.loads(json.dumps(state(machine)))
    restore(other, saved)
    assert other.board.port_read(0x71, 1) == 9
    saved["board"]["ports"]["cmos"] = "00"
    with pytest.raises(ValueError, match="the state's CMOS must have 128 bytes, not 1"):
        restore(other, saved)


# The debug exit


@pytest.mark.parametrize(
    ("port", "instruction", "value"), [(0xF4, "outb %al", 0x10), (0xF4, "outl %eax", 0x210), (0xF6, "outw %ax", 0x210)]
)
def test_the_debug_exit_ends_the_run(port: int, instruction: str, value: int) -> None:
    """QEMU's isa-debug-exit ends with (value << 1) | 1."""
    machine = Machine(1, ram=RAM, debug_exit=True)
    template, _ = long_mode(f"mov ${port}, %edx; mov $0x210, %eax; {instruction}, %dx; mov $7, %esi; hlt")
    machine.poke(0, template.memory.read(0, 0x30000))
    machine.patch_registers(0, template.registers(0))
    stop = machine.run()
    assert stop == Stop("exit", 0, f"CPU 0 wrote {value:#x} to the debug exit at port 0xf4", value << 1 | 1)
    assert machine.run() == stop
    assert machine.registers(0).rsi == 0, "the instruction behind OUT is not reached"
    other = Machine(1, ram=RAM)
    restore(other, json.loads(json.dumps(state(machine))))
    assert other.run() == stop


def test_without_being_asked_for_there_is_none() -> None:
    machine, _ = long_mode("mov $0x10, %al; out %al, $0xf4; hlt")
    assert machine.run().reason == "idle"


# One image alone


def test_an_image_that_covers_all_ram_has_every_cpus_ports() -> None:
    """Also a CPU's that a SIPI has just started in low memory: its first instruction is its kernel's."""
    machine, _ = long_mode(
        "mov $0xfee00000, %ebx; movl $0xc4500, 0x300(%rbx); movl $0xc4610, 0x300(%rbx); cli; hlt", cpus=3
    )
    load(machine, assemble(".code16\nmov $0x3f8, %dx; mov $0x41, %al; outb %al, %dx; cli; hlt", 0x10000))
    machine.add_image(Image("kernel 1", [[0, RAM]], 0x8000))
    machine.run()
    assert machine.console("kernel 1") == "AA"
    assert [cpu.owner for cpu in machine.cpus] == ["kernel 1"] * 3
