"""Who owns each CPU, and in which state? Lanes of boxes over virtual time, as data and as text.

:mod:`mklab.widgets.bands` draws them, and :mod:`mklab.widgets.chart` does so inside JupyterLab.
"""

from dataclasses import dataclass, replace
from itertools import groupby

from mklab.recording import Moment, Recording, Span
from mklab.widgets.words import listed

__all__ = [
    "QUESTION",
    "Arrival",
    "Lane",
    "answer",
    "broken_plans",
    "lanes",
    "standing",
    "state_of",
    "ticks",
    "twin",
]

QUESTION = "Who owns each CPU, and in which state?"

_FOLD_ABOVE = 12


@dataclass(frozen=True)
class Arrival:
    """An INIT and a SIPI that reached a CPU at about the same time: their ``time`` in instructions, and words."""

    time: int
    words: str


@dataclass(frozen=True)
class Lane:
    """The history of one CPU, or of neighbours that fared alike.

    Attributes:
        cpus: their indexes; the lane shows the first one's history.
        name: ``CPU 2`` or ``CPU 4-63``.
        boxes: what is drawn: spans without those that took no time, and the last one ended now.
        arrivals: INITs and SIPIs that reached it.
        now: how it stands.
    """

    cpus: list[int]
    name: str
    boxes: list[Span]
    arrivals: list[Arrival]
    now: Span


def state_of(span: Span) -> str:
    """The state in one word: the mode of a CPU that runs, else its state."""
    return span.mode if span.state == "running" else span.state


def standing(span: Span) -> str:
    """The state, and the plan where it is broken."""
    return f"{state_of(span)}; planned: {span.planned}" if span.against_plan else state_of(span)


def lanes(recording: Recording) -> list[Lane]:
    """A lane for each CPU; past a dozen, neighbours that stand alike and looked alike in turn share one."""
    cpus = range(len(recording.apic_ids))
    groups = [[cpu] for cpu in cpus]
    if len(cpus) > _FOLD_ABOVE:
        groups = [list(group) for _, group in groupby(cpus, key=lambda cpu: _fate(recording.spans[cpu]))]
    return [_lane(recording, group) for group in groups]


def _fate(spans: list[Span]) -> tuple[object, ...]:
    """What neighbours must have in common to share a lane."""
    last = spans[-1]
    looks = dict.fromkeys((span.owner, state_of(span)) for span in spans)
    return (last.owner, last.mode, last.state, last.planned, *looks)


def _lane(recording: Recording, cpus: list[int]) -> Lane:
    first = cpus[0]
    now = Moment(recording.count - 1, recording.time)
    ended = [replace(span, end=span.end or now) for span in recording.spans[first]]
    boxes: list[Span] = []
    for span in ended:
        alike = boxes and _drawn(boxes[-1]) == _drawn(span)
        if alike:
            boxes[-1] = replace(boxes[-1], end=span.end)
        elif span.end and span.end.time > span.start.time:
            boxes.append(span)
    name = f"CPU {first}" if len(cpus) == 1 else f"CPU {first}-{cpus[-1]}"
    return Lane(cpus, name, boxes, _arrivals(recording, first), ended[-1])


def _drawn(span: Span) -> tuple[object, ...]:
    """What tells one box from the next."""
    return (span.owner, span.mode, span.state, span.planned)


def broken_plans(lane: Lane) -> list[tuple[int, int]]:
    """The stretches (instructions) in which the CPU belongs to another kernel than the one it was meant for."""
    found = []
    for broken, boxes in groupby(lane.boxes, key=lambda box: box.against_plan):
        run = list(boxes)
        if broken and run[-1].end:
            found.append((run[0].start.time, run[-1].end.time))
    return found


def _arrivals(recording: Recording, cpu: int) -> list[Arrival]:
    """INITs and SIPIs that took effect on ``cpu``; those too close to be told apart are one mark."""
    found: list[Arrival] = []
    for ipi in recording.ipis:
        if ipi.target == cpu and ipi.accepted and ipi.delivery in ("init", "sipi"):
            words = "INIT" if ipi.delivery == "init" else f"SIPI {ipi.vector:#x}"
            if found and ipi.accepted.time - found[-1].time <= recording.time / 50:
                words = f"{found.pop().words}, {words}"
            found.append(Arrival(ipi.accepted.time, words))
    return found


def ticks(end: int, about: int = 8) -> list[int]:
    """Round times from 0 to ``end`` in steps of 1, 2 or 5 times a power of ten, ``about`` of them."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step * about >= end:
                return list(range(0, end + 1, step))
        power *= 10


# Words


def _cpus(numbers: list[int]) -> str:
    """``CPU 2``, ``CPUs 0 and 1``, ``CPUs 0 to 3 and 7``."""
    return f"CPU{'s' if len(numbers) > 1 else ''} {listed(numbers)}"


def answer(recording: Recording) -> str:
    """The question's answer, in a sentence for each owner."""
    if not recording.count:
        return "Nothing recorded yet. Press Step, or run the cell above."
    owners: dict[str | None, list[int]] = {}
    for span in recording.cpus:
        owners.setdefault(span.owner, []).append(span.cpu)
    named = [f"{owner}: {_cpus(owners[owner])}" for owner in sorted(filter(None, owners))]
    if None in owners:
        named.append(f"nobody: {_cpus(owners[None])}")
    sentences = [f"{words[0].upper()}{words[1:]}." for words in named]
    broken = [span for span in recording.cpus if span.against_plan]
    sentences += [f"CPU {span.cpu} was planned for {span.planned}." for span in broken]
    # No crossed box without its reason in words.
    begun = {span.start for span in recording.cpus if span.state == "shut down"}
    reasons = [incident.text for incident in recording.incidents if incident.at in begun or incident.kind == "reset"]
    sentences += [f"{words[0].upper()}{words[1:]}." for words in reasons]
    return " ".join(sentences)


def twin(recording: Recording) -> str:
    """The picture in ASCII: how each CPU stands, how it came there, and what went wrong."""
    lines = [f"{QUESTION} At t={recording.time:,}, event {recording.count - 1}.", answer(recording), ""]
    for span in recording.cpus:
        line = f"CPU {span.cpu:<3} {span.owner or 'nobody':<9} {state_of(span):<13}  since t={span.start.time:,}"
        if span.planned and span.planned != span.owner:
            line += f"; {'AGAINST THE PLAN: ' if span.against_plan else ''}planned for {span.planned}"
        lines.append(line)
    lines += ["", "History, in instructions"]
    for lane in lanes(recording):
        arrivals = {arrival.time: f"  ({arrival.words})" for arrival in lane.arrivals}
        for box in lane.boxes:
            assert box.end is not None
            plan = f"  planned for {box.planned}" if box.planned and box.planned != box.owner else ""
            note = arrivals.get(box.start.time, "")
            stretch = f"{box.start.time:,} to {box.end.time:,}"
            line = f"{lane.name:<9} {stretch:<20} {box.owner or 'nobody':<9} {state_of(box)}{plan}{note}"
            lines.append(line)
    if recording.incidents:
        lines += ["", "Trouble"]
        lines += [
            f"{one.kind.upper()}  t={one.at.time:,}  event {one.at.event}  {one.text}" for one in recording.incidents
        ]
    return "\n".join(lines)
