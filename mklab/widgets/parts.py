"""The parts of a dashboard, by name; each is a widget that can stand alone in a cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mklab.widgets import apic, consoles, details, hex_view, kimages, memory_map, ownership, sequence, stepper
from mklab.widgets.ownership_panel import OwnershipPanel
from mklab.widgets.panel import Panel
from mklab.widgets.picture import Picture

__all__ = [
    "DEFAULT",
    "PARTS",
    "Apic",
    "Consoles",
    "Details",
    "HexView",
    "Kimages",
    "MemoryMap",
    "Messages",
    "Ownership",
    "Part",
    "Stepper",
    "parts_named",
]

Ownership = OwnershipPanel


class Messages(Panel):
    """Which messages arrived, and which did not: a sequence diagram."""

    def __init__(self, driver: Any) -> None:
        super().__init__(sequence.PICTURE, driver)


class Details(Panel):
    """What exactly happened at the selected event, and why."""

    def __init__(self, driver: Any) -> None:
        super().__init__(details.PICTURE, driver)


class MemoryMap(Panel):
    """Whose memory each byte is, and what was written where it should not be."""

    def __init__(self, driver: Any) -> None:
        super().__init__(memory_map.PICTURE, driver)


class HexView(Panel):
    """The bytes at an address; by default those that were written last."""

    def __init__(self, driver: Any) -> None:
        super().__init__(hex_view.PICTURE, driver)


class Kimages(Panel):
    """The kimage list as it lies in guest RAM, beside what /proc/multikernel says of it."""

    def __init__(self, driver: Any) -> None:
        super().__init__(kimages.PICTURE, driver)


class Stepper(Panel):
    """The code that a CPU executes, what each instruction changes, and how an address is translated."""

    def __init__(self, driver: Any) -> None:
        super().__init__(stepper.PICTURE, driver)


class Apic(Panel):
    """The local APIC of a CPU: what is pending, what is in service, and why nothing is delivered."""

    def __init__(self, driver: Any) -> None:
        super().__init__(apic.PICTURE, driver)


class Consoles(Panel):
    """What each kernel has printed, and when; it can be searched."""

    def __init__(self, driver: Any) -> None:
        super().__init__(consoles.PICTURE, driver)


@dataclass(frozen=True)
class Part:
    """A part that a dashboard can show.

    Attributes:
        title: a word or two for the button that shows it.
        picture: what is drawn on static pages.
        panel: makes the widget, for a driver.
        place: where there are two columns: ``left``, ``right``; ``top`` and ``bottom`` have a row for themselves.
    """

    title: str
    picture: Picture
    panel: Callable[[Any], Panel]
    place: str


PARTS = {
    "ownership": Part("CPUs", ownership.PICTURE, Ownership, "top"),
    "messages": Part("Messages", sequence.PICTURE, Messages, "left"),
    "memory": Part("Memory", memory_map.PICTURE, MemoryMap, "right"),
    "details": Part("Details of an event", details.PICTURE, Details, "right"),
    "kimages": Part("kimage list", kimages.PICTURE, Kimages, "right"),
    "hex": Part("Bytes", hex_view.PICTURE, HexView, "right"),
    "stepper": Part("Instructions", stepper.PICTURE, Stepper, "left"),
    "apic": Part("Local APIC", apic.PICTURE, Apic, "right"),
    "consoles": Part("Consoles", consoles.PICTURE, Consoles, "bottom"),
}
"""All of them, in the order in which they stand."""
DEFAULT = ("ownership", "messages", "memory", "details", "consoles")
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
