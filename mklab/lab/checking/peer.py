"""The other side of two pipes, which may be hostile: it is heard and told with a deadline, byte by byte."""

import os
import selectors
import time
from typing import Any

from mklab.lab.checking import wire
from mklab.lab.checking.wire import LONGEST, WireError

__all__ = ["Peer"]


class Peer:
    """Messages to and from another process.

    Args:
        hears, says: descriptors of its standard input and output.
        seconds: of a clock, for all waiting together: a process that makes others wait a little, again and again,
            must come to an end too.

    Attributes:
        left: what is left of it.
    """

    def __init__(self, hears: int, says: int, seconds: float) -> None:
        self._hears, self._says = hears, says
        self.left = seconds
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
        begun = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            ready = selector.select(max(self.left, 0))
        self.left -= time.monotonic() - begun
        if not ready:
            raise TimeoutError
