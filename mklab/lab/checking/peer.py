"""The other side of two pipes, which may be hostile: it is heard and told with a deadline, byte by byte."""

import os
import selectors
import time
from pathlib import Path
from typing import Any

from mklab.lab.checking import wire
from mklab.lab.checking.wire import LONGEST, WireError

__all__ = ["Peer", "busy"]


_LOOK = 0.5
"""Seconds between two looks at what it does meanwhile."""


class Peer:
    """Messages to and from another process.

    Args:
        hears, says: descriptors of its standard input and output.
        pid: its number.
        seconds: of a clock, for all waiting together: a process that makes others wait a little, again and again,
            must come to an end too.
        idle: how many of these it may neither run nor wait for a processor, where the system tells.

    Attributes:
        left, idle: what is left of both.
    """

    def __init__(self, hears: int, says: int, pid: int, seconds: float, idle: float) -> None:
        self._hears, self._says, self._pid = hears, says, pid
        self.left, self.idle = seconds, idle
        self._held = bytearray()
        os.set_blocking(hears, False)
        os.set_blocking(says, False)

    def send(self, message: dict[str, Any]) -> None:
        """Send one message.

        Raises:
            WireError: it is too long.
            TimeoutError: it does not listen.
            OSError: it has ended.
        """
        line = memoryview(wire.line(message))
        while line:
            self._wait(self._hears, selectors.EVENT_WRITE)
            try:
                line = line[os.write(self._hears, line) :]
            except BlockingIOError:
                continue

    def receive(self) -> dict[str, Any]:
        """Receive one message.

        Raises:
            EOFError: it has ended.
            TimeoutError: it says nothing, or no whole line.
            WireError: it is too long, or none.
        """
        end = self._held.find(b"\n")
        while end < 0:
            if len(self._held) > LONGEST:
                raise WireError(f"it is longer than {LONGEST >> 20} MiB")
            self._wait(self._says, selectors.EVENT_READ)
            piece = os.read(self._says, 1 << 20)
            if not piece:
                raise EOFError
            found = piece.find(b"\n")
            end = len(self._held) + found if found >= 0 else -1
            self._held += piece
        line = bytes(self._held[: end + 1])
        del self._held[: end + 1]
        return wire.message(line)

    def _wait(self, descriptor: int, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            before = None
            while True:
                begun = time.monotonic()
                ready = selector.select(max(min(self.left, _LOOK), 0))
                spent = time.monotonic() - begun
                self.left -= spent
                if ready:
                    return
                now = busy(self._pid)
                if before is not None and now is not None:
                    self.idle -= max(spent - max(now - before, 0), 0)
                before = now
                if self.left <= 0 or self.idle <= 0:
                    raise TimeoutError


def busy(pid: int) -> float | None:
    """Seconds that a process has run or waited for a processor; None where the system does not tell.

    On a computer that has too much to do, waiting for a processor is most of what a process does.
    """
    try:
        # Documentation/scheduler/sched-stats.rst: nanoseconds on a processor, nanoseconds waiting for one, ...
        tasks = [one.read_text().split() for one in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(one[0]) + int(one[1]) for one in tasks) / 1e9 if tasks else None
    except (OSError, ValueError, IndexError):
        return None
