"""Pictures of a recording, and the dashboard that steers what is recorded."""

from mklab.widgets.controls import Controls
from mklab.widgets.dashboard import Dashboard
from mklab.widgets.driver import Driver, Runner
from mklab.widgets.parts import Kimages, Stepper
from mklab.widgets.player import Player

__all__ = ["Controls", "Dashboard", "Driver", "Kimages", "Player", "Runner", "Stepper"]
