"""Exercise 01.5: the steps of kexec_load for a multikernel image, put into order.

The chosen steps are carried out on a host: for a good image; for one whose segments overlap; and with another CPU that
calls kexec_load at each moment in between.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mklab.errors import KexecError
from mklab.kernel.host import Host
from mklab.kernel.kexec import KEXEC_TYPE_MULTIKERNEL, PAGE_SIZE
from mklab.kernel.kexec_core import kimage_load_page, sanity_check_segment_list
from mklab.kernel.kimage_pages import kimage_add_page, kimage_alloc_control_pages, kimage_alloc_page
from mklab.kernel.machine_kexec import machine_kexec_prepare
from mklab.lab import forms
from mklab.lab.defects.stage import booted
from mklab.lab.exercise import not_yet
from mklab.lab.forms.parsons import Order, WrongOrder
from mklab.lab.verdict import Outcome, Verdict
from mklab.structs import View

__all__ = ["loadpath"]

_AT = 0x3000000
_OLD, _OURS, _OTHERS = b"\xcc", b"\xaa", b"\xbb"
_GOOD = ((_AT, 2 * PAGE_SIZE),)
_BAD = ((_AT, 2 * PAGE_SIZE), (_AT + PAGE_SIZE, PAGE_SIZE))

LINES = {
    "A": "kimage_load_multikernel_segment(kimage, i) for each segment i",
    "B": "kimage_alloc_control_pages(kimage)",
    "C": "kexec_unlock()",
    "D": "sanity_check_segment_list(kimage)",
    "E": "kimage_add_to_list(kimage)",
    "F": "kimage_set_destination(kimage, mem) and kimage_add_page(kimage, page) for each page",
    "G": "kexec_trylock(), or return -EBUSY",
    "H": "kimage = do_kimage_alloc_init(), with the caller's segments",
    "I": "machine_kexec_prepare(kimage)",
}
"""The steps, and three that belong to an ordinary image: B, F and I."""


class _NoImageError(Exception):
    """A step needs the kimage, and there is none yet."""


@dataclass
class _Caller:
    """One process that calls kexec_load, and carries out lines.

    Attributes:
        host: whose.
        segments: ``(mem, memsz)`` of each.
        byte: what its image is made of.
        image: its kimage, once there is one.
        locked: whether it holds kexec_lock.
    """

    host: Host
    segments: tuple[tuple[int, int], ...]
    byte: bytes
    image: View | None = None
    locked: bool = False
    described: list[dict[str, Any]] = field(default_factory=list)

    def perform(self, letter: str) -> None:
        """Carry out one line.

        Raises:
            KexecError: the kernel refuses.
            _NoImageError: there is no kimage yet.
        """
        steps: dict[str, Callable[[], None]] = {
            "A": self._load,
            "B": self._control_pages,
            "C": self._unlock,
            "D": self._check,
            "E": lambda: self.host.kimages.add_to_list(self._kimage),
            "F": self._add_pages,
            "G": self._lock,
            "H": self._allocate,
            "I": lambda: machine_kexec_prepare(self.host, self._kimage),
        }
        steps[letter]()

    @property
    def _kimage(self) -> View:
        if self.image is None:
            raise _NoImageError
        return self.image

    def _allocate(self) -> None:
        image = self.host.kimages.allocate()
        assert image is not None
        kept = self.host.machine.trace.keep
        self.described = [
            {"mem": mem, "memsz": memsz, "bufsz": memsz, "readable": None, "sha256": kept(self.byte * memsz)["sha256"]}
            for mem, memsz in self.segments
        ]
        image.set("type", KEXEC_TYPE_MULTIKERNEL)
        image.set("start", self.segments[0][0])
        image.set("nr_segments", len(self.segments))
        for index, (mem, memsz) in enumerate(self.segments):
            image.set("segment", mem, 4 * index + 2)
            image.set("segment", memsz, 4 * index + 3)
        self.image = image

    def _check(self) -> None:
        self._kimage.get("nr_segments")
        sanity_check_segment_list(self.described, self.host.machine.memory.size)

    def _load(self) -> None:
        image = self._kimage
        for segment in self.described:
            for page in range(segment["memsz"] // PAGE_SIZE):
                kimage_load_page(self.host, image, segment, page)

    def _control_pages(self) -> None:
        if kimage_alloc_control_pages(self.host.kimages, self._kimage, 1, None) is None:
            raise KexecError(errno.ENOMEM, "kimage_alloc_control_pages", "no page for an image of this type")

    def _add_pages(self) -> None:
        page = kimage_alloc_page(self.host.kimages, self._kimage, self.segments[0][0])
        assert page is not None
        kimage_add_page(self.host.kimages, self._kimage, page)

    def _lock(self) -> None:
        self.host.kexec_trylock("kexec_load")
        self.locked = True

    def _unlock(self) -> None:
        self.host.kexec_unlock()
        self.locked = False


def _power_on(host: Host) -> None:
    """No image, no lock, all pages free; old bytes at the destination, and in page 0."""
    host.kimages.initialise()
    host.machine.poke(0, _OLD * PAGE_SIZE)
    host.machine.poke(_AT, _OLD * 2 * PAGE_SIZE)


def _run(caller: _Caller, letters: str) -> KexecError | None:
    """Carry out the lines; a refusal leaves by the exit, where C is."""
    for letter in letters:
        try:
            caller.perform(letter)
        except KexecError as error:
            if caller.locked and "C" in letters:
                caller.perform("C")
            return error
    return None


def judge(order: Order, _seed: int) -> Verdict:
    """What the chosen steps do."""
    host = booted(1)
    try:
        return _good(host, order) or _overlapping(host, order) or _disturbed(host, order) or _passed(order)
    except _NoImageError:
        first = next(letter for letter in order.letters if letter in "ABDEFI")
        return not_yet(
            "A step used the kimage before there was one: a null pointer, and the caller was killed in the kernel.",
            order.place(first),
            "Which line makes the kimage?",
        )


def _good(host: Host, order: Order) -> Verdict | None:
    """One good image, nobody else."""
    _power_on(host)
    free = host.kimages.pages.free
    error = _run(_Caller(host, _GOOD, _OURS), order.letters)
    memory, loaded = host.machine.memory, list(host.kimages)
    if memory.read(0, PAGE_SIZE) != _OLD * PAGE_SIZE:
        return not_yet(
            "machine_kexec_prepare built its page tables in the control page. This image has none, so the pointer was"
            " 0: page 0 of the machine was cleared.",
            order.place("I"),
            "That step belongs to an image that replaces its loader. Who jumps here, and by whose tables?",
        )
    if error is not None and error.function == "kimage_alloc_control_pages":
        return not_yet(
            "kimage_alloc_control_pages gave no page: it knows ordinary images and crash images. The load of a good"
            " image ended with -ENOMEM.",
            order.place("B"),
            "A control page holds the code that copies an image over its loader. Is anything copied later here?",
        )
    if error is not None:
        return not_yet(f"A good image was refused: {error}.", next_step="Which line refused it?")
    if host.kimages.pages.free != free:
        return not_yet(
            f"{free - host.kimages.pages.free} of the host's pages now hold a list of pages to be copied when the image"
            " is started. A start of a multikernel image reads no such list.",
            order.place("F"),
            "That step belongs to an image that replaces its loader.",
        )
    if memory.read(_AT, 2 * PAGE_SIZE) != _OURS * 2 * PAGE_SIZE:
        return not_yet(
            f"The call returned 0, and at {_AT:#x} lie the old bytes: a start would run them.",
            "",
            "When does a multikernel image get to its destination?",
        )
    if not loaded:
        return not_yet(
            "The call returned 0, and the image is in no list: reboot() would find no image, -EINVAL.",
            "",
            "multikernel_kexec looks for the image in kexec_image_list.",
        )
    if host.kimages.state.get("kexec_lock"):
        return not_yet(
            "The call returned 0 with kexec_lock held: every later load, unload and start gives -EBUSY.",
            order.place("G"),
            "What was taken is to be given back.",
        )
    return None


def _overlapping(host: Host, order: Order) -> Verdict | None:
    """An image whose segments overlap."""
    _power_on(host)
    error = _run(_Caller(host, _BAD, _OURS), order.letters)
    touched = host.machine.memory.read(_AT, 2 * PAGE_SIZE) != _OLD * 2 * PAGE_SIZE
    if error is None:
        return not_yet(
            "An image whose two segments overlap was loaded, the second one over the first.",
            next_step="Which line compares the segments with each other?",
        )
    if touched:
        return not_yet(
            f"An image whose segments overlap was refused with -{error.name}, but its bytes lie at {_AT:#x} already.",
            order.place("D"),
            "A check that comes after the copying protects nothing.",
        )
    if list(host.kimages):
        return not_yet(
            f"An image whose segments overlap was refused with -{error.name}, and is in the list all the same: a start"
            " would take it.",
            order.place("E"),
            "Into the list goes only what was checked.",
        )
    return None


def _disturbed(host: Host, order: Order) -> Verdict | None:
    """Another CPU calls kexec_load between two steps, with an image for the same place."""
    for gap in range(1, len(order.letters)):
        _power_on(host)
        ours, other = _Caller(host, _GOOD, _OURS), _Caller(host, _GOOD, _OTHERS)
        for letter in order.letters[:gap]:
            ours.perform(letter)
        if _run(other, "GHDAEC") is not None:
            continue
        if _run(ours, order.letters[gap:]) is not None:
            continue
        last = [image.paddr for image in host.kimages][-1]
        in_memory = host.machine.memory.read(_AT, 1)
        assert ours.image is not None
        if (last == ours.image.paddr) != (in_memory == _OURS):
            return not_yet(
                "Another CPU called kexec_load while yours was under way, and got the lock. The list now says that your"
                " image was loaded last; in memory lie the bytes of the other one. No order of two whole calls gives"
                " that.",
                f"between {order.at(gap)} and {order.at(gap + 1)}",
                "From the first byte that is copied to the entry in the list, nobody else may be let in.",
            )
    return None


def _passed(order: Order) -> Verdict:
    last = "" if order.letters == "GHDAEC" else " Linux has the order GHDAEC; yours works as well."
    return Verdict(
        Outcome.PASSED,
        "A good image was copied and listed. An image whose segments overlap was refused with the old bytes untouched."
        f" Another CPU that called kexec_load in between got -EBUSY, or did no harm.{last}",
    )


loadpath = forms.parsons(
    "01.5",
    "The way of a load",
    LINES,
    judge,
    (
        "Three lines belong to an ordinary image, which lies elsewhere until it is copied over its loader.",
        "First what can be refused without a trace, then what leaves one. Who copies holds the lock.",
        "Lock; make the kimage; check it; copy; put it into the list; unlock: six lines.",
    ),
    (
        WrongOrder("GHBDAEC", "with control pages", "ended with -ENOMEM"),
        WrongOrder("GHDIAEC", "with machine_kexec_prepare", "page 0 of the machine was cleared"),
        WrongOrder("GHDFAEC", "with a list of pages", "reads no such list"),
        WrongOrder("GHDEC", "nothing is copied", "a start would run them"),
        WrongOrder("GHDAC", "not in the list", "is in no list"),
        WrongOrder("GHDAE", "the lock is kept", "with kexec_lock held"),
        WrongOrder("GHAEC", "no check", "the second one over the first"),
        WrongOrder("GHADEC", "checked too late", "protects nothing"),
        WrongOrder("GHEDAC", "listed before it is checked", "is in the list all the same"),
        WrongOrder("HDAGEC", "locked too late", "got the lock"),
        WrongOrder("GHDACE", "unlocked too early", "got the lock"),
        WrongOrder("HDAE", "no lock", "got the lock"),
        WrongOrder("GDHAEC", "checked before there is one", "a null pointer"),
    ),
    also=("HDGAEC", "HGDAEC", "GHDEAC"),
)
