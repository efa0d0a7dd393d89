"""What a recording is made of: plain, frozen data that knows how it stood at any earlier moment."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = ["MULTIKERNEL_VECTOR", "Console", "Incident", "Ipi", "Moment", "Slot", "Span"]

# arch/x86/include/asm/irq_vectors.h, as the RFC changes it.
MULTIKERNEL_VECTOR = 0xEA


class Moment(NamedTuple):
    """When something happened: the number of its event, and its virtual time in instructions."""

    event: int
    time: int


@dataclass(frozen=True)
class Span:
    """A stretch in which nothing changed for a CPU.

    Attributes:
        cpu: index of the CPU.
        start: when it began; event -1 is power-on.
        end: when something changed; None while it lasts.
        owner: the kernel the CPU was seen to enter, or None.
        mode: ``real``, ``protected`` or ``long``.
        state: ``wait-for-SIPI``, ``running``, ``halted`` or ``shut down``.
        planned: the kernel it was meant for, or None.
    """

    cpu: int
    start: Moment
    end: Moment | None = None
    owner: str | None = None
    mode: str = "real"
    state: str = "wait-for-SIPI"
    planned: str | None = None

    @property
    def against_plan(self) -> bool:
        """Whether the CPU belongs to another kernel than the one it was meant for."""
        return self.owner is not None and self.planned is not None and self.owner != self.planned


@dataclass(frozen=True)
class Slot:
    """Bytes in a CPU's slot of ``mk_shared_data`` (kernel/multikernel.c, ``struct mk_ipi_data``).

    Attributes:
        address: physical address of the slot.
        sender: its ``sender_cpu``, as the sender claims it.
        type, size: its ``type`` and ``data_size`` (bytes).
        payload: the first ``min(size, 256)`` bytes of its buffer, in hex.
    """

    address: int
    sender: int
    type: int
    size: int
    payload: str


@dataclass(frozen=True)
class Ipi:
    """An interprocessor interrupt on its way to one CPU.

    Attributes:
        sender: the CPU that wrote its ICR.
        target: the CPU it is for; None where no local APIC has that id.
        delivery: ``fixed``, ``lowest``, ``nmi``, ``init`` or ``sipi``, as in :class:`mklab.trace.IpiSent`.
        vector: its vector; for a SIPI the page it starts at; without meaning for INIT.
        level: ICR's level bit; False for an INIT that is a level de-assert.
        sent: when ICR was written.
        slot: what lay in the target's slot then, for vector 0xEA, and ``slot_seen``: the moment of that look.
        accepted: when it was set in the target's IRR, or when INIT or SIPI took effect.
        merged: whether the bit was set already: two sent, one delivered.
        lost: when it vanished, and ``why``.
        ignored: when it reached a CPU on which it does nothing, and ``why``.
        delivered: when the target entered its handler.
        taken: when the target's handler found ``read`` in its slot.
        overwritten: when another message was put into the slot before this one was taken.
        eoi: when the target wrote EOI for it.
    """

    sender: int
    target: int | None
    delivery: str
    vector: int
    level: bool
    sent: Moment
    slot: Slot | None = None
    slot_seen: Moment | None = None
    accepted: Moment | None = None
    merged: bool = False
    lost: Moment | None = None
    ignored: Moment | None = None
    why: str = ""
    delivered: Moment | None = None
    taken: Moment | None = None
    read: Slot | None = None
    overwritten: Moment | None = None
    eoi: Moment | None = None

    @property
    def is_message(self) -> bool:
        """Whether it announces a message between kernels."""
        return self.delivery in ("fixed", "lowest") and self.vector == MULTIKERNEL_VECTOR

    @property
    def pending(self) -> bool:
        """Whether it is in the target's IRR (or its NMI latch); INIT and SIPI act at once."""
        waits = self.accepted is not None and self.delivery not in ("init", "sipi")
        return waits and self.delivered is None and self.lost is None

    @property
    def settled(self) -> bool:
        """Whether nothing more can become of it."""
        if self.lost or self.ignored or (self.accepted and self.delivery in ("init", "sipi")):
            return True
        read = not self.is_message or self.taken is not None or self.overwritten is not None
        # An NMI is not in service in the local APIC and gets no EOI.
        return read and (self.eoi is not None or (self.delivery == "nmi" and self.delivered is not None))

    def upto(self, event: int) -> "Ipi":
        """The IPI as it stood after event number ``event``."""

        def known(moment: Moment | None) -> Moment | None:
            return moment if moment is not None and moment.event <= event else None

        slot_seen, accepted, taken = known(self.slot_seen), known(self.accepted), known(self.taken)
        lost, ignored = known(self.lost), known(self.ignored)
        return replace(
            self,
            slot=self.slot if slot_seen else None,
            slot_seen=slot_seen,
            accepted=accepted,
            merged=self.merged and accepted is not None,
            lost=lost,
            ignored=ignored,
            why=self.why if lost or ignored else "",
            delivered=known(self.delivered),
            taken=taken,
            read=self.read if taken else None,
            overwritten=known(self.overwritten),
            eoi=known(self.eoi),
        )


@dataclass(frozen=True)
class Incident:
    """Something that went wrong or against the plan.

    Attributes:
        at: when.
        cpu: the CPU it happened on, or None for the platform.
        kind: ``fault``, ``shutdown``, ``reset`` or ``against plan``.
        text: what happened, in words.
    """

    at: Moment
    cpu: int | None
    kind: str
    text: str


class Console:
    """What one kernel printed, over its serial port and into its log.

    Args:
        text, events: what was printed so far, as the attributes tell it.

    Attributes:
        events: for each character, the number of the event that printed it.
    """

    def __init__(self, text: str = "", events: Iterable[int] = ()) -> None:
        self.events = list(events)
        # Joined when they are asked for: most come as single characters.
        self._pieces = [text]

    def __eq__(self, other: object) -> bool:
        """Whether the same was printed at the same events."""
        return isinstance(other, Console) and (self.text, self.events) == (other.text, other.events)

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def text(self) -> str:
        """All that was printed."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    @property
    def in_line(self) -> bool:
        """Whether a line was begun and not ended."""
        last = self._pieces[-1]
        return bool(last) and not last.endswith("\n")

    def put(self, event: int, text: str) -> None:
        """Append ``text``, one character or more, printed by event number ``event``."""
        self._pieces.append(text)
        self.events += [event] * len(text)

    def upto(self, event: int) -> "Console":
        """The console as it stood after event number ``event``."""
        length = bisect.bisect_right(self.events, event)
        return Console(self.text[:length], self.events[:length])
