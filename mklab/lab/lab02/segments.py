"""The first instructions in real mode: segment registers, the marker, the stack."""

from mklab.lab import forms, trampoline
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.forms.guest import Ran
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.registers import Registers

__all__ = ["BEFORE_SEGMENTS", "segments"]

_MARKER = 0xA5A5A5A5
_NAMES = ("ds", "es", "ss")
BEFORE_SEGMENTS, _AFTER = trampoline.around(
    "movw\t%cs, %ax",
    "movw\t$LOW(trampoline_stack_end), %sp",
    # What comes next takes CS from AX; an answer may have used another register.
    "\tmovw\t%cs, %ax\n",
)


def _causes(ran: Ran, _seed: int) -> Verdict | None:
    """A run that came to no kernel: how did it leave this part?"""
    machine = trampoline.at(ran, "part_end")
    if machine is None:
        return None
    registers = machine.registers(trampoline.CPU)
    return _segments(ran, registers) or _marker(ran, machine.memory.read) or _stack(ran, registers)


def _judge(ran: Ran, seed: int) -> Verdict:
    found = _causes(ran, seed)
    if found is not None:
        return found
    if not trampoline.arrived(ran):
        return trampoline.rested("Does your part go on to what stands behind it?")
    return (
        _trodden(ran)
        or _fixed(ran)
        or Verdict(
            Outcome.PASSED,
            f"With your instructions in its page, CPU 1 went on through the trampoline and says: {trampoline.KERNEL}"
            " up. At another page they do the same.",
            next_step="Compare the table below with what you wrote.",
        )
    )


def _segments(ran: Ran, registers: Registers) -> Verdict | None:
    base = ran.place.base
    for name in _NAMES:
        one = getattr(registers, name)
        if one.base != base:
            return not_yet(
                f"After your part {name.upper()} is {one.selector:#06x}: its base is {one.base:#x}, so offset 0 of this"
                f" segment is not the first byte of the page, {base:#x}.",
                f"{name.upper()} at the end of your part",
                "The CPU knows where it is from one register only: SIPI has set CS. The other segments must get its"
                " value, through a general register: MOV takes no immediate to a segment register, nor CS to DS.",
                expected=f"{name} = {base >> 4:#x}",
                got=f"{name} = {one.selector:#x}",
            )
    return None


def _trodden(ran: Ran) -> Verdict | None:
    """Whether the part has stored below the trampoline."""
    base = ran.place.base
    machine, before = trampoline.at(ran, "part_end"), ran.place.begin(ran.code).memory.read(0, base)
    if machine is None:
        return None
    after = machine.memory.read(0, base)
    place = next((place for place in range(base) if before[place] != after[place]), None)
    if place is None:
        return None
    return not_yet(
        f"CPU 1 went on and the kernel is up, but your part has stored at {place:#x}: memory that is not the"
        " trampoline's.",
        f"memory at {place:#x}",
        "A store or a push goes where its segment and offset point at that moment. Before SS and SP are set, a push"
        " goes to the end of the first 64 KiB.",
        expected=f"{before[place]:#04x}",
        got=f"{after[place]:#04x}",
    )


def _fixed(ran: Ran) -> Verdict | None:
    """Whether the part only works at the page where we happened to put it."""
    elsewhere = trampoline.ELSEWHERE
    machine = trampoline.moved(ran.code, "part_end")
    bases = () if machine is None else [getattr(machine.registers(trampoline.CPU), name).base for name in _NAMES]
    if machine is not None and all(base == elsewhere for base in bases):
        return None
    name, base = next(((name, base) for name, base in zip(_NAMES, bases, strict=False) if base != elsewhere), ("ds", 0))
    return not_yet(
        f"At {ran.place.base:#x} your lines work. But Linux takes whatever pages it finds below 1 MiB: the same bytes"
        f" at {elsewhere:#x}, started by SIPI vector {elsewhere >> 12:#x}, leave {name.upper()} with base {base:#x}.",
        f"{name.upper()} at the end of your part, with the trampoline at {elsewhere:#x}",
        "The CPU knows where it is from one register only: SIPI has set CS. Take the value from there, not from a"
        " number.",
        expected=f"{name}.base = {elsewhere:#x}",
        got=f"{name}.base = {base:#x}",
    )


def _marker(ran: Ran, read: object) -> Verdict | None:
    assert callable(read)
    base, symbols = ran.place.base, ran.code.symbols
    place = symbols["trampoline_status_bsp"]
    found = int.from_bytes(read(place, 4), "little")
    if found == _MARKER:
        return None
    low = int.from_bytes(read(place - base, 4), "little")
    if low == _MARKER:
        return not_yet(
            f"The marker landed at {place - base:#x}: DS was still 0 when you stored it, an offset without its base.",
            f"memory at {place - base:#x}, and at {place:#x}, where it should be",
            "A store goes through DS. Which instruction gives DS its base, and does it come before the store?",
            expected=f"{_MARKER:#x} at {place:#x}",
            got=f"{_MARKER:#x} at {place - base:#x}",
        )
    return not_yet(
        f"The marker is not there: the four bytes at {place:#x} are {found:#010x}.",
        f"trampoline_status_bsp, at {place:#x}",
        "Store 0xA5A5A5A5, 32 bits wide, at LOW(trampoline_status_bsp).",
        expected=f"{_MARKER:#x}",
        got=f"{found:#x}",
    )


def _stack(ran: Ran, registers: Registers) -> Verdict | None:
    base, top = ran.place.base, ran.code.symbols["trampoline_stack_end"]
    found = registers.rsp & 0xFFFF
    if base + found == top:
        return None
    look = f"SP is an offset from the base of SS. The stack ends at the label trampoline_stack_end, {top:#x}."
    if found == 0:
        happened = "After your part SP is 0, as after INIT: a push would wrap round to the segment's end."
        look += " With $ before it, LOW(...) is the number; without, it is what lies there in memory."
    elif registers.rsp > 0xFFFF:
        happened = f"After your part ESP is {registers.rsp:#x}: in real mode only its lower half, {found:#x}, counts."
    else:
        happened = f"After your part SP is {found:#x}: the stack's top would be {base + found:#x}."
    return not_yet(
        happened,
        "SP at the end of your part",
        look,
        expected=f"sp = {top - base:#x}",
        got=f"sp = {found:#x}",
    )


segments = forms.guest(
    "02.4",
    "The first instructions",
    "assembly",
    _judge,
    (
        "Go back to the picture under 'Watch': after the SIPI CS is 0x9600, and which value have DS, ES and SS?",
        "A segment register can be loaded from a general register, and a general register from CS. DS must be right"
        " before the first store; SS and SP belong together.",
        "Six lines: movw %cs, %ax; three times movw %ax, %..; movl $..., LOW(trampoline_status_bsp); movw"
        " $LOW(...), %sp.",
    ),
    (
        Mistake("DS is left", (("movw %ax, %ds\n", ""),), "After your part DS is 0x0000: its base is 0x0"),
        Mistake("SS is left", (("movw %ax, %ss\n", ""),), "After your part SS is 0x0000"),
        Mistake(
            "the marker before DS",
            (
                ("movl $0xA5A5A5A5, LOW(trampoline_status_bsp)\n", ""),
                ("movw %cs", "movl $0xA5A5A5A5, LOW(trampoline_status_bsp)\nmovw %cs"),
            ),
            "The marker landed at 0x1f8",
        ),
        Mistake("no marker", (("movl $0xA5A5A5A5, LOW(trampoline_status_bsp)\n", ""),), "The marker is not there"),
        Mistake("half a marker", (("movl $0xA5A5A5A5", "movw $0xA5A5"),), "are 0x0000a5a5"),
        Mistake("no stack", (("\nmovw $LOW(trampoline_stack_end), %sp", ""),), "SP is 0, as after INIT"),
        Mistake("what lies at the stack's end", (("movw $LOW(tr", "movw LOW(tr"),), "With $ before it"),
        Mistake("a constant", (("movw %cs, %ax", "movw $0x9600, %ax"),), "But Linux takes whatever pages"),
        Mistake(
            "pushes before there is a stack",
            (("movw %cs, %ax\nmovw %ax, %ds", "pushw %cs\npopw %ds\nmovw %cs, %ax"),),
            "your part has stored at 0xffff",
        ),
        Mistake("the page instead of the segment", (("movw %cs, %ax", "movw $0x96, %ax"),), "its base is 0x960"),
        Mistake(
            "the linear address",
            (("LOW(trampoline_status_bsp)", "trampoline_status_bsp"),),
            "trampoline_status_bsp does not fit into the instruction: it is 0x961f8. That is the linear address",
        ),
        Mistake(
            "the linear address of the stack's end",
            (("$LOW(trampoline_stack_end)", "$trampoline_stack_end"),),
            "it is 0x97204. That is the linear address, with the page's own in it",
        ),
        Mistake("an immediate into DS", (("movw %ax, %ds", "movw $0x9600, %ds"),), "invalid operand"),
    ),
    place=trampoline.place(),
    causes=_causes,
    before=BEFORE_SEGMENTS,
    after=_AFTER,
    alternatives=(
        "movw $LOW(trampoline_stack_end), %sp\nmovw %cs, %bx\nmovw %bx, %ss\nmovw %bx, %es\nmovw %bx, %ds\n"
        "movl $0xA5A5A5A5, LOW(trampoline_status_bsp)",
    ),
)
