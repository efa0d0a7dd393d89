"""How a linear address becomes a physical one: the tables on the way, drawn and told."""

from mklab.recording import Frame
from mklab.recording.translation import Level, Translation
from mklab.widgets.blocks import code, code_width, cross, lines, titled, wrap_code
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing
from mklab.widgets.svg import element, path, text, wrap

__all__ = ["draw", "linear_rip", "result", "tell"]

_SIZES = {1 << 12: "4 KiB", 1 << 21: "2 MiB", 1 << 22: "4 MiB", 1 << 30: "1 GiB"}


def linear_rip(registers: dict[str, int]) -> int:
    """The linear address of the next instruction (SDM "Segmentation in IA-32e Mode": bases count for nothing there)."""
    if registers["efer"] & 1 << 10 and registers["cs.flags"] & 1 << 21:
        return registers["rip"]
    return (registers["cs.base"] + registers["rip"]) & 0xFFFFFFFF


def result(found: Translation) -> str:
    """What the walk ends in, in words."""
    if found.paddr is None:
        return f"{found.fault[0].upper()}{found.fault[1:]}."
    if not found.levels:
        return f"CR0.PG is 0, paging is off: linear address {found.linear:#x} is physical address {found.linear:#x}."
    page = _SIZES[found.page]
    who = "for user code too" if found.user else "for the kernel only"
    may = f"{'writable' if found.writable else 'read-only'}, {'executable' if found.executable else 'not executable'}"
    return f"Physical address {found.paddr:#x}, in a page of {page}: {may}, {who}."


def draw(frame: Frame, cpu: int, linear: int, title: str, palette: Palette, width: int) -> Drawing:
    """The walk of ``linear`` as boxes, one table below the other, under ``title``."""
    found = frame.walk(cpu, linear)
    content, y = "", 0
    if found.levels:
        content, y = _indexes(found, palette, width)
    for level in found.levels:
        drawn = _level(level, found, palette, width)
        content += element("g", drawn.content, transform=f"translate(0 {y})")
        y += drawn.height
    trouble = found.paddr is None
    color = palette.role("alert" if trouble else "ink")
    words, count = lines(24 if trouble else 0, y + 14, result(found), width - 24, color, bold=trouble)
    content += words + (cross(8, y + 10, color) if trouble else "")
    return titled(title, f"CR3 {frame.registers(cpu)['cr3']:#x}", Drawing(content, y + 16 * count + 8), palette, width)


def _indexes(found: Translation, palette: Palette, width: int) -> tuple[str, int]:
    """The linear address cut into the indexes of the tables and the offset in the page."""
    parts = [f"{level.name} {level.index:#x}" for level in found.levels]
    if found.page:
        parts.append(f"offset {found.linear & found.page - 1:#x}")
    content, x, y = "", 0.0, 0
    for part in [f"{found.linear:#x} =", *parts]:
        room = code_width(part) + 12
        if x + room > width and x:
            x, y = 0.0, y + 24
        if part[-1] != "=":
            content += element(
                "rect", x=x, y=y, width=room, height=20, fill=palette.role("panel"), stroke=palette.role("axis")
            )
        content += code(x + (6 if part[-1] != "=" else 0), y + 14, part, palette.role("ink"))
        x += room + 4
    return content, y + 32


def _level(level: Level, found: Translation, palette: Palette, width: int) -> Drawing:
    ink, muted = palette.role("ink"), palette.role("muted")
    broken = level is found.levels[-1] and found.paddr is None
    entry = "not recorded" if level.entry is None else f"{level.entry:#x}"
    flags = " ".join(level.flags) or ("not present: P is 0" if level.entry is not None else "")
    leads = _leads(level, found)
    place = f"table {level.table:#x}, entry {level.index:#x} at {level.address:#x}"
    content = text(10, 18, level.name, ink, bold=True)
    y = 18
    rows = wrap(place, width - 66, 12)
    for row in rows:
        content += text(58, y, row, muted)
        y += 16
    said = [(f"{entry}", ink, True), (flags, ink, False)]
    if leads:
        said.append((leads, muted, False))
    x = 58.0
    for words, color, bold in said:
        for part in wrap_code(words, width - 66) if words else ():
            room = code_width(part) + 14
            if x > 58 and x + room > width - 8:
                x, y = 58.0, y + 16
            content += code(x, y, part, color, bold=bold)
            x += room
    height = y + 8
    frame = element(
        "rect",
        x=1,
        y=1,
        width=width - 2,
        height=height - 2,
        fill=palette.role("panel"),
        stroke=palette.role("alert" if broken else "axis"),
        stroke_width=2.5 if broken else 1.2,
    )
    arrow = ""
    if not broken:
        arrow = path([(24, height, 24, height + 10)], ink, 2)
        arrow += element("path", d=f"M19 {height + 6}h10l-5 7z", fill=ink)
    return Drawing(frame + content + arrow, height + 14)


def _leads(level: Level, found: Translation) -> str:
    if level.next is None:
        return ""
    if level is found.levels[-1]:
        return f"maps the page {level.next:#x}"
    following = found.levels[found.levels.index(level) + 1]
    return f"leads to the {following.name} {level.next:#x}"


def tell(frame: Frame, cpu: int, linear: int) -> str:
    """The walk in words, a line for each table."""
    found = frame.walk(cpu, linear)
    rows = [
        f"{level.name:<5} {level.table:#x}[{level.index:#x}]  "
        f"{'NOT RECORDED' if level.entry is None else f'{level.entry:#x}'}  {' '.join(level.flags) or 'NOT PRESENT'}"
        + (f"  -> {level.next:#x}" if level.next is not None else "")
        for level in found.levels
    ]
    end = result(found)
    return "\n".join([f"walk of {linear:#x}", *rows, end if found.paddr is not None else f"FAULT {end}"])
