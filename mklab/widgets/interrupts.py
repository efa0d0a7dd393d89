"""Ctrl-C, which is also JupyterLab's Kernel > Interrupt, while a run goes on between two cells."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["leave", "listen"]

_acts: list[Callable[[], None]] = []
_before: Any = None
"""What Ctrl-C did before somebody listened."""


def listen(act: Callable[[], None]) -> None:
    """From now on Ctrl-C calls ``act``, until :func:`leave`; it must be one that a signal handler may call.

    To be said again before each stretch of a run: a Jupyter kernel ignores the signal between two messages, and sets
    handlers of its own around each (``Kernel.pre_handler_hook`` of ipykernel). Only the main thread gets signals; in
    another one nothing is done.
    """
    global _before
    if threading.current_thread() is not threading.main_thread():
        return
    if act not in _acts:
        _acts.append(act)
    if signal.getsignal(signal.SIGINT) is not _heard:
        _before = signal.signal(signal.SIGINT, _heard)


def leave(act: Callable[[], None]) -> None:
    """Ctrl-C does not call ``act`` any more; when nobody listens, it does what it did before."""
    if act not in _acts:
        return
    _acts.remove(act)
    if not _acts and signal.getsignal(signal.SIGINT) is _heard:
        signal.signal(signal.SIGINT, _before)


def _heard(number: int, frame: FrameType | None) -> None:
    for act in list(_acts):
        act()
    # A kernel may have put the handler back after the run: then it stands for the one before.
    if not _acts and callable(_before):
        _before(number, frame)
