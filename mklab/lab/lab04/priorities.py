"""Exercise 04.6: which of the waiting vectors interrupts the CPU. The machine's own APIC says what is right."""

from mklab.lab import forms
from mklab.lab.exercise import Mistake
from mklab.lab.forms.python import Case
from mklab.machine.machine import Machine

__all__ = ["EXERCISES", "deliverable"]


def deliverable(irr: list[int], isr: list[int], tpr: int, interrupts_on: bool) -> int | None:
    """What an enabled local APIC interrupts its CPU with: asked of the machine."""
    apic = Machine(1, 1 << 20).apics[0]
    apic.write(0xF0, 0x1FF)
    apic.write(0x80, tpr)
    apic.irr, apic.isr = (sum(1 << vector for vector in vectors) for vectors in (irr, isr))
    return apic.pending if interrupts_on else None


_ZERO = "The CPU is to be given nothing now, and None says so. Your 0 is a number: it would name vector 0."


def _case(
    name: str,
    irr: list[int],
    isr: list[int],
    tpr: int,
    interrupts_on: bool,
    look: str,
    *wrong: tuple[int | None, str],
) -> Case:
    args = (irr, isr, tpr, interrupts_on)
    right = deliverable(*args)
    return Case(name, args, right, look, wrong=wrong if right is not None else ((0, _ZERO), *wrong))


def _cases(_seed: int) -> list[Case]:
    return [
        _case("one vector waits", [0xEA], [], 0, True, "Nothing is in its way."),
        _case("nothing waits", [], [0x31], 0, True, "There is nothing to deliver: None."),
        _case(
            "two vectors wait",
            [0x31, 0xEA],
            [],
            0,
            True,
            "The highest vector goes first.",
            (0x31, "You gave the CPU the lowest vector that waits; 0xEA would wait behind every timer tick."),
        ),
        _case(
            "interrupts off",
            [0xEA],
            [],
            0,
            False,
            "What does IF = 0 do to a vector in IRR?",
            (0xEA, "The CPU has interrupts off: it takes nothing now, and the bit stays in IRR."),
        ),
        _case(
            "TPR of the same class",
            [0xEA],
            [],
            0xE0,
            True,
            "Compare classes (vector >> 4), not vectors.",
            (0xEA, "0xEA against TPR 0xE0: the classes are equal, 14 and 14, so it waits."),
        ),
        _case(
            "TPR of the class below",
            [0xEA],
            [],
            0xDF,
            True,
            "Class 14 against class 13.",
            (None, "0xEA is of class 14 and TPR 0xDF of class 13: 14 is more, so it is delivered."),
        ),
        _case(
            "a handler of the same class is under way",
            [0xEA],
            [0xEF],
            0,
            True,
            "What is in service counts like a TPR.",
            (
                0xEA,
                "0xEF is in service, class 14. PPR is the higher of TPR and what is in service: 0xEA waits for EOI.",
            ),
        ),
        _case(
            "a handler of a lower class is under way",
            [0xEA],
            [0x31],
            0,
            True,
            "Class 14 against class 3.",
            (None, "0x31 is in service, class 3. 0xEA is of class 14, and interrupts that handler: handlers do nest."),
        ),
        _case(
            "handlers of two classes are under way",
            [0xD1],
            [0x31, 0xEC],
            0,
            True,
            "Of those in service the highest counts.",
            (0xD1, "0x31 and 0xEC are in service, and the highest of them counts: class 14 holds 0xD1 back."),
        ),
        _case(
            "one class above",
            [0xF1],
            [0xEA],
            0xE5,
            True,
            "Class 15 against class 14.",
            (None, "0xF1 is of class 15, and both TPR and what is in service are of class 14: it is delivered."),
        ),
        _case(
            "TPR above what is in service",
            [0x91],
            [0x31],
            0x90,
            True,
            "PPR is the higher of the two.",
            (0x91, "TPR is of class 9, what is in service of class 3: the higher counts, and 0x91 is of class 9, too."),
        ),
    ]


_CODE_PPR = "max([tpr, *isr]) >> 4"

_priority = forms.python(
    "04.6",
    "Who may interrupt",
    "deliverable",
    _cases,
    (
        "Three questions in this order: may anything interrupt? which vector is first? is its class high enough?",
        "Class = vector >> 4. The class to beat is the higher of TPR's and that of the highest vector in service; equal"
        " is not enough.",
        "if not interrupts_on or not irr: return None; first = max(irr); its class must beat max([tpr, *isr]) >> 4.",
    ),
    (
        Mistake(
            "vectors compared",
            (("first >> 4", "first"), (_CODE_PPR, "max([tpr, *isr])")),
            "0xEA against TPR 0xE0: the classes are equal",
        ),
        Mistake("ISR ignored", ((_CODE_PPR, "tpr >> 4"),), "PPR is the higher of TPR and what is in service"),
        Mistake("TPR ignored", ((_CODE_PPR, "max([0, *isr]) >> 4"),), "the classes are equal, 14 and 14"),
        Mistake("the lowest first", (("max(irr)", "min(irr)"),), "the lowest vector that waits"),
        Mistake("IF ignored", (("not interrupts_on or not irr", "not irr"),), "has interrupts off"),
        Mistake("equal is enough", (("first >> 4 > ", "first >> 4 >= "),), "the classes are equal, 14 and 14"),
        Mistake("any handler holds back", ((" if first", " if not isr and first"),), "handlers do nest"),
        Mistake(
            "the lowest in service", ((_CODE_PPR, "max(tpr, min(isr or [0])) >> 4"),), "the highest of them counts"
        ),
        Mistake("an empty IRR", (("not interrupts_on or not irr", "not interrupts_on"),), "nothing waits"),
        Mistake("0 for nothing", (("else None", "else 0"),), "Your 0 is a number: it would name vector 0"),
        Mistake("the class", (("return first if", "return first >> 4 if"),), "In the case of one vector waits"),
    ),
    alternatives=(
        "def deliverable(irr, isr, tpr, interrupts_on):\n"
        "    ppr = tpr\n"
        "    if isr and max(isr) >> 4 > tpr >> 4:\n"
        "        ppr = max(isr) & 0xF0\n"
        "    ready = [v for v in irr if v // 16 > ppr // 16]\n"
        "    return max(ready, default=None) if interrupts_on else None\n",
    ),
)

EXERCISES = (_priority,)
