"""One thread does everything: the one that made a widget, which is that of the notebook's cells.

JupyterLab sends what widgets say to a subshell, where the kernel has some (JEP 91), and that is another thread. A
machine is no two threads' business, and only the main thread hears Ctrl-C.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec

__all__ = ["at_home"]

_Given = ParamSpec("_Given")


def at_home(act: Callable[_Given, object]) -> Callable[_Given, None]:
    """``act``, always in the thread that asks for this now: called in another one, it waits for this one's event loop.

    Where no event loop runs now, or it is over, it is called where it is called.
    """
    thread = threading.get_ident()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None

    def call(*args: _Given.args, **kwargs: _Given.kwargs) -> None:
        if threading.get_ident() == thread or loop is None or loop.is_closed():
            act(*args, **kwargs)
        else:
            loop.call_soon_threadsafe(lambda: act(*args, **kwargs))

    return call
