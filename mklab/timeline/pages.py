"""Which pages of RAM have changed, whoever wrote them: a guest's store, the engine, or Python.

Two sources answer: ``PAGEMAP_SCAN``, where the host's kernel does, and ``comparison`` everywhere.
"""

import weakref
from collections.abc import Callable
from mmap import mmap
from typing import Protocol

from mklab.machine.memory import PAGE, PhysicalMemory
from mklab.timeline.comparison import Comparison
from mklab.timeline.pagemap import PagemapScan

__all__ = ["SOURCES", "ChangedPages", "offered"]


class _Finder(Protocol):
    """What finds changed pages."""

    def scan(self) -> list[int]:
        """Addresses of the pages changed since the last scan."""


SOURCES: dict[str, Callable[[list[tuple[int, int, mmap]]], _Finder]] = {
    "PAGEMAP_SCAN": PagemapScan,
    "comparison": Comparison,
}
"""The sources by name, the best first. Each raises OSError where the host does not offer it."""


def offered() -> list[str]:
    """Those of :data:`SOURCES` that this host offers."""
    found = []
    for name in SOURCES:
        try:
            ChangedPages(PhysicalMemory([(0, PAGE)]), name)
        except ValueError:
            continue
        found.append(name)
    return found


class ChangedPages:
    """Tells the pages changed since it was last asked. Several may look at one memory; each is told everything.

    Args:
        memory: the RAM to look at.
        source: one of :data:`SOURCES`; the first that this host offers by default.

    Attributes:
        source: the name of the source that answers.

    Raises:
        ValueError: there is no such source, or this host does not offer it.
    """

    def __init__(self, memory: PhysicalMemory, source: str | None = None) -> None:
        if source is not None and source not in SOURCES:
            raise ValueError(f"source must be one of {list(SOURCES)}, not {source!r}")
        self._shared = _shared_by(memory, source)
        self.source = self._shared.source
        self._shared.scan()
        self._new: set[int] = set()
        self._shared.told.add(self)

    def changed(self) -> list[int]:
        """Physical addresses of the pages changed since the last call, or since this was made; ascending.

        ``PAGEMAP_SCAN`` names a page that was written, ``comparison`` one that holds other bytes than before.
        """
        self._shared.scan()
        pages = sorted(self._new)
        self._new.clear()
        return pages

    def note(self, pages: list[int]) -> None:
        """These pages were found to have changed, when somebody looked."""
        self._new.update(pages)


class _Shared:
    """One source on one memory: the host's kernel takes note of a write but once, whoever looks."""

    def __init__(self, source: str, finder: _Finder) -> None:
        self.source = source
        self.told: weakref.WeakSet[ChangedPages] = weakref.WeakSet()
        self._finder = finder

    def scan(self) -> None:
        """Tell everybody what has changed since the last scan."""
        pages = self._finder.scan()
        for one in self.told:
            one.note(pages)


_SHARED: weakref.WeakKeyDictionary[PhysicalMemory, weakref.WeakValueDictionary[str, _Shared]] = (
    weakref.WeakKeyDictionary()
)
"""The sources in use, on each memory; they end with the last that looks."""


def _shared_by(memory: PhysicalMemory, source: str | None) -> _Shared:
    in_use = _SHARED.setdefault(memory, weakref.WeakValueDictionary())
    why: OSError | None = None
    for name in [source] if source is not None else SOURCES:
        found = in_use.get(name)
        if found is not None:
            return found
        try:
            made = _Shared(name, SOURCES[name](memory.buffers))
        except OSError as error:
            why = error
            continue
        in_use[name] = made
        return made
    raise ValueError(f"source must be one that this host offers, not {source!r}: {why}")
