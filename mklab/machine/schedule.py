"""Who runs next, and for how long: decisions, kept apart from the machine that carries them out."""

import bisect
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mklab.errors import require
from mklab.trace import Slice, Trace

__all__ = ["KINDS", "RoundRobin", "Schedule", "Scripted", "Seeded", "choices_of", "repeats", "schedule_of"]

_LONGEST = 100_000_000
"""A slice cannot be looked into: from here on, stopping it would take minutes."""


class Schedule(Protocol):
    """Chooses the next CPU and its budget."""

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """One of ``runnable`` (ascending, not empty) and its budget in instructions (at least 1).

        A CPU that has nothing to do but a step of a kernel function performs that step, whatever its budget.
        """

    def state(self) -> dict[str, Any]:
        """What the next choices depend on, as plain data; ``kind`` names the schedule."""

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`.

        Raises:
            ValueError: the state is of a schedule of another kind.
        """


class RoundRobin:
    """Each CPU in turn, ``quantum`` instructions at a time.

    Raises:
        ValueError: ``quantum`` is not a positive number.
    """

    def __init__(self, quantum: int = 1000) -> None:
        require("quantum", quantum, 1, _LONGEST, " instructions")
        self.quantum = quantum
        self._last = -1

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """The next runnable CPU after the last one chosen."""
        after = bisect.bisect_right(runnable, self._last)
        self._last = runnable[after if after < len(runnable) else 0]
        return self._last, self.quantum

    def state(self) -> dict[str, Any]:
        """The quantum and the last choice."""
        return {"kind": "RoundRobin", "quantum": self.quantum, "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        _check_kind(state, "RoundRobin")
        self.quantum, self._last = state["quantum"], state["last"]


class Seeded:
    """Any runnable CPU, for ``shortest`` to ``longest`` instructions: by chance, but the same for the same seed.

    Chance is SHA-256 of the seed and the number of the choice, so it is the same on every host.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, seed: int = 0, shortest: int = 1, longest: int = 1000) -> None:
        require("seed", seed, 0, (1 << 64) - 1)
        require("longest", longest, 1, _LONGEST, " instructions")
        require("shortest", shortest, 1, longest, " instructions (longest)")
        self.seed, self.shortest, self.longest = seed, shortest, longest
        self._made = 0

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """One of them, and its budget."""
        chance = hashlib.sha256(f"{self.seed} {self._made}".encode()).digest()
        self._made += 1
        who, how_long = int.from_bytes(chance[:8], "little"), int.from_bytes(chance[8:16], "little")
        return runnable[who % len(runnable)], self.shortest + how_long % (self.longest - self.shortest + 1)

    def state(self) -> dict[str, Any]:
        """Seed, bounds, and how many choices were made."""
        return {"kind": "Seeded", **{name.strip("_"): value for name, value in vars(self).items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        _check_kind(state, "Seeded")
        self.seed, self._made = state["seed"], state["made"]
        self.shortest, self.longest = state["shortest"], state["longest"]


class Scripted:
    """Given choices, one after the other; when they are used up, round robin with the default quantum.

    Args:
        choices: CPU and budget in instructions of each choice; see :func:`choices_of`.

    Attributes:
        choices: as given.
        made: how many of them were made.

    Raises:
        ValueError: a budget is not positive.
    """

    def __init__(self, choices: Sequence[tuple[int, int]] = ()) -> None:
        for _, budget in choices:
            require("each budget of choices", budget, 1, 1 << 62, " instructions")
        self.choices = tuple((cpu, budget) for cpu, budget in choices)
        self.made = 0
        self._afterwards = RoundRobin()

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """The next choice of the script.

        Raises:
            ValueError: that CPU cannot run now: the script is one of another run.
        """
        if self.made >= len(self.choices):
            return self._afterwards.choose(runnable)
        cpu, budget = self.choices[self.made]
        if cpu not in runnable:
            raise ValueError(f"choice {self.made} of the script must be one of {list(runnable)}, not {cpu!r}")
        self.made += 1
        return cpu, budget

    def state(self) -> dict[str, Any]:
        """The script, and how far it was followed."""
        afterwards = self._afterwards.state()
        return {"kind": "Scripted", "choices": self.choices, "made": self.made, "afterwards": afterwards}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        _check_kind(state, "Scripted")
        self.choices, self.made = tuple((cpu, budget) for cpu, budget in state["choices"]), state["made"]
        self._afterwards.restore(state["afterwards"])


KINDS: dict[str, Callable[[], Schedule]] = {"RoundRobin": RoundRobin, "Scripted": Scripted, "Seeded": Seeded}
"""The schedules that can be made from their state; a module that has another one adds it."""


def schedule_of(state: dict[str, Any]) -> Schedule:
    """The schedule that ``state`` is of.

    Raises:
        ValueError: no schedule of that kind is known.
    """
    kind = state.get("kind")
    if kind not in KINDS:
        raise ValueError(f"the schedule must be one of {sorted(KINDS)}, not {kind!r}")
    schedule = KINDS[kind]()
    schedule.restore(state)
    return schedule


def repeats(schedule: Schedule) -> bool:
    """Whether ``schedule`` makes the same choice again and again, as long as the same CPU is the only one to choose.

    Then it need not be asked each time.
    """
    return type(schedule) is RoundRobin


def choices_of(trace: Trace) -> list[tuple[int, int]]:
    """What the schedule chose in the events that ``trace`` holds: CPU and budget, as :class:`Scripted` takes them.

    The budget of a step of a kernel function counts as 1: any does.
    """
    return [(slice_.cpu, slice_.budget or 1) for slice_ in trace.of(Slice) if slice_.cpu is not None]


def _check_kind(state: dict[str, Any], kind: str) -> None:
    if state["kind"] != kind:
        raise ValueError(f"the state must be of a {kind} schedule, not {state['kind']!r}")
