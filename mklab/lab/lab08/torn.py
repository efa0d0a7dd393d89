"""Exercise 08.4: a slot into which two senders have stored at the same time; whose is which byte?"""

import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from mklab.guest.abi import MK_IPI_DATA
from mklab.lab import forms
from mklab.lab.defects.stage import booted
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.lab08.mailbox import RECEIVER, SLOT
from mklab.machine.machine import Machine
from mklab.timeline.explore import follow

__all__ = ["torn"]

_PAIRS = ((b"ORANGE", b"fig"), (b"CHERRY", b"nut"), (b"BANANA", b"yam"), (b"QUINCE", b"pea"), (b"TOMATO", b"oat"))
_SHOWN = 24


@cache
def _slot(seed: int) -> tuple[tuple[int, int], tuple[bytes, bytes], bytes]:
    """Types and texts of the messages of CPUs 0 and 2, and what the slot holds when both have sent."""
    types = 10 + 7 * seed % 50, 60 + 11 * seed % 39
    longer, shorter = _PAIRS[seed % len(_PAIRS)]
    texts = (shorter, longer) if seed % 2 else (longer, shorter)
    machine = _sending(types, texts)
    follow(machine, _order(seed, texts)).replay(machine)
    return types, texts, machine.memory.read(SLOT, _SHOWN)


def _sending(types: tuple[int, int], texts: tuple[bytes, bytes]) -> Machine:
    """CPUs 0 and 2 of a host begin to send."""
    host = booted(3)
    for cpu, type_, text in zip((0, 2), types, texts, strict=True):
        host.submit_message(RECEIVER, text, type_, via=cpu)
    return host.machine


def _order(seed: int, texts: tuple[bytes, bytes]) -> list[int]:
    """Who takes each step, so that sender_cpu and data_size are of the longer message, and type is of the other.

    So each way to misread the slot leads to values of its own. The steps of a sender: it is asked, stores data_size,
    sender_cpu, type, each byte, and sends the IPI.
    """
    chance = random.Random(seed)  # noqa: S311  # an exercise's numbers
    longer = 0 if len(texts[0]) > len(texts[1]) else 2
    order = [cpu for cpu, text in zip((0, 2), texts, strict=True) for _ in range(5 + len(text))]
    while True:
        chance.shuffle(order)
        places = {cpu: [at for at, one in enumerate(order) if one == cpu] for cpu in (0, 2)}
        last = [0 if places[0][step] > places[2][step] else 2 for step in (1, 2, 3)]
        if last == [longer, longer, 2 - longer]:
            return order


def _facts_of(types: tuple[int, int], texts: tuple[bytes, bytes], data: bytes) -> dict[str, Any]:
    offsets = MK_IPI_DATA.offsets

    def number(field: str, size: int) -> int:
        return int.from_bytes(data[offsets[field] : offsets[field] + size], "little")

    size = number("data_size", 8)
    return {
        "sender_cpu": number("sender_cpu", 4),
        "type_from": 0 if number("type", 4) == types[0] else 2,
        "size_from": 0 if size == len(texts[0]) else 2,
        "text": data[offsets["buffer"] : offsets["buffer"] + size],
    }


def _facts(seed: int) -> Mapping[str, Any]:
    return _facts_of(*_slot(seed))


def _given(seed: int) -> str:
    types, texts, data = _slot(seed)
    sent = "\n".join(
        f"CPU {cpu} sends type {type_} ({type_:#x}), {len(text)} bytes: {text.decode()}"
        for cpu, type_, text in ((0, types[0], texts[0]), (2, types[1], texts[1]))
    )
    rows = "\n".join(f"{SLOT + at:#x}  {data[at : at + 8].hex(' ')}" for at in range(0, _SHOWN, 8))
    return f"{sent}\nThe slot of CPU {RECEIVER}, when both have sent:\n{rows}"


def _longer(text: bytes) -> bytes:
    """The longer word of a mixed text: the shorter one reaches only its first bytes."""
    return next((longer for longer, shorter in _PAIRS if longer[len(shorter) :] == text[len(shorter) :]), text)


torn = forms.values(
    "08.4",
    "Whose bytes?",
    "memory",
    _facts,
    (
        Value("sender_cpu", "the number in the field sender_cpu", "An int at offset 0, the lowest byte first."),
        Value("type_from", "the CPU whose type lies there", "A u32 at offset 4. Which CPU has sent this type, 0 or 2?"),
        Value(
            "size_from",
            "the CPU whose data_size lies there",
            "A size_t at offset 8. Which CPU's message is so many bytes long, 0's or 2's?",
        ),
        Value(
            "text",
            "the bytes that a receiver takes which trusts data_size",
            "The buffer begins at offset 16, and data_size says how many bytes of it count.",
        ),
    ),
    (
        "The first column of each row is an address. struct mk_ipi_data: sender_cpu at 0, type at 4, data_size at 8,"
        " buffer at 16.",
        "Numbers lie with their lowest byte first. Each field was stored by itself, so each has an author of its own:"
        " who stored it last.",
        'Four lines: sender_cpu = 0 or 2; type_from = 0 or 2; size_from = 0 or 2; text = b"...", as long as data_size'
        " says.",
    ),
    (
        Wrong(
            "all is of one sender",
            lambda right: {"type_from": right["sender_cpu"], "size_from": right["sender_cpu"]},
            "The field sender_cpu says who stored this field, and nothing about the others: each was stored by itself.",
        ),
        Wrong(
            "the payload at offset 12",
            lambda right: {"text": (bytes(4) + right["text"])[: len(right["text"])]},
            "data_size is a size_t, 8 bytes long: the buffer begins at offset 16, not 12.",
        ),
        Wrong(
            "the two CPUs are confused",
            lambda right: {"type_from": 2 - right["type_from"], "size_from": 2 - right["size_from"]},
            "Both are the other way round: compare the bytes that lie there with what each CPU has sent.",
        ),
        Wrong(
            "the size is the other one's",
            lambda right: {"size_from": 2 - right["size_from"]},
            "That CPU's message has another length. Read the 8 bytes at offset 8, and count the letters of both words.",
        ),
        Wrong(
            "the size itself",
            lambda right: {"size_from": len(right["text"])},
            "That is the size. The question is which CPU has sent so many bytes.",
        ),
        Wrong(
            "only what the short one stored",
            lambda right: {"text": right["text"][:3]},
            "The receiver does not know where one message ends and the other begins: it takes data_size bytes.",
        ),
        Wrong(
            "all the longer one stored",
            lambda right: {"text": _longer(right["text"])},
            "That is what one CPU has sent. The other has stored over parts of it: read the bytes that lie there.",
        ),
        Wrong(
            "the sender is the other one",
            lambda right: {"sender_cpu": 2 - right["sender_cpu"]},
            "That is the CPU whose type lies there. The field sender_cpu was stored by itself: read its own 4 bytes.",
        ),
    ),
    passed="A receiver would take this for one message: a number, a type, a size, some bytes, and nothing in it says"
    " that two have written. The bytes alone can't tell; who may write must be settled before.",
    given=_given,
)
