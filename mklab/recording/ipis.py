"""What became of every IPI: the events that concern one find it here and are noted on it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mklab import trace
from mklab.recording.facts import MULTIKERNEL_VECTOR, Ipi, Moment, Slot

__all__ = ["Ipis"]


@dataclass
class Ipis:
    """Every IPI to every target, in the order they were sent.

    Attributes:
        all: the IPIs.
        unsettled: by target and vector, the places in :attr:`all` of those of which more may become: an event looks at
            few, even where a flood of others has reached a CPU that takes none.
    """

    all: list[Ipi] = field(default_factory=list)
    unsettled: dict[tuple[int | None, int], dict[int, None]] = field(default_factory=dict)

    @classmethod
    def of(cls, ipis: Iterable[Ipi]) -> "Ipis":
        """These IPIs."""
        made = cls(list(ipis))
        for place, ipi in enumerate(made.all):
            if not ipi.settled:
                made._await(place, ipi)
        return made

    def note(self, event: trace.Event, at: Moment) -> None:
        """Take ``event`` in, if it concerns an IPI."""
        match event:
            case trace.Slice() | trace.ConsoleByte():
                pass  # most events are of these kinds, and need not be held against all of the others
            case trace.IpiSent(cpu=int(sender)):
                self._send(event, sender, at)
            case trace.Message(cpu=sender, to_cpu=target):
                slot = Slot(event.slot, event.sender, event.type, event.size, event.payload)
                for place in self._last_sent(sender, target):
                    if self.all[place].slot_seen is None:
                        self._overwrite(slot.address, at)
                        self._update(place, slot=slot, slot_seen=at)
            case trace.Init(cpu=int(cpu), from_cpu=sender):
                self._arrive(sender, cpu, accepted=at)
                self._reset([cpu], at, f"INIT reset the local APIC of CPU {cpu}")
            case trace.PlatformReset():
                self._reset(None, at, "the platform was reset")
            case trace.Sipi(cpu=cpu, from_cpu=sender):
                self._arrive(sender, cpu, accepted=at)
            case trace.Accepted(cpu=cpu, from_cpu=sender, merged=merged):
                self._arrive(sender, cpu, accepted=at, merged=merged)
            case trace.Lost(cpu=cpu, from_cpu=sender, why=why):
                self._arrive(sender, cpu, lost=at, why=why)
            case trace.Ignored(cpu=cpu, from_cpu=sender, why=why):
                self._arrive(sender, cpu, ignored=at, why=why)
            case trace.Delivered(cpu=cpu, vector=vector, source="interrupt" | "nmi"):
                for place, ipi in self._waiting(cpu, vector):
                    if ipi.pending:
                        self._update(place, delivered=at)
            case trace.MessageTaken(cpu=cpu):
                slot = Slot(event.slot, event.sender, event.type, event.size, event.payload)
                for place, ipi in self._waiting(cpu, MULTIKERNEL_VECTOR):
                    if ipi.is_message and ipi.delivered and not (ipi.taken or ipi.overwritten):
                        self._update(place, taken=at, read=slot)
            case trace.Eoi(cpu=cpu, vector=vector):
                for place, ipi in self._waiting(cpu, vector):
                    if ipi.delivered and not ipi.eoi:
                        self._update(place, eoi=at)

    def _send(self, event: trace.IpiSent, sender: int, at: Moment) -> None:
        targets: Sequence[int | None] = event.targets or [None]
        for target in targets:
            ipi = Ipi(sender, target, event.delivery, event.vector, event.level, at)
            self._await(len(self.all), ipi)
            self.all.append(ipi)

    def _await(self, place: int, ipi: Ipi) -> None:
        self.unsettled.setdefault((ipi.target, ipi.vector), {})[place] = None

    def _last_sent(self, sender: int | None, target: int | None) -> Iterator[int]:
        """Of what the last write of an ICR sent, the place of that from ``sender`` to ``target``."""
        for place in range(len(self.all) - 1, -1, -1):
            ipi = self.all[place]
            if ipi.sent != self.all[-1].sent:
                return
            if (ipi.sender, ipi.target) == (sender, target):
                yield place

    def _waiting(self, target: int | None, vector: int | None) -> list[tuple[int, Ipi]]:
        """The unsettled IPIs to ``target`` with ``vector``, each with its place."""
        if vector is None:
            return []
        return [(place, self.all[place]) for place in self.unsettled.get((target, vector), ())]

    def _arrive(self, sender: int | None, target: int | None, **values: Any) -> None:
        """What was sent last reached ``target``. What no IPI caused (an INIT from outside) is in the spans alone."""
        for place in self._last_sent(sender, target):
            ipi = self.all[place]
            if not (ipi.accepted or ipi.lost or ipi.ignored):
                self._update(place, **values)

    def _overwrite(self, slot: int, at: Moment) -> None:
        """A message is put into ``slot``: one that was not taken, though its interrupt was accepted, is gone."""
        messages = [places for (_, vector), places in self.unsettled.items() if vector == MULTIKERNEL_VECTOR]
        for place in [place for places in messages for place in places]:
            ipi = self.all[place]
            waits = ipi.accepted and not (ipi.taken or ipi.overwritten)
            if waits and ipi.slot is not None and ipi.slot.address == slot:
                self._update(place, overwritten=at)

    def _reset(self, cpus: list[int] | None, at: Moment, why: str) -> None:
        """The local APICs of ``cpus`` (None: all) are reset: what was pending in them is lost."""
        for place in [place for places in self.unsettled.values() for place in places]:
            ipi = self.all[place]
            if ipi.pending and (cpus is None or ipi.target in cpus):
                self._update(place, lost=at, why=why)

    def _update(self, place: int, **values: Any) -> None:
        # Three times as quick as dataclasses.replace, and there may be a hundred thousand IPIs.
        self.all[place] = Ipi(**{**vars(self.all[place]), **values})
        ipi = self.all[place]
        key = ipi.target, ipi.vector
        if ipi.settled and place in self.unsettled.get(key, ()):
            del self.unsettled[key][place]
            if not self.unsettled[key]:
                del self.unsettled[key]
