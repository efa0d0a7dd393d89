"""The snapshots that are taken now and then while a machine runs, so that no moment lies far behind one."""

import time

from mklab.machine.machine import Machine
from mklab.timeline.snapshot import Snapshot, Snapshots

__all__ = ["Kept"]

_BETWEEN, _SHARE = 0.02, 5
"""Seconds of the host's time between two snapshots: at least so many, and so many times what the last one took."""
_MOST = 256
"""Snapshots kept; then every other one of the older half goes."""


class Kept:
    """Snapshots of a run, the first of them of now.

    Args:
        machine: the machine.
        source: how changed pages are found; see :class:`mklab.timeline.snapshot.Snapshots`.

    Attributes:
        snapshots: what takes and restores them, and others.
        all: those kept, oldest first.
    """

    def __init__(self, machine: Machine, source: str | None) -> None:
        self.snapshots = Snapshots(machine, source)
        self.all = [self.snapshots.take()]
        self._last_taken = time.perf_counter()
        self._took = 0.0

    def take_now_and_then(self) -> None:
        """Take one, if the last one was taken long ago."""
        begun = time.perf_counter()
        if begun - self._last_taken < max(_BETWEEN, _SHARE * self._took):
            return
        self._keep(self.snapshots.take())
        self._last_taken = time.perf_counter()
        self._took = self._last_taken - begun

    def _keep(self, snapshot: Snapshot) -> None:
        at = len(self.all)
        while at and self.all[at - 1].count >= snapshot.count:
            at -= 1
        if at < len(self.all) and self.all[at].count == snapshot.count:
            return
        self.all.insert(at, snapshot)
        if len(self.all) > _MOST:
            del self.all[1 : _MOST // 2 : 2]

    def before(self, event: int) -> Snapshot | None:
        """The last one at which the event with that number had not happened, or None."""
        return next((one for one in reversed(self.all) if one.count <= event), None)

    def forget(self, count: int, at: int) -> None:
        """Drop those with more than ``count`` events, or later than virtual time ``at``: they will not happen."""
        self.all = [one for one in self.all if one.count <= count and one.time <= at]
