"""Exercise 06.4: a list walked by hand, in guest RAM. The machine is the student's own."""

from functools import cache
from random import Random
from typing import Any

from mklab.kernel.kexec import KEXEC_TYPE_DEFAULT, KEXEC_TYPE_MULTIKERNEL
from mklab.kernel.kimage import KIMAGE, KimageList
from mklab.kernel.layout import HOST_DATA
from mklab.lab import forms
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.lab06.kimage_h import LIST_OFFSET
from mklab.lab.lab06.linking import machine_for_lists
from mklab.machine.machine import Machine

__all__ = ["tangled", "walking"]

_START = KIMAGE.offsets["start"]
_MEMBER = f"next points to the member list of a kimage: subtract its offset, {LIST_OFFSET:#x} (container_of)."


def tangled(seed: int) -> Machine:
    """A machine with five to eight kimages, of which some went in at the list's beginning; two are in no list."""
    chance = Random(seed)  # noqa: S311  # no secret
    machine = machine_for_lists()
    kimages = KimageList(machine.memory)
    kimages.initialise()
    for number in range(chance.randrange(5, 9)):
        image = kimages.allocate()
        assert image is not None
        image.set("type", chance.choice((KEXEC_TYPE_DEFAULT, KEXEC_TYPE_MULTIKERNEL, KEXEC_TYPE_MULTIKERNEL)))
        image.set("start", (2 + number) * 0x1000000 + chance.randrange(256) * 0x1000)
        image.set("nr_segments", chance.randrange(1, 6))
        image.set("head", 4)  # IND_DONE
        add = kimages.list.add if number % 3 == 1 else kimages.list.add_tail
        if number not in (0, 3):
            add(image.address("list_next"))
    return machine


@cache
def facts(seed: int) -> dict[str, Any]:
    """What a walk meets."""
    images = list(KimageList(tangled(seed).memory))
    return {
        "count": len(images),
        "first": images[0].paddr,
        "second": images[1].paddr,
        "start": images[-1].get("start"),
    }


def given(seed: int) -> str:
    """Where the list begins."""
    node = KimageList(tangled(seed).memory).memory.read_u64(HOST_DATA)
    return (
        f"Your list: its head is the list_head at {HOST_DATA:#x}; its next is {node:#x}. In a kimage, start lies"
        f" {_START:#x} and list {LIST_OFFSET:#x} bytes behind the beginning."
    )


walking = forms.values(
    "06.4",
    "A list by hand",
    "memory",
    facts,
    (
        Value("count", "the number of images in the list", "The head is no image. Where does a walk end?"),
        Value(
            "first",
            "the address of the first kimage",
            "The head's first word is next. What does it point to: a kimage, or a field in it?",
        ),
        Value("second", "the address of the second kimage", "Follow next of the first node, not of its neighbour."),
        Value("start", "the field start of the last kimage", "Its last node is the one whose next is the head."),
    ),
    (
        "u64(address) reads eight bytes. The head's two words are next and prev.",
        f"next points to the list_head inside a kimage. The kimage begins {LIST_OFFSET:#x} bytes before it.",
        f"first = u64({HOST_DATA:#x}) - {LIST_OFFSET:#x}; second = u64(first + {LIST_OFFSET:#x}) - {LIST_OFFSET:#x};"
        f" and so on until next is {HOST_DATA:#x}.",
    ),
    (
        Wrong(
            "next taken for a kimage",
            lambda right: {"first": right["first"] + LIST_OFFSET},
            _MEMBER,
        ),
        Wrong(
            "the second next taken for a kimage",
            lambda right: {"second": right["second"] + LIST_OFFSET},
            _MEMBER,
        ),
        Wrong(
            "the head taken for the first kimage",
            {"first": HOST_DATA},
            "That is the head, a list_head in no kimage. Its next leads to the first node.",
        ),
        Wrong(
            "the head counted",
            lambda right: {"count": right["count"] + 1},
            "You counted the head, which is a list_head inside no kimage: a walk stops there.",
        ),
        Wrong(
            "what lies in memory counted",
            lambda right: {"count": right["count"] + 2},
            "Two of the kimages in memory are in no list: their list_head points to itself, and no walk meets them.",
        ),
        Wrong(
            "second is the next one in memory",
            lambda right: {"second": right["first"] + 0x300},
            "That is the kimage's neighbour in memory. The list's order is where next leads.",
        ),
        Wrong(
            "the first field instead of start",
            {"start": 4},
            f"That is kimage.head, the first field: 4 is IND_DONE, an empty list of pages. start lies {_START:#x} bytes"
            " behind the beginning.",
        ),
    ),
    passed="A walk knows three things only: where the head is, the member's offset, and that the last node leads back.",
    given=given,
)
