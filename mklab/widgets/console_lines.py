"""The lines of the consoles of a film, found without splitting all that was printed at every look."""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

from mklab.recording import Console, Film
from mklab.widgets.view import View

__all__ = ["ConsoleLine", "Lines", "kernels", "spans_of"]


class ConsoleLine(NamedTuple):
    """A line on a console: the event of its first character, its virtual time in instructions, and what it says."""

    event: int
    time: int
    text: str


@dataclass
class Lines:
    """The lines of one console, as far as it goes now.

    Attributes:
        film, console: what it belongs to.
        starts: where in the console's text each line begins.
    """

    film: Film
    console: Console
    starts: list[int] = field(default_factory=list)
    _ended: list[ConsoleLine] = field(default_factory=list)
    _seen: int = 0
    _small: str = ""
    _search: "_Search | None" = None

    @classmethod
    def of(cls, film: Film, kernel: str) -> "Lines":
        """The lines of the console of ``kernel``."""
        console = film.recording.consoles.get(kernel) or Console()
        known = _LINES.setdefault(film, {}).get(kernel)
        # A film that was cut has other consoles.
        if known is None or known.console is not console:
            known = _LINES[film][kernel] = cls(film, console)
        known._extend()
        return known

    def _extend(self) -> None:
        text = self.console.text
        if self._seen == len(text):
            return
        if not self.starts:
            self.starts.append(0)
        at = text.find("\n", self._seen)
        while at >= 0:
            self._ended.append(self._line(self.starts[-1], at))
            self.starts.append(at + 1)
            at = text.find("\n", at + 1)
        self._seen = len(text)

    def length(self, event: int) -> int:
        """How many characters had been printed after event number ``event``."""
        return bisect.bisect_right(self.console.events, event)

    def count(self, event: int) -> int:
        """How many lines had been begun after event number ``event``."""
        return bisect.bisect_left(self.starts, self.length(event))

    def lines(self, first: int, last: int, event: int) -> list[ConsoleLine]:
        """Lines number ``first`` to ``last`` (exclusive), as far as they had been printed after ``event``."""
        length = self.length(event)
        # All but the last one had come to their end.
        ended = min(last, len(self._ended), bisect.bisect_right(self.starts, length) - 1)
        return [
            *self._ended[first:ended],
            *(self._line(self.starts[n], length) for n in range(max(first, ended), last)),
        ]

    def _line(self, begin: int, end: int) -> ConsoleLine:
        printed = self.console.events[begin]
        words = _plain(self.console.text[begin:end].rstrip("\r\n"))
        return ConsoleLine(printed, self.film.recording.times[printed], words)

    def hits(self, search: str, event: int) -> list[int]:
        """The numbers of the lines in which ``search`` is found, ascending, one for each time it is."""
        if not search:
            return []
        self._small += _in_small(self.console.text[len(self._small) :])
        if self._search is None or self._search.words != search:
            self._search = _Search(search)
        known = self._search
        for begin, end in _found(search, self._small, known.read):
            known.lines.append(bisect.bisect_right(self.starts, begin) - 1)
            known.ends.append(end)
        # What is printed next may complete one that has begun.
        end = known.ends[-1] if known.ends else 0
        known.read = max(end, len(self._small) - len(search) + 1)
        return known.lines[: bisect.bisect_right(known.ends, self.length(event))]


@dataclass
class _Search:
    """What was looked for last in a console, up to which character; the line of each hit, and where it ends."""

    words: str
    read: int = 0
    lines: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


def kernels(view: View) -> list[str]:
    """Whose consoles there are at the moment: the host, kernels that own a CPU, that were planned or have printed."""
    recording, found = view.film.recording, {"host"}
    for cpu in range(len(recording.apic_ids)):
        span = recording.span_at(cpu, view.event)
        found |= {name for name in (span.owner, span.planned) if name}
    for name, console in recording.consoles.items():
        if console.events and console.events[0] <= view.event:
            found.add(name)
    # The host, kernels by number, and last what no kernel's CPU printed.
    return sorted(found, key=lambda name: (name != "host", name == "nobody", len(name), name))


def spans_of(search: str, words: str) -> Sequence[tuple[int, int]]:
    """Where in ``words`` that which is searched for begins and ends, each time; small and capital letters are alike."""
    return list(_found(search, _in_small(words))) if search else []


def _found(search: str, small: str, first: int = 0) -> Iterator[tuple[int, int]]:
    wanted = _in_small(search)
    begin = small.find(wanted, first)
    while begin >= 0:
        yield begin, begin + len(wanted)
        begin = small.find(wanted, begin + len(wanted))


def _in_small(words: str) -> str:
    """``words`` in small letters, each still one character."""
    small = words.lower()
    if len(small) == len(words):
        return small
    return "".join(one.lower() if len(one.lower()) == 1 else one for one in words)


def _plain(words: str) -> str:
    """``words`` without control characters, which no page and no SVG may hold."""
    if words.isprintable():
        return words
    return "".join(one if one.isprintable() else " " if one == "\t" else "\ufffd" for one in words)


_LINES: WeakKeyDictionary[Film, dict[str, Lines]] = WeakKeyDictionary()
