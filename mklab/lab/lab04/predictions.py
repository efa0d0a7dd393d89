"""The predictions of lab 04: merging, and nesting."""

from mklab.lab import forms
from mklab.lab.prediction import Option, Prediction

__all__ = ["EXERCISES"]

_THREE = forms.prediction(
    "04.1",
    "Three IPIs, interrupts off",
    Prediction(
        "CPU 3 has its interrupts off (IF = 0). CPUs 0, 1 and 2 each send it vector 0xEA. Then CPU 3 executes STI."
        " How often does its handler of 0xEA run?",
        (
            Option(
                "Three times: one IPI, one interrupt.",
                "A queue would do that. A local APIC has none: what has arrived is one bit in IRR for each vector, and"
                " setting a bit that is set changes nothing. The handler's counter would end at 3.",
            ),
            Option(
                "Once.",
                "IRR has one bit for each vector. The first IPI sets it, the others find it set, and one bit is one"
                " interrupt. Two of the three have left no trace anywhere.",
                right=True,
            ),
            Option(
                "Twice.",
                "Twice is what you get if the first is in service already (its bit has moved from IRR to ISR) and the"
                " other two merge behind it. With interrupts off nothing moves to ISR, so all three meet in one bit.",
            ),
            Option(
                "Never: a CPU with interrupts off loses them.",
                "IF = 0 delays. The APIC accepts an interrupt whatever IF is, and keeps the bit in IRR until the CPU"
                " takes it. Lost are those that reach an APIC which is switched off by software: you meet one below.",
            ),
        ),
    ),
    (
        "Where does an interrupt wait between its arrival and its handler? How much can that place remember?",
        "IRR has 256 bits, one for each vector (SDM, 'Interrupt Acceptance for Fixed Interrupts').",
        "Count bits, not stores: after three IPIs on one vector, with nothing taken in between, how many bits are set?",
    ),
)

_NESTING = forms.prediction(
    "04.7",
    "How deep can handlers nest?",
    Prediction(
        "A handler of 0xEA writes EOI first, and then works for a long time. While it works, four IPIs on 0xEA arrive,"
        " one after the other. How many of these handlers are under way at once, at most: through an interrupt gate,"
        " and through a trap gate?",
        (
            Option(
                "1 and 1: a handler is never interrupted by its own vector.",
                "Your APIC would see to that only while the vector is in service, and EOI has ended that. What holds"
                " the next one back now is IF, which the trap gate leaves on. That is what EOI at the end gives.",
            ),
            Option(
                "1 through the interrupt gate, 4 through the trap gate.",
                "After EOI only IF stands between the handler and the next 0xEA. The interrupt gate clears it, so the"
                " others wait (and merge); the trap gate leaves it on, and each one that arrives interrupts the last.",
                right=True,
            ),
            Option(
                "4 through the interrupt gate, 1 through the trap gate.",
                "The names mislead: the interrupt gate is the one that clears IF at the entry, the trap gate leaves it"
                " as it was. So it is the other way round.",
            ),
            Option(
                "4 and 4: after EOI nothing holds the next one back.",
                "Nothing in the APIC does. But the APIC is not asked while IF = 0, and an interrupt gate clears IF"
                " until IRETQ.",
            ),
        ),
    ),
    (
        "Two things can keep the next 0xEA away from a handler of 0xEA. EOI takes away one of them.",
        "An interrupt gate clears RFLAGS.IF at the entry, a trap gate does not (SDM, 'Flag Usage By Exception- or"
        " Interrupt-Handler Procedure').",
        "Ask of each gate, after EOI: is IF 0 or 1 now? Where it is 1, each new IPI begins a handler on top.",
    ),
)

EXERCISES = (_THREE, _NESTING)
