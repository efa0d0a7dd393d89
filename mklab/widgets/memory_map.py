"""Whose memory is each byte, and which writes went astray? Physical memory by owner, and what lies where in it."""

from typing import ClassVar

from mklab.widgets.atlas import sheets
from mklab.widgets.memory import amount, stretch, whose
from mklab.widgets.memory_line import cross, draw_line, frame
from mklab.widgets.memory_state import MemoryState, name_of, nothing, state_of, stray_words
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.ribbon import draw_parts, parts_of
from mklab.widgets.svg import element, hatched_box, path, text, width_of, wrap
from mklab.widgets.view import View
from mklab.widgets.writes import Stray, merged, when, who

__all__ = ["PICTURE", "MemoryMap"]

_TROUBLES = 4
_TOLD = 64
_OVERLAP = "v1's kexec_load looks for overlaps within one image only (sanity_check_segment_list)."
_STRAY = "Nothing keeps a kernel out of another one's memory: each maps all of RAM."
_STARTING = "From INIT to its kernel's entry a CPU runs on the trampoline; a push goes wherever SS and SP lead."


class MemoryMap:
    """The picture."""

    name: ClassVar[str] = "memory-map"
    question: ClassVar[str] = "Whose memory is each byte, and which writes went astray?"

    def answer(self, view: View) -> str:
        """Who has how much, and what is wrong."""
        state = state_of(view)
        if state is None:
            return nothing(view)
        sizes: dict[str | None, int] = {}
        for region in state.layout.regions:
            sizes[region.owner] = sizes.get(region.owner, 0) + region.size
        named = [f"{owner} {amount(size)}" for owner, size in sizes.items() if owner]
        named += [f"nobody {amount(sizes[None])}"] if None in sizes else []
        if len(named) > 6:
            named = [*named[:4], f"{len(named) - 4} others the rest"]
        told = [f"{named[0][0].upper()}{', '.join(named)[1:]}."]
        if state.overlaps:
            one, more = state.overlaps[0], len(state.overlaps) - 1
            rest = (
                f", and there {'are' if more > 1 else 'is'} {more} more overlap{'s' if more > 1 else ''}"
                if more
                else ""
            )
            told.append(f"{one.one[0].upper()}{one.one[1:]} lies over {one.other} at {one.start:#x}{rest}.")
        if state.count:
            last = state.strays[-1]
            told.append(
                f"{state.count} write{'s' if state.count > 1 else ''} went astray, the last one by CPU {last.cpu} "
                f"({last.writer or 'nobody'}) at {last.start:#x}."
            )
        elif not state.overlaps:
            told.append("No write went astray.")
        return " ".join(told)

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """The line of memory with its segments, what went wrong, and the parts of one owner's memory."""
        state = state_of(view)
        if state is None:
            return Drawing("", 8)
        pieces, content, y = sheets(state.layout, width), "", 0
        for row in range(pieces[-1].row + 1):
            drawing, y = draw_line(state, [one for one in pieces if one.row == row], y, palette)
            content += drawing
        for draw in (_troubles, _writes, _parts, _key):
            drawing, y = draw(state, y, width, palette)
            content += drawing
        return Drawing(content, y)

    def body(self, view: View, width: int) -> str:
        """The drawing."""
        return drawn(self, view, width)

    def tell(self, view: View) -> str:
        """Regions and their places, segments, what went wrong, and what was written last."""
        state = state_of(view)
        if state is None:
            return ""
        lines = []
        for region in state.layout.regions:
            lines.append(f"{region.owner or 'nobody':<9} {_columns(region.start, region.end)}")
            lines += [
                f"          {_columns(one.address, one.address + one.size)}  {name_of(one)}"
                for one in state.layout.parts(region.start, region.end)
                if region.start <= one.address
            ]
        lines += [
            f"device    {_columns(one.start, one.end)}  {one.device}" for one in sheets(state.layout, 600) if one.device
        ]
        lines += [
            f"SEGMENT   {_columns(one.start, one.end)}  {load.name}, number {one.number}; {load.detail}"
            for load in state.loads
            for one in load.segments
        ]
        lines += [f"OVERLAP   {_columns(one.start, one.end)}  {one.one} over {one.other}" for one in state.overlaps]
        if state.count > len(state.strays):
            lines.append(f"STRAY     {state.count - len(state.strays):,} earlier ones")
        lines += [f"STRAY     {stray_words(view, one)}" for one in merged(state.strays)]
        writer = who(view.film.looks[view.look])
        lines += [
            f"WRITTEN   {_columns(one.address, one.end)}  {state.layout.words(one.address)}, by {writer}"
            for one in state.writes[:_TOLD]
        ]
        if len(state.writes) > _TOLD:
            lines.append(f"WRITTEN   {len(state.writes) - _TOLD:,} more stretches")
        return "\n".join(lines)


PICTURE = MemoryMap()


def _columns(start: int, end: int) -> str:
    return f"{stretch(start, end):<25} {amount(end - start):>9}"


def _note(
    state: MemoryState, y: int, width: int, palette: Palette, lines: list[tuple[str, bool]], look: int, address: int
) -> tuple[str, int]:
    """A trouble with its reason, which selects the event at which it was seen, and where."""
    content, top = cross(7, y + 8, palette), y
    for words, is_why in lines:
        color = palette.role("muted" if is_why else "alert")
        for line in wrap(words, (width - 24) * (1 if is_why else 0.94)):
            content += text(20, y + 12, line, color, bold=not is_why)
            y += 16
    event = state.view.film.looks[look].event if look >= 0 else -1
    if event >= 0 and event == state.view.selected:
        content += frame(-2, top - 4, width + 2, y - top + 4, palette.role("focus"))
    said = {"data_event": event if event >= 0 else None, "data_address": address}
    return element("g", content, **said, tabindex=0, role="button", aria_label=lines[0][0]), y + 6


def _troubles(state: MemoryState, y: int, width: int, palette: Palette) -> tuple[str, int]:
    """Overlaps and strays, each with its why; the newest ones."""
    content = ""
    shown = state.overlaps[-_TROUBLES:]
    for number, one in enumerate(shown):
        words = f"Overlap {stretch(one.start, one.end)}, {amount(one.end - one.start)}: {one.one} over {one.other}."
        why = [(_OVERLAP, True)] if number + 1 == len(shown) else []
        drawing, y = _note(state, y, width, palette, [(words, False), *why], -1, one.start)
        content += drawing
    if len(state.overlaps) > len(shown):
        rest = f"{len(state.overlaps) - len(shown)} more overlaps; the text twin has them."
        content += text(20, y + 8, rest, palette.role("muted"))
        y += 18
    strays = merged(state.strays)
    for number, stray in enumerate(strays[-_TROUBLES:]):
        lines = [(f"Stray write {stray_words(state.view, stray)}.", False)]
        lines += [(words, True) for words in _bytes(state, stray)]
        if number + 1 == len(strays[-_TROUBLES:]):
            lines.append((_STRAY if stray.writer else _STARTING, True))
        drawing, y = _note(state, y, width, palette, lines, stray.last, stray.start)
        content += drawing
    earlier = state.count - len(state.strays) + len(strays[:-_TROUBLES])
    if earlier:
        words = f"{earlier:,} earlier stray writes; the text twin has the newest."
        content += text(20, y + 8, words, palette.role("muted"))
        y += 18
    return content, y


def _bytes(state: MemoryState, stray: Stray) -> list[str]:
    """What lay there before and after, if that is short."""
    size = stray.end - stray.start
    contents = state.view.film.contents
    old, new = contents.read(stray.look - 1, stray.start, size), contents.read(stray.last, stray.start, size)
    return [] if old is None or new is None or size > 16 else [f"{old.hex(' ')} became {new.hex(' ')}"]


def _writes(state: MemoryState, y: int, width: int, palette: Palette) -> tuple[str, int]:
    """Who made the last look's writes, and how much they were."""
    if not state.writes:
        return "", y
    look = state.view.film.looks[state.view.look]
    size, count = sum(one.size for one in state.writes), len(state.writes)
    places = list(dict.fromkeys(state.layout.words(one.address) for one in state.writes))
    where = "; ".join(places[:4]) + (f" and {len(places) - 4} more places" if len(places) > 4 else "")
    words = f"Written by this step, {when(look)}: {who(look)}, {amount(size)} in {count} "
    words += f"{'stretches' if count > 1 else 'stretch'}: {where}."
    content = element("path", d=f"M2 {y + 13}h10l-5 -9z", fill=palette.role("ink"))
    lines = wrap(words, width - 24)
    for number, line in enumerate(lines):
        content += text(20, y + 12 + 16 * number, line, palette.role("ink"))
    return content, y + 16 * len(lines) + 8


def _parts(state: MemoryState, y: int, width: int, palette: Palette) -> tuple[str, int]:
    """What lies in the memory around the focus; and what lies inside the place that is selected."""
    owner = state.layout.owner_at(state.focus)
    region = state.layout.region_at(state.focus)
    if region is None:
        words = f"{state.focus:#x}: {state.layout.words(state.focus)}."
        return text(0, y + 14, words, palette.role("ink"), bold=True), y + 28
    parts = parts_of(state, owner)
    memory = f"{whose(owner)} memory"
    title = f"What lies in {memory}, not to scale" if parts else f"Nothing known lies in {memory}"
    content = text(0, y + 14, title, palette.role("ink"), bold=True)
    drawing, y = draw_parts(state, parts, y + 26, width, palette)
    content += drawing
    outer = next((one.place for one in parts if one.place and one.start <= state.focus < one.end), None)
    inner = state.layout.inside(outer) if outer and state.view.address is not None else []
    for number, one in enumerate(inner[:8]):
        if not number and outer:
            content += text(0, y + 10, f"Inside {outer.place.name}", palette.role("ink"), bold=True)
            y += 18
        words = f"{stretch(one.address, one.address + one.size)}  {name_of(one)}, {amount(one.size)}"
        line = text(12, y + 10, words, palette.role("ink"))
        content += element("g", line, data_address=one.address, tabindex=0, role="button", aria_label=words)
        y += 18
    return content, y


def _key(state: MemoryState, y: int, width: int, palette: Palette) -> tuple[str, int]:
    ink, muted = palette.role("ink"), palette.role("muted")
    owners = list(dict.fromkeys(region.owner for region in state.layout.regions))
    entries = [(owner or "nobody", hatched_box(1, 1, 22, 12, owner, palette)) for owner in owners[:8]]
    entries.append(("landmark", path([(12, 0, 12, 14)], ink, 4)))
    entries.append(("no known place between", path([(4, 7, 20, 7)], palette.role("axis"), 2, stroke_dasharray="2 2")))
    if state.writes:
        entries.append(("written by this step", element("path", d="M7 12h10l-5 -9z", fill=ink)))
    if state.strays:
        entries.append(("stray write", cross(12, 7, palette)))
    content, x, y = "", 0.0, y + 10
    for words, swatch in entries:
        room = 30 + width_of(words) + 16
        if x + room > width and x:
            x, y = 0.0, y + 20
        content += element("g", swatch, transform=f"translate({x:.1f} {y})") + text(x + 30, y + 11, words, muted)
        x += room
    return content, y + 24
