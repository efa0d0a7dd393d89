"""Exercise 05.4: by which number a slot and a CPU are found, so that two kernels mean the same."""

from importlib import resources

from mklab.guest.abi import MK_IPI_DATA
from mklab.lab import forms
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Ran
from mklab.lab.lab04.bench import place, set_gate
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine
from mklab.trace import IpiSent

__all__ = ["EXERCISES"]

_IDS = [0, 2, 4, 6]
_AREA, _SEEN = 0x100000, 0x40000
_MESSAGES = (
    (101, 0, 2, "the host sends type 101 to its CPU 1 (APIC id 2)"),
    (102, 0, 4, "the host sends type 102 to its CPU 2 (APIC id 4), where kernel 1 runs"),
    (103, 0, 6, "the host sends type 103 to its CPU 3 (APIC id 6)"),
    (201, 4, 0, "kernel 1, on APIC id 4, sends type 201 to its CPU 1 (APIC id 0), where the host runs"),
)
"""Type, ids of sender and receiver, and what it is, in words."""


def _source(name: str) -> tuple[str, str]:
    return name, (resources.files(__package__) / name).read_text(encoding="utf-8")


def _furnish(machine: Machine, code: Code) -> None:
    set_gate(machine, 0xEA, code.symbols["handler"])


def _seen(ran: Ran, apic_id: int) -> tuple[int, int]:
    """Type of what the CPU with that id has read last, and how often it was interrupted."""
    data = ran.read(_SEEN + 8 * apic_id, 8)
    return int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")


def _filled(ran: Ran, kind: int) -> list[int]:
    """The slots that hold a message of that type."""
    size, at = MK_IPI_DATA.size, MK_IPI_DATA.offsets["type"]
    found = [int.from_bytes(ran.read(_AREA + size * index + at, 4), "little") for index in range(64)]
    return [index for index, one in enumerate(found) if one == kind]


def _judge(ran: Ran, _seed: int) -> Verdict:
    for kind, sender, receiver, words in _MESSAGES:
        verdict = _wrong(ran, kind, sender, receiver, words)
        if verdict is not None:
            return verdict
    return Verdict(
        Outcome.PASSED,
        "All four messages were read by those they were sent to: within the host, from the host to kernel 1, and back."
        " A physical id means the same CPU to everybody.",
        next_step="Who must agree on the size of a slot and on where the area begins? See exercise 05.7.",
    )


def _wrong(ran: Ran, kind: int, sender: int, receiver: int, words: str) -> Verdict | None:
    """What went wrong with one message, or None."""
    number = [one[0] for one in _MESSAGES if one[1] == sender].index(kind)
    sent = [e for e in ran.events if isinstance(e, IpiSent) and e.cpu == _IDS.index(sender)]
    slots, (read, count) = _filled(ran, kind), _seen(ran, receiver)
    slot = f"slot {slots[0]}" if slots else "no slot of the area"
    if number >= len(sent):
        return not_yet(f"When {words}, no interrupt is sent.", words, "ipi_destination is called for each message.")
    targets = [_IDS[one] for one in sent[number].targets]
    if targets != [receiver]:
        got = f"APIC id {targets[0]}" if targets else "no CPU: none has that id"
        right = "is the right one" if slots == [receiver] else "is another one, too"
        return not_yet(
            f"When {words}, the interrupt goes to {got}. The slot that is filled, {slot}, {right}.",
            f"event {sent[number].seq}: {words}",
            "The low-level send takes an APIC id. cpu is the sender's own number; translate it once, not twice, not"
            " never.",
        )
    if read == kind and count:
        return None
    if not slots:
        return not_yet(
            f"When {words}, the message does not last: in the end no slot holds it. Another one was written over it, so"
            " two CPUs share a slot.",
            words,
            "Each CPU of the machine needs a slot that no other has, whichever kernel runs there.",
        )
    looked = "slot 0" if receiver == 4 and read in (0, 201) and _reads_own_number(ran) else "another one"
    if looked == "slot 0":
        return not_yet(
            f"When {words}, {slot} is filled, and kernel 1 looks into slot 0. Its only CPU is its logical CPU 0;"
            " so is the host's first: two kernels would share slot 0.",
            words,
            "Which number of a CPU do both kernels know?",
        )
    return not_yet(
        f"When {words}, {slot} is filled, and the receiver reads a message of type {read}: it looks into {looked}.",
        words,
        "Sender and receiver must compute the same slot. For this message, what does each compute?",
        expected=f"type {kind}",
        got=f"type {read}",
    )


def _reads_own_number(ran: Ran) -> bool:
    """Whether the host's CPUs have found their messages: then receivers look by logical number."""
    return _seen(ran, 2)[0] == 101


_BY_ID = "mk_shared_data + arch_cpu_physical_id(cpu)"
_READ = "mk_shared_data + physical_id()"

_repair = forms.guest(
    "05.4",
    "One number for everybody",
    "c",
    _judge,
    (
        "Make a table: for each of the four messages, the slot that is filled, the slot that is read, the CPU that is"
        " interrupted. Where do they differ?",
        "A logical number means something in one kernel only. The physical id is the APIC's: everybody reads the same.",
        "Fill mk_shared_data + arch_cpu_physical_id(cpu), interrupt arch_cpu_physical_id(cpu), read mk_shared_data +"
        " physical_id().",
    ),
    (
        Mistake("as version 1 has it", ((_BY_ID, "mk_shared_data + cpu"),), "it looks into another one"),
        Mistake(
            "both by logical number",
            ((_BY_ID, "mk_shared_data + cpu"), (_READ, "mk_shared_data + smp_processor_id()")),
            "two kernels would share slot 0",
        ),
        Mistake(
            "the receiver by logical number",
            ((_READ, "mk_shared_data + smp_processor_id()"),),
            "reads a message of type 0",
        ),
        Mistake(
            "the interrupt by logical number",
            (("return (unsigned int)arch_cpu_physical_id(cpu)", "return (unsigned int)cpu"),),
            "is the right one",
        ),
        Mistake(
            "translated twice",
            (
                (
                    "return (unsigned int)arch_cpu_physical_id(cpu)",
                    "return (unsigned int)arch_cpu_physical_id(arch_cpu_physical_id(cpu))",
                ),
            ),
            "translate it once, not twice",
        ),
        Mistake(
            "the sender's own slot", ((_BY_ID, "mk_shared_data + physical_id() + 0 * cpu"),), "two CPUs share a slot"
        ),
        Mistake(
            "one slot for all",
            ((_BY_ID, "mk_shared_data + 0 * cpu"), (_READ, "mk_shared_data + 1")),
            "two CPUs share a slot",
        ),
        Mistake(
            "a semicolon",
            (("physical_id(cpu);\n}\n\nunsigned", "physical_id(cpu)\n}\n\nunsigned"),),
            "does not compile",
        ),
    ),
    place=place(
        {0: ("host_main", 0), 1: ("others", 0), 2: ("kernel_1_main", 0), 3: ("others", 0)},
        _furnish,
        apic_ids=_IDS,
        defines="slot_to_fill",
        budget=200_000,
    ),
    sources=(_source("two_kernels.S"), _source("two_kernels.c")),
    alternatives=(
        '#include "abi.h"\nextern struct mk_ipi_data *const mk_shared_data;\n'
        "int physical_id(void);\nint arch_cpu_physical_id(int cpu);\n"
        "struct mk_ipi_data *slot_to_fill(int cpu) { return &mk_shared_data[63 - arch_cpu_physical_id(cpu)]; }\n"
        "struct mk_ipi_data *slot_to_read(void) { return &mk_shared_data[63 - physical_id()]; }\n"
        "unsigned int ipi_destination(int cpu) { return (unsigned int)arch_cpu_physical_id(cpu); }\n",
    ),
)

EXERCISES = (_repair,)
