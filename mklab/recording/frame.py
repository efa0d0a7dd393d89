"""How a machine stood at one look: registers, local APICs, memory, and what lies there decoded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mklab.recording.bits import Descriptor, descriptor, gate, names
from mklab.recording.contents import Write
from mklab.recording.description import Place
from mklab.recording.look import Line, Look
from mklab.recording.source import Source, SourceLine
from mklab.recording.translation import Translation, translation
from mklab.structs import Struct

if TYPE_CHECKING:
    from mklab.recording.film import Film

__all__ = ["Found", "Frame", "Node"]

_STATES = {"running": "runs", "wait-for-SIPI": "waits for a SIPI"}
"""States of a CPU that are told otherwise than by ``is``."""
_MOST_NODES = 256
"""Nodes of a list that are followed: a corrupt one may have no end."""


@dataclass(frozen=True)
class Found:
    """A place as it is in one kernel.

    Attributes:
        place: the place.
        kernel: the kernel whose symbol it is; empty where it has none.
        address: physical address.
        size: bytes.
    """

    place: Place
    kernel: str
    address: int
    size: int


@dataclass(frozen=True)
class Node:
    """A node of a linked list as it lies in RAM; the first is the list's head.

    Attributes:
        link: physical address of its ``list_head``.
        address: physical address of the struct it lies in; of the head itself for the head.
        next, prev: its pointers, wherever they lead.
        fields: the struct's fields by name; empty for the head.
        why: what is wrong with it, in words; empty where it is in order.
    """

    link: int
    address: int
    next: int
    prev: int
    fields: dict[str, Any]
    why: str = ""


class Frame:
    """The machine at one look.

    Attributes:
        look: the look. It may be earlier than the event asked for: the machine was last looked at then.
    """

    def __init__(self, film: "Film", look: Look) -> None:
        self._film = film
        self.look = look

    # CPUs

    def registers(self, cpu: int) -> dict[str, int]:
        """The registers of ``cpu`` by name; a segment register's hidden parts as ``cs.base``, ``cs.limit``, ..."""
        return self._film.registers[cpu].at(self.look.number)

    def bits(self, cpu: int) -> dict[str, list[str]]:
        """The named bits that are set in the control registers of ``cpu``, by register."""
        registers = self.registers(cpu)
        return {name: names(name, registers[name]) for name in ("cr0", "cr4", "efer", "rflags") if name in registers}

    def changed(self, cpu: int) -> dict[str, tuple[int | None, int | None]]:
        """The registers of ``cpu`` that changed at this look, old and new."""
        return self._film.registers[cpu].changed(self.look.number)

    def apic(self, cpu: int) -> dict[str, Any]:
        """The local APIC of ``cpu``: registers by name, ``irr`` and ``isr`` as lists of vectors, ``icr_*`` decoded."""
        return self._film.apics[cpu].at(self.look.number)

    def apic_changed(self, cpu: int) -> dict[str, tuple[Any, Any]]:
        """What changed in the local APIC of ``cpu`` at this look, old and new."""
        return self._film.apics[cpu].changed(self.look.number)

    def where(self, cpu: int) -> dict[str, Any]:
        """Physical addresses of what ``cpu`` uses: ``rip``, ``stack``, ``gdt``, ``idt`` (none: not mapped).

        ``walk`` is the page walk of the next instruction: ``[level, physical address of the entry, entry]`` each.
        """
        found = self._film.where[cpu].at(self.look.number)
        found.pop("code", None)
        return found

    def code(self, cpu: int) -> list[Line]:
        """The instructions that ``cpu`` executes next."""
        number = self._film.where[cpu].at(self.look.number).get("code")
        return [] if number is None else self._film.blocks[number]

    def source(self, cpu: int) -> list[SourceLine | None]:
        """For each of :meth:`code` the source line it was made from; None where that is not known."""
        sources = {source.place: source for source in self._film.description.sources}
        known = [(found, sources[found.place.name]) for found in self.places() if found.place.name in sources]
        return [self._source(self.walk(cpu, line.linear).paddr, line, known) for line in self.code(cpu)]

    def _source(self, paddr: int | None, line: Line, known: list[tuple[Found, Source]]) -> SourceLine | None:
        for found, source in known:
            if paddr is not None and found.address <= paddr < found.address + found.size:
                return source.at(paddr - found.address, line.code)
        return None

    def gates(self, cpu: int) -> list[tuple[str, bool]]:
        """What the highest pending interrupt of ``cpu`` must pass, in words, and whether it does. Empty: none waits.

        SDM "Handling Interrupts", "Task and Processor Priorities".
        """
        apic, registers = self.apic(cpu), self.registers(cpu)
        if not apic.get("irr"):
            return []
        vector, ppr, flags = max(apic["irr"]), apic["ppr"], registers["rflags"]
        state = self._film.recording.span_at(cpu, self.look.event).state
        return [
            (f"pending: 0x{vector:02X} is set in IRR", True),
            (f"enabled: SVR bit 8 is {apic['svr'] >> 8 & 1}", bool(apic["svr"] & 0x100)),
            (f"priority: class {vector >> 4} > {ppr >> 4} of PPR", vector >> 4 > ppr >> 4),
            (f"RFLAGS.IF is {flags >> 9 & 1}", bool(flags & 0x200)),
            ("no shadow of STI or MOV SS", not registers["shadow"] or state == "halted"),
            (f"the CPU {_STATES.get(state, f'is {state}')}", state in ("running", "halted")),
        ]

    # Memory

    def walk(self, cpu: int, linear: int) -> Translation:
        """The way of a linear address through the page tables of ``cpu``, level by level, or what it ends in."""
        registers = self.registers(cpu)
        return translation(_Held(self), _Control(*(registers[name] for name in ("cr0", "cr3", "cr4", "efer"))), linear)

    def read(self, address: int, size: int) -> bytes | None:
        """``size`` bytes at a physical address; None where there is no RAM, or the recording does not hold them."""
        return self._film.contents.read(self.look.number, address, size)

    def writes(self) -> list[Write]:
        """The bytes that changed at this look, by the doing of ``look.cpu`` (accessed bits of page tables among them).

        A store of what lay there already is not seen, nor one that was undone before the look.
        """
        return self._film.contents.writes(self.look.number)

    def last_writer(self, address: int) -> Look | None:
        """The last look up to this one at which the page of ``address`` changed."""
        number = self._film.contents.last_write(self.look.number, address)
        return None if number is None else self._film.looks[number]

    def images(self) -> dict[str, dict[str, Any]]:
        """The kernels in memory by name: ``ranges``, ``entry`` and ``symbols``, physical addresses."""
        return self._film.images.at(self.look.number)

    def kernel_at(self, address: int) -> str | None:
        """The kernel in whose segments ``address`` lies; of several the one loaded last."""
        for name, image in reversed(self.images().items()):
            if any(start <= address < end for start, end in image["ranges"]):
                return name
        return None

    def text(self, name: str) -> str | None:
        """What a file in ``/proc`` said; None where nobody has looked."""
        found: str | None = self._film.texts.at(self.look.number).get(name)
        return found

    # What lies there

    def places(self) -> Iterator[Found]:
        """The places that are known, each in every kernel that has it."""
        description = self._film.description
        for place in description.places:
            size = description.size(place)
            if not place.symbol:
                yield Found(place, place.kernel, place.address, size)
                continue
            for name, image in self.images().items():
                base = image["symbols"].get(place.symbol) if place.kernel in ("", name) else None
                if base is not None and place.pointer:
                    base = self._u64(base)
                if base:
                    yield Found(place, name, base + place.address, size)

    def find(self, name: str, kernel: str = "") -> Found:
        """The place of that name (in ``kernel``; the first one by default).

        Raises:
            ValueError: there is none now.
        """
        for found in self.places():
            if found.place.name == name and kernel in ("", found.kernel):
                return found
        of = f" of {kernel}" if kernel else ""
        raise ValueError(f"name must be a place{of} that is known at event {self.look.event}, not {name!r}")

    def fields(self, found: Found, index: int = 0) -> dict[str, Any]:
        """The struct at ``found`` (number ``index`` of several): numbers, lists of numbers, and bytes in hex.

        Empty where the recording does not hold it.
        """
        struct = self._film.description.struct(found.place.struct)
        return self._fields(struct, found.address + index * struct.size)

    def _fields(self, struct: Struct, address: int) -> dict[str, Any]:
        data = self.read(address, struct.size)
        if data is None:
            return {}
        view = struct(_Bytes(data), 0)
        decoded: dict[str, Any] = {}
        for field in struct.fields.values():
            if field.count == 1:
                decoded[field.name] = view.get(field.name)
            elif field.width == 1:
                decoded[field.name] = view.get_bytes(field.name).hex()
            else:
                decoded[field.name] = [view.get(field.name, index) for index in range(field.count)]
        return decoded

    def nodes(self, found: Found) -> list[Node]:
        """The nodes of the list whose head is at ``found``, the head first, as ``next`` leads from one to the next.

        The last one has a ``why`` where the list is corrupt: it leads to no memory, in a circle, or half back.
        """
        struct = self._film.description.struct(found.place.struct)
        inside = struct.offsets[found.place.link]
        nodes: list[Node] = []
        seen: set[int] = set()
        link, before = found.address, None
        while len(nodes) < _MOST_NODES:
            pointers = self.read(link, 16)
            if pointers is None:
                last = nodes[-1]
                nodes[-1] = _with(last, f"next leads to {last.next:#x}, where there is no memory")
                return nodes
            following, previous = (int.from_bytes(pointers[at : at + 8], "little") for at in (0, 8))
            head = link == found.address
            address = link if head else link - inside
            fields = {} if head else self._fields(struct, address)
            seen.add(link)
            nodes.append(Node(link, address, following, previous, fields))
            if before is not None and previous != before:
                nodes[-1] = _with(nodes[-1], f"prev is {previous:#x}, not {before:#x}")
                return nodes
            if following == found.address:
                end = nodes[0].prev
                if end != link:
                    nodes[0] = _with(nodes[0], f"prev is {end:#x}, not {link:#x}")
                return nodes
            if following in seen:
                nodes[-1] = _with(nodes[-1], f"next leads back to {following:#x}: a circle that misses the head")
                return nodes
            link, before = following, link
        nodes[-1] = _with(nodes[-1], f"more than {_MOST_NODES} nodes")
        return nodes

    def gdt(self, cpu: int) -> list[tuple[int, Descriptor]]:
        """The global descriptor table of ``cpu``: selector and entry. Empty where the recording does not hold it."""
        registers, base = self.registers(cpu), self.where(cpu).get("gdt")
        table = None if base is None else self.read(base, min(registers["gdtr.limit"], 0xFFF) + 1)
        if table is None:
            return []
        long, entries, at = bool(registers["efer"] & 1 << 10), [], 0
        while at + 8 <= len(table):
            # Slot 0 is never read, and some keep data there.
            system = long and at > 0 and any(table[at : at + 8]) and not table[at + 5] & 0x10
            size = 16 if system else 8
            entries.append((at, descriptor(table[at : at + size], long=long)))
            at += size
        return entries

    def idt_entry(self, cpu: int, vector: int) -> Descriptor | None:
        """The gate of ``vector`` in the interrupt descriptor table of ``cpu``.

        None in real mode, where there are no gates, beyond the table's limit, and where the recording does not hold it.
        """
        registers, base = self.registers(cpu), self.where(cpu).get("idt")
        size = 16 if registers["efer"] & 1 << 10 else 8
        if base is None or not registers["cr0"] & 1 or (vector + 1) * size - 1 > registers["idtr.limit"]:
            return None
        data = self.read(base + vector * size, size)
        return None if data is None else gate(data)

    def _u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8) or b"", "little")


def _with(node: Node, why: str) -> Node:
    return Node(node.link, node.address, node.next, node.prev, node.fields, why)


@dataclass(frozen=True)
class _Control:
    """The control registers that translate addresses."""

    cr0: int
    cr3: int
    cr4: int
    efer: int


class _Held:
    """The memory that a frame's recording holds."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def contains(self, paddr: int, size: int) -> bool:
        return self._frame.read(paddr, size) is not None

    def read(self, paddr: int, size: int) -> bytes:
        return self._frame.read(paddr, size) or b""


class _Bytes:
    """Bytes that a struct's view can look at."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, paddr: int, size: int) -> bytes:
        return self._data[paddr : paddr + size]

    def write(self, paddr: int, data: bytes) -> None:
        raise TypeError(f"what is recorded must stay as it was, not become {data!r} at {paddr:#x}")
