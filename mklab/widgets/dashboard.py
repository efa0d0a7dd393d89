"""The dashboard: the pictures of one run, steered together."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets

from mklab.widgets import picture
from mklab.widgets.canvas import Canvas
from mklab.widgets.controls import Controls
from mklab.widgets.export import save
from mklab.widgets.on_stage import style
from mklab.widgets.palette import LIGHT
from mklab.widgets.panel import Panel
from mklab.widgets.parts import DEFAULT, PARTS, parts_named
from mklab.widgets.stage import Stage
from mklab.widgets.still import Lasting
from mklab.widgets.svg import stacked
from mklab.widgets.view import View

__all__ = ["TITLE", "Dashboard", "svg"]

TITLE = "Who owns what, what is moving, and why?"
_STILL = 960
"""Width of the picture on static pages, in pixels."""


class Dashboard(Lasting):
    """Pictures of what ``driver`` has recorded, with controls for the driver.

    What goes wrong in the driver is said in the status line; the dashboard goes on.

    Args:
        driver: what to show and steer: a driver, the stage of one, or anything that has one as ``driver``.
        parts: which pictures to show at first, by their names (see :data:`mklab.widgets.parts.PARTS`); the others can
            be switched on.
        export: makes a file of what the stage shows, and says where it is; by default one HTML page.

    Attributes:
        stage: what the parts share.
        controls: the controls.
        panels: the pictures that were shown so far, by name.
        shown: the names of those that are shown, in order.

    Raises:
        ValueError: there is no part of that name.
    """

    def __init__(
        self, driver: Any, parts: Sequence[str] = DEFAULT, export: Callable[[Stage], str] | None = save
    ) -> None:
        self.stage = Stage.of(driver)
        self.shown = parts_named(parts)
        self.panels: dict[str, Panel] = {}
        self.controls = Controls(self.stage, export, TITLE)
        self._chooser = Canvas(self._act)
        self._columns = {place: ipywidgets.Box() for place in ("top", "left", "right", "bottom")}
        for place, column in self._columns.items():
            column.add_class(f"mk-{place}")
        grid = ipywidgets.Box(list(self._columns.values()))
        grid.add_class("mk-parts")
        super().__init__([style(), self.controls, self._chooser, grid], self._svg, self._words, TITLE)
        self.add_class("mklab")
        self.add_class("mk-dashboard")
        self.stage.add(self)
        self._arrange()

    @property
    def visible(self) -> bool:
        """Whether somebody can see it: its parts know."""
        return False

    def redraw(self) -> None:
        """Its parts are drawn by themselves."""
        self.changed()

    def choose(self, parts: Sequence[str]) -> None:
        """Show these parts.

        Raises:
            ValueError: there is no part of that name.
        """
        self.shown = parts_named(parts)
        self._arrange()

    def _act(self, said: dict[str, Any]) -> None:
        """A part was switched on or off."""
        name = str(said.get("value"))
        if name in PARTS:
            self.choose([one for one in PARTS if (one in self.shown) != (one == name)])

    def _arrange(self) -> None:
        for name in self.shown:
            if name not in self.panels:
                self.panels[name] = PARTS[name].panel(self.stage)
                # On a narrow page the order is that of the parts; on a wide one each column has its own.
                self.panels[name].layout.order = str(list(PARTS).index(name))
        for place, column in self._columns.items():
            column.children = [self.panels[name] for name in self.shown if PARTS[name].place == place]
            column.layout.display = None if column.children else "none"
        for place, beside in (("left", "right"), ("right", "left")):
            # Who has nobody beside has the whole page.
            if self._columns[beside].children:
                self._columns[place].remove_class("mk-whole")
            else:
                self._columns[place].add_class("mk-whole")
        toggles = "".join(
            f'<button type="button" data-act="part" data-value="{name}" data-key="part-{name}" '
            f'aria-pressed="{str(name in self.shown).lower()}">{escape(part.title)}</button>'
            for name, part in PARTS.items()
        )
        self._chooser.markup = (
            f'<div class="mk-buttons mk-chooser" role="group" aria-label="Pictures that are shown">{toggles}</div>'
        )
        self.redraw()

    def _svg(self) -> str:
        return svg(self.stage.view, self.shown)

    def _words(self) -> str:
        return "\n\n".join(picture.twin(PARTS[name].picture, self.stage.view) for name in self.shown)


def svg(view: View, parts: Sequence[str] = DEFAULT) -> str:
    """The pictures of ``view`` below each other, on their own paper.

    Raises:
        ValueError: there is no part of that name.
    """
    pictures = [PARTS[name].picture for name in parts_named(parts)]
    words = " ".join(one.answer(view) for one in pictures)
    return stacked(TITLE, words, [picture.svg(one, view, width=_STILL) for one in pictures], LIGHT)
