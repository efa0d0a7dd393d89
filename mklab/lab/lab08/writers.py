"""Two CPUs that store three words each into one slot, and nobody reads: every order can be counted by hand."""

from functools import cache

from mklab.lab.guestcode import compiled
from mklab.lab.guestrun import LANDING
from mklab.lab.lab08.bench import Start, enter
from mklab.machine.machine import Machine
from mklab.timeline.explore import Outcomes, outcomes
from mklab.widgets.outcomes import End, Graph

__all__ = ["Writers", "writers"]

_BASE, _SLOT = 0x20000, 0x5000
_FIELDS = ("sender", "type", "buffer")
_LETTERS = "AB"

CODE = """
	.code64
write:			/* RDI = the slot, RSI = what to store */
	movq	%rsi, (%rdi)
	movq	%rsi, 8(%rdi)
	movq	%rsi, 16(%rdi)
	hlt
"""


class Writers:
    """What the exploration has found of them.

    Attributes:
        found: the graph and its ends.
    """

    def __init__(self, found: Outcomes) -> None:
        self.found = found

    @property
    def graph(self) -> Graph:
        """For the picture: an end is good where all words are of one CPU."""
        ends = tuple(
            End(
                end.state,
                "good" if len(set(end.told)) == 1 else "torn",
                ", ".join(f"{field} of {letter}" for field, letter in zip(_FIELDS, end.told, strict=True)),
                tuple(
                    (one.cpu, f"stores {_FIELDS[(one.accesses[0].paddr - _SLOT) // 8]}") for one in end.way.operations
                ),
            )
            for end in self.found.ends
        )
        return Graph("Two senders store three words each: what lies in the slot?", self.found.edges, ends)

    def __repr__(self) -> str:
        """The counts, and what the slot holds at each end: the letter of each word's last writer."""
        ends = sorted(end.told for end in self.found.ends)
        torn = [end for end in ends if len(set(end)) > 1]
        return (
            f"{self.found.orders} orders, {self.found.coverage.states} states, {len(ends)} endings: {' '.join(ends)}\n"
            f"{len(torn)} of them are torn"
        )


@cache
def writers() -> Writers:
    """Look through every order of their stores."""
    code = compiled(CODE, "asm", _BASE)
    machine = Machine(2, 4 << 20)
    machine.poke(_BASE, code.data.ljust(LANDING, b"\xcc") + b"\xf4")
    enter(machine, code, {cpu: Start("write", (_SLOT, ord(letter))) for cpu, letter in enumerate(_LETTERS)})

    def tell(machine: Machine) -> str:
        return "".join(chr(machine.memory.read_u64(_SLOT + 8 * number)) for number in range(len(_FIELDS)))

    return Writers(outcomes(machine, tell))
