"""The cards of the kimage list's picture: a node each, one where a pointer leads to no node, and arrows between."""

from dataclasses import dataclass

from mklab.widgets.kimage_list import TYPES, Images, Loaded, Pointer
from mklab.widgets.memory import Layout, amount
from mklab.widgets.palette import Palette
from mklab.widgets.routes import Arrow, grid
from mklab.widgets.svg import CODE, element, hatched_box, path, text, width_of, wrap
from mklab.widgets.view import View
from mklab.widgets.words import listed

__all__ = ["ListState", "Row", "draw_cards", "rows_of", "runs_of"]

_MOST_SEGMENTS = 3
_EXACT = 1 << 53
"""Numbers from here on are not exact in a browser; no memory has such an address."""
_LINE = 18
_HEADER = 26
_KNOWN = ("start", "type", "nr_segments")


@dataclass(frozen=True)
class ListState:
    """What is drawn."""

    view: View
    images: Images
    layout: Layout
    running: dict[str, list[int]]


@dataclass(frozen=True)
class Row:
    """A line of a card: a name, a value, what was there before this look, and whether it is wrong."""

    name: str
    value: str
    old: str = ""
    wrong: bool = False


def draw_cards(state: ListState, shown: list[Loaded], width: int, palette: Palette) -> tuple[str, int]:
    """The nodes that are ``shown``, and where their pointers lead; how high that is."""
    astray = _astray(shown)
    rows = [rows_of(state, node) for node in shown]
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
    return content, cards.height


def runs_of(state: ListState, node: Loaded) -> str:
    """Which kernel it holds, and where that runs."""
    cpus = state.running.get(node.kernel, [])
    if not node.kernel:
        return "no kernel's id"
    where = f"runs on CPU{'s' if len(cpus) > 1 else ''} {listed(cpus)}" if cpus else "runs nowhere"
    return f"{node.kernel} {where}"


def rows_of(state: ListState, node: Loaded) -> list[Row]:
    """The lines of a node's card, ``next`` and ``prev`` last."""
    rows = []
    if not node.number:
        rows += [Row("kexec_image_list", ""), Row("in no kimage", "")]
    elif not node.fields:
        rows.append(Row("no memory here", ""))
    else:
        cpus = state.running.get(node.kernel, [])
        rows.append(Row(node.kernel or "no id", f"CPU {listed(cpus)}" if cpus else "runs nowhere"))
        before = _before(state, node)
        for name in _KNOWN:
            value, old = node.fields[name], before.get(name, node.fields[name])
            rows.append(Row(name, _plain(name, value), _plain(name, old) if old != value else ""))
        segments = node.segments
        for one in segments[:_MOST_SEGMENTS]:
            rows.append(Row(f"{one.start:#x}", amount(one.end - one.start)))
        if len(segments) > _MOST_SEGMENTS:
            rows.append(Row(f"{len(segments) - _MOST_SEGMENTS} more segments", ""))
    for pointer in (node.next, node.prev):
        old_value = _old(state, pointer)
        was = f"{old_value:#x}" if old_value is not None and old_value != pointer.value else ""
        rows.append(Row(pointer.name, f"{pointer.value:#x}", was, bool(pointer.why)))
    return rows


def _plain(name: str, value: int) -> str:
    return TYPES.get(value, f"{value}, unknown") if name == "type" else f"{value:#x}" if name == "start" else str(value)


def _before(state: ListState, node: Loaded) -> dict[str, int]:
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


def _held(state: ListState, address: int, size: int) -> bytes | None:
    """What lay there at the look before; None at the first one, and where nobody knows."""
    return state.view.film.contents.read(state.view.look - 1, address, size) if state.view.look > 0 else None


def _old(state: ListState, pointer: Pointer) -> int | None:
    data = _held(state, pointer.address, 8)
    return None if data is None else int.from_bytes(data, "little")


# Arrows


def _astray(nodes: list[Loaded]) -> list[tuple[int, str]]:
    """The values of pointers that lead to no node, and what is there."""
    pointers = [pointer for node in nodes for pointer in (node.next, node.prev)]
    return list({one.value: (one.value, one.why) for one in pointers if one.target is None}.values())


def _arrows(nodes: list[Loaded], rows: list[list[Row]], astray: list[tuple[int, str]], height: int) -> list[Arrow]:
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


def _levels(rows: list[Row], height: int) -> tuple[int, int]:
    """Pixels from the top of a card of ``height`` to the middle of its lines ``next`` and ``prev``."""
    above = height - _tall(rows[-2:])
    return above + _LINE // 2, above + _tall(rows[-2:-1]) + _LINE // 2


def _tall(rows: list[Row]) -> int:
    """Pixels that these lines take, and the space below the last one."""
    return sum(_LINE * (2 if one.old else 1) for one in rows) + (4 if len(rows) > 1 else 0)


# Cards


def _card(
    state: ListState, node: Loaded, rows: list[Row], x: int, y: int, width: int, height: int, palette: Palette
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
    label = f"{node.name} at {address}, {runs_of(state, node) if node.number else 'the list head'}"
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
