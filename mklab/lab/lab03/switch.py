"""From protected mode to 64-bit mode: PAE, tables, EFER, paging, the far return."""

from dataclasses import replace

from mklab.lab import forms, guestrun, trampoline
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.forms.guest import Ran, built, told
from mklab.lab.forms.parsons import Order, WrongOrder
from mklab.lab.guestcode import Frame
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.registers import CR0, CR4, EFER, Registers

__all__ = ["in_order", "to_long_mode"]

LINES = {
    "A": "movl $0xC0000080, %ecx; rdmsr; btsl $8, %eax; wrmsr",
    "B": "pushl $8; pushl LOW(startup_64_vector)(%esi); lret",
    "C": "movl %cr0, %eax; btsl $31, %eax; movl %eax, %cr0",
    "D": "call fill_pgtable",
    "E": "pushl $0x10; pushl LOW(startup_64_vector)(%esi); lret",
    "F": "leal LOW(pgtable)(%esi), %eax; movl %eax, %cr3",
    "G": "movl %cr4, %eax; btsl $5, %eax; movl %eax, %cr4",
}
_PF, _GP = 14, 13
_EFER, _WRMSR = 0xC0000080, b"\x0f\x30"
_TRAP = "\tjmp\t.\n"
"""Who comes to the end of a part that should have left it stays here."""


def _tables() -> str:
    """The lines of the trampoline that fill its tables."""
    lines = trampoline.source().splitlines(keepends=True)
    begin = next(n for n, line in enumerate(lines) if "six pages of zeros" in line)
    end = next(n for n, line in enumerate(lines) if "%cr3" in line) - 1
    return "".join(lines[begin:end])


_FILL = f"fill_pgtable:\n{_tables()}\tret\n"
_BEFORE_ORDER, _AFTER_ORDER = trampoline.around("movl\t%cr4, %eax", "lret", _TRAP + _FILL)
_BEFORE, _AFTER = trampoline.around("movl\t$0xC0000080, %ecx", "lret", _TRAP)
_PUSHES = "\tpushl\t$0x10\n\tpushl\tLOW(startup_64_vector)(%esi)\n"


def _bits(registers: Registers) -> str:
    """The four bits, in words."""
    bits = {
        "PAE": registers.cr4 & CR4.PAE,
        "LME": registers.efer & EFER.LME,
        "PG": registers.cr0 & CR0.PG,
        "LMA": registers.efer & EFER.LMA,
    }
    return ", ".join(f"{name} {int(bool(bit))}" for name, bit in bits.items())


def _reads(ran: Ran, address: int) -> bytes:
    """Two bytes of an instruction, none where there is no memory."""
    return ran.read(address, 2) if ran.machine.memory.contains(address, 2) else b""


def _cause(ran: Ran) -> Verdict | None:
    """Why CPU 1 has not come to 64-bit code, from how it stands."""
    r, fault = ran.registers, ran.fault
    paging, long = bool(r.cr0 & CR0.PG), bool(r.efer & EFER.LMA)
    bits = f"CPU 1: {_bits(r)}, CS {r.cs.selector:#x}"
    if r.linear_rip == ran.code.symbols["part_end"]:
        return _ended(ran, bits)
    if paging and not long:
        return not_yet(
            "You switched paging on while LME was 0. The CPU pages as before long mode, with other tables than these:"
            " LMA stayed 0, and the next instruction could not be fetched.",
            bits,
            "LMA becomes 1 at the moment when PG is set, and only if LME is 1 by then.",
        )
    if not paging and r.cs.selector == 0x10:
        return not_yet(
            "The far return came before paging was on. Outside long mode the L bit of descriptor 0x10 means"
            " nothing, its"
            " D bit is 0: the CPU went on with 16-bit code.",
            bits,
            "CS.L counts where LMA is 1. Which step makes LMA 1?",
        )
    if fault is None:
        return None
    if fault.vector == _GP and r.rcx & 0xFFFFFFFF == _EFER and _reads(ran, fault.rip) == _WRMSR:
        given = (r.rdx & 0xFFFFFFFF) << 32 | r.rax & 0xFFFFFFFF
        return not_yet(
            f"WRMSR writes EDX:EAX, and they held {given:#x}. The CPU refuses bits that EFER does not"
            " have: general protection, no interrupt table, shutdown.",
            bits,
            "LME is bit 8, that is 0x100. Read EFER first, so that EDX and the other bits of EAX are its own.",
        )
    if fault.vector == _GP and not paging and r.rax & CR0.PG and not r.rax & CR0.PE:
        return not_yet(
            f"You gave CR0 the value {r.rax & 0xFFFFFFFF:#x}: PG without PE. PE would be lost, and with it"
            f" protected mode, and"
            " the CPU refuses paging without it: general protection, no interrupt table, shutdown.",
            bits,
            "Set bit 31 of CR0 and leave the others: read it, change the bit, write it back.",
        )
    if long and r.cs.selector == 8 and r.linear_rip > ran.code.symbols["startup_64"]:
        return not_yet(
            "The CPU runs the 64-bit code as 32-bit code: long mode is active, and CS is still the old one. The first"
            " bytes meant something else, and soon one meant nothing.",
            bits,
            "A near return takes the address from the stack, and leaves the selector. Which one takes both?",
            expected="cs = 0x10",
            got="cs = 0x8",
        )
    if fault.vector == _GP and not paging and r.efer & EFER.LME and not r.cr4 & CR4.PAE:
        return not_yet(
            "The CPU refused to set PG: LME is 1 and PAE is 0, and tables of long mode have entries of 64 bits. General"
            " protection, no interrupt table, shutdown.",
            bits,
            "What must be set in CR4 before paging is switched on?",
        )
    if fault.vector == _GP and fault.error == 8:
        return not_yet(
            "The far return asked for selector 8, and the table that is loaded now, GDT 2, has nothing there: general"
            " protection. Until then nothing was wrong: CS went on with its hidden copy of the old descriptor.",
            bits,
            "At which selector has GDT 2 its 64-bit code?",
            expected="selector 0x10",
            got="selector 0x8",
        )
    if fault.vector == _PF and long:
        return not_yet(
            f"Long mode is active, and the next instruction could not be fetched: page fault at {fault.cr2:#x}."
            f" The CPU looked for its tables at {r.cr3:#x}.",
            f"{bits}, CR3 {r.cr3:#x}",
            f"At {ran.code.symbols['pgtable']:#x} must lie filled tables, and CR3 must point there, before PG is set.",
        )
    return None


def _ended(ran: Ran, bits: str) -> Verdict:
    r = ran.registers
    if r.efer & EFER.LMA:
        happened = (
            "Long mode is active, and the CPU goes on with 32-bit code: compatibility mode, up to the end of your part."
        )
        look = "Only another CS makes it 64-bit mode: a far return takes the address and the selector from the stack."
    else:
        happened = "The CPU came to the end of your part in 32-bit protected mode."
        look = "Which of the bits is still 0, and which instruction sets it?"
    return not_yet(happened, bits, look)


def _causes(ran: Ran, _seed: int) -> Verdict | None:
    return _cause(ran)


def _judge(ran: Ran, _seed: int) -> Verdict:
    if not trampoline.arrived(ran):
        return _cause(ran) or trampoline.rested("Which of your instructions halts?")
    return Verdict(
        Outcome.PASSED,
        f"CPU 1 went through compatibility mode into 64-bit code, and {trampoline.KERNEL} says that it is up.",
        next_step="Which of your steps could come earlier? Try it: the machine is a new one each time.",
    )


def _judge_order(order: Order, seed: int) -> Verdict:
    place, text = trampoline.place(), "\n".join(order.program)
    code = built(text, "asm", place, Frame(_BEFORE_ORDER, _AFTER_ORDER))
    if isinstance(code, Verdict):
        return code
    ran = guestrun.run(code, place)
    trouble = told(ran, text)
    if trouble is not None:
        return _cause(ran) or trouble
    verdict = _judge(ran, seed)
    return replace(verdict, happened=verdict.happened + order.behind("E")) if verdict.passed else verdict


in_order = forms.parsons(
    "03.5",
    "To long mode, in order",
    LINES,
    _judge_order,
    (
        "Two of the lines do nothing by themselves until a third one makes them count. Which one is the third?",
        "PG needs PAE, LME and tables that CR3 points to. The far return needs LMA. GDT 2 has null at 0x08.",
        "PAE, fill the tables, CR3, LME in any order; then PG; then one of the two far returns.",
    ),
    (
        WrongOrder("GDFCAE", "PG before LME", "LMA stayed 0"),
        WrongOrder("GDFCE", "no LME", "LMA stayed 0"),
        WrongOrder("DFACE", "no PAE", "refused to set PG"),
        WrongOrder("GDFACB", "to selector 8", "asked for selector 8"),
        WrongOrder("GDFAE", "no PG", "came before paging was on"),
        WrongOrder("GDFAEC", "the far return before PG", "came before paging was on"),
        WrongOrder("GDACE", "no CR3", "looked for its tables at 0x0"),
        WrongOrder("GFACDE", "the tables too late", "could not be fetched: page fault"),
        WrongOrder("GDFAC", "no far return", "compatibility mode, up to the end"),
        WrongOrder("GDFA", "neither paging nor return", "in 32-bit protected mode"),
    ),
    also=("AGFDCE", "FDAGCE", "DAFGCE"),
)

to_long_mode = forms.guest(
    "03.6",
    "The last steps",
    "assembly",
    _judge,
    (
        "Two registers are changed, EFER and CR0, and then CS. Each of the first two must be read before it is"
        " written.",
        "EFER is the model-specific register 0xC0000080, read and written through EDX:EAX; LME is bit 8. PG is bit"
        " 31 of"
        " CR0.",
        "movl $..., %ecx; rdmsr; btsl; wrmsr; movl %cr0, %eax; btsl; movl %eax, %cr0; lret.",
    ),
    (
        Mistake("CR0 overwritten", (("movl %cr0, %eax\nbtsl $31, %eax", "movl $0x80000000, %eax"),), "PG without PE"),
        Mistake("LME is not set", (("btsl $8, %eax\n", ""),), "LMA stayed 0"),
        Mistake("LMA instead of LME", (("$8", "$10"),), "LMA stayed 0"),
        Mistake("bit 7 instead of LME", (("$8", "$7"),), "WRMSR writes EDX:EAX, and they held 0x80"),
        Mistake("EFER is not read", (("rdmsr\n", ""),), "WRMSR writes EDX:EAX"),
        Mistake("another MSR", (("$0xC0000080", "$0xC0000081"),), "LMA stayed 0"),
        Mistake("an MSR that there is not", (("$0xC0000080", "$0x80"),), "general protection"),
        Mistake("PG is not set", (("btsl $31, %eax\n", ""),), "came before paging was on"),
        Mistake("no far return", (("\nlret", ""),), "compatibility mode, up to the end"),
        Mistake("a near return", (("lret", "ret"),), "64-bit code as 32-bit code"),
    ),
    place=trampoline.place(),
    causes=_causes,
    before=_BEFORE + _PUSHES,
    after=_AFTER,
    alternatives=(
        Mistake("with OR", (("btsl $31, %eax", "orl $0x80000000, %eax"), ("btsl $8, %eax", "orl $0x100, %eax")), ""),
        Mistake("as the RFC does", (("movl %cr0, %eax\nbtsl $31, %eax", "movl $0x80000001, %eax"),), ""),
    ),
)
