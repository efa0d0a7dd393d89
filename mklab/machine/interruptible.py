"""Ctrl-C while a machine runs."""

import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mklab.errors import MklabError

__all__ = ["Interruptible"]


class Interruptible:
    """While it is entered, Ctrl-C asks for a stop between two instructions instead of breaking off anywhere.

    Only the main thread gets signals; in another one it does nothing.

    Args:
        ask: called when Ctrl-C was pressed; it makes the engine stop soon.

    Attributes:
        requested: whether Ctrl-C was pressed.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._before: Any = None
        self._entered = False
        self.requested = False

    def _on_signal(self, _signal: int, _frame: object) -> None:
        self.requested = True
        self._ask()

    def __enter__(self) -> "Interruptible":
        """Take the signal over.

        Raises:
            MklabError: it is entered already: a predicate or an observer has called ``run``.
        """
        if self._entered:
            raise MklabError("the machine runs already; run() and step() cannot be called from inside of them")
        self._entered = True
        self.requested = False
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give it back.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, be it at the very end, where nobody has asked for it any more.
        """
        self._entered = False
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
        if self.requested and kind is None:
            raise KeyboardInterrupt
