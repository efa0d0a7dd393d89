"""A segment descriptor, read from eight bytes; the machine itself says what they mean."""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from mklab.lab import forms, guestrun
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place
from mklab.machine.machine import Machine

__all__ = ["descriptor"]

_TABLE, _SELECTOR = 0x600, 0x18
_LOAD_DS = bytes.fromhex("66b818008ed8f4")
"""movw $0x18, %ax; movw %ax, %ds; hlt."""
_GRANULARITY, _BIG = 1 << 55, 1 << 54
_CODE, _DATA = 0x9A, 0x92
"""Present, privilege 0: code that may be read, data that may be written."""


def _bytes(seed: int) -> bytes:
    """The descriptor of a student: every byte of its base counts, and so does the upper part of its limit."""
    one = hashlib.sha256(f"02.5 {seed}".encode()).digest()
    base = (0x10 + one[0] % 0xE0) << 24 | one[1] << 16 | (one[2] % 0xF0 + 0x0F) << 8 | (one[3] | 1) & 0xF0
    limit = (1 + one[4] % 14) << 16 | one[5] << 8 | one[6]
    kind = _CODE if one[7] & 1 else _DATA
    value = limit & 0xFFFF | (base & 0xFFFFFF) << 16 | kind << 40 | (limit >> 16) << 48 | (base >> 24) << 56
    return (value | _GRANULARITY | (_BIG if one[8] & 1 else 0)).to_bytes(8, "little")


@cache
def _facts(seed: int) -> Mapping[str, Any]:
    """Load the descriptor into DS in protected mode, and look at the segment's hidden part."""

    def prepare(machine: Machine, _code: Code) -> None:
        machine.poke(_TABLE + _SELECTOR, _bytes(seed))

    place = Place("protected", ends="halt", prepare=prepare)
    ds = guestrun.run(Code(place.base, _LOAD_DS, {}), place).registers.ds
    return {
        "base": ds.base,
        "last": ds.limit,
        "code": bool(ds.flags & 1 << 11),
        "wide": ds.big,
    }


def _given(seed: int) -> str:
    return f"Eight bytes of a table of descriptors, the first in memory first:\n  {_bytes(seed).hex(' ')}"


def _units(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"last": right["last"] >> 12}


def _rounded(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"last": right["last"] & ~0xFFF}


def _no_nibble(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"last": (right["last"] >> 12 & 0xFFFF) << 12 | 0xFFF}


def _low_base(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"base": right["base"] & 0xFFFFFF}


def _reversed(right: Mapping[str, Any]) -> Mapping[str, Any]:
    low = right["base"].to_bytes(4, "little")
    return {"base": int.from_bytes(low[:3][::-1] + low[3:], "little")}


def _other_kind(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"code": not right["code"]}


def _other_width(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"wide": not right["wide"]}


descriptor = forms.values(
    "02.5",
    "A descriptor",
    "memory",
    _facts,
    (
        Value("base", "the linear address at which the segment begins", "Bytes 2, 3, 4 and 7, the lowest first."),
        Value("last", "the greatest offset in the segment", "Bytes 0, 1 and the lower half of byte 6; then look at G."),
        Value("code", "whether the segment holds code", "Bit 3 of the type: of byte 5, the lower half, 8 and above."),
        Value("wide", "whether its default is 32 bits, not 16", "D is bit 6 of byte 6."),
    ),
    (
        "Write the eight bytes under the drawing above, byte 0 first, and cut byte 6 into halves.",
        "A base has 32 bits in four bytes, a limit 20 bits. With G = 1 the limit counts units of 4 KiB, and the"
        " last unit"
        " belongs to the segment as a whole.",
        "base = byte7 byte4 byte3 byte2, written as one number. last = ((limit + 1) << 12) - 1.",
    ),
    (
        Wrong("G ignored", _units, "Bit 7 of byte 6 is G, and it is 1: the limit counts 4 KiB units, not bytes."),
        Wrong(
            "the last unit left out",
            _rounded,
            "The last unit of 4 KiB belongs to the segment: its offsets end in 0xfff.",
        ),
        Wrong(
            "sixteen bits of the limit",
            _no_nibble,
            "The limit has 20 bits: the upper four are the lower half of byte 6.",
        ),
        Wrong(
            "three bytes of the base",
            _low_base,
            "The base has a fourth byte: bits 31 to 24 stand in byte 7, far from the others.",
        ),
        Wrong(
            "bytes in the wrong order",
            _reversed,
            "Of several bytes of a number, the lowest address has the lowest bits.",
        ),
        Wrong("the other kind", _other_kind, "Type bit 3, bit 3 of byte 5, is 1 for code and 0 for data."),
        Wrong("the other width", _other_width, "D is bit 6 of byte 6: 1 means 32 bits, 0 means 16."),
    ),
    passed="So the machine sees it: these bytes were loaded into DS in protected mode, and its hidden part compared.",
    given=_given,
)
