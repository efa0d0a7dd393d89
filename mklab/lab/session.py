"""Sessions of the lab: :mod:`mklab.timeline`, told which kernels there are."""

from collections.abc import Callable
from pathlib import Path

from mklab.kernel.host import Host
from mklab.machine.machine import Machine
from mklab.timeline import replay as timeline_replay
from mklab.timeline import session
from mklab.timeline.timeline import Timeline
from mklab.trace import Trace

__all__ = ["INSTALLERS", "load", "replay", "save", "timeline"]

INSTALLERS: dict[str, Callable[[Machine], object]] = {"host": Host}
"""Who makes which kernel's functions known to a machine."""

save = session.save


def load(path: str | Path) -> Machine:
    """The machine whose session was saved to ``path``; see :func:`mklab.timeline.session.load`."""
    return session.load(path, INSTALLERS)


def replay(trace: Trace) -> Machine:
    """A machine that has done what ``trace`` says; see :func:`mklab.timeline.replay.replay`."""
    return timeline_replay.replay(trace, INSTALLERS)


def timeline(machine: Machine) -> Timeline:
    """The timeline of ``machine``, made if it has none; see :class:`mklab.timeline.timeline.Timeline`."""
    return machine.timeline if isinstance(machine.timeline, Timeline) else Timeline(machine, INSTALLERS)
