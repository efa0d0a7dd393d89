"""A machine without a kernel, whose CPUs send and receive through a ring in shared memory (mklab/guest/rings.S)."""

import struct
from collections.abc import Sequence

from mklab.guest import rings
from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers

__all__ = ["ENTRIES", "RECEIVED", "RING", "ring_machine", "ring_messages", "ring_sync"]

_TABLES, _CODE, RING, RECEIVED, _STACKS = 0x1000, 0x4000, 0x5000, 0x6000, 0x8000
ENTRIES = 2
_SIZE = 1 << 20


def ring_machine(senders: Sequence[str], receiver: str, messages: int) -> Machine:
    """CPU 0 receives, by the routine of that name; each further CPU sends ``messages`` messages, by its routine.

    CPU n sends 0x100 n + 1, 0x100 n + 2, ...
    """
    machine = Machine(1 + len(senders), _SIZE)
    blob = rings()
    machine.poke(_TABLES, struct.pack("<Q", _TABLES + 0x1000 | 0x63))
    machine.poke(_TABLES + 0x1000, struct.pack("<Q", _TABLES + 0x2000 | 0x63))
    machine.poke(_TABLES + 0x2000, struct.pack("<Q", 0xE3))
    machine.poke(_CODE, blob.data)
    for entry in range(ENTRIES):
        machine.poke(RING + 64 + 16 * entry, struct.pack("<Q", entry))
    routines = [(receiver, RECEIVED, messages * len(senders))]
    routines += [(name, 0x100 * (number + 1) + 1, messages) for number, name in enumerate(senders)]
    for cpu, (name, rsi, rdx) in enumerate(routines):
        registers = entry_registers(_CODE + blob.symbols[name], _STACKS + 0x800 * cpu, rsi, _TABLES)
        registers.rdi, registers.rdx = RING, rdx
        machine.patch_registers(cpu, registers)
    return machine


def ring_messages(machine: Machine, count: int) -> list[str]:
    """The first ``count`` messages that the receiver has stored."""
    return [hex(one) for one in struct.unpack(f"<{count}Q", machine.memory.read(RECEIVED, 8 * count)) if one]


def ring_sync() -> list[tuple[int, int]]:
    """The words by which the CPUs synchronise: the tail and the sequence numbers."""
    return [(RING, RING + 8)] + [(RING + 64 + 16 * entry, RING + 72 + 16 * entry) for entry in range(ENTRIES)]
