"""Exercise 05.4: by which number a slot and a CPU are found, so that two kernels mean the same."""

import struct
from importlib import resources

from mklab.guest.abi import MK_IPI_DATA, NR_CPUS
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
_SEEN, _SENT, _DESTINATIONS = 0x40000, 0x41000, 0x41100
"""Where two_kernels.c notes what receivers read, where senders put it, and what ipi_destination returned."""
_KERNELS = 0x42000
"""What each CPU's kernel knows: its number there, and the APIC ids of the kernel's CPUs. Kernel 1 runs on id 4."""
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
    for apic_id in _IDS:
        own, known = (0, (4, 0, -1, -1)) if apic_id == 4 else (_IDS.index(apic_id), (0, 2, 4, 6))
        machine.poke(_KERNELS + 64 * apic_id, struct.pack("<5i", own, *known))


def _words(ran: Ran, address: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}I", ran.read(address, 4 * count))


def _noted(ran: Ran, notes: int, kind: int) -> int:
    """What the sender has noted of the message of that type."""
    return _words(ran, notes + 4 * (kind % 100 + kind // 200 * 10), 1)[0]


def _filled(ran: Ran, kind: int) -> int:
    """Where the message of that type was put, in bytes from the beginning of the area."""
    return _noted(ran, _SENT, kind)


def _place(offset: int) -> str:
    """A place in the area, in words."""
    index, rest = divmod(offset, MK_IPI_DATA.size)
    if rest or index >= NR_CPUS:
        return f"the place {offset:#x} bytes into the area, where no slot begins,"
    return f"slot {index}"


def _judge(ran: Ran, _seed: int) -> Verdict:
    for kind, sender, receiver, words in _MESSAGES:
        verdict = _wrong(ran, kind, sender, receiver, words)
        if verdict is not None:
            return verdict
    places = {receiver: _filled(ran, kind) for kind, _, receiver, _ in _MESSAGES}
    if len(set(places.values())) < len(places):
        return not_yet(
            f"Each message was found, since each was read before the next was sent. But {_place(places[0])} serves more"
            " than one CPU: two messages at once, and one is gone.",
            "the slots that were filled",
            "Each CPU of the machine needs a slot that no other has, whichever kernel runs there.",
        )
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
    if number >= len(sent):
        return not_yet(f"When {words}, no interrupt is sent.", words, "ipi_destination is called for each message.")
    destination = _noted(ran, _DESTINATIONS, kind)
    if destination > 0xFF:
        return not_yet(
            f"When {words}, ipi_destination returns {destination:#x}, which is no APIC id here. The sender shifts it"
            f" into bits 24 to 31 of ICR's high half: only {destination & 0xFF:#x} is left, and the interrupt goes"
            " there.",
            words,
            "Return the id as it is: whoever stores it in ICR shifts it.",
            expected=f"{receiver:#x}",
            got=f"{destination:#x}",
        )
    filled, targets = _filled(ran, kind), [_IDS[one] for one in sent[number].targets]
    if targets != [receiver]:
        got = f"APIC id {targets[0]}" if targets else "no CPU: none has that id"
        right = "is the right one" if filled == receiver * MK_IPI_DATA.size else "is another one, too"
        return not_yet(
            f"When {words}, the interrupt goes to {got}. What is filled, {_place(filled)}, {right}.",
            f"event {sent[number].seq}: {words}",
            "The low-level send takes an APIC id. cpu is the sender's own number; translate it once, not twice, not"
            " never.",
        )
    read, count, looked, _ = _words(ran, _SEEN + 16 * receiver, 4)
    if read == kind and count:
        return None
    if receiver == 4 and looked == 0 and _words(ran, _SEEN + 32, 1)[0] == 101:
        return not_yet(
            f"When {words}, {_place(filled)} is filled, and kernel 1 looks into slot 0. Its only CPU is its logical CPU"
            " 0; so is the host's first: two kernels would share slot 0.",
            words,
            "Which number of a CPU do both kernels know?",
        )
    return not_yet(
        f"When {words}, {_place(filled)} is filled. The receiver looks into {_place(looked)}, and reads a message of"
        f" type {read}.",
        words,
        "Sender and receiver must compute the same slot. For this message, what does each compute?",
        expected=f"type {kind}",
        got=f"type {read}",
    )


_BY_ID = "mk_shared_data + arch_cpu_physical_id(cpu)"
_READ = "mk_shared_data + physical_id()"
_LAST = "mk_shared_data + 63"

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
        Mistake(
            "as version 1 has it",
            ((_BY_ID, "mk_shared_data + cpu"),),
            "slot 1 is filled. The receiver looks into slot 2",
        ),
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
            "a shifted id",
            (
                (
                    "return (unsigned int)arch_cpu_physical_id(cpu)",
                    "return (unsigned int)arch_cpu_physical_id(cpu) << 24",
                ),
            ),
            "ipi_destination returns 0x2000000, which is no APIC id here",
        ),
        Mistake(
            "the parameter is not used",
            ((_BY_ID, "mk_shared_data + physical_id()"),),
            "The function gives the same, whatever it is called with",
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
            "the sender's own slot",
            ((_BY_ID, "mk_shared_data + physical_id() + 0 * cpu"),),
            "slot 0 is filled. The receiver looks into slot 2",
        ),
        Mistake(
            "one slot for all",
            ((_BY_ID, "mk_shared_data + 0 * cpu"), (_READ, "mk_shared_data")),
            "slot 0 serves more than one CPU",
        ),
        Mistake(
            "by bytes",
            ((_BY_ID, "(void *)((char *)mk_shared_data + 256 * arch_cpu_physical_id(cpu))"),),
            "where no slot begins",
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
        Mistake(
            "from the end", ((_BY_ID, f"{_LAST} - arch_cpu_physical_id(cpu)"), (_READ, f"{_LAST} - physical_id()")), ""
        ),
    ),
)

EXERCISES = (_repair,)
