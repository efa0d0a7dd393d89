"""Which images are loaded, and is the list whole? The nodes of kexec_image_list as they lie in guest RAM.

Nodes stand in the order in which ``next`` leads to them, not by address: a list in order is then a row of arrows of one
length, and one that is not shows at a glance. Each node says its address.
"""

from typing import ClassVar

from mklab.recording import Look
from mklab.widgets.kimage_cards import ListState, draw_cards, rows_of, runs_of
from mklab.widgets.kimage_list import Loaded, Pointer, images
from mklab.widgets.memory import stretch
from mklab.widgets.memory_state import nothing
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.svg import CODE, element, path, text, wrap
from mklab.widgets.view import View
from mklab.widgets.words import listed
from mklab.widgets.writes import history, last_touch, when, who

__all__ = ["PICTURE", "Kimages"]

_MOST = 11
"""Nodes drawn beside the head; the twin has all."""


class Kimages:
    """The picture."""

    name: ClassVar[str] = "kimages"
    question: ClassVar[str] = "Which images are loaded, and is the list whole?"

    def answer(self, view: View) -> str:
        """How many there are, and what is wrong."""
        state = _state(view)
        if isinstance(state, str):
            return state
        walked, nodes = state.images.walked, state.images.nodes[1:]
        count = f"{len(walked)}{' or more' if state.images.more else ''}"
        number = "No image is" if not walked else "1 image is" if count == "1" else f"{count} images are"
        wrong = state.images.wrong
        if not wrong:
            return f"{number} loaded; the list is whole{': the head points to itself' if not nodes else ''}."
        node, pointer = wrong[0]
        told = f"{number} found by a walk along next, and the list is broken: {pointer.name} of {_of(node)} "
        told += f"is {pointer.value:#x}, {pointer.why}."
        last = walked[-1] if walked else state.images.nodes[0]
        if last.next.why and last.next.target:
            told += " A walk goes round and never ends."
        back = [one for one in nodes if one.only_back]
        if back:
            told += f" Only prev still leads to {listed([one.number for one in back], 'node ')}."
        return told

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """Head and nodes with their pointers, what is wrong, and /proc beside."""
        state = _state(view)
        if isinstance(state, str):
            return Drawing("", 8)
        shown = state.images.nodes[: _MOST + 1]
        content, y = draw_cards(state, shown, width, palette)
        y += 8
        if len(state.images.nodes) > len(shown):
            rest = len(state.images.nodes) - len(shown)
            content += text(0, y + 12, f"{rest} more nodes; the text twin has them.", palette.role("muted"))
            y += 20
        key, height = _key(y, palette, width)
        content += key
        y += height
        for words, event, address in _troubles(state):
            content, y = _trouble(content, y, words, event, address, width, palette, view)
        panel, height = _proc(state, y + 8, width, palette)
        return Drawing(content + panel, y + 8 + height)

    def body(self, view: View, width: int) -> str:
        """The drawing."""
        return drawn(self, view, width)

    def tell(self, view: View) -> str:
        """A line for each node, what is wrong, and /proc."""
        state = _state(view)
        if isinstance(state, str):
            return ""
        lines = []
        for node in state.images.nodes:
            line = f"{node.name:<8} {node.address:#x}"
            if node.number:
                line += f"  {runs_of(state, node)}, {node.kind}, start {node.fields.get('start', 0):#x}"
                line += f", {node.fields.get('nr_segments', 0)} segment(s)"
            line += f"  next {node.next.value:#x}  prev {node.prev.value:#x}"
            for one in rows_of(state, node):
                line += f"  CHANGED {one.name}, was {one.old}" if one.old else ""
            lines.append(line + ("  ONLY PREV LEADS HERE" if node.only_back else ""))
            lines += [f"         segment {one.number}: {stretch(one.start, one.end)}" for one in node.segments]
        lines += [f"BROKEN   {words}" for words, _, _ in _troubles(state)]
        told = _text(state)
        lines += ["", state.images.text or "/proc/multikernel", *(told or "nobody has read it yet").splitlines()]
        lines += [f"DISAGREES: {words}" for _, words in _differences(state)]
        return "\n".join(lines)


PICTURE = Kimages()


def _state(view: View) -> ListState | str:
    """What is drawn, or why there is nothing."""
    frame = view.frame
    if frame is None:
        return nothing(view)
    layout = history(view.film).layout(view.look)
    found = images(frame, view.film.description, layout)
    if found is None:
        return "The recording does not hold the memory that kexec_image_list lies in."
    if not found.begun:
        return "There is no list yet: the host has not initialised kexec_image_list."
    running: dict[str, list[int]] = {}
    for cpu in range(len(view.film.recording.apic_ids)):
        owner = view.film.recording.span_at(cpu, view.event).owner
        if owner:
            running.setdefault(owner, []).append(cpu)
    return ListState(view, found, layout, running)


def _of(node: Loaded) -> str:
    return node.name if node.number else "the head"


def _key(y: int, palette: Palette, width: int) -> tuple[str, int]:
    ink, muted = palette.role("ink"), palette.role("muted")
    content = path([(0, y + 8, 26, y + 8)], ink, 1.6) + element("path", d=f"M34 {y + 8}l-8 -5v10z", fill=ink)
    content += text(40, y + 12, "next", muted)
    content += path([(84, y + 8, 110, y + 8)], ink, 1.6, stroke_dasharray="4 3")
    content += element("path", d=f"M76 {y + 8}l8 -5v10z", fill=palette.role("paper"), stroke=ink, stroke_width=1.4)
    content += text(116, y + 12, "prev", muted)
    words = "They lead to the list_head inside a kimage, and are drawn where they lead, not where they should."
    lines = wrap(words, width - 160, 11)
    for number, line in enumerate(lines):
        content += text(160, y + 12 + 14 * number, line, muted, size=11)
    return content, 14 * len(lines) + 14


# What is wrong


def _writer(state: ListState, pointer: Pointer) -> Look | None:
    return last_touch(state.view.film, state.view.look, pointer.address, 8)


def _troubles(state: ListState) -> list[tuple[str, int, int]]:
    """Each pointer that is wrong, in words, with the event and the address that it leads to."""
    found = []
    for node, pointer in state.images.wrong:
        words = f"{pointer.name} of {_of(node)} is {pointer.value:#x}: {pointer.why}."
        look, event = _writer(state, pointer), -1
        if look is not None and look.cause != "start":
            old = state.view.film.contents.read(look.number - 1, pointer.address, 8)
            was = "" if old is None else f"; it was {int.from_bytes(old, 'little'):#x}"
            words += f" {who(look)} wrote it, {when(look)}{was}."
            event = look.event
        found.append((words, event, pointer.address))
    return found


def _trouble(
    content: str, y: int, words: str, event: int, address: int, width: int, palette: Palette, view: View
) -> tuple[str, int]:
    alert = palette.role("alert")
    what, _, whose = words.partition(". ")
    lines = [(line, True) for line in wrap(f"{what.rstrip('.')}.", (width - 26) * 0.95)]
    lines += [(line, False) for line in wrap(whose, width - 26)]
    mark = path([(2, y + 4, 10, y + 12), (10, y + 4, 2, y + 12)], alert, 2.5)
    for number, (line, bold) in enumerate(lines):
        mark += text(18, y + 12 + 16 * number, line, alert if bold else palette.role("ink"), size=12, bold=bold)
    height = 16 * len(lines) + 6
    if event >= 0 and view.selected == event:
        mark += element(
            "rect",
            x=-3,
            y=y - 3,
            width=width + 2,
            height=height + 2,
            fill="none",
            stroke=palette.role("focus"),
            stroke_width=2.5,
        )
    said = {"data_event": event if event >= 0 else None, "data_address": address}
    return content + element("g", mark, **said, tabindex=0, role="button", aria_label=words), y + height


# /proc


def _text(state: ListState) -> str | None:
    frame = state.view.frame
    return frame.text(state.images.text) if frame and state.images.text else None


def _differences(state: ListState) -> list[tuple[int | None, str]]:
    """Where /proc and the list disagree: number of the line in the text, or None, and words."""
    told = _text(state)
    if told is None or "cannot be read" in told:
        return []
    nodes = state.images.walked
    held = {
        node.number: (node.kind, node.fields.get("start", -1), str(node.fields.get("nr_segments", -1)))
        for node in nodes
    }
    found: list[tuple[int | None, str]] = []
    seen: set[int] = set()
    for number, line in enumerate(told.splitlines()):
        words = line.split()
        if len(words) != 3 or not words[1].startswith("0x"):
            continue
        row = (words[0], int(words[1], 16), words[2])
        alike = [one for one, value in held.items() if value == row]
        fresh = [one for one in alike if one not in seen]
        if fresh:
            seen.add(fresh[0])
        else:
            found.append((number, f"again node {alike[0]}" if alike else "no node says so"))
    missing = [one for one in held if one not in seen]
    if missing:
        found.append((None, f"It does not tell of {listed(missing, 'node ')}."))
    return found


def _proc(state: ListState, y: int, width: int, palette: Palette) -> tuple[str, int]:
    """The file's text, and where it disagrees with the list."""
    ink, muted, alert = (palette.role(name) for name in ("ink", "muted", "alert"))
    told, differences = _text(state), _differences(state)
    beside = {number: words for number, words in differences if number is not None}
    content, at = text(12, y + 20, state.images.text or "/proc/multikernel", ink, bold=True, font_family=CODE), y + 40
    room = width - 24
    broken = "cannot be read" in (told or "")
    if told is None:
        content += text(12, at, "Nobody has read it yet.", muted)
        at += 18
    for number, line in enumerate((told or "").splitlines()[: _MOST + 4]):
        color = alert if number in beside or broken else muted if number < 2 else ink
        pieces = wrap(line, room * 0.92, 11) if broken else [line]
        for piece in pieces:
            content += text(12, at, piece, color, size=11, font_family=CODE, style="white-space:pre")
            at += 16
        if number in beside:
            content += text(12 + len(line) * 6.8 + 12, at - 16, beside[number], alert, size=11, bold=True)
    notes = [words for number, words in differences if number is None]
    if told is not None and not differences and not broken:
        notes = ["It agrees with the list."]
    if broken:
        notes = ["mklab checks each pointer and stops here; Linux follows it, and oopses or never returns."]
    oldest = next((node for node in state.images.walked if node.multikernel), None)
    if oldest:
        notes.append(f"Loaded is not running: a kick of any CPU starts {oldest.name}, the oldest multikernel image.")
    for words in notes:
        for line in wrap(words, room):
            color = alert if words.startswith("It does not") else muted
            content += text(12, at + 4, line, color)
            at += 17
    height = at - y + 4
    box = element(
        "rect", x=0.5, y=y, width=width - 1, height=height, fill=palette.role("panel"), stroke=palette.role("rule")
    )
    return box + content, height + 2
