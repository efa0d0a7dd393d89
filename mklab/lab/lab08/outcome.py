"""Exercise 08.2: a function that tells good from lost from torn; it is asked about the ends that exploration found."""

from collections.abc import Sequence

from mklab.lab import forms
from mklab.lab.exercise import Mistake
from mklab.lab.forms.python import Case
from mklab.lab.interleavings import SENT
from mklab.lab.lab08.endings import ENDINGS, Message
from mklab.lab.lab08.mailbox import kind_of, told

__all__ = ["outcome"]

_A, _B = SENT
_C = (9, 0)


def _cases(_seed: int) -> Sequence[Case]:
    """Some by hand, then every ending of the mailbox as the machine comes to it."""
    cases = [
        Case(
            "nobody has sent",
            ([], 0, []),
            "empty",
            "A property that nothing was tried against holds for nothing. Say so, before you say good.",
            wrong=(("good", "Nothing was sent, so this run shows nothing: it is vacuous."),),
        ),
        Case(
            "two messages, one interrupt, both taken",
            ([_A, _B], 1, [_A, _B]),
            "good",
            "Count messages, not interrupts.",
            wrong=(("lost", "Two interrupts may merge into one: that is allowed, as long as no message is missing."),),
        ),
        Case(
            "two messages, no interrupt, nothing taken",
            ([_A, _B], 0, []),
            "lost",
            "Empty is a run in which nothing was sent. What was sent here, and what became of it?",
            wrong=(
                ("empty", "Two messages were sent, so this run does show something: neither has arrived."),
                ("good", "Two messages were sent, and neither has arrived."),
            ),
        ),
        Case("one message alone", ([_A], 1, [_A]), "good", "As many may be sent as you like: one, two, three."),
        Case(
            "three messages, and two of them taken",
            ([_A, _B, _C], 3, [_A, _C]),
            "lost",
            "As many may be sent as you like. Which of them is not among what was taken?",
            wrong=(("good", "A message is missing."),),
        ),
    ]
    for taken, _ in ENDINGS:
        expected = kind_of(SENT, taken)
        cases.append(
            Case(
                f"the handler was handed {told(taken)}",
                (list(SENT), len(taken), list(taken)),
                expected,
                _LOOKS[expected],
                wrong=_known(expected, taken),
            )
        )
    return [
        *cases,
        Case("both messages taken, one of them twice", ([_A, _B], 3, [_A, _B, _B]), "good", "Is one of them missing?"),
        Case(
            "nobody has sent, and one was taken",
            ([], 1, [_C]),
            "empty",
            "What was sent decides first whether a run shows anything.",
        ),
    ]


_LOOKS = {
    "good": "Both messages are there. In which order they arrive is free.",
    "lost": "Which of the two that were sent is not among what was taken?",
    "torn": "Which of those that were taken has nobody sent?",
}


def _known(expected: str, taken: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """Wrong words for this end, and what led to them."""
    if expected == "good":
        order = "The order of arrival is free: both messages are there."
        return (("lost", order), ("torn", order))
    if expected == "torn":
        mixed = "The handler was handed a message that nobody has sent, made of parts of both."
        return (("good", mixed), ("lost", f"Something is missing, yes. But worse: {mixed[0].lower()}{mixed[1:]}"))
    count = "As many were taken as were sent, but one of them twice." if len(taken) == len(SENT) else ""
    return (("good", f"A message is missing. {count}".strip()),)


outcome = forms.python(
    "08.2",
    "Good, lost, torn",
    "outcome",
    _cases,
    (
        "Three things are given: what was sent, how many interrupts were delivered, what was taken. Which of them does"
        " the sender of a message care about?",
        "Good: every message that was sent was taken. Torn: one was taken that nobody had sent. Lost: one is missing,"
        " and none is torn. The order is free, and merged interrupts are.",
        "if not sent: return 'empty'; then any(one not in sent for one in taken); then all(one in taken for one in"
        " sent).",
    ),
    (
        Mistake("vacuous", (('    if not sent:\n        return "empty"\n', ""),), "it is vacuous"),
        Mistake(
            "counts interrupts",
            (("all(one in taken for one in sent)", "interrupts == len(sent)"),),
            "Two interrupts may merge into one",
        ),
        Mistake(
            "counts messages",
            (("all(one in taken for one in sent)", "len(taken) == len(sent)"),),
            "but one of them twice",
        ),
        Mistake(
            "compares the order",
            (("all(one in taken for one in sent)", "taken == sent"),),
            "The order of arrival is free",
        ),
        Mistake("torn counts as lost", (("any(one not in sent for one in taken)", "False"),), "made of parts of both"),
        Mistake("one that arrived is enough", (("all(one in", "any(one in"),), "A message is missing."),
        Mistake(
            "compares types only",
            (("one not in sent for", "one[0] not in [two[0] for two in sent] for"),),
            "made of parts of both",
        ),
        Mistake("empty where nothing was taken", (("if not sent", "if not taken"),), "so this run does show something"),
        Mistake("empty where nobody was interrupted", (("if not sent", "if not interrupts"),), "neither has arrived"),
        Mistake(
            "two and no other number",
            (("all(one in taken for one in sent)", "sent[0] in taken and sent[1] in taken"),),
            "In the case of one message alone",
        ),
        Mistake(
            "no more than were sent",
            (("all(one in taken for one in sent)", "sorted(taken) == sorted(sent)"),),
            "In the case of both messages taken, one of them twice",
        ),
        Mistake(
            "torn before empty",
            (
                ('    if not sent:\n        return "empty"\n', ""),
                ("    if all(one", '    if not sent:\n        return "empty"\n    if all(one'),
            ),
            "In the case of nobody has sent, and one was taken",
        ),
        Mistake("no word for good", (('return "good"', "return None"),), "returned None"),
    ),
    alternatives=(
        "def outcome(sent, interrupts, taken):\n"
        '    if not sent:\n        return "empty"\n'
        "    if set(map(tuple, taken)) - set(map(tuple, sent)):\n        return 'torn'\n"
        "    return 'lost' if set(map(tuple, sent)) - set(map(tuple, taken)) else 'good'\n",
    ),
)
