"""What lies where in memory, as plain data: a kernel's side hands it over, so that a recording need know no kernel."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from mklab.recording.source import Source
from mklab.structs import Field, Struct

__all__ = ["Description", "Place"]


@dataclass(frozen=True)
class Place:
    """Something in memory that has a name.

    Its physical address is ``address``, after the address of ``symbol`` if one is named; with ``pointer`` the 64-bit
    number that lies at the symbol counts, not the symbol's own address. A place with a symbol exists once in each
    kernel whose image has it (or in ``kernel`` only).

    Attributes:
        name: what Linux or the RFC calls it.
        role: what it is for, in a word or two: ``page tables``, ``messages``, ``trampoline``, ...
        address: physical address, or offset from the symbol.
        symbol, pointer, kernel: see above.
        struct: the struct that lies there; empty: just bytes.
        count: how many of them, one after the other.
        size: bytes, where there is no struct.
        link: for the head of a linked list: the field of ``struct`` (``next``) by which its nodes hang together. What
            lies at the place is then the head, two pointers.
        text: the file in ``/proc`` that tells what lies here, where no symbol is needed to find it.
    """

    name: str
    role: str
    address: int = 0
    symbol: str = ""
    pointer: bool = False
    kernel: str = ""
    struct: str = ""
    count: int = 1
    size: int = 0
    link: str = ""
    text: str = ""


@dataclass(frozen=True)
class Description:
    """The places of a machine's memory, the structs that lie there, and the sources of code.

    Attributes:
        structs: the structs by name.
        places: where they, and other things, lie.
        sources: what the code at some of the places was made from.
    """

    structs: Sequence[Struct] = ()
    places: Sequence[Place] = ()
    sources: Sequence[Source] = ()

    def struct(self, name: str) -> Struct:
        """The struct of that name.

        Raises:
            ValueError: there is none.
        """
        for one in self.structs:
            if one.name == name:
                return one
        raise ValueError(f"name must be one of {[one.name for one in self.structs]}, not {name!r}")

    def size(self, place: Place) -> int:
        """Bytes of ``place``."""
        if place.link:
            return 16
        return self.struct(place.struct).size * place.count if place.struct else place.size

    def to_dict(self) -> dict[str, Any]:
        """The description as plain data."""
        return {
            "structs": {one.name: [[f.name, f.type, f.count] for f in one.fields.values()] for one in self.structs},
            "places": [asdict(place) for place in self.places],
            "sources": [asdict(source) for source in self.sources],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        structs = [Struct(name, *(Field(*field) for field in fields)) for name, fields in data["structs"].items()]
        places = [Place(**place) for place in data["places"]]
        return cls(structs, places, [Source(**source) for source in data.get("sources", ())])
