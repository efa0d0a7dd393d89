"""The view of a local APIC: what is pending and in service, and why a pending interrupt is not delivered."""

from typing import Any, ClassVar

from mklab.widgets import classes
from mklab.widgets.apic_words import (
    Gate,
    Happened,
    Register,
    gates,
    happened,
    hex_vector,
    in_service_since,
    registers,
    why,
)
from mklab.widgets.blocks import changed_bar, code, code_width, cross, lines, stacked, tick, titled, wrap_code
from mklab.widgets.choice import cpu_choice
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.svg import element, path, text
from mklab.widgets.view import View
from mklab.widgets.words import NOT_LOOKED_AT, NOTHING_YET

__all__ = ["PICTURE", "Apic"]

_TWO_COLUMNS = 900
_GAP = 40
_EVENTS = 6
_GATE = 56
_GATE_WIDTH = 130
_ARROW = 20


class Apic:
    """The picture."""

    name: ClassVar[str] = "apic"
    question: ClassVar[str] = "What waits in this CPU's local APIC, and why is it not delivered?"

    def answer(self, view: View) -> str:
        """The pending vector, and the first gate that is shut."""
        cpu, apic = view.shown_cpu, _apic(view)
        if view.frame is None or not apic:
            return NOT_LOOKED_AT if view.film.count else NOTHING_YET
        if apic["mode"] == "disabled":
            return f"The local APIC of CPU {cpu} is switched off: bit 11 of IA32_APIC_BASE is 0. It takes no interrupt."
        served = f" {_vectors(apic['isr'])} {_is(apic['isr'])} in service." if apic["isr"] else ""
        if not apic["irr"]:
            return f"Nothing waits: no bit of IRR is set on CPU {cpu}.{served}"
        vector = hex_vector(max(apic["irr"]))
        since = in_service_since(view.film, cpu, view.event, max(apic["isr"])) if apic["isr"] else None
        held = why(view.frame, cpu, since)
        others = len(apic["irr"]) - 1
        below = f" {others} more {'waits' if others == 1 else 'wait'} below it." if others else ""
        if not held:
            return f"Every gate is open to {vector}: CPU {cpu} takes it before its next instruction.{below}"
        return f"{vector} waits on CPU {cpu}, because {held}{below}"

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """The gates, the classes, the registers and the last events, in one column or two."""
        apic = _apic(view)
        if view.frame is None or not apic:
            return Drawing("", 0)
        cpu = view.shown_cpu
        two = width >= _TWO_COLUMNS
        column = (width - _GAP) // 2 if two else width
        first = _gates(gates(view.frame, cpu), palette, width)
        cells = classes.draw(apic, view.frame.apic_changed(cpu), palette, column)
        rows = _registers(registers(view.frame, cpu, view.film.recording.apic_ids[cpu]), cpu, palette, column)
        last = _happened(happened(view.film, cpu, view.event, _EVENTS), view.selected, palette, column)
        if not two:
            return stacked([first, cells, rows, last])
        right = stacked([rows, last])
        beside = cells.content + element("g", right.content, transform=f"translate({column + _GAP} 0)")
        return stacked([first, Drawing(beside, max(cells.height, right.height))])

    def body(self, view: View, width: int) -> str:
        """The choice of the CPU, and the drawing."""
        return cpu_choice(self.name, view, _standing_of) + drawn(self, view, width)

    def tell(self, view: View) -> str:
        """The same in words."""
        apic = _apic(view)
        if view.frame is None or not apic:
            return ""
        cpu = view.shown_cpu
        passed = [f"{gate.words} {'yes' if gate.open else 'NO'}" for gate in gates(view.frame, cpu)]
        rows = [f"gates: {' | '.join(passed)}" if passed else "gates: nothing is pending", ""]
        rows += [classes.tell(apic, view.frame.apic_changed(cpu)), ""]
        for one in registers(view.frame, cpu, view.film.recording.apic_ids[cpu]):
            rows.append(f"{one.name:<11} {one.value:<19} {one.words}")
            if one.old:
                rows.append(f"CHANGED {one.name} {one.old} -> {one.value}")
        rows += [
            "",
            *(f"e{one.event} t={one.time:,}  {one.words}" for one in happened(view.film, cpu, view.event, _EVENTS)),
        ]
        return "\n".join(rows).rstrip()


PICTURE = Apic()


def _apic(view: View) -> dict[str, Any]:
    return view.frame.apic(view.shown_cpu) if view.frame is not None else {}


def _vectors(vectors: list[int]) -> str:
    return " and ".join(hex_vector(vector) for vector in vectors)


def _is(vectors: list[int]) -> str:
    return "is" if len(vectors) == 1 else "are"


def _standing_of(view: View, cpu: int) -> str:
    """What a CPU's APIC holds, in a few words for the list of CPUs."""
    apic = view.frame.apic(cpu) if view.frame is not None else {}
    if not apic:
        return "not recorded"
    parts = [f"{hex_vector(max(apic['irr']))} waits"] if apic["irr"] else []
    parts += [f"{hex_vector(max(apic['isr']))} in service"] if apic["isr"] else []
    return ", ".join(parts) or "nothing waits"


def _gates(found: list[Gate], palette: Palette, width: int) -> Drawing:
    """The gates in a row, or several: ticked, the first that is shut crossed, those behind it dashed."""
    ink, muted, alert = palette.role("ink"), palette.role("muted"), palette.role("alert")
    if not found:
        words = "Nothing is pending in IRR: there is nothing to deliver."
        return titled("Gates on the way to the CPU", "", Drawing(text(0, 12, words, muted), 16), palette, width)
    shut = next((number for number, gate in enumerate(found) if not gate.open), len(found))
    last = Gate("Delivery", "waits" if shut < len(found) else "before the next instruction", shut == len(found))
    every = [*found, last]
    per_row = min(len(every), (width + _ARROW) // (_GATE_WIDTH + _ARROW))
    box = (width - _ARROW * (per_row - 1)) / per_row
    content = ""
    for number, gate in enumerate(every):
        x, y = (number % per_row) * (box + _ARROW), number // per_row * (_GATE + 12)
        first_shut, behind = number == shut and number < len(found), number > shut
        content += element(
            "rect",
            x=x + 1.5,
            y=y + 1.5,
            width=box - 3,
            height=_GATE - 3,
            rx=3,
            fill=palette.role("panel"),
            stroke=alert if first_shut else palette.role("axis"),
            stroke_width=2.5 if first_shut else 1.2,
            stroke_dasharray="4 3" if behind else None,
        )
        middle = y + _GATE / 2
        if gate is last and not gate.open:
            content += path(
                [(x + 12, middle - 7, x + 12, middle + 7), (x + 18, middle - 7, x + 18, middle + 7)], muted, 3
            )
        else:
            content += (tick if gate.open else cross)(x + 15, middle, palette.role("good") if gate.open else alert)
        content += text(x + 30, y + 18, gate.name, ink, bold=True)
        words = f"{gate.words}: no" if not gate.open and gate is not last else gate.words
        said, _ = lines(x + 30, y + 34, words, box - 36, alert if first_shut else muted, size=11, step=13)
        content += said
        if number + 1 < len(every) and (number + 1) % per_row:
            passed = gate.open and not behind
            color = ink if passed else palette.role("axis")
            content += path(
                [(x + box + 2, middle, x + box + 11, middle)], color, 2, stroke_dasharray=None if passed else "2 3"
            )
            head = f"M{x + box + 10:.1f} {middle - 5:.1f}l8 5l-8 5z"
            content += element("path", d=head, fill=color if passed else "none", stroke=color)
    rows = -(-len(every) // per_row)
    note = "every gate must be open; the first that is shut counts"
    height = rows * (_GATE + 12) - 12
    return titled("Gates on the way to the CPU", note, Drawing(content, height), palette, width)


def _registers(found: list[Register], cpu: int, palette: Palette, width: int) -> Drawing:
    """The registers: name, value and what it means; what changed has a bar and its old value."""
    ink, muted = palette.role("ink"), palette.role("muted")
    values = 16 + max(code_width(one.name) for one in found) + 12
    left = values + min(max(code_width(one.value) for one in found), 150) + 12
    content, y = "", 0
    for one in found:
        content += code(16, y + 14, one.name, ink)
        row = 0
        for part in wrap_code(one.value, left - values - 8):
            content += code(values, y + 14 + 16 * row, part, ink, bold=bool(one.old))
            row += 1
        words, rows = lines(left, y + 14, one.words, width - left, muted)
        content += words
        if one.old:
            was = wrap_code(f"was {one.old}", width - left)
            for part in was:
                content += code(left, y + 14 + 16 * rows, part, ink, size=11)
                rows += 1
        height = 16 * max(row, rows)
        content += changed_bar(0, y + 2, height, palette) if one.old else ""
        y += height + 6
    return titled(f"Registers of the local APIC of CPU {cpu}", "", Drawing(content, y), palette, width)


def _happened(found: list[Happened], selected: int | None, palette: Palette, width: int) -> Drawing:
    """The last events, each of which can be selected."""
    ink, muted, alert = palette.role("ink"), palette.role("muted"), palette.role("alert")
    if not found:
        words = "None of its events is among the last 2,000."
        return titled("What it did last", "", Drawing(text(0, 12, words, muted), 16), palette, width)
    left = 24 + max(code_width(f"e{one.event}  t={one.time:,}") for one in found) + 12
    content, y = "", 0
    for one in found:
        color = alert if one.trouble else ink
        drawn_words, rows = lines(left, y + 16, one.words, width - left - 6, color)
        inner = code(24, y + 16, f"e{one.event}  t={one.time:,}", muted) + drawn_words
        inner += cross(12, y + 12, alert) if one.trouble else ""
        height = 16 * rows + 8
        chosen = one.event == selected
        # The rectangle makes all of the row answer to the pointer.
        box = {"x": 1.5, "y": y + 1, "width": width - 3, "height": height - 2, "rx": 3, "fill": palette.role("paper")}
        outline = {"stroke": palette.role("focus"), "stroke_width": 2.5} if chosen else {}
        content += element(
            "g",
            element("rect", **box, **outline) + inner,
            data_event=one.event,
            data_key=f"apic-e{one.event}",
            tabindex=0,
            role="button",
            aria_label=f"event {one.event}, t={one.time:,}: {one.words}",
        )
        y += height
    return titled("What it did last", "", Drawing(content, y), palette, width)
