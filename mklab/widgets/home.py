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
_PATIENCE = 0.1
"""Seconds that another thread waits."""


def at_home(act: Callable[_Given, object]) -> Callable[_Given, None]:
    """``act``, always in the thread that asks for this now: called in another one, it waits for this one's event loop.

    Where no event loop runs now, or it is over, it is called where it is called. The other thread waits until that is
    done, but not for long: then a kernel says that it is idle after what it has sent, and a browser, which has much to
    do when it hears that, shows this first.
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
            done = threading.Event()

            def act_there() -> None:
                try:
                    act(*args, **kwargs)
                finally:
                    done.set()

            loop.call_soon_threadsafe(act_there)
            done.wait(_PATIENCE)

    return call
