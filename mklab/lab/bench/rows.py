"""The rows of the benchmark, in groups that are measured together."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["GROUPS", "Group", "Row", "about", "measure"]


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        id: its name.
        what: what was measured, in words.
        value: the figure.
        unit: its unit; a ratio of speeds has ``x``.
        reach: what it is to reach (at least, for a ratio or a rate; at most, for a time or an amount); None: nothing.
    """

    id: str
    what: str
    value: float
    unit: str
    reach: float | None = None

    @property
    def ok(self) -> bool | None:
        """Whether it reaches that; None where there is nothing to reach."""
        if self.reach is None:
            return None
        return self.value >= self.reach if self.more_is_better else self.value <= self.reach

    @property
    def more_is_better(self) -> bool:
        """Whether a greater figure is a better one."""
        return self.unit == "x" or self.unit.endswith("/s")


Group = Callable[[int], Iterator[Row]]
"""Measures some rows, given how often."""

GROUPS: dict[str, Group] = {}


def measure(name: str) -> Callable[[Group], Group]:
    """Make a function known as the group ``name``."""

    def add(group: Group) -> Group:
        GROUPS[name] = group
        return group

    return add


def about() -> dict[str, str]:
    """What the figures belong to: the computer, and the versions."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("mklab", "unicorn")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} CPUs" if names else platform.processor() or "unknown"
