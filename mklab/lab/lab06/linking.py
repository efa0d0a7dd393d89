"""Exercise 06.2: kimage_add_to_list in C, on a list in guest RAM."""

from mklab.kernel.kimage import KIMAGE, KimageList
from mklab.kernel.layout import HOST_DATA, HOST_END
from mklab.kernel.proc import proc_multikernel
from mklab.lab import forms
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.forms.guest import Place, Ran
from mklab.lab.guestcode import Code
from mklab.lab.lab06.kimage_h import KIMAGE_H, LIST_OFFSET
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine

__all__ = ["linking", "machine_for_lists", "prepared"]

_IMAGES = 0x6000
"""Where the addresses of the kimages lie: an array of three pointers."""
_FRAME = """#include "kimage.h"
void kimage_add_to_list(struct kimage *image, struct list_head *head);
void each(struct list_head *head, struct kimage **images)
{
\tfor (int i = 0; i < 3; i++)
\t\tkimage_add_to_list(images[i], head);
}
"""


def machine_for_lists() -> Machine:
    """A machine with the host's memory and no host: only the student's code runs."""
    return Machine(1, HOST_END, on_shutdown="halt")


def prepared(machine: Machine, kinds: tuple[int, ...]) -> list[int]:
    """An empty kexec_image_list, and kimages of these types that are in no list; their addresses."""
    kimages = KimageList(machine.memory)
    kimages.initialise()
    found = []
    for number, kind in enumerate(kinds, start=1):
        image = kimages.allocate()
        assert image is not None
        image.set("type", kind)
        image.set("start", 0x2000000 + 0x1000000 * number)
        image.set("nr_segments", number)
        image.set("id", number)
        found.append(image.paddr)
    return found


def _prepare(machine: Machine, _code: Code) -> None:
    images = prepared(machine, (2, 2, 2))
    machine.poke(_IMAGES, b"".join(one.to_bytes(8, "little") for one in images))


_KIMAGES = [HOST_DATA + 0x1000 + 0x300 * number for number in range(3)]
_NODES = [one + LIST_OFFSET for one in _KIMAGES]
_PLACE = Place(
    entry="each",
    args=(HOST_DATA, _IMAGES),
    make=machine_for_lists,
    prepare=_prepare,
    keep={f"the fields of kimage {number}": range(one, one + LIST_OFFSET) for number, one in enumerate(_KIMAGES, 1)},
)


def _walk(ran: Ran, offset: int) -> list[int]:
    """The nodes from the head on, along ``next`` (0) or ``prev`` (8): ten at most."""
    nodes: list[int] = []
    node = ran.machine.memory.read_u64(HOST_DATA + offset)
    while node != HOST_DATA and len(nodes) < 10 and ran.machine.memory.contains(node, 16):
        nodes.append(node)
        node = ran.machine.memory.read_u64(node + offset)
    return nodes


def _named(nodes: list[int]) -> str:
    names = [f"image {_NODES.index(one) + 1}" if one in _NODES else f"{one:#x}" for one in nodes]
    return ", ".join(names) or "nothing"


def judge(ran: Ran, _seed: int) -> Verdict:
    """What the list looks like after three images were added."""
    forward, backward = _walk(ran, 0), _walk(ran, 8)
    if forward == _NODES and backward == _NODES[::-1]:
        table = proc_multikernel(KimageList(ran.machine.memory))
        return Verdict(
            Outcome.PASSED,
            "Along next the list holds images 1, 2, 3, and along prev 3, 2, 1. What /proc/multikernel would say:"
            f" {'; '.join(' '.join(line.split()) for line in table.splitlines()[2:])}.",
        )
    found = f"Along next a walk from the head meets {_named(forward)}; along prev {_named(backward)}."
    return not_yet(
        f"{_why(forward, backward)} {found}",
        f"kexec_image_list at {HOST_DATA:#x}",
        "Draw the head, the last node and the new one. Four pointers change: which, and to what?",
        expected="next: image 1, image 2, image 3; prev: image 3, image 2, image 1",
        got=f"next: {_named(forward)}; prev: {_named(backward)}",
    )


def _why(forward: list[int], backward: list[int]) -> str:
    if not forward and not backward:
        return "The head still points to itself: no image is in the list."
    if any(one in _KIMAGES for one in forward + backward):
        return (
            "A pointer leads to a kimage's beginning; the list runs through the list_head in it,"
            f" {LIST_OFFSET} bytes further."
        )
    if len(forward) >= 10 or len(backward) >= 10:
        return "A walk does not come back to the head: reading /proc/multikernel would never end."
    if forward == _NODES[::-1]:
        return "Each image went in behind the head, so the newest is found first: a start would take image 3."
    if not forward:
        return "From the head, next leads back to the head: /proc/multikernel would say 'No kimages loaded'."
    if forward == _NODES[-1:]:
        return "Each new image took the place of the one before it: images 1 and 2 are lost."
    if forward == _NODES:
        return "Readers walk along next and notice nothing. But the images cannot be removed: prev does not lead back."
    return "The list is not whole."


linking = forms.guest(
    "06.2",
    "Into the list",
    "c",
    judge,
    (
        "The list is a circle: the head's prev is its last node. An empty list's head points to itself, both ways.",
        "The new node goes between the last node and the head. Each of the three has a next and a prev.",
        "new.next = head, new.prev = last, last->next = new, head->prev = new; read head->prev before you change it.",
    ),
    (
        Mistake(
            "newest first",
            (
                ("*last = head->prev", "*first = head->next"),
                ("image->list.next = head", "image->list.next = first"),
                ("image->list.prev = last", "image->list.prev = head"),
                ("last->next =", "head->next ="),
                ("head->prev = &", "first->prev = &"),
            ),
            "the newest is found first",
        ),
        Mistake("the head's prev stays", (("    head->prev = &image->list;\n", ""),), "images 1 and 2 are lost"),
        Mistake("nobody leads to it", (("    last->next = &image->list;\n", ""),), "No kimages loaded"),
        Mistake(
            "prev leads to the head",
            (("image->list.prev = last", "image->list.prev = head"),),
            "the images cannot be removed",
        ),
        Mistake(
            "the kimage itself",
            (("last->next = &image->list", "last->next = (struct list_head *)image"),),
            "leads to a kimage's beginning",
        ),
        Mistake(
            "a node that follows itself",
            (("image->list.next = head", "image->list.next = &image->list"),),
            "reading /proc/multikernel would never end",
        ),
    ),
    place=_PLACE,
    sources=(("kimage.h", KIMAGE_H), ("frame.c", _FRAME)),
    alternatives=(
        """#include "kimage.h"
void kimage_add_to_list(struct kimage *image, struct list_head *head)
{
    struct list_head *new = &image->list;
    new->prev = head->prev;
    new->next = head;
    head->prev = new;
    new->prev->next = new;
}
""",
    ),
)
assert KIMAGE.size <= 0x300
