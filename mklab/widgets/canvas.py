"""The one widget of our own: it shows markup that Python has made, and tells Python what was done to it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from threading import local
from typing import Any

import anywidget
import traitlets

from mklab.widgets.home import at_home

__all__ = ["Canvas", "together"]

_FILES = resources.files(__package__)


class Canvas(anywidget.AnyWidget):
    """Markup on a page. Python decides, the browser draws: ``canvas.js`` knows nothing of what it shows.

    Args:
        markup: HTML.
        act: called with what was done: ``{"event": 126}`` for an element that carries ``data-event``, likewise
            ``cpu``, ``address``, ``look``; ``{"act": name, "value": ...}`` for a control with ``data-act`` (of a form:
            what its fields hold, by their names); ``{"key": "s"}``.
        taken: the keys that are told, as the DOM names them (letters: small).
        leads: whether they act in the whole dashboard, not in the canvas alone.

    Attributes:
        markup: what is shown.
        width: pixels it has, as the browser says; 0 until it has said so.
        visible: whether it can be seen: on the page, in a tab that is shown.
        opened: the ``data-key`` of each ``details`` that is open.
        taken, leads: as given.
    """

    _esm = (_FILES / "canvas.js").read_text(encoding="utf-8")
    markup = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    visible = traitlets.Bool(True).tag(sync=True)
    opened = traitlets.List(traitlets.Unicode()).tag(sync=True)

    taken = traitlets.List(traitlets.Unicode()).tag(sync=True)
    leads = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self, act: Callable[[dict[str, Any]], None], taken: Sequence[str] = (), *, leads: bool = False
    ) -> None:
        super().__init__(taken=list(taken), leads=leads)
        self._act = at_home(act)
        self.on_msg(lambda _widget, content, _buffers: self._act(content))

    def send_state(self, key: str | Iterable[str] | None = None) -> None:
        """Send the browser what has changed: see :class:`ipywidgets.Widget`, and :func:`together`."""
        if key == "markup" and _HELD.canvases is not None:
            _HELD.canvases[self] = None
        else:
            super().send_state(key)


@contextmanager
def together() -> Iterator[None]:
    """What canvases show from here on goes to the browser at the end, in one message that one of them carries.

    A browser takes ten messages for much longer than one, and what it draws for the first it draws again for the next.
    """
    if _HELD.canvases is not None:
        yield
        return
    held: dict[Canvas, None] = {}
    _HELD.canvases = held
    try:
        yield
    finally:
        _HELD.canvases = None
        if held:
            next(iter(held)).send({"markups": {canvas.model_id: canvas.markup for canvas in held}})


class _Held(local):
    """The canvases whose markup waits to be sent, in this thread; None: none has to wait.

    No context variable: what is put off while they wait would find it set for good.
    """

    canvases: dict[Canvas, None] | None = None


_HELD = _Held()
