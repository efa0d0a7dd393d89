"""All that can become of two messages in one slot of RFC v1: every ending, and the way to each, told and replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mklab.guest.abi import MK_IPI_DATA
from mklab.kernel.layout import SHARED_MEMORY
from mklab.lab.interleavings import SENT, messages_taken, two_messages
from mklab.lab.lab08.endings import Message
from mklab.machine.machine import Machine
from mklab.machine.schedule import Seeded
from mklab.recording import Film
from mklab.timeline.explore import Outcome, Outcomes, outcomes
from mklab.timeline.explore.transition import Operation
from mklab.timeline.record import record
from mklab.widgets.outcomes import End, Graph
from mklab.widgets.player import Player

__all__ = [
    "RECEIVER",
    "SLOT",
    "Mailbox",
    "in_words",
    "kind_of",
    "look_through",
    "ordinary",
    "steps_in_words",
    "told",
    "tries",
]

RECEIVER = 1
SLOT = SHARED_MEMORY + RECEIVER * MK_IPI_DATA.size
_KERNEL = "kernel 1"
_BUDGET = 1_000_000


def kind_of(sent: Sequence[Message], taken: Sequence[Message]) -> str:
    """``good``: each message arrived; ``torn``: one that nobody sent; ``lost``: one is missing."""
    if any(one not in sent for one in taken):
        return "torn"
    return "good" if all(one in taken for one in sent) else "lost"


@dataclass(frozen=True)
class Mailbox:
    """What the exploration of two messages has found.

    Attributes:
        sent: type and sender of each message.
        found: the graph and its ends.
        taken: of each end, what the receiver's handler was handed, in its order.
    """

    sent: tuple[Message, ...]
    found: Outcomes
    taken: tuple[tuple[Message, ...], ...]

    @property
    def kinds(self) -> list[str]:
        """Of each end: ``good``, ``lost`` or ``torn``."""
        return [kind_of(self.sent, taken) for taken in self.taken]

    @property
    def graph(self) -> Graph:
        """For the picture."""
        ends = tuple(
            End(end.state, kind, told(taken), tuple((one.cpu, in_words(one)) for one in end.way.operations))
            for end, kind, taken in zip(self.found.ends, self.kinds, self.taken, strict=True)
        )
        return Graph("What can become of two messages in one slot?", self.found.edges, ends)

    def __repr__(self) -> str:
        """The count of everything, and the ends as a table."""
        coverage, kinds = self.found.coverage, self.kinds
        lines = [f"{coverage.states} states, {len(kinds)} endings", f"{'':<4}{'ending':<8}what the handler was handed"]
        for number, (kind, taken) in enumerate(zip(kinds, self.taken, strict=True)):
            lines.append(f"{number:>2}  {kind:<8}{told(taken)}")
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("good", "lost", "torn"))
        return "\n".join([*lines, f"in all: {counts}"])

    def first(self, kind: str) -> int:
        """The number of the first ending of that kind.

        Raises:
            ValueError: there is none.
        """
        if kind not in self.kinds:
            raise ValueError(f"kind must be one that was found, {sorted(set(self.kinds))}, not {kind!r}")
        return self.kinds.index(kind)

    def steps(self, number: int) -> str:
        """The shortest way to ending ``number``, a line for each step."""
        return steps_in_words(self.end(number).way.operations)

    def end(self, number: int) -> Outcome:
        """Ending ``number``.

        Raises:
            ValueError: there is none.
        """
        if not 0 <= number < len(self.taken):
            raise ValueError(f"number must be 0 to {len(self.taken) - 1}, not {number!r}")
        return self.found.ends[number]

    def replay(self, number: int) -> Player:
        """The way to ending ``number``, gone on a fresh machine and recorded, for pictures; it stands at the end."""
        machine = two_messages(self.sent)
        recorder = record(machine, every="event")
        self.end(number).way.replay(machine)
        return _at_end(recorder.stop())


@cache
def look_through(sent: tuple[Message, ...] = SENT) -> Mailbox:
    """Look through every interleaving of sending these two messages, and of taking them out."""
    taken: dict[str, tuple[Message, ...]] = {}
    read = messages_taken(_KERNEL)

    def tell(machine: Machine) -> str:
        found = tuple(read(machine))
        taken[str(found)] = found
        return str(found)

    found = outcomes(two_messages(sent), tell)
    return Mailbox(sent, found, tuple(taken[one.told] for one in found.ends))


def steps_in_words(operations: Sequence[Operation]) -> str:
    """A line for each step, with its number."""
    return "\n".join(f"{at:>3}  CPU {one.cpu}  {in_words(one)}" for at, one in enumerate(operations, 1))


def tries(count: int) -> str:
    """Send the two messages ``count`` times, each time with another random schedule, and count what becomes of them."""
    kinds = []
    for seed in range(count):
        machine = two_messages()
        machine.schedule = Seeded(seed)
        machine.run(_BUDGET)
        kinds.append(kind_of(SENT, messages_taken(_KERNEL)(machine)))
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("good", "lost", "torn")) + f" of {count}"


def ordinary() -> Player:
    """The two messages under the machine's usual schedule, recorded, for pictures; it stands at the end."""
    machine = two_messages()
    recorder = record(machine, every="event")
    machine.run(_BUDGET)
    return _at_end(recorder.stop())


def _at_end(film: Film) -> Player:
    player = Player(film)
    player.seek(len(film.looks) - 1)
    return player


def told(taken: Sequence[Message]) -> str:
    """Messages in words."""
    return ", ".join(f"type {type_} from CPU {sender}" for type_, sender in taken) or "nothing"


_FIELDS = {offset: name for name, offset in MK_IPI_DATA.offsets.items()}


def in_words(operation: Operation) -> str:
    """A step as a student reads it: which field of the slot is stored or read."""
    if operation.kind == "interrupt":
        return operation.text
    if operation.kind == "ipi":
        return "sends IPI 0xea"
    for access in operation.accesses:
        if SLOT <= access.paddr < SLOT + MK_IPI_DATA.size:
            field = _FIELDS.get(access.paddr - SLOT, "buffer")
            return f"{'stores' if access.write else 'reads'} {field}"
    return operation.text.replace("multikernel_send_ipi_data: request", "is asked to send")
