"""Exercise 06.3: kimage_find_by_type in C, on lists in guest RAM."""

from mklab.kernel.kimage import KimageList
from mklab.kernel.layout import HOST_DATA
from mklab.lab import forms
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.forms.guest import Place, Ran
from mklab.lab.guestcode import Code
from mklab.lab.lab06.kimage_h import KIMAGE_H, LIST_OFFSET
from mklab.lab.lab06.linking import machine_for_lists, prepared
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine

__all__ = ["finding"]

_EMPTY, _FOUND = 0x6800, 0x6000
"""The head of an empty list, in memory that holds zeros; and where what was found is noted."""
_KIMAGES = [HOST_DATA + 0x1000 + 0x300 * number for number in range(3)]
_ASKED = (
    ("a crash image in an empty list", 0),
    ("a multikernel image in a list of two of them and an ordinary image", _KIMAGES[0]),
    ("a crash image in the same list", 0),
    ("an ordinary image (type 0) in the same list", _KIMAGES[2]),
)
"""What is looked for, in this order, and what must be found."""
_FRAME = """#include "kimage.h"
struct kimage *kimage_find_by_type(struct list_head *head, unsigned int type);
void each(struct list_head *empty, struct list_head *head, struct kimage **found)
{
\tfound[0] = kimage_find_by_type(empty, KEXEC_TYPE_CRASH);
\tfound[1] = kimage_find_by_type(head, KEXEC_TYPE_MULTIKERNEL);
\tfound[2] = kimage_find_by_type(head, KEXEC_TYPE_CRASH);
\tfound[3] = kimage_find_by_type(head, KEXEC_TYPE_DEFAULT);
}
"""


_LOOP = "for (struct list_head *node = head->next; node != head; node = node->next) {"
_FROM_HEAD = "struct list_head *node = head;\n    for (int i = 0; i < 5; i++, node = node->next) {"


def _prepare(machine: Machine, _code: Code) -> None:
    kimages = KimageList(machine.memory)
    for paddr in prepared(machine, (2, 2, 0)):
        kimages.add_to_list(kimages.at(paddr))
    machine.poke(_EMPTY, _EMPTY.to_bytes(8, "little") * 2)
    machine.poke(_FOUND, b"\xff" * 32)


_PLACE = Place(
    entry="each",
    args=(_EMPTY, HOST_DATA, _FOUND),
    make=machine_for_lists,
    prepare=_prepare,
    keep={"the list": range(HOST_DATA, HOST_DATA + 0x1900)},
)


def judge(ran: Ran, _seed: int) -> Verdict:
    """What was found in each search."""
    for number, (asked, right) in enumerate(_ASKED):
        found = ran.machine.memory.read_u64(_FOUND + 8 * number)
        if found != right:
            return not_yet(
                f"Your function looked for {asked}. {_why(number, found)}",
                f"search {number + 1} of {len(_ASKED)}",
                "Follow your loop on paper: where does it begin, what does it look at, when does it end?",
                expected=_named(right),
                got=_named(found),
            )
    return Verdict(
        Outcome.PASSED,
        "Four searches: nothing in an empty list; the older one of two multikernel images; no crash image; the ordinary"
        f" image, whose kimage begins {LIST_OFFSET} bytes before the node that the list leads to.",
    )


def _named(address: int) -> str:
    if address in _KIMAGES:
        return f"image {_KIMAGES.index(address) + 1} at {address:#x}"
    return f"{address:#x}" if address else "NULL"


def _why(number: int, found: int) -> str:
    if found - LIST_OFFSET in _KIMAGES:
        return (
            "It gave the address of the list_head inside a kimage. The kimage begins"
            f" {LIST_OFFSET} bytes before: container_of."
        )
    heads = {_EMPTY - LIST_OFFSET: "the empty list", HOST_DATA - LIST_OFFSET: "the list"}
    if found in heads:
        return f"It took the head of {heads[found]} for a node: around the head lies no kimage."
    if number == 1 and found == _KIMAGES[1]:
        return "It gave the newest one. The oldest is wanted: the first that a walk along next meets."
    if number == 1 and found == _KIMAGES[2]:
        return "It gave an ordinary image, the first that it met, without looking at its type."
    if number == 2 and found:
        return "There is none, and it gave another image."
    if not found:
        return "It found nothing."
    return "It gave something that is no kimage."


def causes(ran: Ran, _seed: int) -> Verdict | None:
    """A walk that does not stop, or that takes NULL for a node."""
    fault = ran.fault
    if fault is not None and fault.vector == 14 and -LIST_OFFSET <= fault.cr2 - (1 << 64) < 0:
        return not_yet(
            f"Your code has read at {fault.cr2:#x}, a little below 0: it took NULL for a list_head and went back to the"
            " kimage around it. No pointer of the list is NULL, so this one was read where no list_head lies.",
            f"line {ran.line(fault.rip)} of your cell" if ran.line(fault.rip) else f"{fault.rip:#x}",
            "head->next points to a list_head inside a kimage. Only container_of makes a kimage of it, no cast.",
        )
    if not ran.endless:
        return None
    return not_yet(
        "Your walk went round and round: a list_head never leads to NULL, the last node leads back to the head.",
        f"kexec_image_list at {HOST_DATA:#x}",
        "The walk ends where node is head again.",
    )


finding = forms.guest(
    "06.3",
    "The oldest of its type",
    "c",
    judge,
    (
        "A node is a list_head inside a kimage. The head is a list_head inside nothing.",
        "Begin at head->next and follow next until you are back at the head; what is not found is NULL.",
        "for (node = head->next; node != head; node = node->next), and container_of(node, struct kimage, list).",
    ),
    (
        Mistake("until NULL", (("node != head", "node != NULL"),), "went round and round"),
        Mistake("the head, too", ((_LOOP, _FROM_HEAD),), "took the head of the list"),
        Mistake("the node itself", (("return image", "return (struct kimage *)node"),), "list_head inside a kimage"),
        Mistake(
            "read at the node",
            (("container_of(node, struct kimage, list)", "(struct kimage *)node"),),
            "Your function looked for a multikernel image",
        ),
        Mistake(
            "the first is cast",
            (
                (_LOOP, "struct kimage *image = (struct kimage *)head->next;\n    while (&image->list != head) {"),
                ("        struct kimage *image = container_of(node, struct kimage, list);\n", ""),
                (
                    "            return image;\n",
                    "            return image;\n        image = container_of(image->list.next, struct kimage, list);\n",
                ),
            ),
            "took NULL for a list_head",
        ),
        Mistake("the newest", (("head->next", "head->prev"), ("node->next", "node->prev")), "It gave the newest one"),
        Mistake("any type", (("image->type == type", "image->type <= type"),), "There is none, and it gave another"),
        Mistake(
            "one type only",
            (("image->type == type", "type && image->type == KEXEC_TYPE_MULTIKERNEL"),),
            "There is none, and it gave another",
        ),
        Mistake("the last node left out", (("node != head", "node->next != head"),), "It found nothing"),
    ),
    place=_PLACE,
    causes=causes,
    sources=(("kimage.h", KIMAGE_H), ("frame.c", _FRAME)),
)
