"""The global descriptor table of a CPU: entries decoded, which segment registers selected them, CS bit by bit."""

from dataclasses import dataclass

from mklab.recording import Descriptor, Frame
from mklab.widgets.blocks import changed_bar, code, lines, titled
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing
from mklab.widgets.svg import element, text, width_of

__all__ = ["draw", "tell"]

_MOST = 12
"""Entries that are drawn."""
_SELECTORS = ("cs", "ss", "ds", "es", "fs", "gs", "tr", "ldtr")
_LDT = 4
"""The bit of a selector that means the local table (SDM "Segment Selectors")."""
_FIELDS = (
    ("base 31:24", 56, 8, 76),
    ("G", 55, 1, 26),
    ("D", 54, 1, 26),
    ("L", 53, 1, 26),
    ("AVL", 52, 1, 34),
    ("limit 19:16", 48, 4, 78),
    ("P", 47, 1, 26),
    ("DPL", 45, 2, 34),
    ("S", 44, 1, 26),
    ("type", 40, 4, 36),
    ("base 23:16", 32, 8, 76),
    ("base 15:0", 16, 16, 232),
    ("limit 15:0", 0, 16, 232),
)
"""Name, lowest bit, bits and pixels of each field of a segment descriptor (SDM "Segment Descriptors")."""
_TELLING = ("D", "L", "type")


@dataclass(frozen=True)
class _Entry:
    selector: int
    found: Descriptor
    users: list[str]

    @property
    def kind(self) -> str:
        if not self.selector:
            return "null"
        return f"{self.found.kind}, {self.found.bits}-bit" if self.found.bits else self.found.kind

    @property
    def words(self) -> str:
        if not self.selector:
            return (
                "the CPU never reads it" if self.found.kind == "null" else "the CPU never reads it, whatever it holds"
            )
        if self.found.kind == "null":
            kept = f"; {' '.join(self.users)} keeps what an earlier table held there" if self.users else ""
            return f"empty{kept}"
        access = f", {self.found.access}" if self.found.access else ""
        present = "present" if self.found.present else "NOT PRESENT"
        return f"base {self.found.base:#x}, limit {self.found.limit:#x}, {present}, ring {self.found.dpl}{access}"


def _entries(frame: Frame, cpu: int) -> list[_Entry]:
    registers = frame.registers(cpu)
    users: dict[int, list[str]] = {}
    if registers["cr0"] & 1 and not registers["rflags"] & 1 << 17:
        for name in _SELECTORS:
            selector = registers[name]
            if selector & ~3 and not selector & _LDT:
                users.setdefault(selector & ~7, []).append(name.upper())
    found = [_Entry(selector, entry, users.get(selector, [])) for selector, entry in frame.gdt(cpu)]
    # A table as large as INIT leaves it is mostly empty.
    return found if len(found) <= _MOST else [one for one in found if one.users or one.found.kind != "null"]


def _note(frame: Frame, cpu: int) -> str:
    registers = frame.registers(cpu)
    words = f"GDTR {registers['gdtr.base']:#x}, limit {registers['gdtr.limit']:#x}"
    if not registers["cr0"] & 1:
        return f"{words}; in real mode nobody reads it"
    if registers["cs"] > registers["gdtr.limit"]:
        return f"{words}; CS = {registers['cs']:#x} is no entry of it: CS keeps what it held, until it is loaded"
    return words


def draw(frame: Frame, cpu: int, palette: Palette, width: int) -> Drawing:
    """The table as rows; below it the entry that CS selected, bit by bit."""
    entries = _entries(frame, cpu)
    ink, muted = palette.role("ink"), palette.role("muted")
    content, y = "", 0
    for entry in entries[:_MOST]:
        bold = bool(entry.users)
        left = 64 + width_of("conforming code, 64-bit") * 0.8
        color = ink if bold else muted
        content += code(10, y + 14, f"0x{entry.selector:02x}", color, bold=bold)
        content += text(64, y + 14, entry.kind, color, bold=bold)
        room = width - left - 4
        words, count = lines(left, y + 14, entry.words, room, color)
        content += words
        if bold:
            said = f"selected by {', '.join(entry.users)}"
            more, extra = lines(left, y + 14 + 16 * count, said, room, ink, bold=True)
            content, count = content + more, count + extra
            content += changed_bar(0, y + 3, 16 * count - 2, palette)
        y += 16 * count + 4
    if len(entries) > _MOST:
        content += text(10, y + 14, f"{len(entries) - _MOST} more entries are in the text twin", muted)
        y += 20
    if not entries:
        words, count = lines(0, y + 14, "No table is recorded where GDTR points.", width, muted)
        content, y = content + words, y + 16 * count + 4
    bits = _bits(frame, cpu, palette, width)
    content += element("g", bits.content, transform=f"translate(0 {y + 8})") if bits.height else ""
    height = y + (8 + bits.height if bits.height else 0)
    return titled("Segments (GDT)", _note(frame, cpu), Drawing(content, height), palette, width)


def _bits(frame: Frame, cpu: int, palette: Palette, width: int) -> Drawing:
    """The descriptor that CS selected, field by field, its upper half above its lower one."""
    registers, base = frame.registers(cpu), frame.where(cpu).get("gdt")
    selector = registers["cs"]
    if base is None or not registers["cr0"] & 1 or not selector & ~3 or selector & _LDT:
        return Drawing("", 0)
    data = frame.read(base + (selector & ~7), 8)
    if data is None or (selector & ~7) + 7 > registers["gdtr.limit"]:
        return Drawing("", 0)
    value = int.from_bytes(data, "little")
    if not value:
        return Drawing("", 0)
    ink, muted = palette.role("ink"), palette.role("muted")
    title = f"Entry 0x{selector & ~7:02x}, at {base + (selector & ~7):#x}: 0x{value:016x}"
    content = code(0, 12, title, ink, size=11)
    scale, x, y = min(width, 620) / 464, 0.0, 20
    strong: list[str] = []
    for name, low, bits, pixels in _FIELDS:
        if name == "base 15:0":
            x, y = 0.0, y + 40
        field, telling = value >> low & (1 << bits) - 1, name in _TELLING
        box = {"x": x + 0.6, "y": y, "width": pixels * scale - 0.6, "height": 36, "fill": palette.role("panel")}
        drawn = element(
            "rect", **box, stroke=palette.role("ink" if telling else "axis"), stroke_width=2 if telling else 1
        )
        middle = x + pixels * scale / 2
        drawn += text(middle, y + 14, name, muted, size=11, text_anchor="middle")
        number = f"{field}" if bits < 4 else f"{field:#x}"
        drawn += code(middle, y + 30, number, ink, bold=telling, text_anchor="middle")
        if telling:
            strong.append(drawn)
        else:
            content += drawn
        x += pixels * scale
    return Drawing(content + "".join(strong), y + 40)


def tell(frame: Frame, cpu: int) -> str:
    """The table in words, a line for each entry that is not empty."""
    rows = [f"GDT: {_note(frame, cpu)}"]
    rows += [
        f"0x{entry.selector:02x}  {entry.kind:<16} {entry.words}"
        + (f"  <- {' '.join(entry.users)}" if entry.users else "")
        for entry in _entries(frame, cpu)
    ]
    return "\n".join(rows)
