"""Which images are loaded, and is the list whole? The nodes of kexec_image_list as they lie in guest RAM.

Nodes stand in the order in which ``next`` leads to them, not by address: a list in order is then a row of arrows of one
length, and one that is not shows at a glance. Each node says its address.
"""

from dataclasses import dataclass
from typing import ClassVar

from mklab.recording import Look
from mklab.widgets.kimage_list import TYPES, Images, Loaded, Pointer, images
from mklab.widgets.memory import Layout, amount, stretch
from mklab.widgets.memory_state import nothing
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.routes import Arrow, grid
from mklab.widgets.svg import CODE, element, hatched_box, path, text, width_of, wrap
from mklab.widgets.view import View
from mklab.widgets.words import listed
from mklab.widgets.writes import history, last_touch, when, who

__all__ = ["PICTURE", "Kimages"]

_MOST = 11
"""Nodes drawn beside the head; the twin has all."""
_MOST_SEGMENTS = 3
_EXACT = 1 << 53
"""Numbers from here on are not exact in a browser; no memory has such an address."""
_LINE = 18
_HEADER = 26
_KNOWN = ("start", "type", "nr_segments")


@dataclass(frozen=True)
class _State:
    """What is drawn."""

    view: View
    images: Images
    layout: Layout
    running: dict[str, list[int]]


@dataclass(frozen=True)
class _Row:
    """A line of a card: a name, a value, what was there before this look, and whether it is wrong."""

    name: str
    value: str
    old: str = ""
    wrong: bool = False


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
        astray = _astray(shown)
        rows = [_rows(state, node) for node in shown]
        # All of one height, so that the pointers of neighbours are level.
        tallest = max(_HEADER + _LINE * len(lines) + _LINE * sum(bool(one.old) for one in lines) for lines in rows)
        heights = [tallest + 12] * len(rows)
        cards = grid(heights + [0] * len(astray), [], width)
        heights += [_HEADER + 15 * len(wrap(words, cards.width - 16, 11)) + 10 for _, words in astray]
        cards = grid(heights, _arrows(shown, rows, astray, heights[0]), width)
        content = ""
        for number, node in enumerate(shown):
            content += _card(state, node, rows[number], *cards.places[number], cards.width, heights[number], palette)
        for number, (value, words) in enumerate(astray, len(shown)):
            content += _nowhere(value, words, *cards.places[number], cards.width, heights[number], palette)
        content += cards.draw(palette)
        y = cards.height + 8
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
                line += f"  {_runs(state, node)}, {node.kind}, start {node.fields.get('start', 0):#x}"
                line += f", {node.fields.get('nr_segments', 0)} segment(s)"
            line += f"  next {node.next.value:#x}  prev {node.prev.value:#x}"
            for one in _rows(state, node):
                line += f"  CHANGED {one.name}, was {one.old}" if one.old else ""
            lines.append(line + ("  ONLY PREV LEADS HERE" if node.only_back else ""))
            lines += [f"         segment {one.number}: {stretch(one.start, one.end)}" for one in node.segments]
        lines += [f"BROKEN   {words}" for words, _, _ in _troubles(state)]
        told = _text(state)
        lines += ["", state.images.text or "/proc/multikernel", *(told or "nobody has read it yet").splitlines()]
        lines += [f"DISAGREES: {words}" for _, words in _differences(state)]
        return "\n".join(lines)


PICTURE = Kimages()


def _state(view: View) -> _State | str:
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
    return _State(view, found, layout, running)


def _of(node: Loaded) -> str:
    return node.name if node.number else "the head"


def _runs(state: _State, node: Loaded) -> str:
    """Which kernel it holds, and where that runs."""
    cpus = state.running.get(node.kernel, [])
    if not node.kernel:
        return "no kernel's id"
    where = f"runs on CPU{'s' if len(cpus) > 1 else ''} {listed(cpus)}" if cpus else "runs nowhere"
    return f"{node.kernel} {where}"


def _rows(state: _State, node: Loaded) -> list[_Row]:
    """The lines of a node's card, ``next`` and ``prev`` last."""
    rows = []
    if not node.number:
        rows += [_Row("kexec_image_list", ""), _Row("in no kimage", "")]
    elif not node.fields:
        rows.append(_Row("no memory here", ""))
    else:
        cpus = state.running.get(node.kernel, [])
        rows.append(_Row(node.kernel or "no id", f"CPU {listed(cpus)}" if cpus else "runs nowhere"))
        before = _before(state, node)
        for name in _KNOWN:
            value, old = node.fields[name], before.get(name, node.fields[name])
            rows.append(_Row(name, _plain(name, value), _plain(name, old) if old != value else ""))
        segments = node.segments
        for one in segments[:_MOST_SEGMENTS]:
            rows.append(_Row(f"{one.start:#x}", amount(one.end - one.start)))
        if len(segments) > _MOST_SEGMENTS:
            rows.append(_Row(f"{len(segments) - _MOST_SEGMENTS} more segments", ""))
    for pointer in (node.next, node.prev):
        old_value = _old(state, pointer)
        was = f"{old_value:#x}" if old_value is not None and old_value != pointer.value else ""
        rows.append(_Row(pointer.name, f"{pointer.value:#x}", was, bool(pointer.why)))
    return rows


def _plain(name: str, value: int) -> str:
    return TYPES.get(value, f"{value}, unknown") if name == "type" else f"{value:#x}" if name == "start" else str(value)


def _before(state: _State, node: Loaded) -> dict[str, int]:
    """The fields of a node as they were at the look before; empty where that is not known."""
    view = state.view
    struct = view.film.description.struct(state.images.found.place.struct)
    before = {}
    for name in _KNOWN:
        address = node.address + struct.offsets[name]
        data = _held(state, address, struct.fields[name].width)
        if data is not None and view.film.contents.touched(view.look, address, len(data)):
            before[name] = int.from_bytes(data, "little")
    return before


def _held(state: _State, address: int, size: int) -> bytes | None:
    """What lay there at the look before; None at the first one, and where nobody knows."""
    return state.view.film.contents.read(state.view.look - 1, address, size) if state.view.look > 0 else None


def _old(state: _State, pointer: Pointer) -> int | None:
    data = _held(state, pointer.address, 8)
    return None if data is None else int.from_bytes(data, "little")


# Arrows


def _astray(nodes: list[Loaded]) -> list[tuple[int, str]]:
    """The values of pointers that lead to no node, and what is there."""
    pointers = [pointer for node in nodes for pointer in (node.next, node.prev)]
    return list({one.value: (one.value, one.why) for one in pointers if one.target is None}.values())


def _arrows(nodes: list[Loaded], rows: list[list[_Row]], astray: list[tuple[int, str]], height: int) -> list[Arrow]:
    values = [value for value, _ in astray]
    levels = [_levels(lines, height) for lines in rows]
    arrows = []
    for node in nodes:
        for which, pointer in enumerate((node.next, node.prev)):
            leaves = levels[node.number][which]
            if pointer.target is None:
                target, arrives = len(nodes) + values.index(pointer.value), 16 + 6 * which
            elif pointer.target < len(nodes):
                target, arrives = pointer.target, levels[pointer.target][which]
            else:
                continue
            arrows.append(Arrow(node.number, target, leaves, arrives, which == 0, bool(pointer.why)))
    return arrows


def _levels(rows: list[_Row], height: int) -> tuple[int, int]:
    """Pixels from the top of a card of ``height`` to the middle of its lines ``next`` and ``prev``."""
    above = height - _tall(rows[-2:])
    return above + _LINE // 2, above + _tall(rows[-2:-1]) + _LINE // 2


def _tall(rows: list[_Row]) -> int:
    """Pixels that these lines take, and the space below the last one."""
    return sum(_LINE * (2 if one.old else 1) for one in rows) + (4 if len(rows) > 1 else 0)


# Cards


def _card(
    state: _State, node: Loaded, rows: list[_Row], x: int, y: int, width: int, height: int, palette: Palette
) -> str:
    ink, muted, alert = (palette.role(name) for name in ("ink", "muted", "alert"))
    owner = state.layout.owner_at(node.address)
    line = palette.line(owner)
    content = element(
        "rect", x=x, y=y, width=width, height=height, fill=palette.role("paper"), stroke=line, stroke_width=1.2
    )
    content += hatched_box(x, y, width, _HEADER, owner, palette)
    address = f"{node.address:#x}"
    for words, at, room in ((node.name, x + 4, width_of(node.name) + 10), (address, 0, len(address) * 6.8 + 8)):
        left = at or x + width - room - 4
        content += element("rect", x=left, y=y + 4, width=room, height=_HEADER - 8, fill=palette.fill(owner))
        if at:
            content += text(left + 4, y + 17, words, ink, bold=True)
        else:
            content += text(left + 4, y + 17, words, ink, size=11, font_family=CODE)
    at = y + _HEADER
    for number, one in enumerate(rows):
        if number == len(rows) - 2:
            at = y + height - _tall(rows[-2:])
            content += path([(x, at - 4, x + width, at - 4)], line, 1)
        color = alert if one.wrong else ink
        mono = one.value.startswith("0x")
        bold = bool(one.old) or one.wrong
        if one.wrong:
            tall = _LINE * 2 if one.old else _LINE
            content += element(
                "rect", x=x + 3, y=at, width=width - 6, height=tall, fill="none", stroke=alert, stroke_width=2
            )
        if one.old:
            content += element("rect", x=x + 2, y=at, width=4, height=2 * _LINE, fill=color)
        family = CODE if one.name.startswith("0x") else None
        content += text(x + 9, at + 13, one.name, color, size=11 if family else 12, bold=bold, font_family=family)
        content += text(
            x + width - 8,
            at + 13,
            one.value,
            color,
            size=11 if mono else 12,
            bold=bold,
            text_anchor="end",
            font_family=CODE if mono else None,
        )
        if one.old:
            at += _LINE
            content += text(x + width - 8, at + 12, f"was {one.old}", muted, size=11, text_anchor="end")
        at += _LINE
    label = f"{node.name} at {address}, {_runs(state, node) if node.number else 'the list head'}"
    chosen = state.view.address is not None and node.address <= state.view.address < node.address + (
        state.images.size if node.number else 16
    )
    if chosen:
        content += element(
            "rect",
            x=x - 3,
            y=y - 3,
            width=width + 6,
            height=height + 6,
            fill="none",
            stroke=palette.role("focus"),
            stroke_width=2.5,
        )
    return element("g", content, data_address=node.address, tabindex=0, role="button", aria_label=label)


def _nowhere(value: int, words: str, x: int, y: int, width: int, height: int, palette: Palette) -> str:
    """Where a pointer leads that leads to no node."""
    alert = palette.role("alert")
    content = element(
        "rect",
        x=x,
        y=y,
        width=width,
        height=height,
        fill=palette.role("paper"),
        stroke=alert,
        stroke_width=1.6,
        stroke_dasharray="5 3",
    )
    content += path([(x + 9, y + 9, x + 17, y + 17), (x + 17, y + 9, x + 9, y + 17)], alert, 2.5)
    content += text(x + 24, y + 17, f"{value:#x}", alert, size=11, bold=True, font_family=CODE)
    for number, line in enumerate(wrap(words, width - 16, 11)):
        content += text(x + 9, y + 34 + 15 * number, line, palette.role("ink"), size=11)
    label = f"{value:#x}: {words}"
    if value >= _EXACT:
        return element("g", content, aria_label=label)
    return element("g", content, data_address=value, tabindex=0, role="button", aria_label=label)


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


def _writer(state: _State, pointer: Pointer) -> Look | None:
    return last_touch(state.view.film, state.view.look, pointer.address, 8)


def _troubles(state: _State) -> list[tuple[str, int, int]]:
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


def _text(state: _State) -> str | None:
    frame = state.view.frame
    return frame.text(state.images.text) if frame and state.images.text else None


def _differences(state: _State) -> list[tuple[int | None, str]]:
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


def _proc(state: _State, y: int, width: int, palette: Palette) -> tuple[str, int]:
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
