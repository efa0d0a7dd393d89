"""C structs, declared once: viewed in guest RAM from Python, offsets handed to the assembler and the compiler.

A :class:`Struct` follows the x86-64 System V ABI: each field is aligned to its size, the whole to its largest field.
Linux hands offsets to its assembly in the same way (``asm-offsets.c``).
"""

import struct as _struct
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Field", "Memory", "Struct", "View"]

_FORMATS = {"u8": "<B", "s8": "<b", "u16": "<H", "s16": "<h", "u32": "<I", "s32": "<i", "u64": "<Q", "s64": "<q"}
_C_TYPES = {
    "u8": "unsigned char",
    "s8": "signed char",
    "u16": "unsigned short",
    "s16": "short",
    "u32": "unsigned int",
    "s32": "int",
    "u64": "unsigned long",
    "s64": "long",
}


class Memory(Protocol):
    """What a view needs of a memory."""

    def read(self, paddr: int, size: int) -> bytes:
        """``size`` bytes from physical address ``paddr``."""

    def write(self, paddr: int, data: bytes) -> None:
        """Store ``data`` at physical address ``paddr``."""


@dataclass(frozen=True)
class Field:
    """A field: its C name, its type (``u8`` ... ``s64``), and how many of them (1: a scalar)."""

    name: str
    type: str
    count: int = 1

    @property
    def width(self) -> int:
        """Bytes of one element."""
        return _struct.calcsize(_FORMATS[self.type])


class Struct:
    """The layout of a C struct.

    Attributes:
        name: its C tag.
        offsets: byte offset of each field.
        size: bytes, with padding.
    """

    def __init__(self, name: str, *fields: Field) -> None:
        self.name = name
        self.fields = {field.name: field for field in fields}
        self.offsets: dict[str, int] = {}
        end = 0
        for field in fields:
            self.offsets[field.name] = end = -(-end // field.width) * field.width
            end += field.width * field.count
        align = max(field.width for field in fields)
        self.size = -(-end // align) * align

    def __call__(self, memory: Memory, paddr: int) -> "View":
        """This struct as it lies at ``paddr``."""
        return View(self, memory, paddr)

    def c_declaration(self) -> str:
        """The struct in C, with assertions that the compiler lays it out alike."""
        lines = [f"struct {self.name} {{"]
        for field in self.fields.values():
            array = f"[{field.count}]" if field.count > 1 else ""
            lines.append(f"\t{_C_TYPES[field.type]} {field.name}{array};")
        lines.append("};")
        lines.append(f'_Static_assert(sizeof(struct {self.name}) == {self.size}, "{self.name}");')
        for name, offset in self.offsets.items():
            check = f"__builtin_offsetof(struct {self.name}, {name}) == {offset}"
            lines.append(f'_Static_assert({check}, "{self.name}.{name}");')
        return "\n".join(lines) + "\n"


class View:
    """One struct in a memory: fields are read and written where they lie."""

    def __init__(self, layout: Struct, memory: Memory, paddr: int) -> None:
        self.layout = layout
        self.memory = memory
        self.paddr = paddr

    def address(self, name: str, index: int = 0) -> int:
        """Physical address of a field (of its element ``index``)."""
        field = self.layout.fields[name]
        if not 0 <= index < field.count:
            raise ValueError(f"index of {self.layout.name}.{name} must be 0 to {field.count - 1}, not {index!r}")
        return self.paddr + self.layout.offsets[name] + index * field.width

    def get(self, name: str, index: int = 0) -> int:
        """Value of a field (of its element ``index``)."""
        field = self.layout.fields[name]
        value: int = _struct.unpack(_FORMATS[field.type], self.memory.read(self.address(name, index), field.width))[0]
        return value

    def set(self, name: str, value: int, index: int = 0) -> None:
        """Store ``value`` in a field.

        Raises:
            ValueError: the value does not fit the field's type.
        """
        field = self.layout.fields[name]
        try:
            data = _struct.pack(_FORMATS[field.type], value)
        except _struct.error:
            raise ValueError(f"{self.layout.name}.{name} must be a {field.type}, not {value!r}") from None
        self.memory.write(self.address(name, index), data)

    def get_bytes(self, name: str, size: int | None = None) -> bytes:
        """The bytes of a field, the first ``size`` of them."""
        field = self.layout.fields[name]
        return self.memory.read(self.address(name), field.width * field.count if size is None else size)

    def set_bytes(self, name: str, data: bytes) -> None:
        """Store ``data`` at the beginning of a field.

        Raises:
            ValueError: the data is longer than the field.
        """
        field = self.layout.fields[name]
        if len(data) > field.width * field.count:
            raise ValueError(
                f"{self.layout.name}.{name} must take at most {field.width * field.count} bytes, not {len(data)!r}"
            )
        self.memory.write(self.address(name), data)
