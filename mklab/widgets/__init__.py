"""Pictures of a recording, and the dashboard that steers what is recorded."""

from mklab.widgets.controls import Controls
from mklab.widgets.dashboard import Dashboard
from mklab.widgets.driver import Driver, Runner
from mklab.widgets.parts import (
    Apic,
    Consoles,
    Details,
    HexView,
    Kimages,
    MemoryMap,
    Messages,
    Ownership,
    Stepper,
)
from mklab.widgets.player import Player

__all__ = [
    "Apic",
    "Consoles",
    "Controls",
    "Dashboard",
    "Details",
    "Driver",
    "HexView",
    "Kimages",
    "MemoryMap",
    "Messages",
    "Ownership",
    "Player",
    "Runner",
    "Stepper",
]
