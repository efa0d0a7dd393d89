"""One picture in a cell, or in a dashboard: shown by a canvas, drawn again when the stage's view changes."""

from importlib import resources
from typing import Any

import ipywidgets

from mklab.widgets.canvas import Canvas
from mklab.widgets.palette import style_sheet
from mklab.widgets.picture import COLUMN, Picture, markup, svg, twin
from mklab.widgets.stage import Stage

__all__ = ["Panel", "style"]

_CSS = resources.files(__package__) / "pictures.css"


def style() -> ipywidgets.HTML:
    """The style sheet of all pictures, as a widget that shows nothing."""
    sheet = ipywidgets.HTML(f"<style>{style_sheet('.mklab')}\n{_CSS.read_text(encoding='utf-8')}</style>")
    sheet.layout.display = "none"
    return sheet


class Panel(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """``picture`` of what ``driver`` has recorded.

    Args:
        picture: the picture.
        driver: a driver, or the stage of one.

    Attributes:
        picture, stage: the picture, and what it shares with others.
        canvas: where it is drawn.
    """

    def __init__(self, picture: Picture, driver: Any) -> None:
        self.picture = picture
        self.stage = Stage.of(driver)
        self.canvas = Canvas(self._act)
        self.canvas.observe(lambda _change: self.redraw(), ["width", "opened", "visible"])
        super().__init__([style(), self.canvas])
        self.add_class("mklab")
        self.stage.add(self)
        self.redraw()

    def redraw(self) -> None:
        """Draw the stage's view, if it can be seen."""
        if not self.canvas.visible:
            return
        with_twin = f"{self.picture.name}-twin" in self.canvas.opened
        width = self.canvas.width or COLUMN
        self.canvas.markup = markup(self.picture, self.stage.view, width, with_twin=with_twin)

    def _act(self, said: dict[str, Any]) -> None:
        """Something was selected in the picture."""
        names = {"event": "selected", "cpu": "cpu", "address": "address"}
        if what := {names[name]: value for name, value in said.items() if name in names}:
            self.stage.select(**what)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The widget, and for static pages and readers of text the same as SVG and as words."""
        view = self.stage.view
        bundle = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "image/svg+xml": svg(self.picture, view), "text/plain": twin(self.picture, view)}
