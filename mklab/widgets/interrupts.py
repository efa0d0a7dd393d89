"""Ctrl-C, which is also JupyterLab's Kernel > Interrupt, while a run goes on between two cells.

Only the main thread can say who hears a signal, and what widgets say to Python may be heard in another one: JupyterLab
sends it to a subshell, where the kernel has some (JEP 91).
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["leave", "listen", "settle"]

_Act = Callable[[], None]

_acts: list[_Act] = []
_before: Any = None
"""What Ctrl-C did before somebody listened."""
_home: asyncio.AbstractEventLoop | None = None
"""The main thread's event loop."""


def settle() -> None:
    """Remember the main thread's event loop, if this is that thread and one runs: :func:`listen` needs it elsewhere."""
    global _home
    if _in_main_thread():
        try:
            _home = asyncio.get_running_loop()
        except RuntimeError:
            return


def listen(act: _Act) -> None:
    """From now on Ctrl-C calls ``act``, until :func:`leave`; it must be one that a signal handler may call.

    To be said again before each stretch of a run: a Jupyter kernel ignores the signal between two messages, and sets
    handlers of its own around each (``Kernel.pre_handler_hook`` of ipykernel).
    """
    _at_home(_listen, act)


def leave(act: _Act) -> None:
    """Ctrl-C does not call ``act`` any more; when nobody listens, it does what it did before."""
    _at_home(_leave, act)


def _at_home(do: Callable[[_Act], None], act: _Act) -> None:
    if _in_main_thread():
        do(act)
    elif _home is not None and not _home.is_closed():
        _home.call_soon_threadsafe(do, act)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _listen(act: _Act) -> None:
    global _before
    if act not in _acts:
        _acts.append(act)
    if signal.getsignal(signal.SIGINT) is not _heard:
        _before = signal.signal(signal.SIGINT, _heard)


def _leave(act: _Act) -> None:
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
