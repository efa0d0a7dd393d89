"""Tiny programs of a few instructions, as machine code on the machine and as an interpretation of their own.

The interpretation enumerates every interleaving instruction by instruction, and knows nothing of mklab.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers

__all__ = ["WORDS", "Op", "Outcome", "address", "interleavings", "machine_of", "outcome_of"]

TABLES, CODE, DATA = 0x1000, 0x4000, 0x6000
WORDS = 3
REGISTERS = 2


@dataclass(frozen=True)
class Op:
    """One instruction: ``store`` a number, ``load``, ``save`` (store a register), ``inc``, ``lock inc``, ``xchg``,
    ``add`` (to a register, nobody else sees it), or ``skip`` (the next instruction, if the register is 0)."""

    name: str
    word: int = 0
    register: int = 0
    value: int = 0

    @property
    def reads(self) -> bool:
        return self.name in ("load", "inc", "lock inc", "xchg")

    @property
    def writes(self) -> bool:
        return self.name in ("store", "save", "inc", "lock inc", "xchg")

    @property
    def atomic(self) -> bool:
        return self.name in ("lock inc", "xchg")


def address(word: int) -> int:
    return DATA + 8 * word


def encode(op: Op) -> bytes:
    at = struct.pack("<I", address(op.word))
    register = bytes([0x04 | op.register << 3, 0x25]) + at
    if op.name == "store":
        return b"\x48\xc7\x04\x25" + at + struct.pack("<I", op.value)
    if op.name in ("load", "save", "xchg"):
        return b"\x48" + {"load": b"\x8b", "save": b"\x89", "xchg": b"\x87"}[op.name] + register
    if op.name in ("inc", "lock inc"):
        return (b"\xf0" if op.name == "lock inc" else b"") + b"\x48\xff\x04\x25" + at
    if op.name == "add":
        return bytes([0x48, 0x83, 0xC0 | op.register, op.value])
    raise ValueError(op.name)


def assemble(program: Sequence[Op]) -> bytes:
    code = b"\xf4"
    lengths = [0]
    for op in reversed(program):
        skip = bytes([0x48, 0x85, 0xC0 | op.register * 9, 0x74, lengths[-1]])  # test r, r; jz behind the next one
        one = skip if op.name == "skip" else encode(op)
        code = one + code
        lengths.append(len(one))
    return code


def machine_of(programs: Sequence[Sequence[Op]]) -> Machine:
    """A machine on which CPU n stands before program n."""
    machine = Machine(len(programs), 1 << 20)
    machine.poke(TABLES, struct.pack("<Q", TABLES + 0x1000 | 0x63))
    machine.poke(TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 | 0x63))
    machine.poke(TABLES + 0x2000, struct.pack("<Q", 0xE3))
    for cpu, program in enumerate(programs):
        machine.poke(CODE + 0x400 * cpu, assemble(program))
        machine.patch_registers(cpu, entry_registers(CODE + 0x400 * cpu, 0x9000 + 0x800 * cpu, 0, TABLES))
    return machine


Outcome = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
"""Words of memory, and of each CPU its two registers."""


def outcome_of(machine: Machine) -> Outcome:
    memory = struct.unpack(f"<{WORDS}Q", machine.memory.read(DATA, 8 * WORDS))
    registers = [machine.registers(cpu) for cpu in range(len(machine.cpus))]
    return memory, tuple((one.rax, one.rcx) for one in registers)


@dataclass(frozen=True)
class Step:
    cpu: int
    op: Op


def interleavings(programs: Sequence[Sequence[Op]]) -> Iterator[tuple[list[Step], list[tuple[int, ...]], Outcome]]:
    """Every interleaving: its steps, memory after each, and the outcome."""

    def go(
        at: tuple[int, ...],
        memory: tuple[int, ...],
        registers: tuple[tuple[int, ...], ...],
        steps: list[Step],
        seen: list[tuple[int, ...]],
    ) -> Iterator[tuple[list[Step], list[tuple[int, ...]], Outcome]]:
        running = [cpu for cpu, program in enumerate(programs) if at[cpu] < len(program)]
        if not running:
            yield list(steps), list(seen), (memory, registers)
        for cpu in running:
            op = programs[cpu][at[cpu]]
            words, mine, behind = list(memory), list(registers[cpu]), at[cpu] + 1
            if op.name == "store":
                words[op.word] = op.value
            elif op.name == "load":
                mine[op.register] = words[op.word]
            elif op.name == "save":
                words[op.word] = mine[op.register]
            elif op.name in ("inc", "lock inc"):
                words[op.word] += 1
            elif op.name == "xchg":
                words[op.word], mine[op.register] = mine[op.register], words[op.word]
            elif op.name == "add":
                mine[op.register] += op.value
            elif op.name == "skip" and mine[op.register] == 0:
                behind = min(behind + 1, len(programs[cpu]))
            steps.append(Step(cpu, op))
            seen.append(tuple(words))
            yield from go(
                (*at[:cpu], behind, *at[cpu + 1 :]),
                tuple(words),
                (*registers[:cpu], tuple(mine), *registers[cpu + 1 :]),
                steps,
                seen,
            )
            steps.pop()
            seen.pop()

    count = len(programs)
    yield from go((0,) * count, (0,) * WORDS, ((0,) * REGISTERS,) * count, [], [])
