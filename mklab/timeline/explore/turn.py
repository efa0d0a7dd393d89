"""A CPU's turn while the exploration looks: nothing is recorded, and what it would do to other CPUs is kept back."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mklab.machine.icr import Icr
from mklab.machine.turn import Turn
from mklab.trace import Event, Trace

if TYPE_CHECKING:
    from mklab.machine.machine import Machine

__all__ = ["KeptTurn", "QuietTrace"]

E = TypeVar("E", bound=Event)


class QuietTrace(Trace):
    """Tells each event to somebody instead of recording it.

    Args:
        before: the trace whose long byte strings are still needed.
        tell: called with the kind, the virtual time, the CPU and the fields.
    """

    def __init__(self, before: Trace, tell: Callable[[type[Event], int, int | None, dict[str, Any]], None]) -> None:
        super().__init__()
        self.blobs = before.blobs
        self._tell = tell

    def emit(self, kind: type[E], time: int, cpu: int | None, **values: Any) -> E:
        """Tell it."""
        self._tell(kind, time, cpu, values)
        return kind(0, time, cpu, **values)


class KeptTurn(Turn):
    """Like any turn, but an IPI reaches its sender only.

    Attributes:
        kept: the commands that name others: sender, command, targets.
        stopped: why the platform was to be reset or the run to end, or empty.
    """

    def __init__(self, machine: "Machine", before: Turn) -> None:
        super().__init__(machine, before._interrupts, before._observation, before._interruptible)
        self.kept: list[tuple[int, Icr, tuple[int, ...]]] = []
        self.stopped = ""

    def carry_out(self) -> None:
        """Send what goes to the CPU itself, keep the rest."""
        board = self._machine.board
        for sender, icr in board.take_commands():
            targets = self._interrupts.targets(sender, icr)
            others = tuple(cpu.index for cpu in targets if cpu.index != sender)
            if others:
                self.kept.append((sender, icr, others))
            for cpu in targets:
                if cpu.index == sender:
                    self._interrupts.reach(cpu, sender, icr)
        if board.reset_request is not None:
            self.stopped = f"{board.reset_request[1]}: the platform is reset"
            board.reset_request = None
        if board.exit_request is not None:
            self.stopped = f"CPU {board.exit_request[0]} wrote {board.exit_request[1]:#x} to the debug exit"
            board.exit_request = None
        if self._machine.stopped is not None:
            self.stopped = self._machine.stopped.detail
