"""Exercise 05.5: the receiver, in assembly: find the own slot, copy the message out, believe nothing."""

import struct

from mklab.guest.abi import MK_IPI_DATA, MK_MAX_DATA_SIZE
from mklab.lab import forms, guestrun
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place, Ran
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine

__all__ = ["EXERCISES"]

_AREA, _BUFFER = 0x100000, 0x50000
_ID = 5
_TEXT = bytes(range(1, 129)) * 2
"""No byte of a buffer is 0, and each differs from its neighbours."""
_FILLING = 0xCC
_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
"""Registers that a function must leave as they were (System V ABI, x86-64, section 3.2.1)."""


class _Message:
    """Puts a message that claims ``size`` bytes into the slot of APIC id ``apic_id``, and others into all others."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, machine: Machine, _code: Code) -> None:
        """Fill the area; the buffer that the answer copies to is full of 0xCC."""
        for index in range(64):
            own = index == machine.cpus[0].apic_id
            size, data = (self.size, _TEXT) if own else (9, bytes([0xE0 | index & 0xF]) * MK_MAX_DATA_SIZE)
            header = struct.pack("<iIQ", 0, 7, size & (1 << 64) - 1)
            machine.poke(_AREA + index * MK_IPI_DATA.size, header + data)
        machine.poke(_BUFFER, bytes([_FILLING]) * 0x2000)


def _make() -> Machine:
    return Machine(1, 4 << 20, apic_ids=[_ID], on_shutdown="halt")


def _place(size: int) -> Place:
    return Place(
        entry="take",
        args=(_BUFFER, _AREA),
        make=_make,
        prepare=_Message(size),
        budget=20_000,
        keep={"the message area": range(_AREA, _AREA + 64 * MK_IPI_DATA.size)},
    )


def _judge(ran: Ran, _seed: int) -> Verdict:
    verdict = _copied(ran, 11)
    if verdict is not None:
        return verdict
    for size in (0, MK_MAX_DATA_SIZE, 0x1000, 1 << 32 | 4, (1 << 64) - 1):
        again = guestrun.run(ran.code, _place(size))
        if again.fault is not None or not again.returned or again.endless:
            return not_yet(
                f"A message of 11 bytes was copied. With data_size = {size:#x} your code did not come back: it copied"
                " on and on.",
                f"data_size = {size:#x}, as a sender may claim",
                "Bound the number before you copy: at most 256.",
            )
        verdict = _copied(again, size)
        if verdict is not None:
            return verdict
    saved = next((name for name in _SAVED if name in ran.changed), None)
    if saved is not None:
        return not_yet(
            f"The messages are copied as they should be. But {saved.upper()} is {ran.changed[saved][1]:#x} afterwards,"
            f" and was {ran.changed[saved][0]:#x}: it belongs to who called you.",
            "behind RET",
            "RAX, RCX, RDX, RSI, RDI and R8 to R11 are free. Take one of them, or push the other and pop it again.",
        )
    return Verdict(
        Outcome.PASSED,
        "The message of 11 bytes was copied, and so were one of none and one of 256. Whatever data_size claims, no more"
        " than 256 bytes are taken, and nothing behind your buffer is written.",
        next_step="The RFC's handlers get data_size as the sender wrote it. Who of the two should bound it?",
    )


def _copied(ran: Ran, size: int) -> Verdict | None:
    """What is wrong with copying a message that claims ``size`` bytes, or None."""
    count = min(size, MK_MAX_DATA_SIZE)
    got = ran.read(_BUFFER, 0x2000)
    written = next((place for place in range(len(got), 0, -1) if got[place - 1] != _FILLING), 0)
    claimed = f"data_size = {size:#x}"
    if written > count and size > MK_MAX_DATA_SIZE:
        return not_yet(
            f"With {claimed} your code has copied {written:#x} bytes: it read past the slot, which has"
            f" {MK_MAX_DATA_SIZE} bytes of buffer, and wrote past yours. The size is whatever the sender wrote.",
            f"address {_BUFFER + MK_MAX_DATA_SIZE:#x}, behind your buffer",
            "Bound the number before you copy: at most 256, compared in 64 bits and without a sign.",
        )
    where = f"the buffer at {_BUFFER:#x}; {claimed}"
    if written and got[0] & 0xF0 == 0xE0:
        return not_yet(
            f"You have copied from the slot of APIC id {got[0] & 0xF}: this CPU's id is {_ID}, and its slot is"
            f" {_ID} x {MK_IPI_DATA.size} bytes into the area.",
            where,
            "Two things lead to a slot: the id, bits 24 to 31 of the word at 0xFEE00020, and 272, the size of a slot.",
        )
    if got[:count] != _TEXT[:count]:
        return _differs(got, size, written, where)
    if written > count:
        return not_yet(
            f"With {claimed} your code has copied {written} bytes: what lies behind the message is of an older one.",
            where,
            "data_size says how many bytes are the message; it is a 64-bit number.",
        )
    if ran.registers.rax != count:
        return not_yet(
            f"The bytes are right. RAX is {ran.registers.rax:#x}: it should say how many bytes were copied.",
            where,
            "Put the number that you have copied into RAX before RET; REP MOVSB counts RCX down to 0.",
            expected=f"rax = {count:#x}",
            got=f"rax = {ran.registers.rax:#x}",
        )
    return None


def _differs(got: bytes, claimed: int, written: int, where: str) -> Verdict:
    count = min(claimed, MK_MAX_DATA_SIZE)
    if not written and claimed > MK_MAX_DATA_SIZE:
        return not_yet(
            f"With data_size = {claimed:#x} nothing was copied. To refuse such a message would do no harm; asked for"
            " are the 256 bytes that the slot does hold.",
            where,
            "Where the number is larger than 256, go on with 256 in its place.",
        )
    if not written:
        return not_yet(
            f"Nothing was copied; {count} bytes were to be.",
            where,
            "RDI is where to copy to. From where, and how many?",
        )
    if got[4:count] == _TEXT[: count - 4]:
        return not_yet(
            "Your copy begins 4 bytes before the message: data_size has 8 bytes, so the buffer is at offset 16.",
            where,
            "int, u32, size_t, then the buffer: 4 + 4 + 8.",
        )
    if got[:written] == _TEXT[:written]:
        return not_yet(
            f"The message has {count} bytes, and your code has copied {written} of them.",
            where,
            "data_size has 64 bits, and at most 256 bytes are taken. What is in RCX when the copy begins?",
        )
    place = next((one for one in range(count) if got[one] != _TEXT[one]), 0)
    return not_yet(
        f"Byte {place} of your copy is {got[place]:#04x}.",
        where,
        f"The slot begins at area + {MK_IPI_DATA.size} x APIC id, its buffer 16 bytes further.",
        expected=_TEXT[:count][:16].hex(" "),
        got=got[:count][:16].hex(" "),
    )


def _causes(ran: Ran, _seed: int) -> Verdict | None:
    fault = ran.fault
    if fault is None or fault.vector != 14:
        return None
    if fault.cr2 >> 12 == 0xFFFFFFFFFEE00:
        return not_yet(
            f"Your code has read at {fault.cr2:#x}: an absolute address of 32 bits is widened with its sign.",
            f"line {ran.line(fault.rip)} of your cell" if ran.line(fault.rip) else f"{fault.rip:#x}",
            "Put 0xfee00020 into a register first: movl $0xfee00020, %eax.",
        )
    if fault.cr2 >> 32:
        return not_yet(
            f"Your code has read at {fault.cr2:#x}, far beyond the area. The word at 0xFEE00020 of this CPU is"
            f" {_ID << 24:#x}: taken for the id as it is, times 272, it leads there.",
            f"line {ran.line(fault.rip)} of your cell" if ran.line(fault.rip) else f"{fault.rip:#x}",
            "The id is in bits 24 to 31 of that word: shift it down first.",
        )
    return None


_BOUND = "    movl $256, %eax\n    cmpq %rax, %rcx\n    cmovaq %rax, %rcx\n"

_take = forms.guest(
    "05.5",
    "Take a message out",
    "assembly",
    _judge,
    (
        "Four steps: which CPU is this? where is its slot? how many bytes? copy. The struct stands in exercise 05.2.",
        "id = the word at 0xFEE00020, shifted right by 24; slot = area + 272 id. data_size is 64 bits and may be"
        " anything: bound it by 256 before you copy.",
        "movl (%rax), %eax; shrl $24, %eax; imulq $272, %rax, %rax; addq %rsi, %rax; movq 8(%rax), %rcx; bound RCX;"
        " leaq 16(%rax), %rsi; movq %rcx, %rax; rep movsb; ret.",
    ),
    (
        Mistake("unbounded", ((_BOUND, ""),), "it read past the slot"),
        Mistake("a stride of 256", (("imulq $272, %rdx, %rdx", "shlq $8, %rdx"),), "from the slot of APIC id 4"),
        Mistake("the id is not shifted", (("    shrl $24, %edx\n", ""),), "taken for the id as it is"),
        Mistake("the first slot", (("imulq $272, %rdx,", "imulq $0, %rdx,"),), "from the slot of APIC id 0"),
        Mistake("the buffer at 12", (("16(%rdx)", "12(%rdx)"),), "begins 4 bytes before the message"),
        Mistake("data_size of 32 bits", (("movq 8(%rdx), %rcx", "movl 8(%rdx), %ecx"),), "has copied 4 of them"),
        Mistake("a bound of 255", (("movl $256", "movl $255"),), "has copied 255 of them"),
        Mistake("compared with a sign", (("cmovaq", "cmovgq"),), "did not come back"),
        Mistake("256 in any case", (("cmovaq", "movq"),), "what lies behind the message is of an older one"),
        Mistake("RAX is not set", (("    movq %rcx, %rax\n    rep", "    rep"),), "it should say how many bytes"),
        Mistake(
            "source and destination",
            (("    rep movsb", "    xchgq %rsi, %rdi\n    rep movsb"),),
            "written over the message area",
        ),
        Mistake(
            "refused",
            (("    cmovaq %rax, %rcx\n", "    cmovaq %rdx, %rcx\n    ja 9f\n"), ("    ret", "9:  ret")),
            "To refuse such a message would do no harm",
        ),
        Mistake("RBX is lost", (("    leaq 16", "    movq %rdx, %rbx\n    leaq 16"),), "But RBX is"),
        Mistake("no return", (("    ret", ""),), "ran on beyond its last instruction"),
        Mistake("an absolute address", (("(%rax), %edx", "0xfffffffffee00020, %edx"),), "is widened with its sign"),
    ),
    place=_place(11),
    causes=_causes,
    alternatives=(
        '#include "abi.h"\ntake:\n    movabsl 0xfee00020, %eax\n    shrl $24, %eax\n'
        "    imulq $SIZEOF_mk_ipi_data, %rax, %rax\n    leaq OFFSETOF_mk_ipi_data_buffer(%rsi,%rax), %rdx\n"
        "    movq OFFSETOF_mk_ipi_data_data_size(%rsi,%rax), %rax\n    cmpq $256, %rax\n    jbe 1f\n"
        "    movl $256, %eax\n1:  xorl %ecx, %ecx\n2:  cmpq %rax, %rcx\n    je 3f\n    movb (%rdx,%rcx), %r8b\n"
        "    movb %r8b, (%rdi,%rcx)\n    incq %rcx\n    jmp 2b\n3:  ret\n",
    ),
)

EXERCISES = (_take,)
