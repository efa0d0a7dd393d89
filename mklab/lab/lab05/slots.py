"""Exercise 05.2: a slot of the message area, decoded by hand."""

import hashlib
from collections.abc import Mapping
from typing import Any

from mklab.guest.abi import MK_IPI_DATA
from mklab.kernel.layout import SHARED_MEMORY
from mklab.lab import forms
from mklab.lab.exercise import Exercise
from mklab.lab.forms.values import Value, Wrong
from mklab.machine.machine import Machine
from mklab.structs import View

__all__ = ["EXERCISES", "filled"]

_WORDS = (b"page", b"ready", b"hello", b"stopped", b"balance", b"shutdown", b"heartbeat", b"migration")
_STALE = b"an older and longer message that lay here before"
_SLOTS = 12
_STRIDE_WITHOUT_HEADER = 256


def _chance(seed: int) -> bytes:
    return hashlib.sha256(f"05.2 {seed}".encode()).digest()


def _receiver(seed: int) -> int:
    """The APIC id of the receiver, 3 to 9."""
    return 3 + _chance(seed)[0] % 7


def filled(seed: int) -> Machine:
    """A machine whose message area has a message in each slot; the older ones were longer."""
    machine, chance = Machine(1, 32 << 20), _chance(seed)
    for index in range(_SLOTS):
        slot, word = _slot(machine, index), _WORDS[(index + chance[1]) % len(_WORDS)]
        slot.set_bytes("buffer", _STALE)
        slot.set_bytes("buffer", word)
        slot.set("sender_cpu", (3 * index + chance[2]) % 16)
        slot.set("type", 0x100 + 17 * index + chance[3] % 16)
        slot.set("data_size", len(word))
    return machine


def _slot(machine: Machine, index: int) -> View:
    return MK_IPI_DATA(machine.memory, SHARED_MEMORY + index * MK_IPI_DATA.size)


def _facts(seed: int) -> Mapping[str, Any]:
    slot = _slot(filled(seed), _receiver(seed))
    payload = slot.get_bytes("buffer", slot.get("data_size"))
    return {"slot": slot.paddr, "sender": slot.get("sender_cpu"), "kind": slot.get("type"), "payload": payload}


def _given(seed: int) -> str:
    return f"The area begins at {SHARED_MEMORY:#x}; the receiver's APIC id is {_receiver(seed)}."


def _stride(right: Mapping[str, Any]) -> Mapping[str, Any]:
    index = (right["slot"] - SHARED_MEMORY) // MK_IPI_DATA.size
    return {"slot": SHARED_MEMORY + index * _STRIDE_WITHOUT_HEADER}


def _next(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"slot": right["slot"] + MK_IPI_DATA.size}


def _early(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"payload": bytes(4) + right["payload"][:-4]}


def _late(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"payload": right["payload"] + _STALE[len(right["payload"]) : 20]}


def _mirrored(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"kind": int.from_bytes(right["kind"].to_bytes(4, "little"), "big")}


def _crossed(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"sender": right["kind"], "kind": right["sender"]}


_decode: Exercise = forms.values(
    "05.2",
    "A slot, byte by byte",
    "memory",
    _facts,
    (
        Value("slot", "the address of the receiver's slot", "Area + APIC id x the size of a slot. Which size is that?"),
        Value("sender", "the number in sender_cpu", "It is the first field: 4 bytes, the lowest first."),
        Value("kind", "the number in type", "It stands at offset 4: 4 bytes, the lowest first."),
        Value("payload", "the message itself, as bytes", "It begins at offset 16 and has as many bytes as data_size."),
    ),
    (
        "The struct stands above. The slot of APIC id n is the n-th, counted from 0.",
        "A slot has 16 bytes of header and 256 of buffer: 272, or 0x110. All numbers are little-endian.",
        'slot = 0x1FFA000 + 0x110 * id; then %mk mem of that address: bytes 0-3, 4-7, 8-15, and from 16 on b"...".',
    ),
    (
        Wrong(
            "a stride of 256",
            _stride,
            "You have counted 256 bytes for a slot: that is the buffer alone, and the header counts, too.",
        ),
        Wrong("the slot behind", _next, "That is the slot of the next APIC id: the first slot is number 0."),
        Wrong(
            "the buffer at 12",
            _early,
            "Your text begins 4 bytes too early: data_size has 8 bytes (a size_t), so the buffer is at offset 16.",
        ),
        Wrong(
            "more than data_size",
            _late,
            "The last bytes are of an older message: nobody clears a slot. data_size says where this one ends.",
        ),
        Wrong("the highest byte first", _mirrored, "The bytes are the right ones. On x86 the lowest comes first."),
        Wrong("the fields crossed", _crossed, "sender_cpu stands before type; you have them the other way round."),
    ),
    passed="That is all that a receiver has: 272 bytes, filled by somebody. No magic number, no length of its own, no"
    " mark that says whether it was read.",
    given=_given,
)

EXERCISES = (_decode,)
