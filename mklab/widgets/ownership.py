"""Who owns each CPU, and in which state? Lanes of boxes over virtual time; of many CPUs a grid above them."""

import bisect
from collections.abc import Iterator, Sequence
from typing import ClassVar

from mklab.recording import Incident, Span
from mklab.widgets.bands import draw_lanes
from mklab.widgets.boxes import Box, Window, index_at, stretches
from mklab.widgets.fates import Fates
from mklab.widgets.forms import sides
from mklab.widgets.grid import draw_grid
from mklab.widgets.lanes import FOLD_ABOVE, Group, end_of, groups, lane, state_of
from mklab.widgets.owner_key import draw_key
from mklab.widgets.palette import LIVE, Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.svg import element, text, wrap
from mklab.widgets.view import View
from mklab.widgets.words import listed

__all__ = ["GRID", "LANES", "PICTURE", "Ownership", "cpus_of", "more_lanes", "window_of"]

GRID = "Now: one cell a CPU, in order of its index"
LANES = "Over time: neighbours that fared alike share a lane"
"""What stands above the grid and above folded lanes."""
_SAID = 3
"""Troubles that the answer tells."""
_RUNS = 5
"""Groups of neighbouring CPUs that are named one by one."""
_NAMED = 24
"""Groups that are named in the picture, lines of a lane's history in its twin, and incidents in it."""


class Ownership:
    """The picture."""

    name: ClassVar[str] = "ownership"
    question: ClassVar[str] = "Who owns each CPU, and in which state?"

    def answer(self, view: View) -> str:
        """Troubles first, then a sentence for each owner."""
        if not view.film.count:
            return "Nothing recorded yet. Press Step (S), or run the cell above."
        recording = view.film.recording
        owners: dict[str | None, list[int]] = {}
        troubles = []
        for cpu in range(len(recording.apic_ids)):
            now = recording.span_at(cpu, view.event)
            owners.setdefault(now.owner, []).append(cpu)
            troubles += list(_troubles(view, now))
        # A reset is every CPU's trouble, and said once.
        said = list(dict.fromkeys(troubles))
        if len(said) > _SAID:
            said = [*said[:_SAID], f"{len(said) - _SAID} more are in the text twin"]
        said += [f"{owner or 'nobody'}: {cpus_of(owners[owner])}" for owner in sorted(owners, key=_rank)]
        return " ".join(f"{words[0].upper()}{words[1:]}." for words in said)

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """See :class:`mklab.widgets.picture.Picture`."""
        ink, muted = palette.role("ink"), palette.role("muted")
        content, top = "", 0
        if len(view.film.recording.apic_ids) > FOLD_ABOVE:
            cells, height = draw_grid(view, palette, width)
            content = text(0, 12, GRID, muted)
            content += element("g", cells, transform="translate(0 22)")
            content += text(0, height + 42, LANES, muted)
            top = height + 52
        first, rest = groups(view)
        window = window_of(view, first, width)
        shown = [lane(view, group, window) for group in first]
        drawing, height = draw_lanes(view, shown, window, palette)
        content += element("g", drawing, transform=f"translate(0 {top})")
        top += height
        for line in wrap(_named(rest), width) if rest else []:
            top += 18
            content += text(0, top, line, ink)
        key, height = draw_key(shown, window, palette, width)
        content += element("g", key, transform=f"translate(0 {top + 6})")
        return Drawing(content, top + 6 + height)

    def body(self, view: View, width: int) -> str:
        """See :class:`mklab.widgets.picture.Picture`; lanes that are left out can be opened below."""
        return drawn(self, view, width) + more_lanes(view, width)

    def tell(self, view: View) -> str:
        """How each CPU stands, how it came there, and what went wrong."""
        recording = view.film.recording
        lines = [_standing(recording.span_at(cpu, view.event)) for cpu in range(len(recording.apic_ids))]
        lines += ["", "History, in instructions"]
        first, rest = groups(view)
        for one in first:
            lines += _history(view, one)
        if rest:
            lines.append(_named(rest))
        if end_of(view.film) > view.time:
            lines += ["", f"More is recorded: up to t={end_of(view.film):,}, event {view.film.count - 1}."]
        if incidents := _incidents(view):
            lines += ["", "Trouble"]
            if len(incidents) > _NAMED:
                lines.append(f"... {len(incidents) - _NAMED:,} earlier ones")
            lines += [
                f"{one.kind.upper()}  t={one.at.time:,}  event {one.at.event}  {one.text}"
                for one in incidents[-_NAMED:]
            ]
        return "\n".join(lines)


PICTURE = Ownership()


def window_of(view: View, shown: Sequence[Group], width: int) -> Window:
    """The whole run, in a picture of ``width`` pixels with these lanes."""
    left, right = sides(shown, view.film)
    return Window(0, end_of(view.film), max(width - left - right - 16, 1))


def more_lanes(view: View, width: int, *, opened: bool = True) -> str:
    """The lanes that the picture leaves out, behind a button: HTML. Empty where it leaves out none."""
    rest = groups(view)[1]
    if not rest:
        return ""
    title = f"<summary>{len(rest)} more group{'s' if len(rest) > 1 else ''}</summary>"
    drawing = ""
    if opened:
        window = window_of(view, rest, width)
        content, height = draw_lanes(view, [lane(view, one, window) for one in rest[:_NAMED]], window, LIVE)
        drawing = element("svg", content, width=width, height=height, viewBox=f"0 0 {width} {height}", role="group")
        drawing += f"<p>{_named(rest[_NAMED:])}</p>" if len(rest) > _NAMED else ""
    return f'<details data-key="ownership-more">{title}{drawing}</details>'


# Words


def cpus_of(numbers: Sequence[int]) -> str:
    """``CPU 2``, ``CPUs 0 and 1``, ``CPUs 0 to 3 and 7``; of too many groups the first ones."""
    known = set(numbers)
    begun = [place for place, number in enumerate(numbers) if number - 1 not in known]
    if len(begun) <= _RUNS:
        return f"CPU{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
    first = numbers[: begun[_RUNS - 1]]
    return f"CPUs {listed(first).replace(' and ', ', ')} and {len(numbers) - len(first)} others"


def _rank(owner: str | None) -> tuple[object, ...]:
    """The host first, then kernel 2 before kernel 10; nobody last."""
    name = owner or ""
    return not name, name != "host", len(name), name


def _named(rest: Sequence[Group]) -> str:
    """The groups without a lane of theirs, in words."""
    names = [one.name.removeprefix("CPU ") for one in rest]
    more = f", and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
    return f"{len(rest)} more group{'s' if len(rest) > 1 else ''}: CPUs {', '.join(names[:_NAMED])}{more}."


def _troubles(view: View, now: Span) -> Iterator[str]:
    """Why a CPU is where it should not be: no cross without its reason."""
    if now.against_plan:
        entry = Fates.of(view.film).entry(now.cpu, view.event)
        if entry is not None and entry.against_plan:
            yield (
                f"CPU {now.cpu}: planned for {now.planned}, but it entered {now.owner} at {entry.address:#x} "
                f"(event {entry.seq})"
            )
        else:
            yield f"CPU {now.cpu} belongs to {now.owner}, and is now planned for {now.planned}"
    if now.state in ("shut down", "wait-for-SIPI"):
        incidents = view.film.recording.incidents
        at = bisect.bisect_left(incidents, now.start, key=lambda one: one.at)
        for one in incidents[at:]:
            if one.at != now.start:
                break
            if one.kind == "reset" or (one.kind == "shutdown" and one.cpu == now.cpu):
                yield f"{one.text} (event {one.at.event})"


def _standing(now: Span) -> str:
    line = f"CPU {now.cpu:<3} {now.owner or 'nobody':<9} {state_of(now):<13}  since t={now.start.time:,}"
    if now.planned and now.planned != now.owner:
        line += f"; {'AGAINST THE PLAN: ' if now.against_plan else ''}planned for {now.planned}"
    return line


def _history(view: View, one: Group) -> list[str]:
    """Every span of a lane that took time; of very many the first and the last ones."""
    spans = view.film.recording.spans[one.cpus[0]]
    here = index_at(spans, view.event)
    if here < 4 * _NAMED:
        return [_line(view, one, box) for box in stretches(spans, 0, here, 0, view.time, 0)]
    first = stretches(spans, 0, _NAMED, 0, spans[_NAMED].start.time, 0)
    last = stretches(spans, here - _NAMED, here, spans[here - _NAMED].start.time, view.time, 0)
    left_out = f"{one.name:<9} ... {here - 2 * _NAMED:,} changes that are not listed ..."
    return [*(_line(view, one, box) for box in first), left_out, *(_line(view, one, box) for box in last)]


def _line(view: View, one: Group, box: Box) -> str:
    arrived = Fates.of(view.film).arrivals(one.cpus[0], box.start, box.start, view.event)
    note = f"  ({', '.join(dict.fromkeys(arrival.words for arrival in arrived))})" if arrived else ""
    plan = f"  planned for {box.span.planned}" if box.span.planned not in (None, box.span.owner) else ""
    stretch = f"{box.start:,} to {box.end:,}"
    return f"{one.name:<9} {stretch:<20} {box.span.owner or 'nobody':<9} {state_of(box.span)}{plan}{note}"


def _incidents(view: View) -> list[Incident]:
    incidents = view.film.recording.incidents
    return incidents[: bisect.bisect_right(incidents, view.event, key=lambda one: one.at.event)]
