"""Exercises 04.2 and 04.3: two stores that send, and the bit that they set."""

import hashlib
from collections.abc import Mapping
from typing import Any

from mklab.lab import forms
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place, Ran
from mklab.lab.lab04.bench import bench, place, program
from mklab.lab.stores import misfit
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.trace import Init, IpiSent, Lost, Sipi

__all__ = ["EXERCISES"]

# 04.2: the sender


def _ids(seed: int) -> list[int]:
    """The APIC ids of four CPUs: CPU 0 has 0, no other has its own index."""
    chance = hashlib.sha256(f"04.2 {seed}".encode()).digest()
    return [0, 2 + chance[0] % 4, 6 + chance[1] % 8, 16 + chance[2] % 16]


def _place(seed: int) -> Place:
    ids = _ids(seed)

    def furnish(machine: Machine, _code: Code) -> None:
        machine.poke(0x40000, b"".join(ids[cpu].to_bytes(4, "little") for cpu in (2, 1)))

    entries = {0: ("main", 0), **dict.fromkeys((1, 2, 3), ("idle", 0))}
    return place(entries, furnish, apic_ids=ids)


def _judge(ran: Ran, seed: int) -> Verdict:
    ids = _ids(seed)
    sent = [event for event in ran.events if isinstance(event, IpiSent)]
    if (wrong := misfit(ran, 0)) is not None:
        return wrong
    if not sent:
        return not_yet(
            "send_ipi returned twice, and no IPI was sent: nothing was stored in the low half of ICR.",
            "the APIC page at 0xFEE00000",
            "The store at offset 0x300 sends. Is yours a store of 32 bits, to 0xFEE00300?",
        )
    if len(sent) > 2:
        return not_yet(
            f"Two calls of send_ipi have sent {len(sent)} IPIs.",
            f"event {sent[1].seq}",
            "Each store at 0x300 sends. Store there once in each call.",
        )
    for number, cpu in enumerate((2, 1)):
        call = f"send_ipi({ids[cpu]:#x}), call {number + 1} of 2"
        if number >= len(sent):
            return not_yet(f"{call}: no IPI was sent.", call, "Both calls should send one each.")
        verdict = _one(ran, sent[number], call, cpu, ids, sent)
        if verdict is not None:
            return verdict
    return Verdict(
        Outcome.PASSED,
        f"The first call set bit 0xEA in the IRR of the CPU with APIC id {ids[2]:#x}, the second in that of the CPU"
        f" with id {ids[1]:#x}, and nobody else noticed.",
        next_step="Which of the two stores would you leave out, to send a second IPI to the same CPU?",
    )


def _one(ran: Ran, event: IpiSent, call: str, cpu: int, ids: list[int], sent: list[IpiSent]) -> Verdict | None:
    """What is wrong with one IPI, or None."""
    where = f"event {event.seq}: {call}"
    lost = next((one for one in ran.events if isinstance(one, Lost) and one.seq > event.seq), None)
    if event.delivery != "fixed" or event.vector != 0xEA:
        return _wrong_kind(ran, event, call, where)
    if event.shorthand != "none":
        return not_yet(
            f"{call}: your IPI went to {len(event.targets)} CPUs, by the shorthand '{event.shorthand}': ICR's high half"
            " was not even looked at.",
            where,
            "Bits 18 and 19 of the low half are the shorthand. Leave them 0.",
        )
    if lost is not None and not event.targets:
        return not_yet(
            f"{call}: the IPI was lost: {lost.why}.",
            where,
            "Bit 11 of the low half asks for a logical destination; 0 asks for an APIC id."
            if "logical" in lost.why
            else "Bits 24 to 31 of the high half are to be this call's id and nothing else. What an earlier call has"
            " stored there stays until it is overwritten.",
        )
    if event.targets == [cpu]:
        return None
    got = ", ".join(f"CPU {one} (APIC id {ids[one]:#x})" for one in event.targets)
    if len(sent) > 1 and sent[1].targets == [2] and sent[0].targets == [0]:
        return not_yet(
            "The first call sent its IPI to APIC id 0, the second to the destination of the first: the low store sends,"
            " and your high store comes after it.",
            where,
            "Store the destination first. What lies in ICR's high half when the low half is written counts.",
        )
    return not_yet(
        f"{call}: the IPI went to {got}. The destination is bits 24 to 31 of ICR's high half, and yours are 0 there."
        if event.targets == [0]
        else f"{call}: the IPI went to {got}.",
        where,
        "Which bits of the word at 0xFEE00310 name the CPU? Look at the value that you store there.",
    )


def _wrong_kind(ran: Ran, event: IpiSent, call: str, where: str) -> Verdict:
    if event.delivery == "sipi":
        started = any(isinstance(one, Sipi) for one in ran.events)
        return not_yet(
            f"{call}: mode 6 in bits 8 to 10 is SIPI. {'It starts' if started else 'It would start'} a CPU that waits"
            f" for one at page {event.vector:#x}; a CPU that runs ignores it. No handler runs.",
            where,
            "A fixed interrupt has 0 in bits 8 to 10.",
        )
    if event.delivery == "init" or any(isinstance(one, Init) for one in ran.events):
        return not_yet(
            f"{call}: that was INIT, which has reset a CPU.", where, "A fixed interrupt has 0 in bits 8 to 10."
        )
    return not_yet(
        f"{call}: you sent vector {event.vector:#x}, delivery mode {event.delivery}, not the fixed vector 0xEA.",
        where,
        "Bits 0 to 7 of the low half are the vector, bits 8 to 10 the mode: 0 is fixed.",
    )


def _causes(ran: Ran, _seed: int) -> Verdict | None:
    fault = ran.fault
    if fault is not None and fault.vector == 14:
        return not_yet(
            f"Your code has touched {fault.cr2:#x}, which is not mapped. The APIC page is at 0xFEE00000.",
            f"line {ran.line(fault.rip)} of your cell" if ran.line(fault.rip) else f"instruction at {fault.rip:#x}",
            "A pointer is made of a number by a cast; an int is signed, and widened with its sign: write 0xFEE00310UL.",
        )
    return None


_HIGH = "    apic[0x310 / 4] = apic_id << 24;\n"
_LOW = "    apic[0x300 / 4] = 0xEA;"

_sender = forms.guest(
    "04.2",
    "Two stores that send",
    "c",
    _judge,
    (
        "The table above has both registers: 0xFEE00310 says to whom, 0xFEE00300 says what. Which store has an effect"
        " outside the CPU?",
        "The low store sends, so the high one comes first. The APIC id belongs into bits 24 to 31; a fixed vector 0xEA"
        " is the word 0x000000EA.",
        "Two assignments through a volatile unsigned pointer: *(...)0xFEE00310UL = the id, shifted;"
        " *(...)0xFEE00300UL = 0xEA.",
    ),
    (
        Mistake("the id is not shifted", (("apic_id << 24", "apic_id"),), "bits 24 to 31 of ICR's high half"),
        Mistake("joined to what was there", (("4] = apic_id", "4] |= apic_id"),), "What an earlier call"),
        Mistake("the low half first", ((_HIGH, ""), (_LOW, _LOW + "\n" + _HIGH)), "the low store sends"),
        Mistake("mode 6", (("= 0xEA", "= 0x6EA"),), "mode 6 in bits 8 to 10 is SIPI"),
        Mistake("mode 5", (("= 0xEA", "= 0x45EA"),), "that was INIT"),
        Mistake("no destination", ((_HIGH, "    (void)apic_id;\n"),), "the IPI went to CPU 0"),
        Mistake("nothing is sent", ((_LOW, ""),), "no IPI was sent"),
        Mistake("all but itself", (("= 0xEA", "= 0xC00EA"),), "went to 3 CPUs"),
        Mistake("a logical destination", (("= 0xEA", "= 0x8EA"),), "the IPI was lost"),
        Mistake("another vector", (("= 0xEA", "= 0xAE"),), "vector 0xae, delivery mode fixed"),
        Mistake("sent twice", ((_LOW, _LOW + "\n" + _LOW),), "have sent 4 IPIs"),
        Mistake(
            "a store of 64 bits",
            ((_LOW, "    *(volatile unsigned long *)0xFEE00300UL = 0xEA;"),),
            "at 0xfee00300 has 64 bits: it has reached 0xfee00304",
        ),
        Mistake(
            "a store of 16 bits",
            ((_LOW, "    *(volatile unsigned short *)0xFEE00300UL = 0xEA;"),),
            "at 0xfee00300 has 16 bits",
        ),
        Mistake(
            "beside a register",
            ((_HIGH, "    *(volatile unsigned int *)0xFEE00314UL = apic_id << 24;\n"),),
            "has touched 0xfee00314, where no register begins",
        ),
        Mistake("in a loop", ((_LOW, "    for (;;)\n    " + _LOW),), "did not come to an end"),
        Mistake("an address of 32 bits with its sign", (("0xFEE00000UL", "(int)0xFEE00000"),), "0xfffffffffee00310"),
    ),
    place=_place,
    causes=_causes,
    sources=(("send.S", program("send.S")),),
    alternatives=(
        "void send_ipi(unsigned int apic_id)\n{\n"
        "    *(volatile unsigned int *)0xFEE00310UL = apic_id << 24;\n"
        "    *(volatile unsigned int *)0xFEE00300UL = 0x40EA;\n}\n",
    ),
)

# 04.3: the bit


def _vector(seed: int) -> int:
    """From 0x21 to 0xEF: never the first bit of a word, nor in the first word."""
    chance = hashlib.sha256(f"04.3 {seed}".encode()).digest()
    return 32 * (1 + chance[0] % 7) + 1 + chance[1] % 15


def _facts(seed: int) -> Mapping[str, Any]:
    """What lies in the APIC page of a CPU with interrupts off, after that vector was sent to it."""
    machine = bench(program("send.S").replace("call\tsend_ipi", "nop"), [("idle", 0), ("idle", 0)], {})
    machine.store(0, APIC_BASE + 0x310, 1 << 24)
    machine.store(0, APIC_BASE + 0x300, _vector(seed))
    words = {APIC_BASE + offset: machine.apics[1].read(offset) for offset in range(0x200, 0x280, 0x10)}
    address = next(address for address, word in words.items() if word)
    return {"address": address, "word": words[address]}


def _given(seed: int) -> str:
    return f"Your vector is {_vector(seed):#x}."


def _elsewhere(step: int, base: int = 0x200) -> Any:
    """The right word, at an address that is computed in another way."""

    def change(right: Mapping[str, Any]) -> Mapping[str, Any]:
        number = (right["address"] - APIC_BASE - 0x200) // 0x10
        return {"address": APIC_BASE + base + step * number, "word": right["word"]}

    return change


def _index(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**right, "word": right["word"].bit_length() - 1}


def _whole(right: Mapping[str, Any]) -> Mapping[str, Any]:
    number = (right["address"] - APIC_BASE - 0x200) // 0x10
    return {**right, "word": 32 * number + right["word"].bit_length() - 1}


def _mirrored(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**right, "word": 1 << 32 - right["word"].bit_length()}


_bit = forms.values(
    "04.3",
    "The bit that waits",
    "memory",
    _facts,
    (
        Value(
            "address",
            "the address of the word of IRR that is not 0",
            "IRR begins at 0xFEE00200. How many vectors has a word, and how far apart are the words?",
        ),
        Value("word", "what is read there", "One bit of 32: which, counted from the right, from 0?"),
    ),
    (
        "The eight words of IRR stand above, for 0xEA. Between which two numbers does your vector lie?",
        "Word n is at 0xFEE00200 + 0x10 n and has the vectors 32 n to 32 n + 31; vector 32 n is bit 0.",
        "n = vector // 32; address = 0xFEE00200 + 0x10 * n; word = 1 << (vector % 32).",
    ),
    (
        Wrong(
            "words 4 bytes apart",
            _elsewhere(4),
            "Between two registers of the APIC page lie 16 bytes, of which 4 are used: you have taken 4.",
        ),
        Wrong(
            "ISR",
            _elsewhere(0x10, 0x100),
            "That word is of ISR: vectors whose handlers are under way. This one waits, so it is in IRR, at 0x200.",
        ),
        Wrong("TMR", _elsewhere(0x10, 0x180), "That word is of TMR, which tells level from edge. IRR begins at 0x200."),
        Wrong("the bit's number", _index, "That is the number of the bit. What is read is the word with this bit set."),
        Wrong("the vector itself", _whole, "That is the vector's number. A word of IRR holds one bit for a vector."),
        Wrong("counted from the left", _mirrored, "Bit 0 is the lowest, at the right: you have counted from the left."),
    ),
    passed="A vector is a place in a row of 256 bits. Send it again: the same bit, which is set already.",
    given=_given,
)

EXERCISES: tuple[Exercise, ...] = (_sender, _bit)
