"""The local APIC's timer as a count-down on virtual time (SDM "APIC Timer").

Nothing happens between two calls: the count at any time follows from where it stood at some earlier time.
"""

from dataclasses import dataclass
from typing import Any

__all__ = ["ApicTimer"]


@dataclass
class ApicTimer:
    """One timer. Times are virtual; the divide configuration register says how many units make a tick.

    Attributes:
        initial: the initial-count register.
        divide: the divide configuration register.
        count: the ticks that were left at ``since``; None where the timer does not count.
        since: when that was.
    """

    initial: int = 0
    divide: int = 0
    count: int | None = None
    since: int = 0

    @property
    def divisor(self) -> int:
        """Units of time per tick, 1 to 128: bits 0, 1 and 3 of the divide configuration register."""
        code = self.divide >> 1 & 4 | self.divide & 3
        return 1 << (code + 1) % 8

    @property
    def expiry(self) -> int | None:
        """When the count reaches 0; None where the timer does not count."""
        return None if self.count is None else self.since + self.count * self.divisor

    def start(self, initial: int, now: int) -> None:
        """A write to the initial-count register: count down from there; 0 stops."""
        self.initial = initial
        self.count, self.since = initial or None, now

    def set_divide(self, value: int, now: int) -> None:
        """A write to the divide configuration register: what is left goes on at the new pace, with a whole tick."""
        if self.count is not None:
            self.count, self.since = max(0, self.count - self._elapsed(now)), now
        self.divide = value & 0b1011

    def current(self, now: int, periodic: bool) -> int:
        """The current-count register."""
        if self.count is None:
            return 0
        left = self.count - self._elapsed(now)
        if left > 0:
            return left
        return self.initial - -left % self.initial if periodic else 0

    def settle(self, now: int, periodic: bool) -> None:
        """Put an expiry that lies behind into effect: a periodic timer was reloaded, a one-shot one has stopped."""
        if self.count is None or self._elapsed(now) < self.count:
            return
        if periodic:
            periods = (self._elapsed(now) - self.count) // self.initial
            self.since += (self.count + periods * self.initial) * self.divisor
            self.count = self.initial
        else:
            self.count = None

    def _elapsed(self, now: int) -> int:
        return (now - self.since) // self.divisor

    def state(self) -> dict[str, Any]:
        """The timer as plain data."""
        return dict(vars(self))
