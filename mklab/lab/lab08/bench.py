"""A machine without a kernel for what students write: CPUs that enter their code, and a receiver of interrupts."""

from collections.abc import Mapping
from dataclasses import dataclass

from mklab.guest.abi import MULTIKERNEL_VECTOR
from mklab.kernel.host import identity_tables
from mklab.kernel.layout import BOOT_PAGE_TABLES
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import ARGUMENTS, LANDING
from mklab.lab.lab04.bench import gate
from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers
from mklab.machine.registers import Segment

__all__ = ["IDT", "Start", "enter", "received", "settle_receiver"]

IDT = 0x3000
_GDT = 0x600
_DESCRIPTORS = (0, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
"""64-bit code at 0x10 and data at 0x18, as Linux has them."""
_STACKS = 0x10000
_STACK = 0x1000
RECEIVED = 0x6000
"""What a receiver has taken: how many messages, in 8 bytes, then each one."""


@dataclass(frozen=True)
class Start:
    """Where a CPU begins: a symbol, and its arguments as the System V ABI passes them."""

    symbol: str
    args: tuple[int, ...] = ()


def enter(machine: Machine, code: Code, starts: Mapping[int, Start]) -> None:
    """Let each of these CPUs stand at its symbol, in long mode with interrupts off, about to return to a HLT."""
    machine.poke(BOOT_PAGE_TABLES, identity_tables(BOOT_PAGE_TABLES))
    machine.poke(_GDT, b"".join(one.to_bytes(8, "little") for one in _DESCRIPTORS))
    for cpu, start in starts.items():
        stack = _STACKS + _STACK * (cpu + 1) - 8
        machine.poke(stack, (code.base + LANDING).to_bytes(8, "little"))
        registers = entry_registers(code.symbols[start.symbol], stack, 0, BOOT_PAGE_TABLES)
        for name, value in zip(ARGUMENTS, start.args, strict=False):
            setattr(registers, name, value)
        registers.gdtr = Segment(0, _GDT, 8 * len(_DESCRIPTORS) - 1)
        registers.idtr = Segment(0, IDT, 0xFFF)
        machine.patch_registers(cpu, registers)


def settle_receiver(machine: Machine, code: Code, cpu: int) -> None:
    """Let ``cpu`` enter ``receiver`` and come to its HLT, with ``on_message`` as the handler of vector 0xEA."""
    handler = code.symbols["on_message"]
    machine.poke(IDT + 16 * MULTIKERNEL_VECTOR, gate(handler))
    enter(machine, code, {cpu: Start("receiver")})
    machine.run(10_000)


def received(machine: Machine) -> list[int]:
    """The messages that the receiver has taken."""
    count = min(machine.memory.read_u64(RECEIVED), 16)
    return [machine.memory.read_u64(RECEIVED + 8 + 8 * number) for number in range(count)]
