"""One look at a machine that stands still: when, after whom, and what comes next."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Line", "Look"]


class Line(NamedTuple):
    """One instruction.

    Attributes:
        linear: its linear address.
        code: its bytes, in hex.
        text: it, disassembled.
    """

    linear: int
    code: str
    text: str


@dataclass(frozen=True)
class Look:
    """A look at the machine. What changed since the last one is this look's doing.

    Attributes:
        number: from 0.
        event: the last event before it; -1: power-on.
        time: virtual time in instructions.
        cpu: the CPU that ran; None: something from outside.
        owner: the kernel that owned it when the stretch before this look began, or None.
        cause: ``start``, ``slice`` (it executed), ``call`` (a step of a kernel function in its process context),
            ``input`` (an act from outside) or ``time`` (every CPU waited).
        detail: the function and step, or the name of the act.
    """

    number: int
    event: int
    time: int
    cpu: int | None
    owner: str | None
    cause: str
    detail: str = ""
