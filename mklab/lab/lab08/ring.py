"""Exercise 08.7: a ring of two entries, in C: what senders and the receiver do; exploration judges it."""

from mklab.lab import forms
from mklab.lab.exercise import Exercise, Mistake
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place, Ran
from mklab.lab.lab08.bench import Start, enter
from mklab.lab.lab08.proof import Found, Task, prove
from mklab.lab.verdict import Verdict
from mklab.machine.machine import Machine

__all__ = ["RING", "ring"]

RING = 0x5000
_ENTRY = RING + 64
_OUT = 0x6000
_SENT = ((0x101, 2), (0x201, 1))
"""The first message and how many, of each sender."""
_COUNT = sum(count for _, count in _SENT)

FRAME = """
typedef unsigned long u64;
struct ring;
void send(struct ring *ring, u64 message);
u64 receive(struct ring *ring, u64 place);

void sender(struct ring *ring, u64 message, u64 count)
{
	for (u64 i = 0; i < count; i++)
		send(ring, message + i);
}

void receiver(struct ring *ring, u64 *out, u64 count)
{
	for (u64 place = 0; place < count; place++)
		out[place] = receive(ring, place);
}
"""
"""Who calls the two functions: CPU 0 receives, CPUs 1 and 2 send."""


def _prepare(machine: Machine, code: Code) -> None:
    for number in range(2):
        machine.poke(_ENTRY + 16 * number, number.to_bytes(8, "little"))
    starts = {0: Start("receiver", (RING, _OUT, _COUNT))}
    for cpu, (message, count) in enumerate(_SENT, 1):
        starts[cpu] = Start("sender", (RING, message, count))
    enter(machine, code, starts)


def _taken(machine: Machine) -> list[int]:
    """What the receiver has stored; what is not there yet is 0, and so is what it took too early."""
    words = [machine.memory.read_u64(_OUT + 8 * number) for number in range(_COUNT)]
    while words and not words[-1]:
        words.pop()
    return words


PLACE = Place(cpu=None, cpus=3, prepare=_prepare, budget=20_000, ends="return")
_WORDS = {RING: "tail"} | {
    _ENTRY + 16 * number + offset: name
    for number in range(2)
    for offset, name in ((0, f"sequence {number}"), (8, f"message {number}"))
}
_TASK = Task(
    tuple(message + number for message, count in _SENT for number in range(count)),
    _taken,
    ((RING, RING + 8), (_ENTRY, _ENTRY + 8), (_ENTRY + 16, _ENTRY + 24)),
    _WORDS,
    ((RING, RING + 8), (_ENTRY, _ENTRY + 16 * 4)),
)


def _judge(ran: Ran, _seed: int) -> Verdict:
    return prove(ran, _TASK, _told, "Three messages of two senders go through a ring of two entries, and none is lost.")


def _causes(ran: Ran, seed: int) -> Verdict | None:
    """A run that does not come to an end is explored all the same: who waits for what?"""
    return _judge(ran, seed) if ran.endless and ran.fault is None and ran.shutdown is None else None


def _told(found: Found) -> Verdict | None:
    if clash := found.clash("tail"):
        one, other = clash
        return found.verdict(
            f"CPU {one.cpu} and CPU {other.cpu} have both read the tail before either of them wrote it: both took the"
            " same place, and one message lies over the other.",
            "The comparison and the store must be one step: cas(&ring->tail, place, place + 1); if it fails, again.",
        )
    behind = [name for cpu in range(3) for name, _ in found.touches(cpu) if name.startswith("0x")]
    if behind:
        return found.verdict(
            f"Your code touches {behind[0]}, which is not part of the ring: it has two entries, and places count on.",
            "Place n lies in entry n % 2.",
        )
    looked = any(name.startswith("sequence") for name, _ in found.touches(0))
    if found.kind == "race" and not looked and "CPU 0" in found.way.what:
        return _unasked(found)
    if verdict := _receiver(found.touches(0), found):
        return verdict
    for cpu in (1, 2):
        if verdict := _sender(found.touches(cpu), found, cpu):
            return verdict
    if found.kind == "stuck":
        return found.verdict(
            "A CPU waits for ever: it asks a sequence number for a value that nobody will store.",
            "Place n: n, a sender may claim it; n + 1, the message is there; n + 2, it is free for the next round.",
        )
    return None


def _receiver(touches: list[tuple[str, bool]], found: Found) -> Verdict | None:
    """It waits for a sequence number, copies the message, and frees the entry."""
    looked = freed = False
    for name, write in touches:
        if name.startswith("sequence"):
            looked, freed = looked or not write, write
        elif name.startswith("message") and not write:
            if not looked:
                return _unasked(found)
            if freed:
                return found.verdict(
                    "The entry was freed before it was copied: a sender may put the next message there, and the"
                    " receiver takes that one in its place.",
                    "Copy first, free afterwards.",
                )
            looked = False
    return None


def _unasked(found: Found) -> Verdict:
    return found.verdict(
        "receive() took a message without asking whether it was there: it never looked at the sequence number of the"
        " entry.",
        "Wait until the sequence number of place n is n + 1: then its message lies there.",
    )


def _sender(touches: list[tuple[str, bool]], found: Found, cpu: int) -> Verdict | None:
    """It looks at the sequence number, claims, fills, publishes."""
    looked = published = False
    for name, write in touches:
        if name == "tail" and write:
            if not looked:
                return found.verdict(
                    f"CPU {cpu} claimed a place without asking whether it was free: a message lay there that the"
                    " receiver had not taken.",
                    "A sender may claim place n only while the sequence number of its entry is n.",
                )
            looked = published = False
        elif name.startswith("sequence"):
            looked, published = looked or not write, published or write
        elif name.startswith("message") and write and published:
            return found.verdict(
                f"CPU {cpu} published its entry before it had filled it: the receiver took what lay there.",
                "Fill first, publish afterwards: the sequence number n + 1 says that the message is there.",
            )
    return None


_CLAIM = "while (load(&ring->entry[place % 2].sequence) != place || !cas(&ring->tail, place, place + 1));"
_FILL, _PUBLISH = (
    "\tring->entry[place % 2].message = message;\n",
    "\tstore(&ring->entry[place % 2].sequence, place + 1);\n",
)
_COPY, _FREE = (
    "\tmessage = ring->entry[place % 2].message;\n",
    "\tstore(&ring->entry[place % 2].sequence, place + 2);\n",
)
_WAIT = "\twhile (load(&ring->entry[place % 2].sequence) != place + 1)\n\t\t;\n"

_TICKET = """	place = __sync_fetch_and_add(&ring->tail, 1);	/* a ticket: it is ours, and now we wait for it */
	while (load(&ring->entry[place % 2].sequence) != place)
		;
"""
_DO = "\tdo\n\t\tplace = load(&ring->tail);\n\t" + _CLAIM + "\n"

ring: Exercise = forms.guest(
    "08.7",
    "A ring that works",
    "c",
    _judge,
    (
        "Follow one place through its life: free, claimed, filled, published, copied, free again. Which store makes"
        " each of these known, and to whom?",
        "A sender may touch an entry only while it owns it. It owns it from the successful cas on the tail to the store"
        " of n + 1; the receiver owns it from there to the store of n + 2.",
        "send: do place = load(tail) while (sequence of place % 2 is not place, or the cas failed); message; store"
        " n + 1. receive: wait for n + 1; copy; store n + 2; return the copy.",
    ),
    (
        Mistake(
            "tested, then set",
            (("!cas(&ring->tail, place, place + 1)", "(store(&ring->tail, place + 1), 0)"),),
            "both took the same place",
        ),
        Mistake(
            "published before it is filled", ((_FILL, ""), (_PUBLISH, _PUBLISH + _FILL)), "before it had filled it"
        ),
        Mistake("freed before it is copied", ((_FREE, ""), (_COPY, _FREE + _COPY)), "freed before it was copied"),
        Mistake("the receiver does not wait", ((_WAIT, ""),), "without asking whether it was there"),
        Mistake(
            "the sender does not ask",
            (("load(&ring->entry[place % 2].sequence) != place || ", ""),),
            "without asking whether it was free",
        ),
        Mistake("freed for the same round", (("place + 2", "place"),), "waits for ever"),
        Mistake("never freed", ((_FREE, ""),), "waits for ever"),
        Mistake("never published", ((_PUBLISH, ""),), "waits for ever"),
        Mistake("as if the ring had no end", ((_COPY, _COPY.replace(" % 2", "")),), "not part of the ring"),
    ),
    alternatives=(Mistake("a ticket by fetch-and-add", ((_DO, _TICKET),), ""),),
    place=PLACE,
    causes=_causes,
    sources=(("frame.c", FRAME),),
)
