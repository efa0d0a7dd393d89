"""The sequence diagram of messages: lanes for CPUs and for slots, a row for each thing that happened.

A row's marks are drawn without knowing its height: lines reach to ``100%`` of it. So one drawing serves both pictures:
the SVG, where Python wraps the words, and the one inside JupyterLab, where the browser does.
"""

from dataclasses import dataclass
from html import escape

from mklab.recording import Ipi, Recording
from mklab.widgets import messages
from mklab.widgets.messages import QUESTION, Row
from mklab.widgets.palette import LIGHT, LIVE, Palette
from mklab.widgets.svg import CODE, document, element, hatched_box, path, text, wrap

__all__ = ["html", "svg"]

CPU_LANE = 72
SLOT_LANE = 44
ROW = 40
_MIDDLE = 16  # where in its row a mark is drawn, pixels from the top
_MOST_CPUS = 8
_MOST_ROWS = 16


@dataclass
class _Diagram:
    """What is shown: the rows that fit, the x of each lane, and how wide they are together."""

    recording: Recording
    rows: list[Row]
    hidden: int
    cpus: dict[int, int]
    slots: dict[int, int]
    width: int


def _diagram(recording: Recording) -> _Diagram:
    """The newest rows, as long as the CPUs in them have room side by side."""
    everything = messages.rows(recording)
    shown: list[Row] = []
    involved: set[int] = set()
    for row in reversed(everything):
        both = involved | {row.ipi.sender} | ({row.ipi.target} if row.ipi.target is not None else set())
        if len(shown) == _MOST_ROWS or len(both) > _MOST_CPUS:
            break
        shown.insert(0, row)
        involved = both
    cpus: dict[int, int] = {}
    slots: dict[int, int] = {}
    x = 0
    targets = {row.ipi.target for row in shown if row.ipi.slot}
    for cpu in sorted(involved):
        if cpu in targets:
            slots[cpu] = x + SLOT_LANE // 2
            x += SLOT_LANE
        cpus[cpu] = x + CPU_LANE // 2
        x += CPU_LANE
    return _Diagram(recording, shown, len(everything) - len(shown), cpus, slots, x)


# Marks


def _head(diagram: _Diagram, palette: Palette) -> str:
    """The names above the lanes, 40 pixels high."""
    content = ""
    for cpu, x in diagram.cpus.items():
        owner = diagram.recording.cpus[cpu].owner
        words = owner or "nobody"
        content += text(x, 12, f"CPU {cpu}", palette.role("ink"), bold=True, text_anchor="middle")
        left = x - 8 - len(words) * 3
        content += hatched_box(left, 19, 11, 11, owner, palette, dashed=owner is None)
        content += text(left + 16, 29, words, palette.role("muted"), size=11)
    for cpu, x in diagram.slots.items():
        content += text(x, 12, f"slot {cpu}", palette.role("ink"), bold=True, text_anchor="middle")
    return content


def _marks(diagram: _Diagram, number: int, palette: Palette) -> str:
    """All marks of row ``number``, under each other: lanes, slots, pending and served interrupts, the row's own."""
    content = ""
    for x in diagram.slots.values():
        content += _rule(x, "0", "100%", palette.role("rule"), 1, dash="1 4")
    for cpu, x in diagram.cpus.items():
        content += _rule(x, "0", "100%", palette.line(diagram.recording.cpus[cpu].owner), 2)
    row = diagram.rows[number]
    for ipi in diagram.recording.ipis:
        content += _slot(diagram, ipi, row, palette) + _pending(diagram, ipi, row, palette)
    return content + (_arrow(diagram, row, palette) if row.sent else _delivery(diagram, row, palette))


def _rule(x: float, top: str, bottom: str, color: str, width: float, dash: str | None = None) -> str:
    return element("line", x1=x, x2=x, y1=top, y2=bottom, stroke=color, stroke_width=width, stroke_dasharray=dash)


def _slot(diagram: _Diagram, ipi: Ipi, row: Row, palette: Palette) -> str:
    """The part of a message's stay in its slot that falls in ``row``."""
    if ipi.slot is None or ipi.target not in diagram.slots:
        return ""
    x = diagram.slots[ipi.target]
    left, right = x - 15, x + 15
    lost = ipi.lost is not None
    # A row is later than what happened in it: an overwriting message's row begins with its store.
    end = ipi.delivered if ipi.taken else ipi.overwritten
    begins = row.sent and row.ipi.sent == ipi.sent and row.ipi.target == ipi.target
    ends = end is not None and (row.at == end if ipi.taken else row.sent and row.ipi.slot_seen == end)
    inside = ipi.sent < row.at and (end is None or row.at < end) and not ends
    # Of what is lost only the store is drawn: nobody reads it, and the words say so.
    if not begins and (lost or not (inside or ends)):
        return ""
    gone = lost or ipi.overwritten is not None
    color = palette.role("alert") if gone else palette.role("ink")
    dash = "4 3" if lost else None
    top = 8 if begins else 0
    # Where it is read, and where it is lost, its box is closed; where it is overwritten, the next one begins at 8.
    bottom = 32 if lost or (ends and ipi.taken) else 4 if ends else None
    sides = (str(top), "100%" if bottom is None else str(bottom), color, 1.2, dash)
    content = _rule(left, *sides) + _rule(right, *sides)
    if begins:
        label = messages.names_of(diagram.recording)[_number(diagram, ipi)]
        content += path([(left, 8, right, 8)], color, stroke_dasharray=dash)
        content += text(x, 29, label, color, size=11, bold=True, font_family=CODE, text_anchor="middle")
        if ipi.overwritten:
            content += path([(x - 9, 25, x + 9, 25)], color, 1.5)
    if bottom is not None:
        content += path([(left, bottom, right, bottom)], color, stroke_dasharray=dash)
    if ends and ipi.taken:
        content += path([(x - 5, 22, x - 1, 26), (x - 1, 26, x + 6, 17)], palette.role("good"), 2)
    return content


def _number(diagram: _Diagram, ipi: Ipi) -> int:
    return next(number for number, one in enumerate(diagram.recording.ipis) if one is ipi)


def _pending(diagram: _Diagram, ipi: Ipi, row: Row, palette: Palette) -> str:
    """The hollow bar of an interrupt that waits in the IRR."""
    waits = ipi.accepted and not ipi.merged and ipi.delivery in ("fixed", "lowest", "nmi")
    if not waits or ipi.target not in diagram.cpus:
        return ""
    end = ipi.delivered or ipi.lost
    begins = row.sent and row.ipi is ipi
    ends = not row.sent and row.at == end and row.ipi.target == ipi.target
    inside = ipi.sent < row.at and (end is None or row.at < end)
    if not (begins or ends or inside):
        return ""
    top, bottom = (str(_MIDDLE) if begins else "0"), (str(_MIDDLE) if ends else "100%")
    x, ink = diagram.cpus[ipi.target], palette.role("ink")
    # Inside the bar there is paper, not the lane.
    content = _rule(x, top, bottom, palette.role("paper"), 6)
    content += _rule(x - 4, top, bottom, ink, 1.2) + _rule(x + 4, top, bottom, ink, 1.2)
    return content + (path([(x - 4, _MIDDLE, x + 4, _MIDDLE)], ink) if begins else "")


def _delivery(diagram: _Diagram, row: Row, palette: Palette) -> str:
    """A diamond where the handler is entered, a bar while the interrupt is in service, a stroke for EOI."""
    assert row.ipi.target is not None
    x, ink = diagram.cpus[row.ipi.target], palette.role("ink")
    content = _rule(x, str(_MIDDLE), "34" if row.ipi.eoi else "100%", ink, 7) if row.ipi.delivery != "nmi" else ""
    if row.ipi.eoi:
        content += path([(x - 9, 34, x + 9, 34)], ink, 2.5)
    return content + element("path", d=f"M{x - 9} {_MIDDLE}l9 -7 9 7 -9 7z", fill=ink)


def _arrow(diagram: _Diagram, row: Row, palette: Palette) -> str:
    """From the dot at the sender's ICR to what became of it: a head, a ring for merged, a cross for lost or ignored."""
    ipi, ink = row.ipi, palette.role("ink")
    start = diagram.cpus[ipi.sender]
    end = diagram.width - 8 if ipi.target is None else diagram.cpus[ipi.target]
    if end == start:
        return _self_arrow(ipi, start, palette)
    way = 1 if end > start else -1
    dash = {"init": "7 4", "sipi": "2 3"}.get(ipi.delivery)
    never = ipi.ignored or (ipi.lost and not ipi.accepted)
    tip = end - way * (20 if never else 6)
    content = element("circle", cx=start, cy=_MIDDLE, r=4, fill=ink)
    content += path([(start, _MIDDLE, tip - way * 8, _MIDDLE)], ink, 2, stroke_dasharray=dash)
    content += _word(ipi, start + way * 10, way, palette)
    return content + _tip(ipi, tip, way, palette)


def _self_arrow(ipi: Ipi, x: int, palette: Palette) -> str:
    ink = palette.role("ink")
    hook = element("path", d=f"M{x} 8h20v{_MIDDLE - 4}h-6", stroke=ink, stroke_width=2, fill="none")
    return element("circle", cx=x, cy=8, r=4, fill=ink) + hook + _tip(ipi, x + 8, -1, palette, 20)


def _word(ipi: Ipi, x: float, way: int, palette: Palette) -> str:
    """What is sent, over the arrow's start."""
    word = {"init": "INIT", "sipi": "SIPI", "nmi": "NMI"}.get(ipi.delivery, f"0x{ipi.vector:X}")
    anchor = "start" if way > 0 else "end"
    return text(x, _MIDDLE - 5, word, palette.role("ink"), size=11, font_family=CODE, text_anchor=anchor)


def _tip(ipi: Ipi, x: float, way: int, palette: Palette, y: float = _MIDDLE) -> str:
    ink, paper = palette.role("ink"), palette.role("paper")
    if ipi.ignored or (ipi.lost and not ipi.accepted):
        color = palette.role("alert") if ipi.lost else ink
        return path([(x - 6, y - 6, x + 6, y + 6), (x - 6, y + 6, x + 6, y - 6)], color, 2.5)
    if ipi.merged:
        ring = element("circle", cx=x - way * 3, cy=y, r=5, fill=paper, stroke=ink, stroke_width=1.6)
        return ring + path([(x - way * 3 - 3, y, x - way * 3 + 3, y)], ink, 1.6)
    solid = ipi.delivery in ("init", "sipi")
    back = -way * 9
    return element("path", d=f"M{x} {y}l{back} -5v10z", fill=ink if solid else paper, stroke=ink, stroke_width=1.6)


# Pictures


def _hidden(diagram: _Diagram) -> str:
    if not diagram.hidden:
        return ""
    total = diagram.hidden + len(diagram.rows)
    return f"The last {len(diagram.rows)} of {total} rows; all of them are in the text."


def _title(row: Row) -> str:
    cross = "\u00d7 " if row.trouble else ""
    return f"{cross}e{row.at.event} {row.head}"


def svg(recording: Recording, palette: Palette = LIGHT, width: int = 960) -> str:
    """The picture on its own paper, ``width`` pixels wide at least."""
    diagram = _diagram(recording)
    left, margin = 96, 24
    words_at = left + diagram.width + 24
    width = max(width, words_at + 280)
    room = width - words_at - margin
    muted = palette.role("muted")
    summary = wrap(messages.answer(recording), width - 2 * margin, 13)
    content = text(margin, 36, QUESTION, palette.role("ink"), size=15, bold=True)
    for number, line in enumerate(summary):
        content += text(margin, 56 + 18 * number, line, muted, size=13)
    y = 56 + 18 * len(summary)
    if diagram.rows:
        content += text(left - 20, y + 29, "instr.", muted, size=11, text_anchor="end")
        content += text(words_at, y + 29, "what happened, and why", muted, size=11)
        content += element("svg", _head(diagram, palette), x=left, y=y, width=diagram.width, height=36)
        y += 36
    for number, row in enumerate(diagram.rows):
        heads, details = wrap(_title(row), room), wrap(row.detail, room, 11)
        height = max(ROW, 4 + 15 * (len(heads) + len(details)) + 6)
        content += element("svg", _marks(diagram, number, palette), x=left, y=y, width=diagram.width, height=height)
        content += text(left - 20, y + 20, f"{row.at.time:,}", muted, size=11, font_family=CODE, text_anchor="end")
        color = palette.role("alert") if row.trouble else palette.role("ink")
        for number_of_line, line in enumerate(heads):
            content += text(words_at, y + 13 + 15 * number_of_line, line, color, bold=True)
        for number_of_line, line in enumerate(details, len(heads)):
            content += text(words_at, y + 13 + 15 * number_of_line, line, muted, size=11)
        y += height
    if diagram.hidden:
        content += text(words_at, y + 20, _hidden(diagram), muted, size=11)
        y += 24
    return document(QUESTION, messages.answer(recording), width, y + margin, palette, content)


def html(recording: Recording) -> str:
    """The picture for inside JupyterLab: a table whose cells hold the marks, and whose words the browser wraps."""
    diagram = _diagram(recording)
    if not diagram.rows:
        return ""
    drawn = f'<td class="mklab-marks" style="width: {diagram.width}px; min-width: {diagram.width}px">'
    marks = f'<svg width="{diagram.width}" height="100%" aria-hidden="true">'
    body = ""
    for number, row in enumerate(diagram.rows):
        words = f"<b>{escape(_title(row))}</b><br><span>{escape(row.detail)}</span>"
        trouble = ' class="mklab-trouble"' if row.trouble else ""
        body += (
            f"<tr{trouble}><td>{row.at.time:,}</td>{drawn}{marks}{_marks(diagram, number, LIVE)}</svg></td>"
            f"<td>{words}</td></tr>"
        )
    head = f"<tr><th>instr.</th>{drawn}{marks}{_head(diagram, LIVE)}</svg></td><th>what happened, and why</th></tr>"
    note = f"<p>{_hidden(diagram)}</p>" if diagram.hidden else ""
    return f'<table class="mklab-sequence"><thead>{head}</thead><tbody>{body}</tbody></table>{note}'
