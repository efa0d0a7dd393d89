"""Exercise 04.8: four machines on which an IPI was sent and no handler runs, each for another cause."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mklab.lab import forms
from mklab.lab.exercise import Exercise
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.lab04.bench import bench, program
from mklab.machine.machine import Machine
from mklab.machine.registers import RFLAGS
from mklab.trace import IpiSent, Lost

__all__ = ["CAUSES", "EXERCISES", "silent"]

CAUSES = {
    "A": "The receiver's APIC is switched off by software: bit 8 of SVR is 0.",
    "B": "The receiver has interrupts off: IF is 0.",
    "C": "A handler of the same class has not written EOI: its bit is set in ISR.",
    "D": "The receiver's TPR holds the vector back.",
    "E": "The IPI went to another CPU.",
}
_RECEIVER = 3
_ENTRIES = {"A": "switched_off", "B": "deaf", "C": "ready", "D": "busy"}
_NAMES = ("first", "second", "third", "fourth")


def _chance(seed: int) -> bytes:
    return hashlib.sha256(f"04.8 {seed}".encode()).digest()


def _id(seed: int) -> int:
    """The APIC id of CPU 3."""
    return 8 + _chance(seed)[0] % 56


def silent(seed: int) -> list[Machine]:
    """The student's four machines: on each CPU 0 has sent 0xEA to CPU 3 twice, and no handler is under way."""
    return [_silent(cause, seed) for cause in _order(seed)]


def _order(seed: int) -> str:
    """The causes of the machines, in their order."""
    chance = _chance(seed)
    return "".join(sorted("ABCD", key=lambda letter: chance[ord(letter) - ord("A") + 1]))


def _silent(cause: str, seed: int) -> Machine:
    chance = _chance(seed)
    tpr = 0xE0 + chance[5] % 32
    entries = [("sender", _id(seed)), ("ready", 0), ("ready", 0), (_ENTRIES[cause], tpr)]
    handlers = {0xEA: ("handler_without_eoi", 0xE)}
    ids = [0, 1, 2, _id(seed)]
    machine = bench(program("silent.S"), entries, handlers, apic_ids=ids, quantum=20 + chance[6] % 40)
    machine.run(50_000)
    return machine


def _facts(seed: int) -> Mapping[str, Any]:
    """What holds the IPI back on each machine, read from its state; and on which it was lost."""
    machines = silent(seed)
    found: dict[str, Any] = {name: _cause(one) for name, one in zip(_NAMES, machines, strict=True)}
    found["lost"] = next(number for number, one in enumerate(machines, 1) if one.trace.of(Lost))
    return found


def _cause(machine: Machine) -> str:
    apic = machine.apics[_RECEIVER]
    if any(event.targets != [_RECEIVER] for event in machine.trace.of(IpiSent)):
        return "E"
    if not apic.enabled:
        return "A"
    if apic.isr:
        return "C"
    return "B" if not machine.registers(_RECEIVER).rflags & RFLAGS.IF else "D"


def _given(seed: int) -> str:
    return f"On each of your four machines CPU 0 has sent 0xEA to APIC id {_id(seed):#x}, CPU 3, twice."


_CONFUSED = {
    (
        "A",
        "B",
    ): "With IF = 0 the vector would be in IRR and wait. Here IRR never changed: this IPI is lost, not waiting.",
    ("A", "C"): "ISR is empty on that machine, and so is IRR: nothing has arrived that could be held back.",
    ("A", "D"): "A TPR holds back what is in IRR. On that machine IRR is empty: nothing has arrived.",
    ("B", "A"): "A switched-off APIC accepts nothing. On that machine 0xEA is in IRR: the APIC has accepted it.",
    ("B", "C"): "Nothing is in service on that machine: ISR is empty, so no EOI is missing.",
    ("B", "D"): "TPR is 0 on that machine: the APIC would deliver the vector. It is the CPU that does not take it.",
    ("C", "A"): "A switched-off APIC accepts nothing. On that machine 0xEA is in IRR, and it once reached its handler.",
    ("C", "B"): "IF is 1 on that machine: the CPU would take it. The APIC does not offer it.",
    ("C", "D"): "TPR is 0 on that machine, and PPR is not. What else makes PPR?",
    ("D", "A"): "A switched-off APIC accepts nothing. On that machine 0xEA is in IRR: the APIC has accepted it.",
    ("D", "B"): "IF is 1 on that machine: the CPU would take it. The APIC does not offer it.",
    ("D", "C"): "Nothing is in service on that machine: ISR is empty, so no EOI is missing.",
}
"""By the right cause and the one that was named: what the machine shows against it."""


def _swapped(cause: str, named: str, right: Mapping[str, Any]) -> Mapping[str, Any]:
    name = next(one for one in _NAMES if right[one] == cause)
    return {name: named}


def _waits(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"lost": 1 + _NAMES.index(next(one for one in _NAMES if right[one] == "B"))}


def _wrong() -> tuple[Wrong, ...]:
    made = []
    for (cause, named), message in _CONFUSED.items():
        change: Callable[[Mapping[str, Any]], Mapping[str, Any]] = partial(_swapped, cause, named)
        made.append(Wrong(f"{named} where it is {cause}", change, message))
    made.append(
        Wrong("sent elsewhere", {"first": "E"}, "The trace says to which CPU it was sent, and that is the right one.")
    )
    made.append(
        Wrong(
            "lost where it waits",
            _waits,
            "There the vector is in IRR: STI, and the handler runs. Lost is what no APIC remembers.",
        )
    )
    return tuple(made)


_look = "Three looks decide: SVR, then IRR and ISR, then TPR and the flags. %mk apic 3 and %mk regs 3 show them."

_diagnose: Exercise = forms.values(
    "04.8",
    "Sent, and not taken",
    "diagnose",
    _facts,
    (
        *(Value(name, f"what holds the IPI back on the {name} machine", _look) for name in _NAMES),
        Value("lost", "the number of the machine, 1 to 4, whose IPIs are gone for ever", "On which one is IRR empty?"),
    ),
    (
        "Take one machine after the other: %mk use first, then %mk apic 3 and %mk regs 3.",
        "An enabled APIC accepts whatever IF, TPR and ISR say; those three delay it. Look at IRR first: is 0xEA there?",
        "IRR empty and SVR without bit 8: A. ISR has 0xEA: C. TPR of class 14 or 15: D. None of these, and IF = 0: B.",
    ),
    _wrong(),
    passed="Four machines look alike from outside: sent, and silent. In IRR, ISR, SVR, TPR and IF they differ; and only"
    " one of the four has lost something.",
    given=_given,
)

EXERCISES = (_diagnose,)
