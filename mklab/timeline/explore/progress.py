"""How far a search has come, by an estimate, and a bar that shows it."""

import itertools
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mklab.timeline.explore.search import Search

__all__ = ["Bar", "profile"]


def profile(lengths: Sequence[int]) -> list[int]:
    """How many states each level would have, if CPUs that make so many transitions each never met.

    Then a state is a point of a grid, and its level the sum of its coordinates.
    """
    levels = [1]
    for length in lengths:
        ends = list(itertools.accumulate(levels + [0] * length))
        levels = [end - (ends[at - length - 1] if at > length else 0) for at, end in enumerate(ends)]
    return levels


class Bar:
    """A progress bar. The part done is an estimate: the share of the levels behind it in :func:`profile`.

    Args:
        lengths: transitions of each CPU in a plain run.
        depth: the bound, or None.
        console: where to draw.
    """

    def __init__(self, lengths: Sequence[int], depth: int | None, console: Console) -> None:
        levels = profile(lengths)
        self._ends = list(itertools.accumulate(levels if depth is None else levels[: depth + 1]))
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("about {task.percentage:.0f} %")
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("exploring", total=1.0)
        self._drawn = 0.0

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wipe it."""
        self._bar.stop()

    def share(self, search: Search) -> float:
        """The part done, 0 to 1, by estimate."""
        now = search.current
        level = len(now.levels) - 1
        before = self._ends[min(level, len(self._ends)) - 1] if level > 0 else 0
        this = self._ends[min(level, len(self._ends) - 1)] - before
        part = now.expanded / max(now.levels[-1], 1)
        return min(0.99, (before + this * part) / self._ends[-1])

    def __call__(self, search: Search) -> None:
        """Draw, at most ten times a second."""
        if time.monotonic() - self._drawn < 0.1:
            return
        self._drawn = time.monotonic()
        now = search.current
        text = f"pass {search.passes + 1}, depth {len(now.levels) - 1}: {len(now.parents):,} states"
        self._bar.update(self._task, completed=self.share(search), description=text)
