"""What the parts of a dashboard share: the driver, the moment shown, what is selected, and when to draw again."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from mklab.recording import Film
from mklab.widgets.view import View

__all__ = ["Driver", "Part", "Stage"]

_SECONDS = 1 / 15
"""Between two refreshes."""


class Driver(Protocol):
    """What is steered: anything that makes a film grow, or that plays one."""

    @property
    def film(self) -> Film:
        """What was recorded so far."""

    @property
    def look(self) -> int:
        """Where it stands: the number of the last look, which need not be the film's last."""

    def step(self, unit: str = "event") -> None:
        """Go on by an ``instruction``, to the next ``event`` that can be seen, or to the next ``message``."""

    def back(self, unit: str = "event") -> None:
        """Undo as much."""

    def run(self) -> None:
        """Go on to the end."""

    def reset(self) -> None:
        """Start again; :attr:`film` may then be another one."""


class Part(Protocol):
    """What draws the stage's view."""

    def redraw(self) -> None:
        """Draw it again."""


class Stage:
    """The moment that is shown and what is selected, shared by all parts that belong to one driver.

    Attributes:
        driver: the driver.
        view: what is shown.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.view = View.at_end(driver.film)
        self._parts: WeakSet[Any] = WeakSet()
        self._drawn_at = 0.0

    @classmethod
    def of(cls, driver: Any) -> "Stage":
        """The stage of ``driver``: parts in several cells move together. A stage is its own."""
        if isinstance(driver, Stage):
            return driver
        if driver not in _STAGES:
            _STAGES[driver] = cls(driver)
        return _STAGES[driver]

    def add(self, part: Part) -> None:
        """Let ``part`` be drawn again whenever the view changes, as long as somebody holds it."""
        self._parts.add(part)

    def show(self, view: View) -> None:
        """Show ``view``."""
        self.view = view
        self.refresh()

    def select(self, **what: Any) -> None:
        """Change what is selected: ``selected``, ``cpu``, ``address``, ``search`` of the view."""
        self.show(replace(self.view, **what))

    def follow(self) -> None:
        """Show where the driver stands now."""
        self.show(self.view.to(View.at_look(self.driver.film, self.driver.look)))

    def refresh(self) -> None:
        """Draw every part again, but not sooner than the browser can follow."""
        pause = self._drawn_at + _SECONDS - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        self._drawn_at = time.monotonic()
        for part in list(self._parts):
            part.redraw()

    def steer(self, act: Callable[[], None]) -> None:
        """Let the driver act, and show where it stands then."""
        act()
        self.follow()


_STAGES: WeakKeyDictionary[Any, Stage] = WeakKeyDictionary()
