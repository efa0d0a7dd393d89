"""From real mode to protected mode: the table of descriptors, the bit, the far jump."""

from mklab.lab import forms, guestrun, trampoline
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.forms.guest import Ran, built, told
from mklab.lab.forms.parsons import Order, WrongOrder
from mklab.lab.guestcode import Frame
from mklab.lab.lab02.segments import BEFORE_SEGMENTS
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.registers import CR0
from mklab.trace import Fault

__all__ = ["in_order", "to_protected_mode"]

LINES = {
    "A": "lgdtl LOW(tgdt)",
    "B": "movw $1, %ax; lmsw %ax",
    "C": "movw %cs, %ax; movw %ax, %ds; movw %ax, %es; movw %ax, %ss",
    "D": "ljmpl *LOW(startup_32_vector)",
    "E": "leal LOW(tgdt)(%esi), %eax; movl %eax, LOW(tgdt) + 2",
    "F": "movw $8, %ax; movw %ax, %cs",
    "G": "xorl %esi, %esi; movw %cs, %si; shll $4, %esi",
    "H": "leal LOW(startup_32)(%esi), %eax; movl %eax, LOW(startup_32_vector)",
}
_GP, _UD = 13, 6
_LJMPW = b"\xff\x2e"
_SELECTOR = 8
_JUMP = "ljmpl\t*LOW(startup_32_vector)"
_AFTER = trampoline.around(_JUMP, _JUMP, "\tjmp\t.\n")[1]
_LIDT = "\tlidtl\t%cs:LOW(tidt)\n"
"""Whatever DS is: an exception then ends in shutdown at once."""
_BEFORE_ORDER = f"{BEFORE_SEGMENTS}\tmovw\t$LOW(trampoline_stack_end), %sp\n{_LIDT}"


def _where_it_went(ran: Ran) -> Verdict | None:
    """What a CPU that has not come to the 32-bit code did at its far jump."""
    fault = ran.fault
    machine = ran.machine
    registers = machine.registers(trampoline.CPU)
    tgdt = ran.code.symbols["tgdt"]
    vector = int.from_bytes(ran.read(ran.code.symbols["startup_32_vector"], 4), "little")
    in_protected_mode = bool(registers.cr0 & CR0.PE)
    if not registers.cs.big and registers.ds.base != ran.place.base:
        return not_yet(
            f"DS was not what CS is: its base is {registers.ds.base:#x}, so LOW(tgdt) was not {tgdt:#x} but"
            f" {registers.ds.base + tgdt - ran.place.base:#x}. Stores, LGDT and the far jump all took such addresses.",
            "DS at the far jump",
            "What gives DS its base, and which lines need it?",
            expected=f"ds.base = {ran.place.base:#x}",
            got=f"ds.base = {registers.ds.base:#x}",
        )
    if fault is not None and registers.gdtr.base == tgdt and _jumped_by_16_bits(ran, fault):
        return not_yet(
            f"In 16-bit code ljmp takes 4 bytes, not 6: from {vector.to_bytes(4, 'little').hex(' ')} it took the offset"
            f" {vector & 0xFFFF:#x}, and the other half of the address, {vector >> 16:#x}, for the selector. General"
            " protection, no interrupt table, shutdown.",
            "startup_32_vector, as the far jump read it",
            "Which letter behind ljmp says that the offset has 32 bits?",
        )
    if not in_protected_mode and registers.cs.selector == _SELECTOR:
        return not_yet(
            "The far jump came before PE was set: in real mode 8 is no selector but a segment that begins at 0x80. The"
            f" CPU went on from {registers.cs.base:#x} + {vector:#x}, where there is none of the 32-bit code, still in"
            " 16-bit mode.",
            "CR0.PE, which is 0",
            "Which instruction sets PE? It comes before the jump.",
        )
    if fault is not None and fault.vector == _GP and registers.gdtr.base != tgdt:
        return not_yet(
            f"The far jump asked for selector 8, and the CPU read the descriptor at {registers.gdtr.base + 8:#x}: GDTR"
            f" has the base {registers.gdtr.base:#x}, and your table lies at {tgdt:#x}. There was no descriptor of"
            f" code:"
            " general protection, no interrupt table, shutdown.",
            "GDTR",
            "LGDT takes limit and base from the six bytes at tgdt, as they are at that moment, and the base is a linear"
            " address. When is it written there, and from what?",
            expected=f"gdtr.base = {tgdt:#x}",
            got=f"gdtr.base = {registers.gdtr.base:#x}",
        )
    return None


def _jumped_by_16_bits(ran: Ran, fault: Fault) -> bool:
    """Whether the exception came at ``ljmp *address`` without an operand-size prefix: FF /5."""
    address = ran.place.base + fault.rip
    return fault.vector == _GP and ran.machine.memory.contains(address, 2) and ran.read(address, 2) == _LJMPW


def _elsewhere(ran: Ran) -> Verdict | None:
    """What a far jump to a wrong address says."""
    machine, symbols = ran.machine, ran.code.symbols
    vector = int.from_bytes(machine.memory.read(symbols["startup_32_vector"], 4), "little")
    registers = machine.registers(trampoline.CPU)
    if not registers.cr0 & CR0.PE or vector == symbols["startup_32"]:
        return None
    return not_yet(
        f"The far jump led to {vector:#x}: that is what lies at startup_32_vector. The 32-bit code begins at"
        f" {symbols['startup_32']:#x}.",
        "startup_32_vector",
        "In a flat segment the offset is the whole linear address: page plus LOW(startup_32). Where is the page's"
        " address?",
        expected=f"{symbols['startup_32']:#x}",
        got=f"{vector:#x}",
    )


def _stuck(ran: Ran) -> Verdict | None:
    """Whether it fell through the end of the part."""
    registers = ran.machine.registers(trampoline.CPU)
    if registers.linear_rip != ran.code.symbols["part_end"]:
        return None
    mode = "protected mode, but in 16-bit code" if registers.cr0 & CR0.PE else "real mode"
    return not_yet(
        f"The CPU came to the end of your part without a far jump: it is in {mode}, with CS"
        f" {registers.cs.selector:#x}.",
        "the end of your part",
        "PE alone changes no segment: CS keeps its hidden base and its 16 bits until it is loaded. Only a far jump"
        " loads it here.",
    )


def _as_16_bit(ran: Ran) -> Verdict | None:
    """Whether it went into the 32-bit code without loading CS."""
    registers = ran.machine.registers(trampoline.CPU)
    if not registers.cr0 & CR0.PE or registers.cs.big or registers.linear_rip < ran.code.symbols["startup_32"]:
        return None
    return not_yet(
        f"The CPU runs the 32-bit code as 16-bit code: PE is set, but CS is still {registers.cs.selector:#x}, loaded in"
        " real mode, and its hidden part says 16 bits.",
        "CS",
        "A near jump changes the instruction pointer only. Which one loads CS as well?",
        expected="cs = 0x8",
        got=f"cs = {registers.cs.selector:#x}",
    )


def _causes(ran: Ran, _seed: int) -> Verdict | None:
    return _stuck(ran) or _as_16_bit(ran) or _where_it_went(ran) or _elsewhere(ran)


def _judge(ran: Ran, _seed: int) -> Verdict:
    if not trampoline.arrived(ran):
        return trampoline.rested("Which of your instructions halts?")
    return Verdict(
        Outcome.PASSED,
        f"CPU 1 went from real mode through your instructions into protected mode, on into long mode, and"
        f" {trampoline.KERNEL} says that it is up.",
        next_step="Go through your lines once more: which of them would a CPU miss only later, or never?",
    )


# In order


def _judge_order(order: Order, seed: int) -> Verdict:
    if "D" not in order.letters:
        return not_yet(
            "Nothing in your order loads CS: the CPU goes on in 16-bit code.",
            next_step="Which line is the way into the 32-bit code?",
        )
    place = trampoline.place()
    text = "\n".join(order.program)
    code = built(text, "asm", place, Frame(_BEFORE_ORDER, _AFTER))
    if isinstance(code, Verdict):
        return code
    ran = guestrun.run(code, place)
    trouble = told(ran, text)
    if trouble is None and trampoline.arrived(ran):
        return Verdict(
            Outcome.PASSED,
            f"Carried out in this order, the lines lead CPU 1 into protected mode, and {trampoline.KERNEL} is up."
            + order.behind("D"),
            next_step="Several orders work. Which of the lines could change places, and which never?",
        )
    return _known(order, ran) or _causes(ran, seed) or trouble or _judge(ran, seed)


def _known(order: Order, ran: Ran) -> Verdict | None:
    fault = ran.fault
    if fault is not None and fault.vector == _UD and "F" in order.letters:
        return not_yet(
            "MOV cannot load CS: the CPU raised an invalid-opcode exception.",
            order.place("F"),
            "CS and the instruction pointer change together. Which line does that?",
        )
    return None


in_order = forms.parsons(
    "02.6",
    "The switch in order",
    LINES,
    _judge_order,
    (
        "Ask of each line what it needs: a segment, ESI, a table, a bit. What gives it that?",
        "Stores need DS. Both addresses need ESI, and ESI needs CS. LGDT reads what was stored; the jump needs the"
        " table"
        " and the bit.",
        "Segments, the page's address, the two stores, LGDT, the bit, the jump. One line is not needed.",
    ),
    (
        WrongOrder("CGEHADB", "the jump before PE", "The far jump came before PE was set"),
        WrongOrder("CGEHBD", "no LGDT", "GDTR has the base 0x0"),
        WrongOrder("CGAEHBD", "LGDT before its base is there", "GDTR has the base 0x0"),
        WrongOrder("CEHGABD", "the addresses before ESI", "GDTR has the base 0x198"),
        WrongOrder("GEHCABD", "stores before DS", "GDTR has the base 0x0"),
        WrongOrder("GEHABD", "no segments", "DS was not what CS is"),
        WrongOrder("CGEABD", "the vector is not written", "The far jump led to 0x0"),
        WrongOrder("CGEHABFD", "CS loaded by MOV", "MOV cannot load CS"),
        WrongOrder("CGEHAB", "no jump", "Nothing in your order loads CS"),
    ),
    also=("GCHEABD", "CGEAHBD", "CGHEBAD"),
)

to_protected_mode = forms.guest(
    "02.7",
    "Into protected mode",
    "assembly",
    _judge,
    (
        "ESI holds the page's address. Which two numbers in the page are known only now, and where do they belong?",
        "Base of the table: at tgdt + 2, before LGDT. Offset of the far jump: at startup_32_vector, before LJMP. PE is"
        " bit 0 of CR0, the machine status word.",
        "leal LOW(..)(%esi), %eax; movl %eax, LOW(..): twice. Then lgdtl, movw $1, %ax and lmsw, and ljmpl *LOW(..).",
    ),
    (
        Mistake(
            "the table's offset", (("leal LOW(tgdt)(%esi), %eax", "movl $LOW(tgdt), %eax"),), "GDTR has the base 0x198"
        ),
        Mistake("a linear address", (("LOW(tgdt) + 2", "tgdt + 2"),), "That is the linear address"),
        Mistake("no base", (("movl %eax, LOW(tgdt) + 2\n", ""),), "GDTR has the base 0x0"),
        Mistake("the base over the limit", (("LOW(tgdt) + 2", "LOW(tgdt)"),), "GDTR has the base"),
        Mistake(
            "the entry's offset",
            (("leal LOW(startup_32)(%esi), %eax", "movl $LOW(startup_32), %eax"),),
            "The far jump led to 0x4f",
        ),
        Mistake("no PE", (("movw $1, %ax\nlmsw %ax\n", ""),), "The far jump came before PE was set"),
        Mistake("no table", (("lgdtl LOW(tgdt)\n", ""),), "GDTR has the base 0x0"),
        Mistake("a near jump", (("ljmpl *LOW(startup_32_vector)", "jmp startup_32"),), "32-bit code as 16-bit code"),
        Mistake("a far jump of 16 bits", (("ljmpl", "ljmp"),), "In 16-bit code ljmp takes 4 bytes"),
        Mistake("no jump", (("\nljmpl *LOW(startup_32_vector)", ""),), "without a far jump"),
    ),
    place=trampoline.place(),
    causes=_causes,
    before=trampoline.around("LOW(startup_32)(%esi), %eax", _JUMP)[0] + _LIDT,
    after=_AFTER,
    alternatives=(
        Mistake("by CR0", (("movw $1, %ax\nlmsw %ax", "movl %cr0, %eax\norb $1, %al\nmovl %eax, %cr0"),), ""),
    ),
)
