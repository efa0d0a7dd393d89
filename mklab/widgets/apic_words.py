"""A local APIC in words: its registers decoded, what happened to it, and why a pending interrupt is not delivered.

SDM volume 3, "Advanced Programmable Interrupt Controller (APIC)".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mklab import trace
from mklab.recording import Film, Frame
from mklab.recording.bits import names

__all__ = ["Gate", "Happened", "Register", "gates", "happened", "hex_vector", "in_service_since", "registers", "why"]

_LOOKED_BACK = 2000
"""Events that are looked through for those of one APIC."""
_NAMES = ("Pending?", "Enabled?", "Priority?", "Interrupts on?", "No shadow?", "CPU ready?")
"""What :meth:`mklab.recording.Frame.gates` asks, in its order."""
_SHORTHANDS = {"self": "itself", "all": "every APIC", "all-but-self": "every APIC but itself"}
_KINDS = {"init": "INIT", "nmi": "NMI", "smi": "SMI", "lowest": "lowest priority", "extint": "ExtINT"}
_LVT = {
    "lvt.timer": "LVT timer",
    "lvt.lint0": "LVT LINT0",
    "lvt.lint1": "LVT LINT1",
    "lvt.error": "LVT error",
    "lvt.thermal": "LVT thermal",
    "lvt.performance": "LVT counter",
}
_MASKED, _PERIODIC = 1 << 16, 1 << 17


@dataclass(frozen=True)
class Gate:
    """One of the gates that a pending interrupt must pass.

    Attributes:
        name: what it asks.
        words: how it stands.
        open: whether the interrupt passes.
    """

    name: str
    words: str
    open: bool


@dataclass(frozen=True)
class Register:
    """A register of the local APIC.

    Attributes:
        name: as the manual has it.
        value: as it is written.
        words: what it means.
        old: what it was before this look; empty where it did not change.
    """

    name: str
    value: str
    words: str
    old: str = ""


@dataclass(frozen=True)
class Happened:
    """An event of one APIC: its number, its virtual time in instructions, words, and whether it is a trouble."""

    event: int
    time: int
    words: str
    trouble: bool = False


def hex_vector(vector: int) -> str:
    """A vector, as it is written: ``0xEA``."""
    return f"0x{vector:02X}"


def gates(frame: Frame, cpu: int) -> list[Gate]:
    """The gates before the highest pending interrupt of ``cpu``; none where none is pending."""
    found = frame.gates(cpu)
    names_of_all = _NAMES if found else ()
    return [
        Gate(name, words.partition(": ")[2] or words, passes)
        for name, (words, passes) in zip(names_of_all, found, strict=True)
    ]


def why(frame: Frame, cpu: int, since: Happened | None) -> str:
    """Why the highest pending interrupt of ``cpu`` is not delivered, and what would help; empty where nothing holds it.

    ``since`` is when the highest vector in service came into service, where that is known.
    """
    found = gates(frame, cpu)
    shut = next((number for number, gate in enumerate(found) if not gate.open), None)
    if shut is None:
        return ""
    apic = frame.apic(cpu)
    vector, served = max(apic["irr"]), max(apic["isr"], default=None)
    if shut == 1:
        return "the local APIC is software-disabled. Setting bit 8 of SVR enables it."
    if shut == 2:
        level = f"class {vector >> 4} is not above class {apic['ppr'] >> 4} of PPR"
        if served is not None and served >> 4 > apic["tpr"] >> 4:
            begun = f" since e{since.event}, t={since.time:,}" if since else ""
            end = f"No EOI has followed yet; one, a store to {_eoi(apic)}, lets it pass."
            return f"{level}: {hex_vector(served)} is in service{begun}. {end}"
        return f"{level}, which TPR sets. A lower TPR (or CR8) lets it pass."
    if shut == 3:
        return "RFLAGS.IF is 0. STI, or a POPF or IRET that sets IF, lets it pass."
    if shut == 4:
        return "the instruction behind STI or MOV SS is executed first. It passes behind that one."
    return f"{found[shut].words}. Only a CPU that runs or is halted takes interrupts."


def _eoi(apic: Mapping[str, Any]) -> str:
    return "MSR 0x80B" if apic["mode"] == "x2apic" else "offset 0xB0"


def registers(frame: Frame, cpu: int, apic_id: int) -> list[Register]:
    """The registers of the local APIC of ``cpu``, whose id is ``apic_id``: those that decide on interrupts first."""
    apic, changed = frame.apic(cpu), frame.apic_changed(cpu)

    def row(name: str, *keys: str, words: str, digits: int = 2) -> Register:
        old = {key: changed[key][0] if key in changed else apic[key] for key in keys}
        known = any(key in changed for key in keys) and None not in old.values()
        return Register(name, _hex(apic, keys, digits), words, _hex(old, keys, digits) if known else "")

    served = max(apic["isr"], default=-1)
    source = f"from ISR {hex_vector(served)}" if served >> 4 > apic["tpr"] >> 4 else "from TPR"
    spurious = f"spurious vector {hex_vector(apic['svr'] & 0xFF)}"
    found = [
        row("TPR", "tpr", words=f"class {apic['tpr'] >> 4}"),
        row("PPR", "ppr", words=f"class {apic['ppr'] >> 4}, {source}"),
        row("SVR", "svr", words=f"{'enabled' if apic['svr'] & 0x100 else 'DISABLED'}, {spurious}", digits=3),
        row("ICR", "icr_high", "icr_low", words=_icr(apic), digits=8),
        row("ESR", "esr", words=_errors(apic), digits=2),
        Register("ID", f"{apic_id:#x}", f"IA32_APIC_BASE {apic['base']:#x}: {_base(apic)}"),
        *_logical(apic, apic_id, row),
    ]
    for key, name in _LVT.items():
        # What nobody has unmasked has nothing to tell, but for the timer.
        if key in apic and (key == "lvt.timer" or not apic[key] & _MASKED):
            found.append(row(name, key, words=_lvt(key, apic), digits=5))
    return found


def _hex(values: Mapping[str, Any], keys: tuple[str, ...], digits: int) -> str:
    return "0x" + ":".join(f"{values[key]:0{digits}x}" for key in keys)


def _base(apic: Mapping[str, Any]) -> str:
    modes = {
        "xapic": f"xAPIC mode, page at {apic['base'] & ~0xFFF:#x}",
        "x2apic": "x2APIC mode, MSRs 0x800 to 0x8FF",
        "disabled": "switched off",
    }
    return f"{modes[apic['mode']]}{', BSP' if apic['base'] & 1 << 8 else ''}"


def _icr(apic: Mapping[str, Any]) -> str:
    if not apic["icr_low"] and not apic["icr_high"]:
        return "nothing sent since its reset"
    vector, kind = apic["icr_vector"], apic["icr_delivery"]
    if kind == "sipi":
        sent = f"SIPI {hex_vector(vector)}: start at {vector << 12:#x}"
    elif kind in ("init", "nmi", "smi", "extint"):
        sent = _KINDS[kind] + ("" if apic["icr_level"] else " level de-assert")
    else:
        sent = f"{_KINDS.get(kind, kind)}, vector {hex_vector(vector)}"
    return f"{sent}, to {_destination(apic)}"


def _destination(apic: Mapping[str, Any]) -> str:
    if apic["icr_shorthand"] in _SHORTHANDS:
        return _SHORTHANDS[apic["icr_shorthand"]]
    destination = apic["icr_destination"]
    if destination == (0xFFFFFFFF if apic["mode"] == "x2apic" else 0xFF):
        return "every APIC"
    return f"{'logical destination' if apic['icr_logical'] else 'APIC'} {destination:#x}"


def _errors(apic: Mapping[str, Any]) -> str:
    shown = ", ".join(names("esr", apic["esr"])) or "no error"
    waits = names("esr", apic.get("errors", 0))
    return f"{shown}; a write to ESR will show: {', '.join(waits)}" if waits else shown


def _logical(apic: Mapping[str, Any], apic_id: int, row: Any) -> list[Register]:
    """LDR and DFR; in x2APIC mode the id decides on LDR, and there is no DFR (SDM "Logical x2APIC ID")."""
    if apic["mode"] == "x2apic":
        cluster, place = apic_id >> 4, apic_id & 0xF
        value = (cluster & 0xFFFF) << 16 | 1 << place
        return [Register("LDR", f"0x{value:08x}", f"cluster {cluster & 0xFFFF:#x}, CPU {place} in it; from the id")]
    own = apic["ldr"] >> 24
    flat = apic["dfr"] >> 28 == 0xF
    said = f"logical id {own:#x}" if own else "no logical id"
    return [
        row("LDR", "ldr", words=said, digits=8),
        row("DFR", "dfr", words=f"{'flat' if flat else 'cluster'} model", digits=8),
    ]


def _lvt(key: str, apic: Mapping[str, Any]) -> str:
    value = apic[key]
    if value & _MASKED:
        return "masked"
    vector = f"vector {hex_vector(value & 0xFF)}"
    if key != "lvt.timer":
        return vector
    kind = "periodic" if value & _PERIODIC else "one-shot"
    deadline = apic.get("deadline")
    return f"{kind}, {vector}, {'stopped' if deadline is None else f'next at t={deadline:,}'}"


def happened(film: Film, cpu: int, event: int, most: int) -> list[Happened]:
    """The newest events of the APIC of ``cpu`` up to event number ``event``, the oldest of them first."""
    found: list[Happened] = []
    for number in range(event, max(-1, event - _LOOKED_BACK), -1):
        told = _told(film.events[number], cpu)
        if told:
            one = film.events[number]
            found.insert(0, Happened(number, one.time, told, isinstance(one, trace.Lost)))
            if len(found) == most:
                break
    return found


def in_service_since(film: Film, cpu: int, event: int, vector: int) -> Happened | None:
    """The delivery that put ``vector`` into service; None where it is too long ago, or was not recorded."""
    for number in range(event, max(-1, event - _LOOKED_BACK), -1):
        match film.events[number]:
            case trace.Delivered(cpu=who, vector=taken, source="interrupt") as one if (who, taken) == (cpu, vector):
                return Happened(number, one.time, f"CPU {cpu} entered the handler of {hex_vector(vector)}")
    return None


def _told(event: trace.Event, cpu: int) -> str:
    if event.cpu != cpu:
        return ""
    match event:
        case trace.Accepted(vector=vector, from_cpu=sender, merged=merged):
            again = ", merged: the bit was set already" if merged else ""
            return f"{hex_vector(vector)} set in IRR{_from(sender)}{again}"
        case trace.TimerExpired(vector=vector, merged=merged):
            again = ", merged: the bit was set already" if merged else ""
            return f"timer expired: {hex_vector(vector)} set in IRR{again}"
        case trace.Delivered(vector=vector, source="interrupt"):
            return f"{hex_vector(vector)} delivered: it moved from IRR to ISR"
        case trace.Delivered(source="nmi"):
            return "NMI delivered: no gate holds it"
        case trace.Eoi(vector=None):
            return "EOI, but nothing was in service"
        case trace.Eoi(vector=vector) if vector is not None:
            return f"EOI: {hex_vector(vector)} left ISR"
        case trace.IpiSent(vector=vector, delivery=delivery, targets=targets):
            kind = _KINDS.get(delivery, "SIPI" if delivery == "sipi" else "IPI")
            which = "" if delivery in ("init", "nmi") else f" {hex_vector(vector)}"
            return f"ICR written: {kind}{which} to {_cpus(targets)}"
        case trace.Lost(vector=vector, from_cpu=sender, why=why):
            return f"{hex_vector(vector)}{_from(sender)} LOST: {why}"
        case trace.Ignored(what=what, from_cpu=sender, why=why):
            return f"{what}{_from(sender)} ignored: {why}"
        case trace.Init(from_cpu=sender):
            return f"INIT{_from(sender)}: IRR, ISR and the registers were reset"
    return ""


def _from(sender: int | None) -> str:
    return "" if sender is None else f", from CPU {sender}"


def _cpus(targets: list[int]) -> str:
    if not targets:
        return "no CPU"
    return f"CPU {targets[0]}" if len(targets) == 1 else f"{len(targets)} CPUs"
