"""The stack across the switch of modes (defect 3): a prediction at the beginning, and the repair at the end."""

import re

from mklab.lab import forms, trampoline
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.forms.guest import Place, Ran
from mklab.lab.guestcode import Code
from mklab.lab.prediction import Option, Prediction
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine

__all__ = ["LOW_PAGE", "repair", "two_pushes"]

LOW_PAGE = range(0x11F0, 0x1210)
"""Where v1's two pushes land, and some bytes round it."""
_FILL = 0xDD
_MIB, _SIZE = 1 << 20, 4096
_TABLES = 6 * 4096

two_pushes = forms.prediction(
    "02.1",
    "Two pushes",
    Prediction(
        "In real mode the trampoline sets SS = 0x9600 and SP = 0x1204. It switches to protected mode and loads SS with"
        " a selector whose segment begins at 0 and has 4 GiB. Nothing touches ESP. Now it pushes two 32-bit words."
        " To which physical addresses?",
        (
            Option(
                "0x97200 and 0x971fc.",
                "That is where the stack was: 0x96000 + 0x1204, and down from there. A register seems to go on meaning"
                " what it meant. But the base that was added came from SS, and SS has another one now: 0.",
            ),
            Option(
                "0x1200 and 0x11fc.",
                "SP was an offset in a segment that began at 0x96000. Since SS is flat, the same number is an address,"
                " and nobody has added the base. Two words of somebody's low page are overwritten, silently.",
                right=True,
            ),
            Option(
                "Nowhere: the first push raises a stack fault.",
                "It would if 0x1200 lay outside the segment. But the new segment has 4 GiB, and with the base 0 and"
                " this limit, no address is outside.",
            ),
            Option(
                "0xfffffffc and 0xfffffff8.",
                "So it would be if the switch had set ESP to 0. It changes one bit of CR0; no general register is"
                " touched by it, nor by loading SS.",
            ),
        ),
    ),
    (
        "Which address does a push in real mode go to? Write it as a sum of two numbers, and say where each comes"
        " from.",
        "A segment register has a visible part and a hidden base. Loading it in protected mode takes the base from a"
        " descriptor.",
        "New base of SS + ESP - 4, then - 8.",
    ),
)


def _fill(machine: Machine, code: Code) -> None:
    machine.poke(LOW_PAGE.start, bytes([_FILL]) * len(LOW_PAGE))
    # Nobody has cleared the memory that Linux takes: the trampoline clears its page tables, through ES.
    machine.poke(code.symbols["pgtable"], bytes([_FILL]) * _TABLES)
    trampoline.place().prepare(machine, code)


def _place() -> Place:
    usual = trampoline.place()
    return Place(
        usual.mode,
        usual.base,
        cpu=None,
        watch=usual.watch,
        budget=usual.budget,
        ends="halt",
        make=usual.make,
        prepare=_fill,
    )


def _landed(ran: Ran) -> int | None:
    """Where the second push has landed: the entry of the 64-bit code, with its selector above."""
    pushed = ran.code.symbols["startup_64"].to_bytes(4, "little") + (0x10).to_bytes(4, "little")
    places = [one.start() for one in re.finditer(re.escape(pushed), ran.read(0, _MIB))]
    # The same eight bytes lie in the trampoline, as a far pointer that nobody uses.
    return next((place for place in places if place != ran.code.symbols["startup_64_vector"]), None)


def _causes(ran: Ran, _seed: int) -> Verdict | None:
    """Segments that are not flat, whether it came to a kernel or not."""
    machine = trampoline.at(ran, "part_end")
    if machine is None:
        return None
    registers = machine.registers(trampoline.CPU)
    for name in ("ds", "es", "ss"):
        one = getattr(registers, name)
        if one.base or one.limit != 0xFFFFFFFF:
            return not_yet(
                f"After your part {name.upper()} is not flat: selector {one.selector:#x}, base {one.base:#x}."
                + (_cleared(ran, one.base) if name == "es" else ""),
                f"{name.upper()} at the end of your part",
                "Leave the four lines that load 0x18 as they were given to you.",
            )
    return None


def _cleared(ran: Ran, base: int) -> str:
    """What REP STOSL did, which stores through ES."""
    tables = ran.code.symbols["pgtable"]
    return (
        f" REP STOSL stores through ES: the zeros for the six pages of page tables went to {base + tables:#x}, and at"
        f" {tables:#x} lies what lay there before."
    )


def _judge(ran: Ran, seed: int) -> Verdict:
    if (crooked := _causes(ran, seed)) is not None:
        return crooked
    if not trampoline.arrived(ran):
        return trampoline.rested("Go on to what stands behind it.")
    top = ran.code.symbols["trampoline_stack_end"]
    landed = _landed(ran)
    where = "the words 0x10 and startup_64 in memory"
    if landed is None:
        return not_yet(
            "The kernel is up, but the two words were pushed to no address below 1 MiB.",
            where,
            f"The trampoline's stack ends at {top:#x}.",
        )
    if top - _SIZE <= landed <= top - 8:
        return _fixed(ran, top) or Verdict(
            Outcome.PASSED,
            f"The two pushes landed at {landed + 4:#x} and {landed:#x}, on the trampoline's own stack; the bytes at"
            f" {LOW_PAGE.start:#x} to {LOW_PAGE[-1]:#x} are as they were, and {trampoline.KERNEL} is up.",
            next_step="One instruction. How would you have found out that it is missing?",
        )
    return not_yet(
        f"The kernel is up all the same, but the two pushes landed at {landed + 4:#x} and {landed:#x}:"
        f" {_whose(landed)}",
        where,
        f"The stack of 4 KiB ends at {top:#x}, that is ESI + LOW(trampoline_stack_end). ESP is LOW(...) alone. ESI"
        f" holds"
        " the address of the page.",
        expected=f"{top - 4:#x} and {top - 8:#x}",
        got=f"{landed + 4:#x} and {landed:#x}",
    )


def _fixed(ran: Ran, top: int) -> Verdict | None:
    """Whether the stack only comes along to the page where we happened to put it."""
    elsewhere = trampoline.ELSEWHERE
    machine = trampoline.moved(ran.code, "part_end")
    top += elsewhere - ran.place.base
    esp = None if machine is None else machine.registers(trampoline.CPU).rsp
    if esp is not None and top - _SIZE + 8 <= esp <= top:
        return None
    return not_yet(
        f"At {ran.place.base:#x} your lines work. But Linux takes whatever pages it finds below 1 MiB: with the same"
        f" bytes at {elsewhere:#x}, ESP is {'never set' if esp is None else f'{esp:#x}'}, and the trampoline's stack"
        f" ends at {top:#x}.",
        f"ESP at the end of your part, with the trampoline at {elsewhere:#x}",
        "A number or a label of the source is an address for one page only. Which register says where the page is?",
        expected=f"esp = {top:#x}",
        got="" if esp is None else f"esp = {esp:#x}",
    )


def _whose(landed: int) -> str:
    base = trampoline.place().base
    if base <= landed < base + 0x9000:
        return "inside the trampoline's pages, but not at the end of its stack."
    return "memory that is not the trampoline's."


_BEFORE, _AFTER = trampoline.around("movl\t$0x18, %eax", "movl\t%eax, %ss")

repair = forms.guest(
    "02.9",
    "A stack that comes along",
    "assembly",
    _judge,
    (
        "What does ESP hold after the four lines, and what does the label trampoline_stack_end stand for?",
        "In a flat segment an address is the offset itself. ESI has held the address of the page since real mode.",
        "One instruction: add the address of the page to ESP, or load ESP with an address computed from ESI.",
    ),
    (
        Mistake(
            "the segment, not the base", (("addl %esi, %esp", "addl $0x9600, %esp"),), "landed at 0xa800 and 0xa7fc"
        ),
        Mistake("the page's address alone", (("addl %esi", "movl %esi"),), "landed at 0x95ffc and 0x95ff8"),
        Mistake("the label alone", (("addl %esi", "movl $LOW(trampoline_stack_end)"),), "landed at 0x1200 and 0x11fc"),
        Mistake("sixteen bits only", (("addl %esi, %esp", "addw %si, %sp"),), "landed at 0x7200 and 0x71fc"),
        Mistake("added twice", (("addl %esi, %esp", "leal (%esp, %esi, 2), %esp"),), "to no address below 1 MiB"),
        Mistake("to the stack's lower end", (("%esi, %esp", "%esi, %esp\nsubl $4096, %esp"),), "landed at 0x96200"),
        Mistake("a constant", (("addl %esi, %esp", "movl $0x97204, %esp"),), "At 0x96000 your lines work"),
        Mistake("ES is left", (("movl %eax, %es\n", ""),), "the six pages of page tables went to 0x12e000"),
        Mistake("SS is left", (("movl %eax, %ss\n", ""),), "After your part SS is not flat"),
        Mistake("another selector", (("$0x18", "$0x10"),), "general protection"),
    ),
    place=_place(),
    causes=_causes,
    before=_BEFORE,
    after=_AFTER,
    alternatives=(
        Mistake(
            "before SS is flat", (("\naddl %esi, %esp", ""), ("movl %eax, %ss", "addl %esi, %esp\nmovl %eax, %ss")), ""
        ),
        Mistake("a little below", (("addl %esi, %esp", "leal -32(%esp, %esi), %esp"),), ""),
        Mistake("from ESI", (("addl %esi, %esp", "leal LOW(trampoline_stack_end)(%esi), %esp"),), ""),
    ),
)
