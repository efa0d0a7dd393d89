"""Guests for the tests of this folder: several CPUs that share memory, send IPIs, use timers and change their code."""

import hashlib
from typing import Any

from mklab.machine.machine import Machine
from mklab.machine.schedule import Schedule
from tests.machine.guestcode import long_mode

__all__ = ["CPUS", "PIECES", "RACE", "full_state", "guest"]

CPUS = 3
HANDLERS = """
vector_6: addq $2, (%rsp); iretq
vector_41: incl 0xe020; mov $0xfee00000, %ebx; movl $0, 0xb0(%rbx); iretq
vector_42: lock incl 0xe024; mov $0xfee00000, %ebx; movl $0, 0xb0(%rbx); iretq
"""
PIECES = (
    "lock incl 0xe000",
    "incl 0xe004; mov 0xe004, %eax; mov %eax, 0xe008",
    "movl $0x1000000, 0x310(%rbx); movl $0x4041, 0x300(%rbx)",
    "movl $0xc4041, 0x300(%rbx)",
    "mov $40, %ecx; 1: loop 1b",
    "mov $0xe100, %edi; mov $20, %ecx; rep stosb",
    "rdtsc; mov %eax, 0xe010",
    "movl $0x42, 0x320(%rbx); movl $0xb, 0x3e0(%rbx); movl $90, 0x380(%rbx)",
    "mov $7, %al; out %al, $0x70",
    "mov $0x1b, %ecx; rdmsr; mov %eax, 0xe018",
    "ud2",
    "incb 1f-1(%rip); mov $1, %al; 1: mov %al, 0xe01c",
    "cli; incl 0xe030; sti; nop; hlt",
    "xorps %xmm1, %xmm1; movups %xmm1, 0xe200; fld1; fstpl 0xe210",
)

RACE = [["incl 0xe004; mov 0xe004, %eax; mov %eax, 0xe008", "movl $0xc4041, 0x300(%rbx)"], *[["lock incl 0xe000"]] * 2]


def guest(pieces: list[list[str]], schedule: Schedule | None = None, **arguments: Any) -> Machine:
    """A machine whose CPU n does ``pieces[n]`` over and over; interrupts are on."""
    cpus = "\n".join(
        f"cpu{cpu}: mov $0xfee00000, %ebx\nagain{cpu}: {'; '.join(own)}\njmp again{cpu}"
        for cpu, own in enumerate(pieces)
    )
    machine, _ = long_mode(
        cpus + HANDLERS, cpus=len(pieces), schedule=schedule, interrupts=True, journalled=True, **arguments
    )
    return machine


def full_state(machine: Machine) -> tuple[object, ...]:
    """All that a machine is, to be compared."""
    memory = hashlib.sha256(b"".join(bytes(buffer) for _, _, buffer in machine.memory.buffers)).hexdigest()
    cpus = range(len(machine.cpus))
    return (
        memory,
        machine.trace.sha256,
        machine.trace.count,
        machine.time,
        machine.current,
        [machine.registers(cpu) for cpu in cpus],
        [machine.engine.extended(cpu) for cpu in cpus],
        [cpu.to_dict() for cpu in machine.cpus],
        machine.board.state(),
        machine.schedule.state(),
        [image.to_dict() for image in machine.images.values()],
        [call.to_dict() for call in machine.calls],
        machine.stopped,
    )
