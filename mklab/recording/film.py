"""What happened and how everything stood, at every look: the whole of a recording, seekable without a machine."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from mklab import packed, trace
from mklab.errors import require
from mklab.recording import film_file
from mklab.recording.contents import Contents
from mklab.recording.description import Description
from mklab.recording.frame import Frame
from mklab.recording.look import Line, Look
from mklab.recording.recording import Recording
from mklab.recording.track import Track

__all__ = ["MOST_BYTES", "Film"]

MOST_BYTES = 8 << 20
"""Bytes of changed memory that a film holds, unless it is told otherwise: a file of it stays below 20 MiB."""


class Film:
    """The events of a run, and the machine's state at each look: keyframes and changes.

    A look is numbered from 0 on and belongs to the event before it. What each event means for CPUs, IPIs and consoles
    is in :attr:`recording`; what only the machine itself knows (registers, memory) is in the looks.

    Args:
        apic_ids: the physical id of each CPU, in order of their index.
        ram: ``(start, size)`` in bytes of each range of RAM.
        description: what lies where.
        most_bytes: bytes of changed memory to hold at most (see :class:`mklab.recording.contents.Contents`).

    Attributes:
        recording: what the events tell.
        events: the events, oldest first.
        looks: the looks, oldest first.
        registers, apics, where: for each CPU the history of its registers, its local APIC, and physical addresses.
        contents: the history of RAM.
        images, texts: the history of the kernels in memory, and of files in ``/proc``, by name.
        blocks: stretches of disassembled code; a look names one by its number.
        description: as given.

    Raises:
        ValueError: no CPU, or two with one id.
    """

    def __init__(
        self,
        apic_ids: Sequence[int],
        ram: Sequence[tuple[int, int]] = (),
        description: Description | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        require("most_bytes", most_bytes, 0, 1 << 40)
        self.recording = Recording(apic_ids)
        self.events: list[trace.Event] = []
        self.looks: list[Look] = []
        self.description = description or Description()
        self.registers = [Track() for _ in apic_ids]
        self.apics = [Track() for _ in apic_ids]
        self.where = [Track() for _ in apic_ids]
        self.contents = Contents(ram, most_bytes)
        self.images = Track()
        self.texts = Track()
        self.blocks: list[list[Line]] = []
        self._numbers: dict[tuple[Line, ...], int] = {}

    # Looking

    @property
    def count(self) -> int:
        """Number of events."""
        return len(self.events)

    def look_at(self, event: int) -> int:
        """Number of the last look up to event number ``event`` (-1: power-on); -1 where there is none."""
        require("event", event, -1, self.count - 1)
        return bisect.bisect_right(self.looks, event, key=lambda look: look.event) - 1

    def look_at_time(self, time: int) -> int:
        """Number of the last look up to ``time`` (virtual, in instructions); -1 where there is none."""
        return bisect.bisect_right(self.looks, time, key=lambda look: look.time) - 1

    def frame(self, event: int) -> Frame:
        """How the machine stood after event number ``event``, as far as it was looked at.

        Raises:
            ValueError: there is no such event, or no look up to it.
        """
        number = self.look_at(event)
        if number < 0:
            raise ValueError(f"event must be {self.looks[0].event if self.looks else 0} or later, not {event!r}")
        return Frame(self, self.looks[number])

    def frame_of(self, look: int) -> Frame:
        """How the machine stood at look number ``look``.

        Raises:
            ValueError: there is no such look.
        """
        require("look", look, 0, len(self.looks) - 1)
        return Frame(self, self.looks[look])

    # Recording

    def extend(self, events: Iterable[trace.Event]) -> None:
        """Go on with ``events``, the first of which is number :attr:`count`.

        Raises:
            ValueError: an event is not the next one, or is earlier than the one before.
        """
        new = list(events)
        self.recording.extend(new)
        self.events += new

    def look(
        self,
        cpu: int | None = None,
        owner: str | None = None,
        cause: str = "slice",
        detail: str = "",
        *,
        time: int | None = None,
        registers: Mapping[int, dict[str, Any]] | None = None,
        apics: Mapping[int, dict[str, Any]] | None = None,
        where: Mapping[int, dict[str, Any]] | None = None,
        lines: Mapping[int, Sequence[Line]] | None = None,
        pages: Mapping[int, bytes] | None = None,
        writes: Iterable[tuple[int, bytes]] = (),
        images: dict[str, Any] | None = None,
        texts: dict[str, str] | None = None,
    ) -> Look:
        """Note how the machine stands after the last event. What is not given is as it was.

        Args:
            cpu, owner, cause, detail: see :class:`mklab.recording.look.Look`.
            time: virtual time; the last event's by default.
            registers, apics, where: values by name, of each CPU concerned.
            lines: the instructions that each CPU concerned executes next.
            pages: whole pages by physical address.
            writes: bytes and where they lie.
            images: the kernels in memory, by name.
            texts: files in ``/proc``, by name.

        Raises:
            ValueError: a CPU or an address that the machine does not have; an earlier time than the last look's.
        """
        number, latest = len(self.looks), self.looks[-1].time if self.looks else 0
        now = self.recording.time if time is None else time
        require("time", now, latest, 1 << 62, " instructions")
        look = Look(number, self.count - 1, now, cpu, owner, cause, detail)
        named = {one: {"code": self._block(code)} for one, code in (lines or {}).items()}
        for tracks, values in (
            (self.registers, registers),
            (self.apics, apics),
            (self.where, where),
            (self.where, named),
        ):
            for one, changed in (values or {}).items():
                require("cpu", one, 0, len(tracks) - 1)
                tracks[one].note(number, changed)
        for address, data in (pages or {}).items():
            self.contents.note_page(number, address, data)
        for address, data in writes:
            self.contents.note_write(number, address, data)
        self.images.note(number, images or {})
        self.texts.note(number, texts or {})
        self.looks.append(look)
        return look

    def insert(
        self,
        time: int,
        event: int,
        cpu: int,
        *,
        registers: Mapping[int, dict[str, Any]] | None = None,
        apics: Mapping[int, dict[str, Any]] | None = None,
        where: Mapping[int, dict[str, Any]] | None = None,
        lines: Mapping[int, Sequence[Line]] | None = None,
        pages: Mapping[int, bytes] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> Look:
        """Note how the machine stood at a moment between two looks, while ``cpu`` ran. Later looks count one more.

        Args:
            time: virtual time.
            event: number of the last event that had happened.
            cpu: who ran.
            registers, apics, where, lines, pages, texts: as of :meth:`look`; what is not given is as at the one before.

        Raises:
            ValueError: there was a look at that time, or none before or after it; the event is not between theirs.
        """
        number = self.look_at_time(time) + 1
        if not 0 < number < len(self.looks) or self.looks[number - 1].time == time:
            raise ValueError(f"time must lie between those of two looks, not {time!r}")
        before, after = self.looks[number - 1 : number + 1]
        require("event", event, before.event, after.event)
        look = Look(number, event, time, cpu, self._owner(cpu, before.event), "slice")
        later = [replace(one, number=one.number + 1) for one in self.looks[number:]]
        if after.cpu == cpu:
            later[0] = replace(later[0], owner=self._owner(cpu, event))
        self.looks[number:] = [look, *later]
        blocks = {one: {"code": self._block(code)} for one, code in (lines or {}).items()}
        places = {one: {**values, **blocks.get(one, {})} for one, values in (where or blocks).items()}
        for tracks, values in ((self.registers, registers), (self.apics, apics), (self.where, places)):
            for one, track in enumerate(tracks):
                track.insert(number, (values or {}).get(one, {}))
        self.contents.insert(number, pages or {})
        self.images.insert(number, {})
        self.texts.insert(number, texts or {})
        return look

    def _owner(self, cpu: int, event: int) -> str | None:
        return self.recording.span_at(cpu, event).owner

    def _block(self, lines: Sequence[Line]) -> int:
        block = tuple(lines)
        if block not in self._numbers:
            self._numbers[block] = len(self.blocks)
            self.blocks.append(list(block))
        return self._numbers[block]

    def cut(self, event: int, time: int | None = None) -> None:
        """Forget what came after event number ``event`` (-1: power-on), and the looks that came after it.

        With ``time`` (virtual, in instructions), looks that came after that are forgotten, too.

        Raises:
            ValueError: there is no such event.
        """
        kept = self.look_at(event)
        if time is not None:
            kept = min(kept, self.look_at_time(time))
        self.recording = self.recording.upto(event)
        del self.events[event + 1 :], self.looks[kept + 1 :]
        for track in (*self.registers, *self.apics, *self.where, self.images, self.texts):
            track.cut(kept)
        self.contents.cut(kept)

    # Files

    def to_bytes(self) -> bytes:
        """The film as a file holds it: JSON, compressed, with its version and digest."""
        return film_file.pack(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of :meth:`to_bytes`.

        Raises:
            ValueError: not such a film, one of another version, or damaged.
        """
        return film_file.unpack(cls, data)

    def save(self, path: str | Path) -> None:
        """Write the film to a file; one that is there is replaced as a whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        packed.write(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a film from a file.

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds no film that can be read.
        """
        return cls.from_bytes(packed.read(Path(path)))
