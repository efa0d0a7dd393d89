"""Exercise 05.8: a handler of page numbers says -EINVAL, and why; and one that it should have refused."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mklab.errors import KexecError
from mklab.guest.abi import MK_PFN_IPI_TYPE, MULTIKERNEL_VECTOR
from mklab.kernel.layout import HOST_BASE
from mklab.lab import forms
from mklab.lab.defects.stage import booted
from mklab.lab.exercise import Exercise
from mklab.lab.forms.values import Value, Wrong
from mklab.trace import MessageTaken

__all__ = ["EXERCISES", "Sent", "letter_log"]

_CHAT = 0x51
_SHARED = range(0x3000, 0x4000)
"""Page frame numbers of the memory that the sender owns: 0x3000000 to 0x3FFFFFF."""
_MESSAGES = 6


@dataclass(frozen=True)
class Sent:
    """One message: its type, the size it claims, its bytes, and what mk_receive_pfn said (None: it was refused)."""

    type: int
    size: int
    data: bytes
    pfn: int | None


def _chance(seed: int) -> bytes:
    return hashlib.sha256(f"05.8 {seed}".encode()).digest()


def _planned(seed: int) -> list[tuple[int, int, bytes]]:
    """Six messages, type, size and bytes, in an order by the seed.

    Three pages, one of them the host's own; two messages for another handler, of which one has 8 bytes; and a page
    number of 4 bytes.
    """
    chance = _chance(seed)
    mine = [_SHARED[16 * chance[at]] for at in (0, 1)]
    host = (HOST_BASE >> 12) + chance[2] % 64
    planned = [(MK_PFN_IPI_TYPE, 8, pfn.to_bytes(8, "little")) for pfn in (*mine, host)]
    planned.append((_CHAT, 8, b"how are?"))
    planned.append((_CHAT, 5, b"hello"))
    planned.append((MK_PFN_IPI_TYPE, 4, (_SHARED[8 * chance[3]]).to_bytes(4, "little")))
    return [planned[index] for index in sorted(range(_MESSAGES), key=lambda one: chance[8 + one])]


@lru_cache(maxsize=4)
def _sent(seed: int) -> tuple[Sent, ...]:
    """The messages, as the host's CPU 0 finds them; after each it asks mk_receive_pfn."""
    host, found = booted(2), []
    for kind, size, data in _planned(seed):
        host.send_by_hand(MULTIKERNEL_VECTOR, 0, slot=0, sender=1, type=kind, size=size, data=data, via=1)
        host.settle()
        event = host.machine.trace.of(MessageTaken)[-1]
        try:
            pfn: int | None = host.mk_receive_pfn()
        except KexecError:
            pfn = None
        found.append(Sent(event.type, event.size, bytes.fromhex(event.payload), pfn))
    return tuple(found)


def letter_log(seed: int) -> str:
    """What lay in the slot, message by message; not what mk_receive_pfn said."""
    lines = [f"{'message':<9}{'type':>12}{'data_size':>11}  buffer"]
    for number, one in enumerate(_sent(seed), 1):
        lines.append(f"{number:<9}{one.type:>#12x}{one.size:>11}  {one.data.hex(' ')}")
    return "\n".join(lines)


def _facts(seed: int) -> Mapping[str, Any]:
    sent = _sent(seed)
    refused = [number for number, one in enumerate(sent, 1) if one.pfn is None]
    because = "".join("B" if sent[number - 1].type == MK_PFN_IPI_TYPE else "A" for number in refused)
    danger = next(number for number, one in enumerate(sent, 1) if one.pfn is not None and one.pfn not in _SHARED)
    return {"refused": refused, "because": because, "danger": danger}


def _given(seed: int) -> str:
    return f"What the host's CPU 0 has found in its slot:\n{letter_log(seed)}"


def _pages(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"refused": [one for one in range(1, _MESSAGES + 1) if one not in right["refused"]]}


def _one_less(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"refused": right["refused"][1:]}


def _with_danger(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"refused": sorted([*right["refused"], right["danger"]])}


def _damaged(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"because": right["because"].replace("A", "C")}


def _all_types(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"because": "A" * len(right["because"])}


def _all_sizes(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"because": "B" * len(right["because"])}


def _refused_one(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"danger": right["refused"][0]}


_diagnose: Exercise = forms.values(
    "05.8",
    "The handler that says -EINVAL",
    "diagnose",
    _facts,
    (
        Value(
            "refused",
            "a list of the numbers of the messages that mk_receive_pfn refuses",
            "Hold type and data_size of each message against the two tests in mk_receive_pfn.",
        ),
        Value(
            "because",
            "the letter of the cause for each of them, in the same order, as one text",
            "Was the message meant for this handler? If so, what is wrong with it?",
        ),
        Value(
            "danger",
            "the number of the message that is accepted, and should not be",
            "The sender owns the pages 0x3000 to 0x3FFF. The first byte of a number is its lowest.",
        ),
    ),
    (
        "mk_receive_pfn stands above: two comparisons, joined by ||. Which messages pass both?",
        "Every handler is called for every message (patch 4 registers no type). So a handler of pages sees what was"
        " meant for others, and refuses it: that is no error. A page of the right type and size is taken, whosever it"
        " is.",
        "refused = [three numbers]; because = three letters of A and B; danger = the message whose number, read with"
        " its lowest byte first, lies outside 0x3000 to 0x3FFF.",
    ),
    (
        Wrong("those accepted", _pages, "Those are the messages that pass both tests. The others are refused."),
        Wrong(
            "one is missing",
            _one_less,
            "One more is refused: either of the two tests is enough, the type's even where there are 8 bytes.",
        ),
        Wrong(
            "the foreign page, too",
            _with_danger,
            "You would refuse the host's page, and rightly; mk_receive_pfn does not ask whose page it is.",
        ),
        Wrong(
            "damaged",
            _damaged,
            "Nothing was damaged: the bytes are those that were sent. It was another type: every handler sees every"
            " type.",
        ),
        Wrong("all of another type", _all_types, "One of the three has the type of a page number."),
        Wrong("all of another size", _all_sizes, "Two of the three have another type: the size was not even asked."),
        Wrong("one that is refused", _refused_one, "That one is refused. Look among those that are accepted."),
    ),
    passed="Two of three -EINVAL are no failure: the message was for somebody else, and every handler sees every type."
    " And what is taken without a word is the host's own page: nobody asks whose a page is.",
    given=_given,
)

EXERCISES = (_diagnose,)
