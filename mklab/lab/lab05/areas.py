"""Exercise 05.7: which ids find a slot behind the last one, and which only half of one."""

import hashlib
from collections.abc import Mapping
from typing import Any

from mklab.guest.abi import MK_IPI_DATA
from mklab.lab import forms
from mklab.lab.exercise import Exercise
from mklab.lab.forms.values import Value, Wrong

__all__ = ["EXERCISES"]

_PAGE = 4096
_BUILDS = (16, 24, 32, 48, 64, 96, 128)


def _nr_cpus(seed: int) -> int:
    return _BUILDS[hashlib.sha256(f"05.7 {seed}".encode()).digest()[0] % len(_BUILDS)]


def _facts(seed: int) -> Mapping[str, Any]:
    """MK_MEM_SIZE is the slots and a page (patch 4); memory is mapped in whole pages."""
    slots = _nr_cpus(seed) * MK_IPI_DATA.size
    size = slots + _PAGE
    mapped = -(-size // _PAGE) * _PAGE
    return {
        "size": size,
        "last": size // MK_IPI_DATA.size - 1,
        "torn": size // MK_IPI_DATA.size,
        "mapped": mapped // MK_IPI_DATA.size - 1,
    }


def _given(seed: int) -> str:
    return f"Your kernel is built with NR_CPUS = {_nr_cpus(seed)}."


def _cpus(right: Mapping[str, Any]) -> int:
    cpus: int = (right["size"] - _PAGE) // MK_IPI_DATA.size
    return cpus


def _without_header(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"size": _cpus(right) * 256 + _PAGE}


def _without_page(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"size": right["size"] - _PAGE}


def _torn_counted(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"last": right["torn"]}


def _no_slack(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"last": _cpus(right) - 1}


def _counted_from_one(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"last": right["last"] + 1, "torn": right["torn"] + 1}


def _no_rounding(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"mapped": right["last"]}


_slack: Exercise = forms.values(
    "05.7",
    "Behind the last slot",
    "memory",
    _facts,
    (
        Value(
            "size",
            "the size of the message area in bytes, MK_MEM_SIZE",
            "NR_CPUS slots of 272 bytes, and a page.",
            decimal=True,
        ),
        Value(
            "last",
            "the highest id whose whole slot lies inside the area",
            "How many whole slots go into size?",
            decimal=True,
        ),
        Value("torn", "the id whose slot begins inside the area and ends outside", "It is the next one.", decimal=True),
        Value(
            "mapped",
            "the highest id whose whole slot lies in memory that is mapped",
            "Round size up to whole pages of 4096 bytes; then as before.",
            decimal=True,
        ),
    ),
    (
        "Do it for 64 first, with the numbers above: 64 x 272 + 4096 = 21504, which the kernel has printed.",
        "A slot of id n occupies the bytes 272 n to 272 n + 271. The area has its slots and one page; the MMU maps"
        " whole pages.",
        "size = NR_CPUS * 272 + 4096; last = size // 272 - 1; torn = last + 1; mapped: the same with size rounded up.",
    ),
    (
        Wrong("the buffers alone", _without_header, "A slot is 272 bytes: you have counted 256, the buffer alone."),
        Wrong("no page", _without_page, "MK_MEM_SIZE is the slots and a page more, which nothing uses."),
        # It has the next one's value of `last`, and one more.
        Wrong("counted from 1", _counted_from_one, "The first slot is that of id 0."),
        Wrong(
            "the torn one counted",
            _torn_counted,
            "That id has its header inside the area and a part of its buffer outside: 4096 / 272 is 15.06, so the"
            " slack holds 15 whole slots.",
        ),
        Wrong(
            "no slack",
            _no_slack,
            "That is the last id that has a slot of its own. Nobody compares with NR_CPUS: the next ids read in the"
            " slack.",
        ),
        Wrong(
            "no rounding",
            _no_rounding,
            "The area ends within a page, and the MMU maps whole pages: up to the end of this page nothing faults.",
        ),
    ),
    passed="Up to the last id in the slack a receiver reads zeros or what somebody left there; then half a slot; then"
    " what another owns; and at the end of what is mapped, a page fault in hard-IRQ context.",
    given=_given,
)

EXERCISES = (_slack,)
