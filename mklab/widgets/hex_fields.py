"""The bytes around an address, and the fields of the struct that they belong to."""

from dataclasses import dataclass

from mklab.recording import Found
from mklab.widgets.kimage_list import images
from mklab.widgets.memory import whose
from mklab.widgets.memory_state import MemoryState

__all__ = ["WINDOW", "Named", "Window", "name_of_place", "named", "shown_fields", "values_of", "window_of"]

WINDOW = 256
"""Bytes that are shown at once."""
_MOST_FIELDS = 24


@dataclass(frozen=True)
class Named:
    """A field of a struct.

    Attributes:
        name: its C name; that of an element of an array with its index.
        address, size: where it lies, physical, and its bytes.
    """

    name: str
    address: int
    size: int


@dataclass(frozen=True)
class Window:
    """What is shown: ``data`` from ``start`` on, and what ``before`` lay there at the look before (None: unknown)."""

    state: MemoryState
    start: int
    data: bytes
    before: bytes | None

    def changed(self, offset: int) -> bool:
        """Whether the byte at ``offset`` changed at this look."""
        return self.before is not None and self.before[offset] != self.data[offset]


def window_of(state: MemoryState) -> Window | None:
    """256 bytes around the focus; None where the recording holds none."""
    start = state.focus & -WINDOW
    contents, look = state.view.film.contents, state.view.look
    data = contents.read(look, start, WINDOW)
    if data is None:
        return None
    return Window(state, start, data, contents.read(look - 1, start, WINDOW) if look > 0 else None)


def named(state: MemoryState, address: int) -> tuple[str, list[Named]]:
    """The struct around ``address``: what it is, and its fields; nothing where no struct is known."""
    description = state.view.film.description
    frame = state.view.frame
    found = images(frame, description, state.layout) if frame else None
    for node in found.nodes[1:] if found else []:
        if found and node.address <= address < node.address + found.size:
            return f"kimage of {node.name}", _named(state, found.found.place.struct, node.address)
    for one in reversed(state.layout.places_at(address)):
        if one.place.struct and not one.place.link:
            size = description.struct(one.place.struct).size
            index = (address - one.address) // size
            which = f"[{index}]" if one.place.count > 1 else ""
            return f"{name_of_place(one)}{which}", _named(state, one.place.struct, one.address + index * size)
    return "", []


def name_of_place(one: Found) -> str:
    """A place and whose it is: ``the host's trampoline``."""
    return f"{whose(one.kernel)} {one.place.name}" if one.kernel else one.place.name


def _named(state: MemoryState, struct_name: str, base: int) -> list[Named]:
    struct = state.view.film.description.struct(struct_name)
    fields = []
    for field in struct.fields.values():
        address = base + struct.offsets[field.name]
        if field.count == 1 or field.width == 1:
            fields.append(Named(field.name, address, field.width * field.count))
        else:
            fields += [Named(f"{field.name}[{n}]", address + n * field.width, field.width) for n in range(field.count)]
    return fields


def shown_fields(window: Window) -> list[Named]:
    """The fields in the window; of an array what is not zero or has changed."""
    _, fields = named(window.state, window.state.focus)
    end = window.start + len(window.data)
    inside = [one for one in fields if window.start <= one.address and one.address + one.size <= end]
    inside += [one for one in fields if one.address < end < one.address + one.size]
    kept = [one for one in inside if "[" not in one.name or any(_bytes(window, one)) or values_of(window, one)[1]]
    return kept[:_MOST_FIELDS]


def _bytes(window: Window, one: Named) -> bytes:
    at = one.address - window.start
    return window.data[at : at + one.size]


def values_of(window: Window, one: Named) -> tuple[str, str]:
    """A field's value in words, and its old one where it changed at this look."""
    at = one.address - window.start
    now = window.data[at : at + one.size]
    old = window.before[at : at + one.size] if window.before is not None else now
    return _value(now), _value(old) if old != now else ""


def _value(data: bytes) -> str:
    if len(data) <= 8:
        number = int.from_bytes(data, "little")
        return f"{number:#x}" if number > 9 else str(number)
    filled = data.rstrip(b"\0")
    return f"{filled[:8].hex(' ')}{' and on' if len(filled) > 8 else ''}" if filled else "zeros"
