"""What the parts of a dashboard share: the driver, the moment shown, what is selected, and when to draw again."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakValueDictionary, ref

from mklab.widgets.canvas import together
from mklab.widgets.driver import Driver
from mklab.widgets.steering import Steering
from mklab.widgets.view import View

__all__ = ["KEYS", "Part", "Stage"]

SECONDS = 1 / 15
"""Between two refreshes."""

_KEYS: dict[str, Callable[["Stage"], None]] = {
    "0": lambda stage: stage.steering.reset(),
    "b": lambda stage: stage.steering.back(),
    "s": lambda stage: stage.steering.step(),
    "r": lambda stage: stage.steering.run(),
    "u": lambda stage: stage.steering.open("until"),
    "Escape": lambda stage: stage.steering.interrupt(),
    "ArrowLeft": lambda stage: stage.move(stage.view.event - 1),
    "ArrowRight": lambda stage: stage.move(stage.view.event + 1),
    "Home": lambda stage: stage.move(-1),
    "End": lambda stage: stage.move(stage.view.film.count - 1),
}
KEYS = [*_KEYS, "t"]
"""What can be pressed; T, the text twin, is each part's own."""
_SELECTED = {"event": "selected", "cpu": "cpu", "address": "address"}
"""What an element names, and what of a view it selects."""


class Part(Protocol):
    """What draws the stage's view."""

    @property
    def visible(self) -> bool:
        """Whether somebody can see it."""

    def redraw(self) -> None:
        """Draw it again."""


class Stage:
    """The moment that is shown and what is selected, shared by all parts that belong to one driver.

    Attributes:
        driver: the driver.
        view: what is shown.
        steering: what is done to the driver.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.view: View = View.at_end(driver.film)
        self.steering: Steering = Steering(self)
        self._held: list[ref[Any]] = []
        self._drawn = 0.0
        self._pause = SECONDS
        self._waiting = False
        self.follow()

    @classmethod
    def of(cls, driver: Any) -> "Stage":
        """The stage of ``driver``: parts in several cells move together. A stage is its own.

        Whatever is no driver itself, but has one as ``driver``, stands for it.
        """
        if isinstance(driver, Stage):
            return driver
        driver = getattr(driver, "driver", driver)
        stage = _STAGES.get(id(driver))
        if stage is None:
            stage = _STAGES[id(driver)] = cls(driver)
        return stage

    def add(self, part: Part) -> None:
        """Let ``part`` be drawn again whenever the view changes, as long as somebody holds it; the first one first."""
        self._held.append(ref(part, self._held.remove))

    @property
    def _parts(self) -> list[Any]:
        return [part for one in self._held if (part := one()) is not None]

    @property
    def visible(self) -> bool:
        """Whether somebody can see a part."""
        return any(part.visible for part in self._parts)

    def toggle_twins(self) -> None:
        """Open every part's text twin, or close them where one is open."""
        panels = [part for part in self._parts if hasattr(part, "toggle_twin")]
        opened = any(panel.has_twin for panel in panels)
        for panel in panels:
            if panel.has_twin == opened:
                panel.toggle_twin()

    # What is shown

    def show(self, view: View) -> None:
        """Show ``view``."""
        if view.selected is not None and view.selected >= view.film.count:
            view = replace(view, selected=None)  # it has not happened, this time
        self.view = view
        self.refresh()

    def move(self, event: int) -> None:
        """Show the moment after that event, or the nearest there is. The driver stays where it stands."""
        film = self.driver.film
        self.show(self.view.to(View.at_event(film, max(-1, min(event, film.count - 1)))))

    def select(self, **what: Any) -> None:
        """Change what is selected: ``selected``, ``cpu``, ``address``, ``search`` of the view."""
        self.show(replace(self.view, **what))

    def follow(self) -> None:
        """Show where the driver stands now."""
        film, look = self.driver.film, self.driver.look
        self.show(self.view.to(View.at_look(film, look) if look >= 0 else View.at_end(film)))

    def act(self, said: dict[str, Any]) -> None:
        """Something was done on a part: see :class:`mklab.widgets.canvas.Canvas`. What goes wrong is said."""
        self.steering.attempt("That", lambda: self._act(said))

    def _act(self, said: dict[str, Any]) -> None:
        if said.get("key") in _KEYS:
            _KEYS[said["key"]](self)
        elif said.get("act") == "search":
            self.select(search=str(said["value"]))
        elif said.get("act") in ("cpu", "address"):
            words = str(said["value"]).strip()
            self.select(**{said["act"]: int(words, 0) if words else None})
        else:
            view = self.view
            if said.get("look", -1) >= 0:
                view = view.to(View.at_look(self.driver.film, said["look"]))
            self.show(replace(view, **{_SELECTED[name]: value for name, value in said.items() if name in _SELECTED}))

    # When it is drawn

    def refresh(self) -> None:
        """Draw every part again: now, or, if the last time is not long ago, as soon as the browser can follow.

        Nobody looks where no event loop runs: there it is done at once.
        """
        if self._waiting:
            return
        pause = self._drawn + self._pause - time.monotonic()
        loop = running_loop()
        if loop is None or pause <= 0:
            self._draw()
        else:
            self._waiting = True
            loop.call_later(pause, self._draw)

    def _draw(self) -> None:
        self._waiting = False
        begun = time.monotonic()
        with together():
            for part in self._parts:
                part.redraw()
        self._drawn = time.monotonic()
        # Drawing takes half of the time at most.
        self._pause = max(SECONDS, self._drawn - begun)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs here; None where none does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_STAGES: WeakValueDictionary[int, Stage] = WeakValueDictionary()
"""By the driver's id: a stage holds its driver, and is held by its parts."""
