"""Ctrl-C that asks work to stop, so that it ends where it can and keeps what it has."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["asked_to_stop"]


@contextmanager
def asked_to_stop(*, once: bool = False) -> Iterator[Callable[[], bool]]:
    """Ctrl-C only asks to stop; what is yielded tells whether it has.

    Only the main thread hears Ctrl-C; in another one nothing ever asks.

    Args:
        once: only the first Ctrl-C asks; the second one does what Ctrl-C did before.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(*_: object) -> None:
        asked.set()
        if once:
            signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
