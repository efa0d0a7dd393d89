"""kexec_image_list as it lies in guest RAM: its nodes, and where each pointer leads (RFC v1 patch 6/7).

A pointer leads to a node's ``list_head`` inside its kimage, not to the kimage itself. What is wrong with one is said as
CONFIG_DEBUG_LIST would find it: ``next->prev`` and ``prev->next`` must lead back.
"""

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from mklab.recording import Description, Found, Frame
from mklab.widgets.memory import Layout

__all__ = ["LIST", "TYPES", "Images", "Loaded", "Pointer", "Segment", "images"]

LIST = "kexec_image_list"
TYPES = {0: "default", 1: "crash", 2: "multikernel"}
"""``kimage.type`` (include/linux/kexec.h), as /proc/multikernel names it."""
_MULTIKERNEL = 2
_SEGMENT_WORDS = 4
"""``struct kexec_segment``: buf, bufsz, mem, memsz."""
_MOST = 256
"""Nodes that are followed in each direction."""
_WORD = 8


@dataclass(frozen=True)
class Pointer:
    """``next`` or ``prev`` of a node.

    Attributes:
        name: which.
        address: where it lies.
        value: where it points.
        target: number of the node whose list_head lies there; None: no node's.
        why: what is wrong with it; empty where it is in order.
    """

    name: str
    address: int
    value: int
    target: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Segment:
    """``number``, from 0, of an image's segments: memory from ``start`` up to ``end``, physical."""

    number: int
    start: int
    end: int


@dataclass(frozen=True)
class Loaded:
    """A node of the list.

    Attributes:
        number: 0 for the head, then 1, 2, ... as the list leads to them.
        link, address: physical addresses of its ``list_head`` and of its kimage.
        next, prev: its pointers.
        fields: the kimage's fields; empty for the head, and where no memory is.
        only_back: whether only ``prev`` leads to it.
    """

    number: int
    link: int
    address: int
    next: Pointer
    prev: Pointer
    fields: dict[str, Any] = field(default_factory=dict)
    only_back: bool = False

    @property
    def name(self) -> str:
        """``head``, ``node 1``, ..."""
        return f"node {self.number}" if self.number else "head"

    @property
    def kind(self) -> str:
        """Its type in words."""
        return TYPES.get(self.fields.get("type", -1), "unknown")

    @property
    def kernel(self) -> str:
        """The kernel that it holds, as its ``id`` says; empty where it says nothing."""
        number = self.fields.get("id", 0)
        return f"kernel {number}" if number else ""

    @property
    def multikernel(self) -> bool:
        """Whether it was loaded to run beside the host."""
        return self.fields.get("type") == _MULTIKERNEL

    @property
    def segments(self) -> list[Segment]:
        """Its segments; at most so many as a kimage has room for, whatever ``nr_segments`` says."""
        words = self.fields.get("segment", [])
        held = [words[at : at + _SEGMENT_WORDS] for at in range(0, len(words), _SEGMENT_WORDS)]
        return [
            Segment(number, one[2], one[2] + one[3])
            for number, one in enumerate(held[: self.fields.get("nr_segments", 0)])
        ]


@dataclass(frozen=True)
class Images:
    """The list.

    Attributes:
        nodes: the head, then the nodes.
        found: where the head lies.
        size: bytes of a kimage.
        text: the file in /proc that tells of it.
        more: whether there are nodes that are not among these.
    """

    nodes: list[Loaded]
    found: Found
    size: int
    text: str
    more: bool = False

    @property
    def begun(self) -> bool:
        """Whether the host has initialised the list."""
        head = self.nodes[0]
        return bool(head.next.value or head.prev.value)

    @property
    def walked(self) -> list[Loaded]:
        """The nodes that ``next`` leads to from the head."""
        return [node for node in self.nodes[1:] if not node.only_back]

    @property
    def wrong(self) -> list[tuple[Loaded, Pointer]]:
        """The pointers that are not in order."""
        return [(node, one) for node in self.nodes for one in (node.next, node.prev) if one.why]


def images(frame: Frame, description: Description, layout: Layout) -> Images | None:
    """The list as it lies in RAM at ``frame``; None where the recording does not hold it."""
    found = next((one for one in layout.places if one.place.name == LIST), None)
    if found is None or frame.read(found.address, 2 * _WORD) is None:
        return None
    struct = description.struct(found.place.struct)
    inside = struct.offsets[found.place.link]
    heap = next((one for one in layout.places_at(found.address) if one.place.text), None)

    def in_heap(address: int) -> bool:
        return heap is None or heap.address <= address < heap.address + heap.size

    forward = frame.nodes(found)
    more = len(forward) > _MOST
    links = [node.link for node in forward]
    if len(links) > 1 and forward[-1].prev != links[-2]:
        # What does not point back is a node only where a kimage can be: not outside, and not inside another one.
        last = links.pop()
        known = [*links, *_backwards(frame, found.address, last)]
        if in_heap(last - inside) and not any(0 < abs(last - link) < struct.size for link in known[1:]):
            links.append(last)
    # Where the walk breaks off, prev may still lead to nodes that next does not.
    back = list(takewhile(lambda link: in_heap(link - inside), _backwards(frame, found.address, *links)))
    graph = _Graph([*links, *reversed(back)], inside, struct.size, frame, layout)
    nodes = []
    for number, link in enumerate(graph.links):
        address = link - inside if number else link
        fields = frame.fields(Found(found.place, found.kernel, address, struct.size)) if number else {}
        pointers = (graph.pointer(link, "next"), graph.pointer(link, "prev"))
        nodes.append(Loaded(number, link, address, *pointers, fields, number >= len(links)))
    return Images(nodes, found, struct.size, heap.place.text if heap else "", more)


def _backwards(frame: Frame, head: int, *known: int) -> list[int]:
    """The list_heads to which prev leads from the head, up to one that is ``known``."""
    links: list[int] = []
    at = _u64(frame, head + _WORD)
    while at is not None and at != head and at not in known and at not in links and len(links) < _MOST:
        links.append(at)
        at = _u64(frame, at + _WORD)
    return links


class _Graph:
    """Nodes and where their pointers lead."""

    def __init__(self, links: list[int], inside: int, size: int, frame: Frame, layout: Layout) -> None:
        self.links = links
        self._inside, self._size, self._layout = inside, size, layout
        self._pointers = {
            link: {"next": _u64(frame, link) or 0, "prev": _u64(frame, link + _WORD) or 0} for link in links
        }

    def pointer(self, link: int, name: str) -> Pointer:
        """``next`` or ``prev`` of the node at ``link``."""
        value, address = self._pointers[link][name], link + (_WORD if name == "prev" else 0)
        if value not in self._pointers:
            return Pointer(name, address, value, None, self._elsewhere(value))
        target, other = self.links.index(value), "prev" if name == "next" else "next"
        back = self._pointers[value][other]
        # Of two pointers that do not match, the one is wrong that a third one contradicts.
        contradicted = back != link and back in self._pointers and self._pointers[back][name] == value
        of = f"node {target}" if target else "the head"
        why = f"{other} of {of} is {back:#x}, not {link:#x}" if contradicted else ""
        return Pointer(name, address, value, target, why)

    def _elsewhere(self, value: int) -> str:
        for number, link in enumerate(self.links[1:], 1):
            start = link - self._inside
            if start <= value < start + self._size:
                return f"inside node {number}, {value - start:#x} behind its beginning, not at its list_head"
        if not value:
            return "NULL"
        words = self._layout.words(value)
        return "no memory is there" if words == "no memory" else f"in {words}, where no kimage is"


def _u64(frame: Frame, address: int) -> int | None:
    data = frame.read(address, _WORD)
    return None if data is None else int.from_bytes(data, "little")
