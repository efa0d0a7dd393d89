"""Exercise 07.8: three hazards of one run, each with the event that proves it and the change that is aimed at it."""

from dataclasses import dataclass
from typing import Any

from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.forms.assigned import MissingError, WrongValues, taken
from mklab.lab.lab07.hazards import Hazards
from mklab.lab.telling import say
from mklab.lab.verdict import Outcome, Verdict
from mklab.trace import Event, Init, IpiSent, Message, OwnerChange

__all__ = ["CHANGES", "EXERCISE", "Changes"]

CHANGES = {
    "A": "Rings (later tree): a ring of 64 entries for messages; a sender claims an entry with lock cmpxchg, and gets"
    " -ENOSPC when all are full.",
    "B": "The park page (later tree): no INIT and SIPI for a spawned kernel; each CPU of the pool waits for a word with"
    " its own"
    " APIC id,"
    " copies the entry, and claims it; the waker waits until it has.",
    "C": "Instances (version 2): an instance has a set of CPUs, which is written down and can be read in"
    " /sys/fs/multikernel/instances.",
    "D": "/proc/kimage (version 2): the table of images gets the column MK_ID.",
    "E": "The memory pool (version 2): mkkernel_pool= reserves memory, and instances get pieces of it.",
}
"""Changes that came after version 1, by letter."""

_NAMES = ("wrong_image", "lost_message", "taken_cpu")
_ASKED = {
    "wrong_image": "a CPU enters another image than it was kicked for",
    "lost_message": "a message is destroyed before anybody has read it",
    "taken_cpu": "a kernel that runs well loses its CPU",
}
_RIGHT = {"wrong_image": "B", "lost_message": "A", "taken_cpu": "C"}
_BECAUSE = {
    "wrong_image": "The entry had one place for all kicks, and nobody waited until it was read: CPUs must get values of"
    " their own, and say that they have them.",
    "lost_message": "There was one slot and no sign that it was full: there must be more places than one, and a sender"
    " must learn that none is free.",
    "taken_cpu": "No record said that the CPU was given away: somebody must write down who has which CPU.",
}
_LOOK = {
    "wrong_image": "Find the line that says what a CPU enters, and what it was planned for.",
    "lost_message": "Two orders are written, types 100 and 101. Which types does kernel 1 print?",
    "taken_cpu": "Which CPU belongs to nobody twice, and what came right before the second time?",
}


@dataclass(frozen=True)
class Changes:
    """The list of later changes, as the notebook shows it."""

    def __repr__(self) -> str:
        """A change a line."""
        return "\n".join(f"{letter}. {text}" for letter, text in CHANGES.items())


def evidence(run: Hazards) -> dict[str, list[int]]:
    """The events that prove each hazard, in a run that is over: the first is the one that we would name."""
    events, boss = run.machine.trace.events, run.cpu_of(1)
    wrong = next(one.seq for one in events if isinstance(one, OwnerChange) and one.against_plan)
    second = next(one.seq for one in events if isinstance(one, Message) and one.type == 101)
    init = [one.seq for one in events if isinstance(one, Init) and one.cpu == boss][-1]
    nobody = next(one.seq for one in events if isinstance(one, OwnerChange) and one.seq > init and one.owner is None)
    return {
        "wrong_image": [wrong],
        "lost_message": [second],
        "taken_cpu": [init, nobody],
    }


def _run(seed: int) -> Hazards:
    run = Hazards(seed)
    run.run()
    return run


def judge(answer: Answer, seed: int) -> Verdict:
    """Whether each pair names an event that proves the hazard, and the change that is aimed at it."""
    run = _run(seed)
    right = evidence(run)
    events = {one.seq: one for one in run.machine.trace.events}
    claims = {}
    for name in _NAMES:
        try:
            claims[name] = taken(answer, name)
        except MissingError as error:
            return not_yet(f"{error}.", next_step=f"Give the event at which {_ASKED[name]}, and a letter.")
    for name, claim in claims.items():
        verdict = _judged(name, claim, right, events)
        if verdict is not None:
            return verdict
    return Verdict(
        Outcome.PASSED,
        f"Three hazards, each with its event. {' '.join(_BECAUSE[name] for name in _NAMES)}",
        next_step="In this run every system call returned 0. Which of your three events would Linux have logged?",
    )


def _judged(name: str, claim: Any, right: dict[str, list[int]], events: dict[int, Event]) -> Verdict | None:
    match claim:
        case (int() | None as event, str() as letter) if not isinstance(event, bool):
            letter = letter.strip().upper()  # a small letter names the same change
        case _:
            return not_yet(
                f"{name} is {claim!r}, which is no pair of an event's number and a letter.",
                name,
                f'Write it like {name} = (1234, "A").',
            )
    if event is None:
        return not_yet("A claim without an event is an opinion.", name, _LOOK[name])
    if event not in right[name]:
        return _other_event(name, event, right, events)
    if letter not in CHANGES:
        return not_yet(f"There is no change {letter!r}.", name, f"Choose one of {', '.join(CHANGES)}.")
    if letter != _RIGHT[name]:
        return not_yet(
            f"Event {event} proves that {_ASKED[name]}. But with change {letter} alone the same would happen again:"
            f" {_MISSES[letter]}",
            name,
            "Ask of each change: at this event, what would have been different?",
        )
    return None


_MISSES = {
    "A": "it changes how messages are kept, and no message is involved.",
    "B": "it changes how spawned kernels are started, and none was being started here.",
    "C": "it writes down whose a CPU is. Nobody disputed that here.",
    "D": "it shows more about images, and the table is only for reading.",
    "E": "it keeps images in memory of their own, and the memory was right.",
}


def _other_event(name: str, event: int, right: dict[str, list[int]], events: dict[int, Event]) -> Verdict:
    for other, numbers in right.items():
        if event in numbers:
            return not_yet(
                f"Event {event} proves another hazard: {_ASKED[other]}.", name, f"{_LOOK[name]} It is to be {name}."
            )
    if event not in events:
        return not_yet(f"The run has no event {event}.", name, f"Its events are numbered 0 to {max(events)}.")
    words = say(events[event]) or type(events[event]).__name__
    if isinstance(events[event], IpiSent) and event + 1 in right[name]:
        return not_yet(f"Event {event} ({words}) is only near it. {_SENT[name]}", f"event {event}, {name}", _LOOK[name])
    when = "By then it had happened already." if event > right[name][0] else "At that moment it had not happened yet."
    return not_yet(
        f"Event {event} ({words}) is not where {_ASKED[name]}. {when}", f"event {event}, {name}", _LOOK[name]
    )


_SENT = {
    "lost_message": "An IPI carries no bytes and destroys none: it only says 'look'. Another event says what lies in"
    " the slot by then.",
    "taken_cpu": "INIT is sent there, and what is sent may still be lost or ignored. Another event shows what came of"
    " it.",
}
"""Of an IPI right before the event that is asked for: why it is another one."""


def solve(seed: int) -> str:
    """The solution for the numbers of ``seed``."""
    right = evidence(_run(seed))
    return "\n".join(f'{name} = ({right[name][0]}, "{_RIGHT[name]}")' for name in _NAMES)


def _wrong(name: str, message: str, **change: Any) -> WrongValues:
    """A known wrong answer: of each name the event, the letter or both are another one."""
    return WrongValues(
        name, (), message, _NAMES, lambda right: {key: make(right[key], right) for key, make in change.items()}
    )


EXERCISE = Exercise(
    "07.8",
    "Three claims with evidence",
    "review",
    judge,
    (
        "Read the story from the moment at which kernel 1 is up. What was intended stands beside 'planned for' and in"
        " the messages' types.",
        "A hazard is proved by the event at which it happens, not by the one at which somebody notices. A change"
        " answers"
        " it if that event could not have come about.",
        'Three lines, each a pair: wrong_image = (an OwnerChange, "..."), lost_message = (the second message, "..."),'
        ' taken_cpu = (an INIT, "...").',
    ),
    (
        _wrong("no event", "A claim without an event is an opinion.", wrong_image=lambda one, _: (None, one[1])),
        _wrong(
            "where the other CPU enters its image",
            "By then it had happened already.",
            wrong_image=lambda one, _: (one[0] + 43, one[1]),
        ),
        _wrong(
            "the first message",
            "At that moment it had not happened yet.",
            lost_message=lambda one, _: (one[0] - 15, one[1]),
        ),
        _wrong(
            "the IPI of the second message",
            "An IPI carries no bytes and destroys none",
            lost_message=lambda one, _: (one[0] - 1, one[1]),
        ),
        _wrong(
            "where INIT is sent",
            "what is sent may still be lost or ignored",
            taken_cpu=lambda one, _: (one[0] - 1, one[1]),
        ),
        _wrong(
            "one event too early",
            "At that moment it had not happened yet",
            wrong_image=lambda one, _: (one[0] - 1, one[1]),
        ),
        _wrong(
            "one event too late", "By then it had happened already", lost_message=lambda one, _: (one[0] + 1, one[1])
        ),
        _wrong(
            "a start against INIT", "it changes how spawned kernels are started", taken_cpu=lambda one, _: (one[0], "B")
        ),
        _wrong("two hazards swapped", "proves another hazard", taken_cpu=lambda _, right: right["wrong_image"]),
        _wrong(
            "rings against a wrong image",
            "it changes how messages are kept",
            wrong_image=lambda one, _: (one[0], "A"),
        ),
        _wrong(
            "a table against a lost message", "the table is only for reading", lost_message=lambda one, _: (one[0], "D")
        ),
        _wrong("a pool of memory against INIT", "the memory was right", taken_cpu=lambda one, _: (one[0], "E")),
        _wrong("an event that there is not", "The run has no event", taken_cpu=lambda one, _: (99999, one[1])),
        _wrong("a number alone", "which is no pair", taken_cpu=lambda one, _: one[0]),
    ),
    given=lambda seed: f"Your run is lab07.Hazards({seed}).",
    solve=solve,
)
