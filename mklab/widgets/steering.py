"""What is done to a driver, and what is said of it: steps, runs that can be interrupted, places to stop."""

import asyncio
import collections
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mklab.errors import MklabError
from mklab.widgets.condition import parse
from mklab.widgets.driver import UNITS, Runner
from mklab.widgets.interrupts import leave, listen
from mklab.widgets.view import View

if TYPE_CHECKING:
    from mklab.widgets.stage import Stage

__all__ = ["SPEEDS", "Steering"]

SPEEDS = (0, 1, 2, 5, 10)
"""Events a second; 0: as fast as it goes."""
_INTERRUPTED = "interrupted by you; Step and Run go on from here"
_CHUNK, _BREATH = 0.05, 0.005
"""Seconds for which a run goes on at once, and for which others may do something in between."""


class Steering:
    """Steers the driver of ``stage``.

    Attributes:
        unit: how far a step goes.
        speed: events a second of a run; 0: as fast as it goes.
        stops: where every run stops, as typed.
        schedule: what the next reset asks for; empty: the same.
        form: which form of the controls is open: ``until``, ``stops``, ``schedule`` or none.
        running: whether a run is under way.
        trouble: whether what is said is of something that went wrong.
    """

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self.unit = "event"
        self.speed = 0
        self.stops: list[str] = []
        self.form = ""
        self.running = False
        self.trouble = False
        self._why = ""
        self._task: asyncio.Task[None] | None = None
        self._seen = asyncio.Event()

    # What is said

    @property
    def status(self) -> str:
        """What the driver does or why it stands, and what is shown, in words."""
        driver, view = self._stage.driver, self._stage.view
        film, look = driver.film, driver.look
        stands = View.at_look(film, look) if look >= 0 else View.at_end(film)
        if self.running:
            limit = driver.limit if isinstance(driver, Runner) else 0
            of = f" of {limit:,}" if limit > stands.time else ""
            return f"Running: {stands.time:,}{of} instructions, event {stands.event}. Interrupt: Esc"
        where = f"Stopped at event {stands.event}" if stands.event >= 0 else "Stopped at power-on"
        words = f"{self._why}. {where}." if self.trouble else f"{where}: {self._why}." if self._why else f"{where}."
        shown = (view.event, view.look) == (stands.event, stands.look)
        return words if shown else f"{words} Showing event {view.event}."

    # What is done

    def reset(self, schedule: str = "") -> None:
        """Start again; with ``schedule``: see :meth:`mklab.widgets.driver.Runner.reset`."""
        driver = self._stage.driver
        act = (lambda: driver.reset(schedule)) if schedule and isinstance(driver, Runner) else driver.reset
        self._do("Reset", act, seek=False)

    def step(self) -> None:
        """One step of :attr:`unit`, from the moment that is shown."""
        self._do("Step", lambda: self._stage.driver.step(self.unit))

    def back(self) -> None:
        """The same, backwards."""
        self._do("Back", lambda: self._stage.driver.back(self.unit))

    def run(self, until: str = "") -> None:
        """Go on from the moment that is shown, until something stops it: ``until``, a stop, the end, Esc."""
        driver = self._stage.driver
        if self.running:
            return
        if not isinstance(driver, Runner):
            self._do("Run", driver.run)
            return

        def begin() -> None:
            driver.stop_at([*self.stops, *filter(None, [until])])
            driver.begin()

        if not self._do("Run until" if until else "Run", begin):
            return
        self.running = True
        course = self._play() if self.speed else self._go_on(driver)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            collections.deque(course, 0)
        else:
            self._task = loop.create_task(self._follow(course))
            self._stage.refresh()

    def interrupt(self) -> None:
        """Stop a run; where none is under way, close the form that is open."""
        if self.running:
            self._interrupt_run()
        else:
            self.open("")

    def _interrupt_run(self) -> None:
        self._end(_INTERRUPTED)

    def open(self, form: str) -> None:
        """Open a form of the controls, or close it if it is open."""
        self.form = "" if form == self.form else form
        self._stage.refresh()

    def say(self, words: str) -> None:
        """Let the status line say ``words``."""
        self._why, self.trouble = words.rstrip("."), False
        self._stage.refresh()

    def attempt(self, name: str, act: Callable[[], None]) -> None:
        """Do something that is not the driver's; what goes wrong is said."""
        try:
            act()
        except Exception as error:  # as above: it belongs in the status line
            self._fail(name, error)
            self._stage.refresh()

    def set(self, name: str, value: str) -> None:
        """A control was set: ``unit`` or ``speed``.

        Raises:
            ValueError: to nothing that there is.
        """
        if name == "unit" and value in UNITS:
            self.unit = value
        elif name == "speed" and value.isdecimal():
            self.speed = int(value)
        else:
            raise ValueError(f"{name} must be one of {UNITS if name == 'unit' else SPEEDS}, not {value!r}")
        self._stage.refresh()

    def add_stop(self, words: str) -> None:
        """Let every run stop there, too; see :func:`mklab.widgets.condition.parse`."""

        def add() -> None:
            condition = str(parse(words, len(self._stage.driver.film.registers)))
            if condition not in self.stops:
                self.stops.append(condition)

        self._do("Add", add, seek=False)

    def remove_stop(self, words: str) -> None:
        """Let no run stop there any more."""
        self.stops = [one for one in self.stops if one != words]
        self._stage.refresh()

    def _do(self, name: str, act: Callable[[], str | None], *, seek: bool = True) -> bool:
        """Let the driver act at the moment that is shown; whether nothing went wrong."""
        if self.running:
            return False
        self.trouble, self._why = False, ""

        def there() -> str | None:
            if seek:
                self._seek()
            return act()

        self._guard(name, there)
        self._stage.follow()
        return not self.trouble

    def _guard(self, name: str, act: Callable[[], str | None]) -> bool:
        """Do it; whether it has stopped, be it because something went wrong. That is said, and no more."""
        try:
            self._why = act() or ""
        except KeyboardInterrupt:
            self._why = _INTERRUPTED
        except Exception as error:  # whatever it is, it belongs in the status line: the dashboard must go on
            self._fail(name, error)
        return bool(self._why)

    def _fail(self, name: str, error: Exception) -> None:
        kind = "" if isinstance(error, ValueError | MklabError) else f" ({type(error).__name__})"
        self._why, self.trouble = f"{name} failed: {error}{kind}", True

    def _seek(self) -> None:
        """Take the driver to the moment that is shown."""
        driver, look = self._stage.driver, max(self._stage.view.look, 0)
        if isinstance(driver, Runner) and driver.film.looks and look != driver.look:
            driver.seek(look)

    # Runs: each yields after every stretch for how many seconds others may do something

    def _go_on(self, driver: Runner) -> Iterator[float]:
        while self.running and not self._guard("Run", lambda: driver.advance(_CHUNK)):
            self._stage.follow()
            yield _BREATH
        self._end(self._why)

    def _play(self) -> Iterator[float]:
        while self.running and not self._guard("Run", lambda: self._stage.driver.step("event")):
            self._stage.follow()
            yield 1 / self.speed if self.speed else _BREATH
        self._end(self._why)

    async def _follow(self, course: Iterator[float]) -> None:
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            loop.call_soon_threadsafe(self._interrupt_run)

        try:
            listen(interrupt)
            for pause in course:
                await asyncio.sleep(pause)
                if self.speed and self.running and not self._stage.visible:
                    self._seen.clear()
                    await self._seen.wait()
                listen(interrupt)
        finally:
            leave(interrupt)

    def wake(self) -> None:
        """Somebody sees a part again: what plays goes on."""
        self._seen.set()

    def _end(self, why: str) -> None:
        if self.running:
            self.running, self._why = False, why
            task, self._task = self._task, None
            if task and task is not asyncio.current_task():
                task.cancel()  # else it would go on beside the next run
            driver = self._stage.driver
            if isinstance(driver, Runner) and driver.cpu is not None:
                self._stage.select(cpu=driver.cpu)
            self._stage.follow()
