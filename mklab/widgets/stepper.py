"""The trampoline stepper: what a CPU's last step changed, in which mode it is, and what the next mode needs."""

from html import escape
from typing import ClassVar

from mklab.widgets import code_block, page_walk, segments
from mklab.widgets.blocks import changed_bar, code, code_width, lines, stacked, tick, titled, wrap_code
from mklab.widgets.choice import cpu_choice
from mklab.widgets.modes import MODES, Milestone, bits_of, milestones, mode_of, needs
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.steps import Change, Step, last_step, meaning
from mklab.widgets.svg import element, path, text
from mklab.widgets.view import View
from mklab.widgets.words import NOT_LOOKED_AT, NOTHING_YET

__all__ = ["PICTURE", "Stepper"]

_MOST_CHANGES = 12
_TWO_COLUMNS = 900
_GAP = 40
_LADDER = 244


class Stepper:
    """The picture."""

    name: ClassVar[str] = "stepper"
    question: ClassVar[str] = "What did this step change, and in which mode is the CPU?"

    def answer(self, view: View) -> str:
        """What the step did, and the mode."""
        step = last_step(view)
        if step is None:
            return NOT_LOOKED_AT if view.film.count else NOTHING_YET
        return f"{_what(step)} {_standing(step)}"

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """Milestones, code, mode, changes, segments and page walk, in one column or two."""
        step = last_step(view)
        if step is None or view.frame is None:
            return Drawing("", 0)
        frame, cpu = view.frame, step.cpu
        linear, title = _walked(view, step)
        two = width >= _TWO_COLUMNS
        column = (width - _GAP) // 2 if two else width
        left = [code_block.draw(view, step, palette, column), _changes(step, palette, column)]
        right = [
            _mode(step, palette, column),
            segments.draw(frame, cpu, palette, column),
            page_walk.draw(frame, cpu, linear, title, palette, column),
        ]
        row = _milestones(milestones(step.after, step.before, step.span, step.earlier), palette, width)
        if not two:
            return stacked([row, *left, *right])
        sides = [stacked(left), stacked(right)]
        content = sides[0].content + element("g", sides[1].content, transform=f"translate({column + _GAP} 0)")
        return stacked([row, Drawing(content, max(side.height for side in sides))])

    def body(self, view: View, width: int) -> str:
        """The choice of the CPU and of the address whose walk is shown, and the drawing."""
        return cpu_choice(self.name, view, _standing_of) + _address_choice(view) + drawn(self, view, width)

    def tell(self, view: View) -> str:
        """The same in words."""
        step = last_step(view)
        if step is None or view.frame is None:
            return ""
        linear, title = _walked(view, step)
        way = milestones(step.after, step.before, step.span, step.earlier)
        bits = " ".join(f"{name}={int(bit)}" for name, bit in bits_of(step.after).items())
        coming, wanted = needs(step.after, step.span)
        return "\n".join(
            [
                "way: " + ", ".join(f"{one.name} {'NEW' if one.new else 'yes' if one.done else 'no'}" for one in way),
                f"mode: {mode_of(step.after).words}; {bits}",
                f"next: {coming}",
                *(f"  {'has  ' if need.done else 'needs'} {need.words}" for need in wanted),
                "",
                code_block.tell(view, step),
                "",
                *(
                    f"CHANGED {one.name:<10} {one.old} -> {one.new}" + (f"  {one.note}" if one.note else "")
                    for one in step.changes
                ),
                *([] if step.changes else ["nothing changed"]),
                "",
                segments.tell(view.frame, step.cpu),
                "",
                f"{title}: {page_walk.tell(view.frame, step.cpu, linear)}",
            ]
        )


PICTURE = Stepper()


def _what(step: Step) -> str:
    """What the step did, as a sentence."""
    means, cpu = meaning(step), f"CPU {step.cpu}"
    if not step.before:
        return f"Nothing is recorded of what {cpu} did before this."
    if step.happened:
        return f"{cpu}: {means}"
    if step.executed is not None:
        said = f"{cpu} executed {step.executed.text} at {step.executed.linear:#x}"
        return f"{said}: {means}" if means else f"{said}."
    if step.count:
        said = f"{cpu} executed {step.count:,} instructions up to t={step.time:,}"
        return f"{said}; among them {means}" if means else f"{said}."
    return f"{cpu} did not run: something else changed its registers at t={step.time:,}."


def _standing(step: Step) -> str:
    """The mode, or what the CPU waits for."""
    coming, wanted = needs(step.after, step.span)
    state = step.span.state
    if state in ("wait-for-SIPI", "shut down"):
        return f"It is in {state if state == 'wait-for-SIPI' else 'shutdown'}. {wanted[0].words}"
    mode = f"It is in {mode_of(step.after).words}{', halted' if state == 'halted' else ''}."
    if not wanted:
        return mode
    return f"{mode} Next is {coming}."


def _standing_of(view: View, cpu: int) -> str:
    """How a CPU stands, in two words for the list of CPUs."""
    span = view.film.recording.span_at(cpu, view.event)
    return f"{span.owner or 'nobody'}, {span.mode if span.state == 'running' else span.state}"


def _walked(view: View, step: Step) -> tuple[int, str]:
    """The linear address whose walk is shown, and why this one."""
    if view.address is not None:
        return view.address, f"Page walk of the chosen address {view.address:#x}"
    rip = page_walk.linear_rip(step.after)
    return rip, f"Page walk of the next instruction, {rip:#x}"


def _address_choice(view: View) -> str:
    shown = "" if view.address is None else f"{view.address:#x}"
    return (
        '<label class="mk-choice">Page walk of linear address '
        f'<input data-act="address" data-on="change" data-key="stepper-address" value="{escape(shown)}" '
        'placeholder="next instruction" pattern="0[xX][0-9a-fA-F]{1,16}" size="18" '
        'title="hexadecimal, such as 0x2000000; empty: the next instruction"></label>'
    )


def _milestones(way: list[Milestone], palette: Palette, width: int) -> Drawing:
    """The way from SIPI to a kernel: numbered circles, filled as far as the CPU has come."""
    per_row = len(way) if width >= 680 else len(way) // 2
    room = width / per_row
    ink, muted, paper = palette.role("ink"), palette.role("muted"), palette.role("paper")
    first = next((number for number, one in enumerate(way) if not one.done), len(way))
    content, top, tallest = "", 0, 0
    for number, one in enumerate(way):
        column = number % per_row
        if number and not column:
            top, tallest = top + tallest + 8, 0
        x = column * room + 14
        if column:
            way_there = {} if one.done else {"stroke_dasharray": "3 3"}
            content += path([(x - room + 13, top + 13, x - 13, top + 13)], palette.role("axis"), 2, **way_there)
        content += element(
            "circle",
            cx=x,
            cy=top + 13,
            r=11,
            fill=ink if one.done else paper,
            stroke=ink if one.done or number == first else palette.role("axis"),
            stroke_width=1.6,
            stroke_dasharray=None if one.done else "3 2",
        )
        content += text(
            x, top + 17, f"{number + 1}", paper if one.done else ink, size=12, bold=True, text_anchor="middle"
        )
        left = x - 12 + (8 if one.new else 0)
        content += text(left, top + 40, one.name, ink if one.done else muted, bold=one.new)
        words = "this step" if one.new else "next" if number == first else ""
        detail, rows = lines(left, top + 54, one.detail, room - 12, muted, size=11, step=13)
        content += detail
        if words:
            content += text(left, top + 54 + 13 * rows, words, ink, size=11, bold=True)
        height = 54 + 13 * rows + (4 if words else -9)
        if one.new:
            content += changed_bar(x - 13, top + 30, height - 28, palette)
        tallest = max(tallest, height)
    note = "the order in which the trampoline goes; a filled circle: the CPU has come as far"
    return titled("From SIPI to a kernel", note, Drawing(content, top + tallest), palette, width)


def _mode(step: Step, palette: Palette, width: int) -> Drawing:
    """The ladder of modes, the bits that decide, and what the next mode needs."""
    ladder = _ladder(step, palette, _LADDER)
    right = width - _LADDER - 24
    bits = _bits(step, palette, right)
    tops = ladder.content + element("g", bits.content, transform=f"translate({_LADDER + 24} 0)")
    both = Drawing(tops, max(ladder.height, bits.height))
    coming, wanted = needs(step.after, step.span)
    ink, muted = palette.role("ink"), palette.role("muted")
    content = text(0, 12, f"Next: {coming}", ink, bold=True)
    y = 20
    for need in wanted:
        if need.done:
            content += tick(10, y + 10, palette.role("good"))
        else:
            content += element(
                "circle", cx=9, cy=y + 10, r=5, fill="none", stroke=ink, stroke_width=1.6, stroke_dasharray="3 2"
            )
        words, rows = lines(26, y + 14, need.words, width - 30, muted if need.done else ink)
        content += words
        y += 16 * rows + 4
    return titled("Mode", "", stacked([both, Drawing(content, y)], 12), palette, width)


def _ladder(step: Step, palette: Palette, width: int) -> Drawing:
    mode, waits = mode_of(step.after), step.span.state in ("wait-for-SIPI", "shut down")
    old = mode_of(step.before).name if step.before else mode.name
    ink, muted, paper = palette.role("ink"), palette.role("muted"), palette.role("paper")
    content, y = "", 0
    order = list(MODES)
    for name, condition in MODES.items():
        here = name == mode.name and not waits
        reached = order.index(name) >= order.index(mode.name) and not waits
        content += element(
            "rect",
            x=1,
            y=y + 1,
            width=width - 24,
            height=36,
            rx=3,
            fill=ink if here else paper,
            stroke=ink if reached else palette.role("axis"),
            stroke_dasharray=None if reached else "4 3",
        )
        title = f"{name}, {mode.code}-bit" if here and name in ("protected", "compatibility") else name
        content += text(9, y + 16, title, paper if here else ink, bold=True)
        content += text(9, y + 30, condition, paper if here else muted, size=11)
        if here:
            content += text(width - 31, y + 16, "here", paper, size=11, bold=True, text_anchor="end")
        y += 42
    if old != mode.name and not waits:
        start, end = (order.index(name) * 42 + 19 for name in (old, mode.name))
        sign = 1 if end < start else -1
        x = width - 10
        content += path([(x, start, x, end + 8 * sign)], ink, 2.5)
        content += element("path", d=f"M{x - 6} {end + 9 * sign}h12l-6 {-10 * sign}z", fill=ink)
    return Drawing(content, y - 4)


def _bits(step: Step, palette: Palette, width: int) -> Drawing:
    """The bits that decide on the mode, each with its value; what changed has a bar, and its old value."""
    ink, muted, paper = palette.role("ink"), palette.role("muted"), palette.role("paper")
    now = bits_of(step.after)
    before = bits_of(step.before) if step.before else now
    columns = 2 if width >= 240 else 1
    room, rows = width / columns, -(-len(now) // columns)
    content = ""
    pitch = 40 if columns == 2 else 24
    for number, (name, bit) in enumerate(now.items()):
        x, y = (number // rows) * room, (number % rows) * pitch
        changed = bit != before[name]
        content += changed_bar(x, y, 22, palette) if changed else ""
        content += element(
            "circle", cx=x + 20, cy=y + 11, r=10, fill=ink if bit else paper, stroke=ink, stroke_width=1.6
        )
        content += code(x + 20, y + 15, f"{int(bit)}", paper if bit else ink, bold=True, text_anchor="middle")
        content += code(x + 38, y + 15, name, ink, bold=changed)
        if changed:
            # Where rows are close, the old value stands at the right.
            at = (x + 38, y + 30) if columns == 2 else (x + 44 + code_width(name), y + 15)
            content += text(*at, f"was {int(before[name])}", muted, size=11)
    return Drawing(content, rows * pitch)


def _changes(step: Step, palette: Palette, width: int) -> Drawing:
    """What changed: each register before and after."""
    muted = palette.role("muted")
    shown = step.changes[:_MOST_CHANGES]
    if not shown:
        words = "Nothing: no register changed." if step.before else "Nothing is known of what was before."
        return titled("Changed by this step", "", Drawing(text(0, 12, words, muted), 16), palette, width)
    names = max(code_width(one.name) for one in shown) + 28
    # Long values wrap: both columns have at most the same room.
    room = min(max(code_width(one.old) for one in shown) + 4, (width - names - 40) / 2)
    before = names + room + 8
    after = before + 28
    content = text(names, 10, "before", muted, size=11) + text(after, 10, "after", muted, size=11)
    y = 16
    for one in shown:
        drawn, height = _change(one, names, before, after, palette, width)
        content += element("g", drawn, transform=f"translate(0 {y})")
        y += height
    if len(step.changes) > len(shown):
        left = len(step.changes) - len(shown)
        more = f"{left} more {'is' if left == 1 else 'are'} in the text twin."
        content += text(0, y + 14, more, muted)
        y += 20
    # A film holds what memory looked like, not stores.
    single = "1 instruction; a store of the same bytes is no change"
    count = single if step.count == 1 else f"{step.count:,} instructions" if step.count else ""
    return titled("Changed by this step", count, Drawing(content, y), palette, width)


def _change(one: Change, names: float, before: float, after: float, palette: Palette, width: int) -> tuple[str, int]:
    ink, muted = palette.role("ink"), palette.role("muted")
    content = code(16, 15, one.name, ink)
    old, new = wrap_code(one.old, before - names - 4), wrap_code(one.new, width - after)
    for row, part in enumerate(old):
        content += code(names, 15 + 16 * row, part, muted)
    for row, part in enumerate(new):
        content += code(after, 15 + 16 * row, part, ink, bold=True)
    content += path([(before, 11, before + 14, 11)], muted)
    content += element("path", d=f"M{before + 13:.1f} 7l6 4l-6 4z", fill=muted)
    rows = max(len(old), len(new))
    if one.note:
        left, y = after + code_width(new[-1]) + 12, 16 * len(new) - 1
        if left + code_width(one.note, 11) > width:
            left, y = names, 16 * rows + 15
        for part in wrap_code(one.note, width - left, 11):
            content += code(left, y, part, ink, size=11)
            y += 16
        rows = max(rows, y // 16)
    return content + changed_bar(0, 2, 16 * rows, palette), 16 * rows + 6
