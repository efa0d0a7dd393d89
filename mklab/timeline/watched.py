"""A value that is watched: what it was, which memory it is made of, and when a store there has changed it."""

from mklab.machine.machine import Machine
from mklab.timeline.stops import ValueWatch

__all__ = ["Watched"]


class Watched:
    """One value while a machine runs.

    Between a store to its memory and the next one, or the slice's end, nothing can change it: so it is looked at then.

    Args:
        machine: the machine, which stands still.
        stop: what is watched.

    Attributes:
        stop: as given.
        before: the value that it had when the slice began.
        changed: virtual time when the first instruction that changed it in this slice was over; None: none has.
        memory: first and last physical address of what it was made of when it was looked at first, or None.
    """

    def __init__(self, machine: Machine, stop: ValueWatch) -> None:
        self._machine = machine
        self.stop = stop
        self._read: list[tuple[int, int]] = []
        machine.memory.witness = self._on_read
        try:
            self.before = stop.value(machine)
        finally:
            machine.memory.witness = None
        ends = [paddr + size for paddr, size in self._read]
        self.memory = (min(paddr for paddr, _ in self._read), max(ends) - 1) if ends else None
        self.changed: int | None = None
        self._stored: int | None = None

    def _on_read(self, paddr: int, size: int, write: bool) -> None:
        if not write:
            self._read.append((paddr, size))

    def about_to_store(self, paddr: int, size: int) -> None:
        """Somebody is about to store ``size`` bytes at ``paddr``."""
        if any(paddr < one + length and one < paddr + size for one, length in self._read):
            self.compare()
            self._stored = self._machine.now

    def compare(self) -> object:
        """Find out whether the last store has changed it; its value now."""
        value = self.stop.value(self._machine)
        if self.changed is None and self._stored is not None and value != self.before:
            self.changed = self._stored
        return value

    def begin(self, value: object) -> None:
        """A slice begins, and this is its value."""
        self.before, self.changed, self._stored = value, None, None
