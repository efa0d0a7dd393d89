"""The dashboard: who owns each CPU, what became of each message, and buttons to go on."""

import time
from collections.abc import Callable
from html import escape
from importlib import resources
from typing import Any, Protocol

import ipywidgets

from mklab.recording import Recording
from mklab.widgets import bands, messages, ownership, sequence
from mklab.widgets.chart import OwnershipChart
from mklab.widgets.palette import LIGHT, style_sheet
from mklab.widgets.svg import document, element

__all__ = ["Dashboard", "Driver", "svg", "twin"]

TITLE = "Who owns what, and what is moving?"

_CSS = resources.files(__package__) / "dashboard.css"
_REDRAWS_PER_SECOND = 15


class Driver(Protocol):
    """What a dashboard steers: anything that makes a recording grow."""

    @property
    def recording(self) -> Recording:
        """What has happened so far."""

    def step(self) -> None:
        """Go on until something has happened."""

    def run(self) -> None:
        """Go on to the end."""

    def reset(self) -> None:
        """Start again; :attr:`recording` is then another one."""


class Dashboard(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Pictures of ``driver.recording``, with buttons for the driver's methods.

    What goes wrong in the driver is said in the status line; the dashboard goes on.

    Args:
        driver: what to show and steer.

    Attributes:
        driver: as given.
        reset, step, run: the buttons.
        text: the button that shows the pictures' text twin.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._drawn_at = 0.0
        self.reset = self._button("Reset", "Start again from power-on", lambda: self.driver.reset())
        self.step = self._button("Step", "Go on until something has happened", lambda: self.driver.step())
        self.run = self._button("Run", "Go on to the end", lambda: self.driver.run())
        self.text = ipywidgets.ToggleButton(description="Text twin", tooltip="The same pictures in words")
        self.text.observe(lambda _change: self._show_text(), "value")
        self._status = ipywidgets.HTML()
        self._owners = ipywidgets.HTML()
        self._chart = OwnershipChart()
        self._messages = ipywidgets.HTML()
        self._text = ipywidgets.HTML()
        style = ipywidgets.HTML(f"<style>{style_sheet('.mklab')}\n{_CSS.read_text()}</style>")
        style.layout.display = "none"
        buttons = ipywidgets.HBox([self.reset, self.step, self.run, self.text])
        buttons.add_class("mklab-buttons")
        title = ipywidgets.HTML(f"<h2>{TITLE}</h2>")
        parts = [style, title, buttons, self._status, self._owners, self._chart, self._messages, self._text]
        super().__init__(parts)
        self.add_class("mklab")
        self._draw()
        self._say("Stopped")

    def _button(self, name: str, hint: str, act: Callable[[], None]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=name, tooltip=hint)
        button.on_click(lambda _button: self._steer(name, act))
        return button

    def _steer(self, name: str, act: Callable[[], None]) -> None:
        """Let the driver act, show what came of it, and say so."""
        buttons = (self.reset, self.step, self.run)
        for button in buttons:
            button.disabled = True
        self._say(f"{name} ...")
        said, trouble = "Stopped", False
        try:
            act()
        except KeyboardInterrupt:
            said = "Interrupted by you; Step or Run goes on from here. Stopped"
        except Exception as error:  # whatever it is, it belongs in the status line: the dashboard must go on
            said, trouble = f"{name} failed: {error} ({type(error).__name__}). Stopped", True
        finally:
            for button in buttons:
                button.disabled = False
        self._draw()
        self._say(said, trouble=trouble)

    def _say(self, words: str, *, trouble: bool = False) -> None:
        recording = self.driver.recording
        where = f"after {recording.count:,} events, t = {recording.time:,} instructions."
        style = "mklab-status mklab-trouble" if trouble else "mklab-status"
        self._status.value = f'<div role="status" class="{style}">{escape(words)} {where}</div>'

    def _draw(self) -> None:
        """Draw everything again, but not sooner than the browser can follow."""
        pause = self._drawn_at + 1 / _REDRAWS_PER_SECOND - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        self._drawn_at = time.monotonic()
        recording = self.driver.recording
        self._owners.value = _heading(ownership.QUESTION, ownership.answer(recording))
        self._chart.draw(recording)
        heading = _heading(messages.QUESTION, messages.answer(recording))
        self._messages.value = heading + sequence.html(recording)
        self._show_text()

    def _show_text(self) -> None:
        words = f"<pre>{escape(twin(self.driver.recording))}</pre>"
        self._text.value = words if self.text.value else ""

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The widget, and for static pages and readers of text the same as SVG and as words."""
        bundle = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "image/svg+xml": svg(self.driver.recording), "text/plain": twin(self.driver.recording)}


def svg(recording: Recording) -> str:
    """Both pictures below each other, on their own paper."""
    drawn = [bands.svg(recording), sequence.svg(recording)]
    sizes = [_size(picture) for picture in drawn]
    content, y = "", 0
    for picture, (_, height) in zip(drawn, sizes, strict=True):
        content += element("g", picture, transform=f"translate(0 {y})")
        y += height
    words = f"{ownership.answer(recording)} {messages.answer(recording)}"
    return document(TITLE, words, max(width for width, _ in sizes), y, LIGHT, content)


def _size(picture: str) -> tuple[int, int]:
    """Width and height of an SVG of ours, from its ``viewBox``."""
    _, _, width, height = picture.split('viewBox="', 1)[1].split('"', 1)[0].split()
    return int(width), int(height)


def twin(recording: Recording) -> str:
    """Both pictures in words."""
    return f"{ownership.twin(recording)}\n\n{messages.twin(recording)}"


def _heading(question: str, answer: str) -> str:
    return f"<h3>{escape(question)}</h3><p>{escape(answer)}</p>"
