"""The story of an IPI, told at any of its events: its route, its ICR words, its bytes, its interrupt."""

from mklab import trace
from mklab.recording import MULTIKERNEL_VECTOR, Ipi, Slot
from mklab.widgets import messages
from mklab.widgets.bits_words import icr_low
from mklab.widgets.flow import Entry, Flow, is_torn
from mklab.widgets.sequence_lanes import owner_at
from mklab.widgets.told import Fact, Told
from mklab.widgets.view import View

__all__ = ["slot_facts", "told"]

_MOST_TARGETS = 4
_ICR_LOW, _ICR_HIGH = 0x300, 0x310
_BYTES = 64


def told(view: View, event: trace.Event) -> Told | None:
    """What ``event`` is to an IPI; None where it belongs to none that has a row in the message flow."""
    entry = _entry(Flow.of(view.film), event)
    if entry is None:
        return None
    # What came later than both the moment shown and the event is not told.
    moment = View(view.film, max(view.event, event.seq), view.look)
    row = messages.row(moment, entry)
    facts = [*_own(event, row.ipis), *_icr(view, row.ipis[0])]
    for name, ipi in list(zip(row.names, row.ipis, strict=True))[:_MOST_TARGETS]:
        facts += _story(moment, name, ipi, named=len(row.ipis) > 1)
    if len(row.ipis) > _MOST_TARGETS:
        facts.append(Fact("", f"and {len(row.ipis) - _MOST_TARGETS} more targets"))
    head = row.head if event.seq == entry.event else _head(event, row.names)
    why = _done(event) if isinstance(event, trace.Eoi) else row.detail
    return Told(head, why, row.trouble, facts)


def _done(event: trace.Eoi) -> str:
    early = " v1's handler writes EOI first, and reads its slot then." if event.vector == MULTIKERNEL_VECTOR else ""
    return f"ISR bit 0x{event.vector or 0:X} is clear again: the next interrupt of its class may come.{early}"


def _entry(flow: Flow, event: trace.Event) -> Entry | None:
    """The entry that ``event`` belongs to; an INIT level de-assert, which has none, gets one here."""
    place = flow.entry_of(event.seq)
    if place is not None or not isinstance(event, trace.IpiSent):
        return None if place is None else flow.entries[place]
    return Entry(event.seq, "sent", tuple(range(flow.sent(event.seq - 1), flow.sent(event.seq))))


def _head(event: trace.Event, names: list[str]) -> str:
    """What a later event of a row is to it."""
    named = " and ".join(dict.fromkeys(names[:3]))
    match event:
        case trace.Message():
            return f"the bytes of {named} lie in the slot"
        case trace.Accepted(merged=True):
            return f"{named} merged"
        case trace.Accepted():
            return f"{named} accepted by CPU {event.cpu}"
        case trace.Lost():
            return f"{named} lost"
        case trace.Ignored():
            return f"{event.what} ignored by CPU {event.cpu}"
        case trace.Init() | trace.Sipi():
            return f"CPU {event.cpu} takes the {named}"
        case trace.MessageTaken():
            return f"CPU {event.cpu} finds its slot filled"
        case trace.Eoi():
            return f"CPU {event.cpu} writes EOI"
        case _:
            return named


def _own(event: trace.Event, ipis: list[Ipi]) -> list[Fact]:
    """The fields of events that have more to tell than their row."""
    match event:
        case trace.Delivered():
            return [
                Fact("vector", f"0x{event.vector:X}, class {event.vector >> 4}"),
                Fact("interrupted at", f"{event.rip:#x}", code=True),
                Fact("handler", f"{event.handler:#x}", code=True),
            ]
        case trace.MessageTaken() if not ipis or not ipis[-1].taken or ipis[-1].taken.event != event.seq:
            return slot_facts(event)
        case _:
            return []


def _icr(view: View, ipi: Ipi) -> list[Fact]:
    """The words that the sender wrote into its ICR."""
    low = high = None
    for event in reversed(view.film.events[max(0, ipi.sent.event - 8) : ipi.sent.event]):
        if isinstance(event, trace.ApicWrite) and event.cpu == ipi.sender:
            if event.offset == _ICR_LOW and low is None:
                low = event.value
            elif event.offset == _ICR_HIGH and high is None:
                high = event.value
    if low is None:
        return []
    if high is None or low >> 32:
        return [Fact("ICR", f"{low:#018x}", code=True), Fact("", icr_low(low & 0xFFFFFFFF))]
    return [Fact("ICR", f"{high:#010x} {low:#010x}", code=True), Fact("", f"to APIC id {high >> 24}; {icr_low(low)}")]


def _story(view: View, name: str, ipi: Ipi, *, named: bool) -> list[Fact]:
    sender = f"CPU {ipi.sender} ({owner_at(view.film, ipi.sender, ipi.sent.event) or 'nobody'})"
    target, apic_id = "no CPU", None
    if ipi.target is not None:
        apic_id = view.film.recording.apic_ids[ipi.target]
        target = f"CPU {ipi.target} ({owner_at(view.film, ipi.target, ipi.sent.event) or 'nobody'})"
    facts = [Fact(f"{name}, from" if named else "from, to", f"{sender} to {target}")]
    facts += slot_facts(ipi.slot, apic_id) if ipi.slot else []
    facts += _interrupt(view, ipi)
    if ipi.slot:
        facts.append(_bytes(ipi))
    return facts


def slot_facts(
    slot: Slot | trace.Message | trace.MessageTaken,
    number: int | None = None,
) -> list[Fact]:
    """What lies in a slot of ``mk_shared_data`` (its ``number``, where that is known), a ``struct mk_ipi_data``."""
    address = slot.address if isinstance(slot, Slot) else slot.slot
    where = "" if number is None else f"slot {number} "
    facts = [
        Fact("message", f"type {slot.type}{_meaning(slot.type)}, {slot.size:,} B, {where}at {address:#x}"),
        Fact("sender_cpu", f"{slot.sender}, as the sender says"),
    ]
    data = bytes.fromhex(slot.payload)
    if data:
        shown = data[:_BYTES]
        more = f" and {len(data) - _BYTES} more bytes" if len(data) > _BYTES else ""
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in shown)
        facts.append(Fact("payload", shown.hex(" ") + more, code=True))
        facts.append(Fact("as text", f'"{characters}"', code=True))
    return facts


def _meaning(type_: int) -> str:
    return " (MK_PFN_IPI_TYPE: a page is offered)" if type_ == 0x80000001 else ""


def _interrupt(view: View, ipi: Ipi) -> list[Fact]:
    """What became of the interrupt, stage by stage; each leads to its event."""
    facts = [Fact("sent", f"e{ipi.sent.event}, t={ipi.sent.time:,}", event=ipi.sent.event)]
    if ipi.lost and not ipi.accepted:
        return [*facts, Fact("interrupt", f"LOST, IRR unchanged: {ipi.why}", event=ipi.lost.event, trouble=True)]
    if ipi.ignored:
        return [*facts, Fact("interrupt", f"ignored: {ipi.why}", event=ipi.ignored.event)]
    if ipi.accepted is None:
        return facts
    if ipi.delivery in ("init", "sipi"):
        return [*facts, Fact("taken", f"e{ipi.accepted.event}, at once", event=ipi.accepted.event)]
    how = "merged: the IRR bit was set already" if ipi.merged else "the IRR bit is set"
    facts.append(Fact("accepted", f"e{ipi.accepted.event}, {how}", event=ipi.accepted.event))
    if ipi.delivered:
        late = ipi.delivered.time - ipi.accepted.time
        why = messages.waits_for(view.film, ipi)
        words = f", {late:,} instructions later{f': {why}' if why else ''}" if late else ", at once"
        facts.append(Fact("delivered", f"e{ipi.delivered.event}{words}", event=ipi.delivered.event))
    elif ipi.lost:
        facts.append(
            Fact("interrupt", f"LOST while pending, e{ipi.lost.event}: {ipi.why}", event=ipi.lost.event, trouble=True)
        )
    else:
        why = messages.waits_for(view.film, ipi)
        facts.append(Fact("interrupt", f"pending{f': {why}' if why else ''}"))
    if ipi.eoi:
        facts.append(Fact("EOI", f"e{ipi.eoi.event}, t={ipi.eoi.time:,}", event=ipi.eoi.event))
    return facts


def _bytes(ipi: Ipi) -> Fact:
    """What became of the bytes, which are not the interrupt."""
    if is_torn(ipi) and ipi.read and ipi.taken:
        read = f"type {ipi.read.type}, {ipi.read.size:,} B, {messages.as_text(ipi.read.payload)}"
        return Fact("bytes", f"TORN: read were {read}", event=ipi.taken.event, trouble=True)
    if ipi.taken:
        return Fact("bytes", f"read whole, e{ipi.taken.event}", event=ipi.taken.event)
    if ipi.overwritten:
        words = f"OVERWRITTEN before they were read, e{ipi.overwritten.event}: one slot, no full flag"
        return Fact("bytes", words, event=ipi.overwritten.event, trouble=True)
    if ipi.lost:
        return Fact("bytes", "still in the slot; nobody is told to read them", trouble=True)
    return Fact("bytes", "in the slot, not read yet")
