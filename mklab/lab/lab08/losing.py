"""Exercise 08.3: a way on which a message was lost, step by step; which step destroyed it?"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from mklab.guest.abi import MK_IPI_DATA
from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.forms.assigned import MissingError, WrongValues, taken
from mklab.lab.interleavings import messages_taken, two_messages
from mklab.lab.lab08.endings import ENDINGS, Message
from mklab.lab.lab08.mailbox import RECEIVER, SLOT, in_words, steps_in_words, told
from mklab.lab.verdict import Outcome, Verdict
from mklab.timeline.explore import follow
from mklab.timeline.explore.transition import Operation

__all__ = ["losing"]

_ENDS = (((7, 0), (7, 0)), ((8, 2),), ((8, 2), (8, 2)))
_WAYS = [dict(ENDINGS)[taken] for taken in _ENDS]
"""Three ways on which a message is lost, each at another step."""
_LEAST, _TYPES = 10, 90
"""The first type, and how many there are: two digits."""
_ASKED = {
    "lost": "the type of the message that the handler was never handed",
    "step": "the number of the first step that stored something else over a part of it",
    "cpu": "the CPU that made this step",
}


@dataclass(frozen=True)
class _Run:
    """A student's own run.

    Attributes:
        sent: type and sender of both messages.
        handed: what the handler was handed.
        operations: the steps.
    """

    sent: tuple[Message, Message]
    handed: tuple[Message, ...]
    operations: tuple[Operation, ...]

    @property
    def lost(self) -> Message:
        """Type and sender of the message that is missing."""
        (missing,) = (one for one in self.sent if one not in self.handed)
        return missing

    @property
    def step(self) -> int:
        """The first store over a field that the lost message's sender had stored."""
        stored: set[int] = set()
        for at, one in enumerate(self.operations, 1):
            for field in _differing_fields(one):
                if one.cpu == self.lost[1]:
                    stored.add(field)
                elif field in stored:
                    return at
        raise AssertionError("a message is lost by a store")

    @property
    def right(self) -> dict[str, int]:
        step = self.step
        return {"lost": self.lost[0], "step": step, "cpu": self.operations[step - 1].cpu}


_OFFSETS = MK_IPI_DATA.offsets


def _differing_fields(one: Operation) -> list[int]:
    """The fields stored whose values differ between the two messages: each holds one byte, an A."""
    fields = (SLOT + _OFFSETS["sender_cpu"], SLOT + _OFFSETS["type"])
    return [access.paddr for access in one.accesses if access.write and access.paddr in fields]


def _other_type(type_: int) -> int:
    """The type of the other message; its own other one is ``type_`` again."""
    return _LEAST + (type_ - _LEAST + _TYPES // 2) % _TYPES


@cache
def _run(seed: int) -> _Run:
    chance = random.Random(seed)  # noqa: S311  # an exercise's numbers
    first = chance.randrange(_LEAST, _LEAST + _TYPES)
    one, other = sorted(chance.sample((0, 2, 3), 2))
    sent = ((first, one), (_other_type(first), other))
    way = _WAYS[seed % len(_WAYS)]
    cpus = {"0": one, "1": RECEIVER, "2": other}
    found = follow(two_messages(sent), [cpus[cpu] for cpu in way])
    machine = two_messages(sent)
    found.replay(machine)
    return _Run(sent, tuple(messages_taken("kernel 1")(machine)), found.operations)


def _given(seed: int) -> str:
    run = _run(seed)
    return (
        f"Sent to kernel 1 on CPU 1: {told(run.sent)}; one byte each, an A.\n"
        f"Its handler was handed: {told(run.handed)}.\n"
        f"What the CPUs did, step by step:\n{steps_in_words(run.operations)}"
    )


def _judge(answer: Answer, seed: int) -> Verdict:
    run, got = _run(seed), {}
    for name, what in _ASKED.items():
        try:
            got[name] = taken(answer, name)
        except MissingError as error:
            return not_yet(f"{error}.", next_step=f"It is to be {what}.")
        if not isinstance(got[name], int):
            return not_yet(
                f"{name} is {type(got[name]).__name__}, not a whole number.", next_step=f"It is to be {what}."
            )
    right = run.right
    if got["lost"] != right["lost"]:
        arrived = got["lost"] in [type_ for type_, _ in run.handed]
        happened = "That one arrived: the handler was handed it." if arrived else "No message of that type was sent."
        return not_yet(happened, "the second line of what you were given", "Compare what was sent with what was taken.")
    if not 1 <= got["step"] <= len(run.operations):
        return not_yet(f"There is no step {got['step']}.", next_step=f"Steps are 1 to {len(run.operations)}.")
    if got["step"] != right["step"]:
        return _about(run, got["step"], right["step"])
    if got["cpu"] != right["cpu"]:
        return not_yet(
            f"The step is right; it was not CPU {got['cpu']} that made it.{_part_of(run, got['cpu'])}",
            f"step {got['step']}",
            "The line names it.",
        )
    return Verdict(
        Outcome.PASSED,
        f"Step {right['step']}, a store of CPU {right['cpu']}. The interrupts were all delivered or merged as they may"
        " be; what was lost are bytes.",
        next_step="Which instruction of the sender could have prevented it, and by looking at what?",
    )


def _part_of(run: _Run, cpu: int) -> str:
    """What another CPU than the right one did."""
    if cpu == RECEIVER:
        return f" CPU {cpu} is the receiver: it only reads."
    return f" CPU {cpu} sent the message that was lost." if cpu == run.lost[1] else ""


def _about(run: _Run, step: int, right: int) -> Verdict:
    """What that step did, and why it is another one."""
    one = run.operations[step - 1]
    words, sender = in_words(one), run.lost[1]
    later = step > right
    look = "Which store was the first to change a byte of the lost message?"
    if one.kind == "ipi":
        happened = "An IPI stores nothing into the slot." + (
            " By then the bytes were gone: an earlier store did it." if later else " The message is still whole there."
        )
    elif one.kind == "interrupt":
        happened = "An interrupt that is delivered changes no message: the handler only reads."
    elif one.kind == "step":
        happened = "Here a CPU is asked to send; it has stored nothing yet."
    elif words.startswith("reads"):
        happened = "That step reads. The bytes are what they were before it."
    elif one.cpu == sender:
        happened = f"That is a store of CPU {sender}, the lost message's own sender."
    elif not _differing_fields(one):
        happened = (
            "data_size and buffer are the same in both messages, one byte and an A: that store takes nothing away."
        )
    elif later:
        happened = "The message was damaged before that: its first part was gone already."
    else:
        happened = "What it stored over was not yet a part of the lost message."
    return not_yet(happened, f"step {step}: CPU {one.cpu} {words}", look)


def _solve(seed: int) -> str:
    return "\n".join(f"{name} = {value}" for name, value in _run(seed).right.items())


_ELSEWHERE = {
    # right: second IPI, its delivery, a later store, the same value, own sender, a read
    6: (25, 11, 8, 2, 5, 12),
    9: (12, 13, 10, 8, 3, 14),
    19: (25, 26, 20, 18, 3, 21),
}
"""By the right step, which tells the ways apart: the numbers of other steps."""


def _wrong(name: str, message: str, change: Callable[[Mapping[str, int]], Mapping[str, int]]) -> WrongValues:
    return WrongValues(name, (), message, tuple(_ASKED), change)


def _elsewhere(name: str, which: int, message: str) -> WrongValues:
    """Another step than the right one."""
    return _wrong(name, message, lambda right: {"step": _ELSEWHERE[right["step"]][which]})


losing = Exercise(
    id="08.3",
    title="The step that lost it",
    kind="diagnose",
    judge=_judge,
    hints=(
        "The second line says what the handler was handed. What was sent, and is not there?",
        "A message is lost when its bytes are. Interrupts carry none; reads change none; and a store of what lies there"
        " already changes nothing.",
        "Find the lost message's own stores of sender_cpu and type. The answer is the other sender's first store to one"
        " of these fields behind it.",
    ),
    mistakes=(
        _elsewhere("the second IPI", 0, "By then the bytes were gone: an earlier store did it"),
        _elsewhere("the delivery", 1, "An interrupt that is delivered changes no message"),
        _elsewhere("a later store", 2, "its first part was gone already"),
        _elsewhere("a store of the same value", 3, "the same in both messages"),
        _elsewhere("a store of its own sender", 4, "the lost message's own sender"),
        _elsewhere("a read", 5, "That step reads"),
        _wrong("being asked to send", "it has stored nothing yet", lambda _: {"step": 1}),
        _wrong("no such step", "There is no step 99", lambda _: {"step": 99}),
        _wrong("the receiver", "CPU 1 is the receiver: it only reads", lambda _: {"cpu": RECEIVER}),
        _wrong("another CPU", "The step is right; it was not CPU", lambda right: {"cpu": 0 if right["cpu"] else 2}),
        _wrong("the message that arrived", "That one arrived", lambda right: {"lost": _other_type(right["lost"])}),
        _wrong("no message of the two", "No message of that type was sent", lambda _: {"lost": 0}),
    ),
    given=_given,
    solve=_solve,
)
