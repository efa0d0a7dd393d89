"""What became of each message, and why? The IPIs of a film in words: rows in order of events, an answer, a text twin.

:mod:`mklab.widgets.sequence` draws the rows.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mklab import trace
from mklab.recording import Film, Ipi
from mklab.widgets.flow import Entry, Flow, is_torn
from mklab.widgets.view import View
from mklab.widgets.words import listed

__all__ = ["QUESTION", "VECTORS", "Row", "answer", "as_text", "cpus", "name", "row", "tell", "waits_for"]

QUESTION = "What became of each message, and why?"

VECTORS = {0xF6: "irq_work", 0xF8: "reboot", 0xFB: "call function", 0xFC: "call function", 0xFD: "reschedule"}
"""What Linux uses vectors for, beside 0xEA (arch/x86/include/asm/irq_vectors.h)."""

_MOST = 200
"""Messages that are told one by one; older ones are counted."""
_MOST_WORDS = 70
"""Characters for the names of the messages that fared alike."""
_GATES_SEEN = 8
"""Looks between acceptance and delivery that are asked why an interrupt had to wait."""


@dataclass(frozen=True)
class Row:
    """A line of the picture.

    Attributes:
        entry: what happened.
        time: when, in instructions.
        ipis: those concerned, as they stood at the moment shown.
        names: what they are called, ``m1`` for messages.
        head: what happened, in a few words.
        detail: why, and what followed.
        trouble: whether bytes or an interrupt were lost.
        events: the numbers of the events that it tells of.
    """

    entry: Entry
    time: int
    ipis: list[Ipi]
    names: list[str]
    head: str
    detail: str
    trouble: bool
    events: set[int]


class _Fate(NamedTuple):
    """What became of an IPI when it was sent: a word, and why; whether that is trouble."""

    word: str
    why: str
    trouble: bool


def row(view: View, entry: Entry) -> Row:
    """``entry`` in words, as at the moment of ``view``."""
    flow = Flow.of(view.film)
    ipis = [flow.at(place, view.event) for place in entry.places]
    names = [name(flow, place) for place in entry.places]
    tell_one = {"sent": _sent, "delivered": _delivered, "eoi": _eoi, "lost": _lost}[entry.kind]
    head, detail, trouble = tell_one(view, entry, ipis, names)
    events = flow.events(entry)
    return Row(entry, flow.recording.times[entry.event], ipis, names, head, detail, trouble, events)


def name(flow: Flow, place: int) -> str:
    """What the IPI at ``place`` is called: ``m1``, ``m2``, ... for messages, else its kind."""
    ipi = flow.recording.ipis[place]
    if ipi.is_message:
        return f"m{flow.number(place) + 1}"
    kinds = {"init": "INIT" if ipi.level else "INIT level de-assert", "sipi": f"SIPI {ipi.vector:#x}", "nmi": "NMI"}
    use = VECTORS.get(ipi.vector)
    return kinds.get(ipi.delivery, f"IPI 0x{ipi.vector:X}{f' ({use})' if use else ''}")


def cpus(numbers: Sequence[int | None]) -> str:
    """``CPU 2``, ``CPUs 0 to 3 and 7``; ``no CPU``."""
    known = sorted({number for number in numbers if number is not None})
    return f"CPU{'s' if len(known) > 1 else ''} {listed(known)}" if known else "no CPU"


# Rows


def _sent(view: View, _entry: Entry, ipis: list[Ipi], names: list[str]) -> tuple[str, str, bool]:
    groups: dict[_Fate, list[Ipi]] = {}
    for ipi in ipis:
        groups.setdefault(_fate(ipi, "each" if len(ipis) > 1 else ""), []).append(ipi)
    alike = len(groups) == 1
    words = []
    for fate, some in groups.items():
        targets = [ipi.target for ipi in some]
        told = _sentence(fate, some)
        words.append(told if alike else f"{cpus(targets)} {fate.word}: {told}" if fate.word else told)
    first = ipis[0]
    fate = next(iter(groups))
    head = f"{_several(names)} to {cpus([ipi.target for ipi in ipis])}"
    head += f", {fate.word}" if alike and fate.word else ""
    victims = _victims(view, ipis)
    if victims:
        # mk_shared_data has one slot for each CPU and nothing that says whether it is full.
        head += f"; {' and '.join(victims)} overwritten"
        words.insert(
            0, f"One slot, no full flag: {cpus([first.sender])} stored before {' and '.join(victims)} was read."
        )
    if first.slot:
        slots = listed(sorted({_slot_number(view.film, ipi) for ipi in ipis}))
        words.insert(0, f"Slot{'s' if len(ipis) > 1 else ''} {slots}: type {first.slot.type}, {first.slot.size:,} B.")
    if len(ipis) == 1 and first.pending and not first.merged:
        words.append(_still_waits(view, first))
    return head, " ".join(filter(None, words)), bool(victims) or any(fate.trouble for fate in groups)


def _fate(ipi: Ipi, called: str = "") -> _Fate:
    """The fate of ``ipi``; its target is ``called`` so in the reason, so that those alike have the same one."""
    why = ipi.why.replace(f"CPU {ipi.target}", called) if called else ipi.why
    if ipi.lost and not ipi.accepted:
        return _Fate("lost", why, True)
    if ipi.ignored:
        return _Fate("ignored", why, False)
    if ipi.accepted is None:
        return _Fate("", "On its way.", False)
    if ipi.delivery in ("init", "sipi"):
        return _Fate("", "bsp" if ipi.delivery == "init" and ipi.target == 0 else ipi.delivery, False)
    return _Fate("merged" if ipi.merged else "accepted", "", False)


def _sentence(fate: _Fate, ipis: list[Ipi]) -> str:
    first, named, several = ipis[0], cpus([ipi.target for ipi in ipis]), len(ipis) > 1
    match fate:
        case _Fate(word="lost" | "ignored"):
            # An interrupt that never arrived leaves its bytes behind.
            stay = " Its bytes stay in the slot, unread." if fate.word == "lost" and first.slot else ""
            return f"{_capital(fate.why)}.{stay}"
        case _Fate(why="bsp"):
            return f"{named} restarts at its reset vector, as the BSP; it belongs to nobody."
        case _Fate(why="init"):
            verbs = ("go", "they belong") if several else ("goes", "it belongs")
            return f"{named} {verbs[0]} to wait-for-SIPI; {verbs[1]} to nobody."
        case _Fate(why="sipi"):
            return f"{named} {'start' if several else 'starts'} in real mode at {first.vector << 12:#x}."
        case _Fate(word="merged"):
            where = f"IRR bit 0x{first.vector:X}" if first.delivery != "nmi" else "The NMI latch"
            return f"{where} was set already: two IPIs, one interrupt."
        case _Fate(word="accepted"):
            return f"IRR bit 0x{first.vector:X} set." if first.delivery != "nmi" else "It waits in the CPU's latch."
        case _:
            return fate.why


def _victims(view: View, ipis: list[Ipi]) -> list[str]:
    """The names of the messages that lay unread where these were put."""
    flow, found = Flow.of(view.film), []
    for ipi in ipis:
        if ipi.slot_seen is None or ipi.target is None:
            continue
        end = flow.sent(ipi.sent.event)
        for place in flow.before(ipi.target, end):
            if flow.recording.ipis[place].overwritten == ipi.slot_seen:
                found.append(place)
    return [name(flow, place) for place in sorted(found)]


def _delivered(view: View, entry: Entry, ipis: list[Ipi], names: list[str]) -> tuple[str, str, bool]:
    last = ipis[-1]
    assert last.delivered is not None
    torn = ", torn" if any(is_torn(ipi) for ipi in ipis) else ""
    head = f"{names[0]} delivered{torn}" if len(names) == 1 else f"one interrupt, for {_several(names)}"
    event = view.film.events[entry.event] if entry.event < view.film.count else None
    handler = f" at {event.handler:#x}" if isinstance(event, trace.Delivered) else ""
    notes = [f"{cpus([last.target])} enters its handler{handler}."]
    accepted = min((ipi.accepted for ipi in ipis if ipi.accepted), default=last.delivered)
    if last.delivered.time > accepted.time:
        why = waits_for(view.film, ipis[0])
        notes[0] = (
            f"Pending for {last.delivered.time - accepted.time:,} instructions{f' ({why})' if why else ''}. {notes[0]}"
        )
    trouble = False
    for ipi, called in zip(ipis, names, strict=True):
        if is_torn(ipi):
            notes.append(f"{called} is TORN: other bytes than were sent; another CPU was storing, and v1 has no lock.")
            trouble = True
        elif ipi.taken:
            notes.append(f"{called} read.")
        elif ipi.overwritten:
            notes.append(f"Of {called} nothing is left.")
            trouble = True
    if entry.eoi and last.eoi:
        notes.append(f"EOI e{last.eoi.event}.")
    return head, " ".join(notes), trouble


def _eoi(_view: View, _entry: Entry, ipis: list[Ipi], names: list[str]) -> tuple[str, str, bool]:
    vector = ipis[-1].vector
    return f"EOI for {_several(names)}", f"ISR bit 0x{vector:X} of {cpus([ipis[-1].target])} is clear again.", False


def _lost(_view: View, _entry: Entry, ipis: list[Ipi], names: list[str]) -> tuple[str, str, bool]:
    stay = " Its bytes stay in the slot, unread." if any(ipi.slot for ipi in ipis) else ""
    return f"{_several(names)} lost while pending", f"{_capital(ipis[-1].why)}.{stay}", True


def _still_waits(view: View, ipi: Ipi) -> str:
    """Why an interrupt that is pending at the moment is."""
    if view.frame is None or ipi.target is None or ipi.accepted is None or view.frame.look.event < ipi.accepted.event:
        return "Not delivered yet."
    why = _shut_gate(view.film, view.frame.look.number, ipi)
    return f"Not delivered yet: {why}." if why else "Not delivered yet."


def waits_for(film: Film, ipi: Ipi) -> str:
    """Why ``ipi`` was not delivered when it was accepted, if the machine was looked at meanwhile; else empty."""
    if ipi.accepted is None or ipi.target is None:
        return ""
    first = bisect.bisect_left(film.looks, ipi.accepted.event, key=lambda look: look.event)
    for look in film.looks[first : first + _GATES_SEEN]:
        if ipi.delivered and look.event >= ipi.delivered.event:
            break
        if why := _shut_gate(film, look.number, ipi):
            return why
    return ""


def _shut_gate(film: Film, look: int, ipi: Ipi) -> str:
    assert ipi.target is not None
    frame = film.frame_of(look)
    # The gates are those of the highest vector that is pending; a lower one waits for it.
    pending = frame.apic(ipi.target).get("irr") or []
    if pending and ipi.delivery != "nmi" and max(pending) > ipi.vector:
        return f"0x{max(pending):X} comes first"
    return next((words for words, is_open in frame.gates(ipi.target) if not is_open), "")


def _slot_number(film: Film, ipi: Ipi) -> int:
    return film.recording.apic_ids[ipi.target] if ipi.target is not None else -1


def _several(names: list[str]) -> str:
    """``m1``, ``m1 and m2``, ``m1 to m5 and m7``; once, what has no number."""
    messages = sorted(int(one[1:]) for one in names if one[0] == "m")
    others = dict.fromkeys(one for one in names if one[0] != "m")
    return ", ".join(([listed(messages, "m")] if messages else []) + list(others))


def _capital(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


# The answer


def answer(view: View) -> str:
    """The question's answer: how the messages fared, those in trouble by name."""
    flow = Flow.of(view.film)
    sent = flow.sent(view.event)
    total = flow.number(sent)
    if not total:
        others = f" {sent:,} other IPI{'s' if sent > 1 else ''} so far." if sent else ""
        return f"No message has been sent yet.{others}"
    newest = flow.messages[max(0, total - _MOST) : total]
    fates: dict[str, list[int]] = {}
    for number, place in enumerate(newest, total - len(newest) + 1):
        fates.setdefault(_state(flow.at(place, view.event)), []).append(number)
    order = ("delivered", "merged", "on its way", "torn", "overwritten", "lost")
    told = "; ".join(f"{_names_or_count(fates[fate])} {fate}" for fate in order if fate in fates)
    if len(newest) == total:
        return f"{told}."
    return f"Of the newest {_MOST}: {told}. {_earlier(flow, view.event, newest[0], total - _MOST)}"


def _names_or_count(numbers: list[int]) -> str:
    words = listed(numbers, "m")
    return words if len(words) <= _MOST_WORDS else f"{len(numbers)} messages"


def _earlier(flow: Flow, event: int, first: int, count: int) -> str:
    """Of the messages before the one at place ``first``: how many were in trouble."""
    begin = flow.recording.ipis[first].sent.event
    words = []
    for kind, found in flow.troubles.items():
        ended = bisect.bisect_right(found, event, key=lambda one: one[0])
        begun = bisect.bisect_left(found, begin, key=lambda one: one[0])
        number = begun + sum(place < first for _, place in found[begun:ended])
        words += [f"{number:,} {kind}"] if number else []
    return f"{count:,} earlier: {', '.join(words) or 'none in trouble'}."


def _state(ipi: Ipi) -> str:
    if ipi.lost:
        return "lost"
    if ipi.overwritten:
        return "overwritten"
    if is_torn(ipi):
        return "torn"
    if ipi.merged:
        return "merged"
    return "delivered" if ipi.delivered else "on its way"


# The twin


def tell(view: View) -> str:
    """The newest IPIs in ASCII, INIT level de-asserts too, each message with its bytes."""
    flow = Flow.of(view.film)
    sent = flow.sent(view.event)
    first = max(0, sent - _MOST)
    lines = [f"{first:,} earlier ones are left out here."] if first else []
    for place in range(first, sent):
        ipi = flow.at(place, view.event)
        route = f"CPU {ipi.sender} -> {cpus([ipi.target])}"
        size = f"type {ipi.slot.type}  {ipi.slot.size} B  " if ipi.slot else ""
        victims = _victims(view, [ipi])
        over = f" It OVERWRITES {' and '.join(victims)}, unread: one slot, no full flag." if victims else ""
        lines.append(
            f"{name(flow, place):<22}  {route:<16}  {size}sent e{ipi.sent.event}, t={ipi.sent.time:,}."
            f"{over} {_story(ipi)}"
        )
        if ipi.slot and ipi.slot.payload:
            lines.append(f"{'':<22}  {as_text(ipi.slot.payload)}")
        if is_torn(ipi) and ipi.read:
            lines.append(f"{'':<22}  read: {as_text(ipi.read.payload)}")
    return "\n".join(lines) or "Nothing."


def _story(ipi: Ipi) -> str:
    """What became of it, stage by stage; trouble in capitals."""
    fate = _fate(ipi)
    word = {"lost": "LOST. ", "ignored": "Ignored. ", "merged": "Merged. ", "accepted": "Accepted: "}.get(fate.word, "")
    words = f"{word}{_sentence(fate, [ipi])}"
    if ipi.delivered:
        words += f" Delivered e{ipi.delivered.event}, t={ipi.delivered.time:,}."
    if ipi.taken:
        words += f" Read {'TORN ' if is_torn(ipi) else ''}e{ipi.taken.event}."
    if ipi.overwritten:
        words += f" OVERWRITTEN e{ipi.overwritten.event}."
    if ipi.lost and ipi.accepted:
        words += f" LOST e{ipi.lost.event}: {ipi.why}."
    if ipi.eoi:
        words += f" EOI e{ipi.eoi.event}."
    return words


def as_text(payload: str, most: int = 16) -> str:
    """The first bytes of ``payload`` (hex), in hex and as characters."""
    data = bytes.fromhex(payload)
    shown = data[:most]
    characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in shown)
    more = f"  and {len(data) - most} more" if len(data) > most else ""
    return f'{shown.hex(" ")}  "{characters}"{more}'
