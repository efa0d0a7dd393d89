"""The line of physical memory: landmarks, the bar of owners, addresses, and segments as kexec has placed them."""

from collections.abc import Iterator

from mklab.widgets.atlas import BREAK, Sheet
from mklab.widgets.memory import Region, amount, stretch
from mklab.widgets.memory_state import MemoryState
from mklab.widgets.overlaps import Load
from mklab.widgets.palette import Palette, look_of
from mklab.widgets.svg import CODE, element, hatched_box, path, text, width_of

__all__ = ["cross", "draw_line", "frame"]

_BAR = 40
_LANE = 24
_LANES = 6
_LANDMARKS = ("trampoline", "kimages", "mk_shared_data")
"""Places that the whole machine depends on."""
_CODE_WIDTH = 6.8
"""Pixels of a character of 11 px in a monospaced font."""


def draw_line(state: MemoryState, row: list[Sheet], y: int, palette: Palette) -> tuple[str, int]:
    """A row of the line, from ``y`` on, and where it ends."""
    landmarks, marks, bar = _landmarks(state, row, y, palette)
    content = landmarks
    for number, sheet in enumerate(row):
        content += _bar(state, sheet, bar, palette)
        if number + 1 < len(row):
            start = sheet.x + sheet.width
            content += path(
                [(start + 5, bar + 20, start + BREAK - 5, bar + 20)], palette.role("axis"), 2, stroke_dasharray="4 4"
            )
        content += _ticks(state, sheet, bar + _BAR, palette)
    content += path([(x, bar - 6, x, bar + _BAR) for x in marks], palette.role("ink"), 4)
    for sheet in row:
        content += _written(state, sheet, bar, palette)
    lanes, y = _lanes(state, row, bar + _BAR + 26, palette)
    return content + lanes, y


def cross(x: float, y: float, palette: Palette) -> str:
    """The mark of a trouble, 10 pixels wide, its middle at ``(x, y)``."""
    return path([(x - 5, y - 5, x + 5, y + 5), (x + 5, y - 5, x - 5, y + 5)], palette.role("alert"), 2.5)


def frame(x: float, y: float, width: float, height: float, color: str) -> str:
    """A frame around something, 2.5 pixels thick."""
    return element("rect", x=x, y=y, width=width, height=height, fill="none", stroke=color, stroke_width=2.5)


def _landmarks(state: MemoryState, row: list[Sheet], y: int, palette: Palette) -> tuple[str, list[float], int]:
    """The names of landmarks, where they are, and where the bar begins below them."""
    found: dict[int, tuple[float, str]] = {}
    for sheet in row:
        for one in state.layout.places:
            if one.place.name in _LANDMARKS and sheet.start <= one.address < sheet.end:
                found[one.address] = (sheet.at(one.address), f"{one.place.name} {one.address:#x}")
    right = row[-1].x + row[-1].width
    named: list[tuple[float, float, float, int, str]] = []
    # From right to left, so that a name's line down to its mark passes left of the names below.
    for x, words in sorted(found.values(), reverse=True):
        room = len(words) * _CODE_WIDTH
        left = max(0, min(x - 2, right - room))
        taken = {level for _, start, end, level, _ in named if left < end + 8 and start < left + room + 8}
        named.append((x, left, left + room, min(set(range(len(taken) + 1)) - taken), words))
    bar = y + 16 * (max((level for _, _, _, level, _ in named), default=-1) + 1) + 10
    content = ""
    for x, left, _, level, words in named:
        top = bar - 10 - 16 * level
        content += text(left, top, words, palette.role("ink"), size=11, font_family=CODE)
        content += path([(x, top + 3, x, bar - 5)], palette.role("ink"), 1.2)
    return content, [x for x, _ in found.values()], bar


def _bar(state: MemoryState, sheet: Sheet, y: int, palette: Palette) -> str:
    if sheet.device:
        whole = Region(sheet.start, sheet.end, None)
        return _piece(state, whole, sheet.x, y, sheet.width, [sheet.device], palette)
    content = ""
    for region in state.layout.regions:
        if sheet.start <= region.start < sheet.end:
            x, width = sheet.bar(region.start, region.end)
            owner = region.owner or "nobody"
            names = [f"{owner}, {amount(region.size)}", owner, look_of(region.owner).key[-1] if region.owner else ""]
            content += _piece(state, region, x, y, width, names, palette)
    return content


def _piece(
    state: MemoryState, region: Region, x: float, y: int, width: float, names: list[str], palette: Palette
) -> str:
    """One owner's memory, with the longest of its ``names`` that has room on it."""
    content = hatched_box(x, y, width, _BAR, region.owner, palette)
    words = next((one for one in names if width_of(one) + 16 <= width), "")
    if words:
        room = width_of(words) + 8
        middle = x + width / 2
        content += element(
            "rect", x=middle - room / 2, y=y + 10, width=room, height=20, fill=palette.fill(region.owner)
        )
        content += text(middle, y + 24, words, palette.role("ink"), text_anchor="middle")
    if region.start <= state.focus < region.end and width > 6:
        content += path([(x + 2, y + _BAR - 2, x + width - 2, y + _BAR - 2)], palette.role("focus"), 3)
    label = f"{stretch(region.start, region.end)}, {amount(region.size)}: {names[0]}"
    return element("g", content, data_address=region.start, tabindex=0, role="button", aria_label=label)


def _ticks(state: MemoryState, sheet: Sheet, y: int, palette: Palette) -> str:
    """Addresses below a piece: its ends first, then where owners change, as far as there is room."""
    borders = [region.start for region in state.layout.regions if sheet.start < region.start < sheet.end]
    wanted = [sheet.start, *([] if sheet.device else [sheet.end, *borders])]
    taken: list[tuple[float, float]] = []
    content = ""
    for address in wanted:
        words = f"{address:#x}"
        room, x = len(words) * _CODE_WIDTH, sheet.at(address)
        left = max(sheet.x, min(x - room / 2, sheet.x + sheet.width - room))
        if all(left > end + 8 or left + room < start - 8 for start, end in taken):
            taken.append((left, left + room))
            content += path([(x, y, x, y + 5)], palette.role("axis"), 1)
            content += text(left, y + 17, words, palette.role("muted"), size=11, font_family=CODE)
    return content


def _written(state: MemoryState, sheet: Sheet, y: int, palette: Palette) -> str:
    """Where the last look has written: triangles below the bar; and strays: crosses over it."""
    spots = {round(sheet.at(one.address)) for one in state.writes if sheet.start <= one.address < sheet.end}
    content = "".join(
        element("path", d=f"M{x - 5} {y + _BAR + 8}h10l-5 -9z", fill=palette.role("ink")) for x in sorted(spots)
    )
    spots = {round(sheet.at(one.start)) for one in state.strays if sheet.start <= one.start < sheet.end}
    # A cross needs a ground that no hatch disturbs.
    for x in sorted(max(8, min(x, round(sheet.x + sheet.width) - 8)) for x in spots):
        content += element("rect", x=x - 8, y=y + 1, width=16, height=16, fill=palette.role("paper"))
        content += cross(x, y + 9, palette)
    return content


# Segments


def _lanes(state: MemoryState, row: list[Sheet], y: int, palette: Palette) -> tuple[str, int]:
    """A lane for each image that has a segment here, and frames where two lie over one another."""
    there = [load for load in state.loads if any(True for _ in _boxes(load, row))]
    if not there:
        return "", y
    troubled = {name for one in state.overlaps for name in (one.one, one.other)}
    # Those that are in the way come first where not all have room.
    shown = sorted(there, key=lambda load: load.name not in troubled)[:_LANES]
    shown = [load for load in there if load in shown]
    content = text(0, y + 12, "Segments as loaded", palette.role("ink"), bold=True)
    if len(there) > len(shown):
        rest = f"{len(there) - len(shown)} more images; the text twin has them."
        content += text(126, y + 12, rest, palette.role("muted"))
    top = y + 20
    for number, load in enumerate(shown):
        for x, width in _boxes(load, row):
            content += hatched_box(x, top + number * _LANE + 4, width, 14, load.owner, palette, dashed=not load.placed)
    for one in state.overlaps:
        lanes = [number for number, load in enumerate(shown) if load.name in (one.one, one.other)]
        for sheet in row:
            if lanes and one.start < sheet.end and sheet.start < one.end:
                x, width = sheet.bar(one.start, one.end, 4)
                first, last = top + lanes[0] * _LANE, top + lanes[-1] * _LANE
                content += frame(x - 2, first + 1, width + 4, last - first + 20, palette.role("alert"))
    for number, load in enumerate(shown):
        content += _label(load, row, top + number * _LANE, palette)
    return content, top + _LANE * len(shown) + 10


def _boxes(load: Load, row: list[Sheet]) -> Iterator[tuple[float, float]]:
    """Left edge and width of its segments."""
    for sheet in row:
        for one in load.segments:
            if one.start < one.end and one.start < sheet.end and sheet.start < one.end:
                yield sheet.bar(one.start, one.end, 4)


def _label(load: Load, row: list[Sheet], y: int, palette: Palette) -> str:
    """What an image is, where its lane has room: before its segments, behind them, or over them."""
    right, boxes = row[-1].x + row[-1].width, list(_boxes(load, row))
    words = f"{load.name}, {len(load.segments)} segment{'s' if len(load.segments) > 1 else ''}; {load.detail}"
    room = width_of(words, 11) + 8
    before, behind = boxes[0][0] - room - 6, max(x + width for x, width in boxes) + 6
    left = before if before >= 0 else min(behind, right - room)
    content = element("rect", x=left, y=y + 2, width=room, height=18, fill=palette.role("paper"))
    content += text(left + 4, y + 15, words, palette.role("ink"), size=11)
    address = load.segments[0].start if load.address is None else load.address
    return element("g", content, data_address=address, tabindex=0, role="button", aria_label=words)
