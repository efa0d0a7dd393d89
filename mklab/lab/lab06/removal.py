"""Exercise 06.9: a kimage leaves the list, under the mutex. The lines are carried out while others use the list."""

from dataclasses import dataclass

from mklab.kernel.kimage import KimageList
from mklab.kernel.layout import HOST_DATA, HOST_END
from mklab.lab import forms
from mklab.lab.exercise import not_yet
from mklab.lab.forms.parsons import Order, WrongOrder
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.memory import PhysicalMemory
from mklab.structs import View

__all__ = ["removal"]

LINES = {
    "A": "kfree(image)",
    "B": "image->list.next->prev = image->list.prev",
    "C": "mutex_unlock(&kexec_image_mutex)",
    "D": "image->list.next = image->list.prev = LIST_POISON",
    "E": "mutex_lock(&kexec_image_mutex)",
    "F": "image->list.prev->next = image->list.next",
    "G": "host sends INIT to the CPU that runs the image",
}
_POISON = 0xDEAD000000000100
"""LIST_POISON1 (include/linux/poison.h), with CONFIG_ILLEGAL_POINTER_VALUE."""
_FREED = b"\x6b"
"""POISON_FREE (include/linux/poison.h): what SLUB fills freed memory with, where it is told to."""


class _OopsError(Exception):
    """A pointer led to where no memory is, or to memory that was freed."""


@dataclass
class _List:
    """Three images in a list; the second one is to go.

    Attributes:
        kimages: the list.
        image: the one to go.
        locked: whether somebody holds the mutex.
        freed: whether the image's memory was given back.
        inits: how many INITs were sent.
    """

    kimages: KimageList
    image: View
    locked: bool = False
    freed: bool = False
    inits: int = 0

    def read(self, address: int) -> int:
        """A word of memory.

        Raises:
            _OopsError: there is no memory, or it was freed.
        """
        if not self.kimages.memory.contains(address, 8):
            raise _OopsError(f"a pointer led to {address:#x}, where no memory is")
        if self.freed and self.image.paddr <= address < self.image.paddr + 0x300:
            raise _OopsError(f"the memory at {address:#x} had been freed, and may be anybody's")
        return self.kimages.memory.read_u64(address)

    def store(self, address: int, value: int) -> None:
        """Store a word of memory; as :meth:`read`."""
        self.read(address)
        self.kimages.memory.write(address, value.to_bytes(8, "little"))

    def perform(self, letter: str) -> None:
        """Carry out one line."""
        node = self.image.address("list_next")
        match letter:
            case "A":
                self.kimages.memory.write(self.image.paddr, _FREED * 0x300)
                self.freed = True
            case "B":
                self.store(self.read(node) + 8, self.read(node + 8))
            case "C":
                self.locked = False
            case "D":
                self.store(node, _POISON)
                self.store(node + 8, _POISON)
            case "E":
                self.locked = True
            case "F":
                self.store(self.read(node + 8), self.read(node))
            case "G":
                self.inits += 1

    def walk(self, offset: int = 0) -> list[int]:
        """What a reader meets along next (or prev: 8)."""
        nodes: list[int] = []
        node = self.read(HOST_DATA + offset)
        while node != HOST_DATA and len(nodes) < 10:
            nodes.append(node)
            node = self.read(node + offset)
        return nodes


def _three() -> _List:
    kimages = KimageList(PhysicalMemory([(0, HOST_END)]))
    kimages.initialise()
    for _ in range(3):
        image = kimages.allocate()
        assert image is not None
        kimages.add_to_list(image)
    return _List(kimages, list(kimages)[1])


def judge(order: Order, _seed: int) -> Verdict:
    """Carry the lines out; between two of them, a reader, or another CPU that removes the image's neighbour."""
    for check in (_alone, _with_a_reader, _with_another_remover):
        verdict = check(order)
        if verdict is not None:
            return verdict
    return Verdict(
        Outcome.PASSED,
        "The image left the list both ways, its memory was freed, and the mutex is free. A reader between any two steps"
        " met whole nodes only; another CPU that removed the neighbour waited for its turn.",
    )


def _alone(order: Order) -> Verdict | None:
    state = _three()
    first, _, third = state.walk()
    for number, letter in enumerate(order.letters, start=1):
        try:
            state.perform(letter)
        except _OopsError as error:
            return not_yet(
                f"This step used a pointer in the image that is to go: {error}.",
                order.at(number),
                "What do the two stores read, and what had become of it?",
            )
    if state.inits:
        return not_yet(
            "A CPU was sent INIT. v1 does no such thing: to remove an image stops nobody, and no record says which CPU"
            " runs it.",
            order.place("G"),
            "Leave it out: this is about a list, and a running kernel needs no entry in it.",
        )
    if state.kimages.memory.read_u64(first) != third:
        return not_yet(
            "A walk along next still meets the image.", "", "Whose next leads to it, and where must that lead?"
        )
    if state.kimages.memory.read_u64(third + 8) != first:
        return not_yet(
            "A walk along next no longer meets the image; along prev it does. The next removal would follow that"
            " pointer.",
            "",
            "A list has two directions: two stores.",
        )
    if not state.freed:
        return not_yet("The image is in no list, and its memory is lost for ever.", "", "Who gives it back?")
    if state.locked:
        return not_yet(
            "The mutex is still held: whoever wants the list next waits for ever.", order.place("E"), "Give it back."
        )
    return None


def _with_a_reader(order: Order) -> Verdict | None:
    """A reader takes the mutex if it is free, and walks."""
    for gap in range(1, len(order.letters)):
        state = _three()
        for letter in order.letters[:gap]:
            state.perform(letter)
        if state.locked:
            continue
        where = f"between {order.at(gap)} and {order.at(gap + 1)}"
        try:
            forward, backward = state.walk(), state.walk(8)
        except _OopsError as error:
            return not_yet(
                f"A reader of /proc/multikernel took the mutex, which was free, and walked the list: {error}.",
                where,
                "As long as the list leads to the image, its memory must be there.",
            )
        if forward != backward[::-1]:
            return not_yet(
                "Another CPU took the mutex, which was free, and found a list that is not whole: along next"
                f" {len(forward)} images, along prev {len(backward)}.",
                where,
                "Between the two stores nobody may be let in.",
            )
    return None


def _with_another_remover(order: Order) -> Verdict | None:
    """Another CPU removes and frees the next image, if it gets the mutex."""
    for gap in range(len(order.letters)):
        state = _three()
        for letter in order.letters[:gap]:
            state.perform(letter)
        neighbour = state.walk()[-1]
        if state.locked or gap == 0:
            continue
        before, after = state.read(neighbour + 8), state.read(neighbour)
        state.store(before, after)
        state.store(after + 8, before)
        state.kimages.memory.write(neighbour, _FREED * 16)
        for letter in order.letters[gap:]:
            state.perform(letter)
        if state.kimages.memory.read(neighbour, 16) != _FREED * 16:
            return not_yet(
                "Another CPU removed the neighbour and freed it. Then your store went into the freed memory.",
                f"after {order.at(gap)}",
                "From the first pointer that is read to the last that is stored, the mutex must be held.",
            )
    return None


removal = forms.parsons(
    "06.9",
    "Out of the list",
    LINES,
    judge,
    (
        "Who else may look at the list meanwhile, and what must that one never meet?",
        "Under the mutex: two stores that lead past the image. After them nothing leads to it, and it can be freed.",
        "Lock; two stores, in any order; unlock; kfree. One line is no part of it, and one may stay out.",
    ),
    (
        WrongOrder("EAFBC", "freed first", "had been freed"),
        WrongOrder("AEFBC", "freed before the lock", "had been freed"),
        WrongOrder("ECFBA", "unlocked before unlinking", "a list that is not whole"),
        WrongOrder("FBA", "no mutex", "a list that is not whole"),
        WrongOrder("EFCA", "one direction only", "along prev it does"),
        WrongOrder("EBCA", "the other direction only", "still meets the image"),
        WrongOrder("EDFBCA", "poisoned first", "where no memory is"),
        WrongOrder("EFBC", "not freed", "lost for ever"),
        WrongOrder("EFBA", "not unlocked", "waits for ever"),
        WrongOrder("GEFBCA", "the CPU stopped", "stops nobody"),
    ),
    also=("EBFCA", "EFBDCA", "EFBAC", "EFBCDA"),
)
