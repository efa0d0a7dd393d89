"""Pictures of a recording, and the dashboard that steers what is recorded."""

from mklab.widgets.dashboard import Dashboard, Driver

__all__ = ["Dashboard", "Driver"]
