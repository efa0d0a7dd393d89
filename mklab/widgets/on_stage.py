"""What every part of a dashboard is: a canvas that belongs to a stage, and is drawn again with it."""

from collections.abc import Callable
from importlib import resources
from typing import Any

import ipywidgets

from mklab.widgets.canvas import Canvas
from mklab.widgets.home import at_home
from mklab.widgets.palette import style_sheet
from mklab.widgets.stage import KEYS, Stage
from mklab.widgets.still import Lasting

__all__ = ["OnStage", "style"]

_CSS = resources.files(__package__) / "pictures.css"


def style() -> ipywidgets.HTML:
    """The style sheet of all pictures, as a widget that shows nothing."""
    sheet = ipywidgets.HTML(f"<style>{style_sheet('.mklab')}\n{_CSS.read_text(encoding='utf-8')}</style>")
    sheet.layout.display = "none"
    return sheet


class OnStage(Lasting):
    """A canvas on the stage of ``driver``.

    Args:
        driver: a driver, or the stage of one.
        svg, words, name: as of any :class:`mklab.widgets.still.Lasting`.
        leads: whether its keys act in the whole dashboard.

    Attributes:
        stage: what it shares with others.
        canvas: where it is drawn.
    """

    def __init__(
        self, driver: Any, svg: Callable[[], str], words: Callable[[], str], name: str, *, leads: bool = False
    ) -> None:
        self.stage = Stage.of(driver)
        self.canvas = Canvas(self._act, KEYS, leads=leads)
        self.canvas.observe(at_home(lambda _change: self._seen()), ["width", "opened", "visible"])
        super().__init__([style(), self.canvas], svg, words, name)
        self.add_class("mklab")
        self.stage.add(self)
        self.redraw()

    @property
    def visible(self) -> bool:
        """Whether somebody can see it."""
        return self.canvas.visible

    def _seen(self) -> None:
        self.stage.steering.wake()
        self.redraw()

    def redraw(self) -> None:
        """Draw the stage's view."""
        raise NotImplementedError

    def _act(self, said: dict[str, Any]) -> None:
        """Something was done on the canvas: see :class:`mklab.widgets.canvas.Canvas`."""
        raise NotImplementedError
