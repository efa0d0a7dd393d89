"""What became of each message, and why? The IPIs of a recording as rows in order of events, in words and as text.

:mod:`mklab.widgets.sequence` draws the rows.
"""

from dataclasses import dataclass
from itertools import count

from mklab.recording import Ipi, Moment, Recording
from mklab.widgets.words import listed

__all__ = ["QUESTION", "Row", "answer", "names_of", "rows", "twin"]

QUESTION = "What became of each message, and why?"


@dataclass
class Row:
    """One line of the picture: IPIs sent at one moment to one CPU, or interrupts delivered at one moment.

    Attributes:
        at: when.
        ipi: the IPI that was sent, or the last one that this delivery serves.
        sent: whether it tells of sending, or else of delivery.
        head: what happened, in a few words.
        detail: why, or what followed.
        trouble: whether something was lost or overwritten.
        names: the labels of the messages it is about.
    """

    at: Moment
    ipi: Ipi
    sent: bool
    head: str
    detail: str
    trouble: bool
    names: list[str]


def rows(recording: Recording) -> list[Row]:
    """The rows, oldest first. An INIT level de-assert has none: it does nothing on any CPU of today."""
    names = names_of(recording)
    found: list[Row] = []
    deliveries: dict[tuple[Moment, int | None], list[int]] = {}
    for number, ipi in enumerate(recording.ipis):
        if ipi.delivery == "init" and not ipi.level:
            continue
        found.append(_sent(recording, number, names))
        if ipi.delivered:
            deliveries.setdefault((ipi.delivered, ipi.target), []).append(number)
    found += [_delivered(recording, numbers, names) for numbers in deliveries.values()]
    return sorted(found, key=lambda row: row.at)


def names_of(recording: Recording) -> list[str]:
    """What each IPI is called: ``m1``, ``m2``, ... for messages, else its kind."""
    numbers = count(1)
    return [f"m{next(numbers)}" if ipi.is_message else _kind(ipi) for ipi in recording.ipis]


def _kind(ipi: Ipi) -> str:
    kinds = {"init": "INIT" if ipi.level else "INIT level de-assert", "sipi": f"SIPI {ipi.vector:#x}", "nmi": "NMI"}
    return kinds.get(ipi.delivery, f"vector 0x{ipi.vector:X}")


def _target(ipi: Ipi) -> str:
    return "no CPU" if ipi.target is None else f"CPU {ipi.target}"


def _sent(recording: Recording, number: int, names: list[str]) -> Row:
    ipi, name = recording.ipis[number], names[number]
    head = f"{name} to {_target(ipi)}"
    if ipi.slot:
        head += f", type {ipi.slot.type}, {ipi.slot.size} bytes"
    victims = [names[other] for other in _overwritten_by(recording, ipi)]
    detail, trouble = _fate(ipi)
    if victims:
        # mk_shared_data has one slot for each CPU and nothing that says whether it is full.
        detail = f"It overwrites {' and '.join(victims)}, not yet read: one slot, no full flag. {detail}"
        trouble = True
    return Row(ipi.sent, ipi, True, head, detail, trouble, [name])


def _overwritten_by(recording: Recording, ipi: Ipi) -> list[int]:
    if ipi.slot_seen is None:
        return []
    return [number for number, other in enumerate(recording.ipis) if other.overwritten == ipi.slot_seen]


def _fate(ipi: Ipi) -> tuple[str, bool]:
    """What became of an IPI, as a sentence, and whether that is trouble."""
    why = f"{ipi.why[:1].upper()}{ipi.why[1:]}."
    if ipi.lost:
        # An interrupt that never arrived leaves its bytes behind.
        return f"LOST. {why}" + (" Its bytes stay in the slot, unread." if ipi.slot else ""), True
    if ipi.ignored:
        return f"Ignored. {why}", False
    if ipi.accepted is None:
        return "Sent.", False
    match ipi.delivery:
        case "init":
            after = "goes to wait-for-SIPI" if ipi.target else "restarts at its reset vector, as the BSP"
            return f"CPU {ipi.target} {after}; it belongs to nobody.", False
        case "sipi":
            return f"CPU {ipi.target} starts in real mode at {ipi.vector << 12:#x}.", False
    if ipi.merged:
        return f"Merged. IRR bit 0x{ipi.vector:X} was set already: two IPIs, one interrupt.", False
    return (f"Accepted: IRR bit 0x{ipi.vector:X} set." if ipi.delivery != "nmi" else "Accepted."), False


def _delivered(recording: Recording, numbers: list[int], names: list[str]) -> Row:
    ipis = [recording.ipis[number] for number in numbers]
    last = ipis[-1]
    assert last.delivered is not None
    called = [names[number] for number in numbers]
    head = f"{called[0]} delivered" if len(called) == 1 else f"one interrupt, for {' and '.join(called)}"
    notes = [f"CPU {last.target} enters its handler."]
    for ipi, name in zip(ipis, called, strict=True):
        if ipi.read and ipi.slot and ipi.read != ipi.slot:
            notes.append(f"The slot no longer holds what was sent as {name}.")
        elif ipi.taken:
            notes.append(f"{name} read.")
        elif ipi.overwritten:
            notes.append(f"Of {name} nothing is left.")
    if last.eoi:
        notes.append(f"EOI e{last.eoi.event}.")
    trouble = any(ipi.overwritten or (ipi.read and ipi.slot and ipi.read != ipi.slot) for ipi in ipis)
    return Row(last.delivered, last, False, head, " ".join(notes), bool(trouble), called)


def answer(recording: Recording) -> str:
    """The question's answer: how the messages fared, those in trouble by name."""
    messages = [(name, ipi) for name, ipi in zip(names_of(recording), recording.ipis, strict=True) if ipi.is_message]
    if not messages:
        return "No message has been sent yet."
    fates = [(name, _state(ipi)) for name, ipi in messages]
    order = ("delivered", "merged", "on its way", "overwritten", "lost")
    parts = [(fate, [name for name, one in fates if one == fate]) for fate in order]
    return f"{'; '.join(f'{_several(names)} {fate}' for fate, names in parts if names)}."


def _several(names: list[str]) -> str:
    """``m1``, ``m1 and m2``, ``m1 to m5 and m7``."""
    return listed([int(name[1:]) for name in names], "m")


def _state(ipi: Ipi) -> str:
    if ipi.lost:
        return "lost"
    if ipi.overwritten:
        return "overwritten"
    if ipi.merged:
        return "merged"
    return "delivered" if ipi.delivered else "on its way"


def twin(recording: Recording) -> str:
    """The picture in ASCII: every IPI, INIT level de-asserts too, and then every message with its bytes."""
    lines = [f"{QUESTION} At t={recording.time:,}, event {recording.count - 1}.", answer(recording), ""]
    names = names_of(recording)
    for number, (ipi, name) in enumerate(zip(recording.ipis, names, strict=True)):
        size = f"type {ipi.slot.type}  {ipi.slot.size} B  " if ipi.slot else ""
        words = _sent(recording, number, names).detail
        if ipi.delivered:
            words += f" Delivered e{ipi.delivered.event}, t={ipi.delivered.time:,}."
        if ipi.taken:
            words += f" Read e{ipi.taken.event}."
        if ipi.overwritten:
            words += f" OVERWRITTEN e{ipi.overwritten.event}."
        if ipi.eoi:
            words += f" EOI e{ipi.eoi.event}."
        route = f"CPU {ipi.sender} -> {_target(ipi)}"
        lines.append(f"{name:<20}  {route:<16}  {size}sent e{ipi.sent.event}, t={ipi.sent.time:,}. {words}")
        if ipi.slot and ipi.slot.payload:
            lines.append(f"{'':<20}  {_bytes(ipi.slot.payload)}")
    return "\n".join(lines)


def _bytes(payload: str) -> str:
    """The first 16 bytes in hex and as characters."""
    data = bytes.fromhex(payload)
    shown = data[:16]
    characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in shown)
    more = f"  and {len(data) - 16} more" if len(data) > 16 else ""
    return f'{shown.hex(" ")}  "{characters}"{more}'
