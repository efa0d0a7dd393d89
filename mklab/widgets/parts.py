"""The parts of a dashboard, by name; each is a widget that can stand alone in a cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mklab.widgets import kimages, stepper
from mklab.widgets.panel import Panel
from mklab.widgets.picture import Picture

__all__ = ["DEFAULT", "PARTS", "Kimages", "Part", "Stepper", "parts_named"]


class Kimages(Panel):
    """The kimage list as it lies in guest RAM, beside what /proc/multikernel says of it."""

    def __init__(self, driver: Any) -> None:
        super().__init__(kimages.PICTURE, driver)


class Stepper(Panel):
    """The code that a CPU executes, what each instruction changes, and how an address is translated."""

    def __init__(self, driver: Any) -> None:
        super().__init__(stepper.PICTURE, driver)


@dataclass(frozen=True)
class Part:
    """A part that a dashboard can show.

    Attributes:
        title: a word or two for the button that shows it.
        picture: what is drawn on static pages.
        panel: makes the widget, for a driver.
        wide: whether it has a row for itself where there are two columns.
    """

    title: str
    picture: Picture
    panel: Callable[[Any], Panel]
    wide: bool = False


PARTS = {
    "stepper": Part("Instructions", stepper.PICTURE, Stepper),
    "kimages": Part("kimage list", kimages.PICTURE, Kimages),
}
"""All of them, in the order in which they stand."""
DEFAULT = ("stepper", "kimages")
"""Those that a dashboard shows at first."""


def parts_named(names: Sequence[str]) -> list[str]:
    """``names`` in the order in which they stand.

    Raises:
        ValueError: there is no part of that name.
    """
    for name in names:
        if name not in PARTS:
            raise ValueError(f"parts must be some of {', '.join(PARTS)}, not {name!r}")
    return [name for name in PARTS if name in names]
