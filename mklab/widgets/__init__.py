"""Pictures of a recording, and the dashboard that steers what is recorded.

The names below are loaded when they are first used: a check needs words of a picture, and none of what draws it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "Controls": "controls",
    "Dashboard": "dashboard",
    "Driver": "driver",
    "Player": "player",
    "Runner": "driver",
}
"""The modules of the names that are not in ``parts``."""


def __getattr__(name: str) -> Any:
    """Load one of the public names."""
    if name not in __all__:
        raise AttributeError(f"module 'mklab.widgets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mklab.widgets.{_MODULES.get(name, 'parts')}"), name)
