"""Why a run ended."""

from dataclasses import dataclass

__all__ = ["Stop"]


@dataclass(frozen=True)
class Stop:
    """Why :meth:`Machine.run` returned.

    Attributes:
        reason: ``until``: the predicate held; ``idle``: every CPU waits and nothing can wake one; ``budget``: the
            instructions allowed were used; ``events``: too many events; ``shutdown``: the last running CPU shut down;
            ``reset``: the platform was reset; ``exit``: a CPU wrote to the debug exit; ``breakpoint``, ``watchpoint``:
            a timeline was asked to stop there.
        cpu: the CPU concerned, or None.
        detail: what happened and where, in words.
        code: for ``exit``, the exit code that QEMU would end with: twice the value, plus 1.
    """

    reason: str
    cpu: int | None
    detail: str
    code: int | None = None
