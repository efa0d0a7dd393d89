"""What is left of a widget in a saved notebook: its last picture, in an output of its own beside the live one.

JupyterLab shows an output by the first kind of data that it can, and that is the widget even where it is gone: it says
"Error displaying widget: model not found". So the picture is another output below it. A style sheet in it shows one of
the two: the widget as long as it lives, else the picture.
"""

import asyncio
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import quote

import ipywidgets
from IPython.display import DisplayHandle, display

__all__ = ["Lasting"]

_REST = 1.0
"""Seconds without a change after which the picture is drawn again."""

# The two outputs are neighbours; the live one holds an element of the class mklab.
_STYLE = """
.jp-OutputArea-child:has(.mklab) + .jp-OutputArea-child:has(.mk-still) { display: none; }
.jp-OutputArea-child:not(:has(.mklab)):has(+ .jp-OutputArea-child .mk-still) { display: none; }
.mk-still img { display: block; max-width: 100%; height: auto; }
"""


class Lasting(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A widget whose last picture stays in the notebook.

    Args:
        children: as any box has.
        svg: draws the picture: an SVG document.
        words: says the same.
        name: what it shows, for those who do not see it.
    """

    def __init__(
        self, children: list[ipywidgets.Widget], svg: Callable[[], str], words: Callable[[], str], name: str
    ) -> None:
        super().__init__(children)
        self._svg, self._words, self._name = svg, words, name
        self._handles: list[DisplayHandle] = []
        self._timer: asyncio.TimerHandle | None = None

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The widget, and for static pages and readers of text the same as SVG and as words."""
        bundle = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "image/svg+xml": self._svg(), "text/plain": self._words()}

    def _ipython_display_(self, **_options: Any) -> None:
        """Show the widget, and below it, in an output of its own, the picture."""
        live = super()._repr_mimebundle_() or {}
        display({**live, "text/plain": self._name}, raw=True)  # type: ignore[no-untyped-call]
        handle = DisplayHandle()  # type: ignore[no-untyped-call]
        self._handles.append(handle)
        handle.display(self._still(), raw=True)  # type: ignore[no-untyped-call]

    def changed(self) -> None:
        """What is shown has changed: soon, when it rests, the picture is drawn again."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer:
            self._timer.cancel()
        if self._handles:
            self._timer = loop.call_later(_REST, self._update)

    def _update(self) -> None:
        self._timer = None
        for handle in self._handles:
            handle.update(self._still(), raw=True)  # type: ignore[no-untyped-call]

    def _still(self) -> dict[str, str]:
        picture, words = self._svg(), self._words()
        image = f'<img alt="{escape(self._name)}" src="data:image/svg+xml;utf8,{quote(picture)}">'
        html = f'<style>{_STYLE}</style><div class="mk-still">{image}</div>'
        return {"text/html": html, "image/svg+xml": picture, "text/plain": words}
