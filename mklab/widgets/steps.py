"""The last step of a CPU: what it executed, what that changed, and what the change means."""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mklab import trace
from mklab.recording import Film, Frame, Line, SourceLine, Span
from mklab.recording.bits import BITS, names
from mklab.widgets.modes import bits_of, mode_of
from mklab.widgets.view import View

__all__ = [
    "Change",
    "Executed",
    "Instruction",
    "Step",
    "instructions",
    "last_step",
    "meaning",
    "shown_name",
    "shown_value",
]

_TRAIL = 3
"""Executed instructions that are shown before the next one."""
_MOST_EVENTS = 64
"""Events between two looks that are looked at."""
_SHOWN_BYTES = 8
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs", "ldtr", "tr")
_FIRST = ("cs", "cs.base", "cs.limit", "cs.flags", "cr0", "cr4", "efer", "cr3", "gdtr.base", "gdtr.limit")
_THEN = ("idtr.base", "idtr.limit", "cr2", "rip", "rsp", "rflags", "shadow")
_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip")


class Instruction(NamedTuple):
    """An instruction, and the source line it was made from, where that is known."""

    line: Line
    source: SourceLine | None


class Executed(NamedTuple):
    """An instruction that was executed, and the number of the look just before."""

    line: Line
    look: int


@dataclass(frozen=True)
class Change:
    """A register or a stretch of memory that changed.

    Attributes:
        name: what the register is called in the mode the CPU is in; the physical address of memory.
        old, new: its values, as they are written; bytes in their order in memory.
        note: the named bits that were set or cleared; how many bytes of memory.
    """

    name: str
    old: str
    new: str
    note: str = ""


@dataclass(frozen=True)
class Step:
    """The last step of a CPU up to a moment.

    Attributes:
        cpu: the CPU.
        time: virtual time of its end, in instructions.
        count: how many instructions it executed; 0 where something else changed its registers.
        trail: what it executed, and before that if each was looked at: the newest last.
        following: what it executes next, the first at its RIP.
        happened: the events of the step that the CPU did not execute itself, in words.
        before, after: its registers; before is empty at the first look.
        earlier, span: how the CPU stood before and after.
        changes: what changed, what decides on the mode first; memory last, and only where it executed one instruction.
    """

    cpu: int
    time: int
    count: int
    trail: list[Executed]
    following: list[Line]
    happened: list[str]
    before: dict[str, int]
    after: dict[str, int]
    earlier: Span
    span: Span
    changes: list[Change]

    @property
    def executed(self) -> Line | None:
        """The one instruction that it executed; None where it was not one, or is not recorded."""
        return self.trail[-1].line if self.count == 1 and self.trail else None


def last_step(view: View) -> Step | None:
    """The last step of the view's CPU: what it did up to the last look at which its registers changed.

    None where nobody looked at its registers.
    """
    film, cpu = view.film, view.shown_cpu
    looks = film.registers[cpu].looks
    at = bisect.bisect_right(looks, view.look) - 1
    if at < 0:
        return None
    number = looks[at]
    frame, look = film.frame_of(number), film.looks[number]
    after, changed = frame.registers(cpu), frame.changed(cpu)
    first = at == 0
    before = {} if first else film.frame_of(number - 1).registers(cpu)
    happened = [] if first else _happened(film, number, cpu)
    count = 0 if first else _executed(film, number, cpu)
    trail: list[Executed] = []
    while not happened and at > 0 and len(trail) < _TRAIL and _executed(film, looks[at], cpu) == 1:
        line = film.frame_of(looks[at] - 1).code(cpu)[:1]
        if not line or (trail and line[0] == trail[0].line):
            break
        trail.insert(0, Executed(line[0], looks[at] - 1))
        at -= 1
    return Step(
        cpu,
        look.time,
        count,
        trail,
        film.frame_of(view.look).code(cpu),
        happened,
        before,
        after,
        film.recording.span_at(cpu, film.looks[number - 1].event if number else -1),
        film.recording.span_at(cpu, view.event),
        [*_changes(changed, after), *(_stored(frame) if count == 1 else ())] if before else [],
    )


def instructions(view: View, step: Step) -> list[Instruction]:
    """The trail of ``step`` and what follows, each with its source line."""
    film, found = view.film, dict[Line, SourceLine | None]()
    # What was known before the oldest of them is, most often, the way to the others.
    for line, look in [*step.trail, *((line, view.look) for line in step.following)]:
        if line not in found:
            frame = film.frame_of(look)
            found |= zip(frame.code(step.cpu), frame.source(step.cpu), strict=True)
    return [Instruction(line, found[line]) for line in [*(one.line for one in step.trail), *step.following]]


def _executed(film: Film, number: int, cpu: int) -> int:
    """How many instructions ``cpu`` executed between look ``number`` and the one before."""
    look = film.looks[number]
    return look.time - film.looks[number - 1].time if number and look.cpu == cpu and look.cause == "slice" else 0


def _happened(film: Film, number: int, cpu: int) -> list[str]:
    """What events did to ``cpu`` at look ``number``."""
    first, last = film.looks[number - 1].event + 1, film.looks[number].event + 1
    told = []
    for event in film.events[max(first, last - _MOST_EVENTS) : last]:
        match event:
            case trace.Init(cpu=who) if who == cpu:
                told.append("INIT reset it: it waits for a SIPI")
            case trace.Sipi(cpu=who, vector=vector) if who == cpu:
                told.append(f"SIPI {vector:#x} started it in real mode at {vector << 12:#x}")
            case trace.Delivered(cpu=who, vector=vector, handler=handler) if who == cpu:
                told.append(f"it entered the handler of {_vector(vector)} at {handler:#x}")
            case trace.Shutdown(cpu=who, why=why) if who == cpu:
                told.append(f"it shut down: {why}")
            case trace.PlatformReset():
                told.append("the platform was reset")
    return told


def _vector(vector: int) -> str:
    return f"vector 0x{vector:02X}"


def _changes(changed: Mapping[str, tuple[int | None, int | None]], after: Mapping[str, int]) -> list[Change]:
    order = {name: at for at, name in enumerate((*_FIRST, *_THEN))}
    ranked = sorted(changed, key=lambda name: order.get(name, len(order) + _rank(name)))
    found = []
    for name in ranked:
        old, new = changed[name]
        if old is None or new is None:
            continue
        if name == "cs.flags":
            found += [
                Change(f"CS.{letter}", *(f"{value >> bit & 1}" for value in (old, new)))
                for letter, bit in (("D", 22), ("L", 21))
                if (old ^ new) >> bit & 1
            ]
            if not (old ^ new) & 3 << 21:
                found.append(Change("CS flags", f"{old:#x}", f"{new:#x}"))
            continue
        note = _note(name, old, new)
        found.append(Change(shown_name(name, after), shown_value(name, old), shown_value(name, new), note))
    return found


def _stored(frame: Frame) -> list[Change]:
    """The memory that changed at the look of ``frame``."""
    return [
        Change(f"{one.address:#x}", _bytes(one.old), _bytes(one.new), f"{one.size:,} B of memory")
        for one in frame.writes()
    ]


def _bytes(data: bytes | None) -> str:
    """Bytes in the order in which they lie in memory."""
    if data is None:
        return "not recorded"
    return data[:_SHOWN_BYTES].hex(" ") + (" and more" if len(data) > _SHOWN_BYTES else "")


def _rank(name: str) -> int:
    """What has no place of its own: general registers, then segments."""
    segment = name.split(".")[0]
    return 1 + _SEGMENTS.index(segment) if segment in _SEGMENTS else 0


def _note(name: str, old: int, new: int) -> str:
    """Which named bits of a control register changed."""
    if name not in BITS:
        return ""
    parts = [
        f"{' '.join(bits)} {verb}"
        for bits, verb in ((names(name, new & ~old), "set"), (names(name, old & ~new), "cleared"))
        if bits
    ]
    return ", ".join(parts)


def shown_name(name: str, registers: Mapping[str, int]) -> str:
    """What a register is called: ``EIP`` where code has 16 or 32 bits, ``CS base`` for a hidden part."""
    if name in _GENERAL and mode_of(registers).code != 64:
        return f"E{name[1:].upper()}"
    head, _, part = name.partition(".")
    return f"{head.upper()} {part}".rstrip()


def shown_value(name: str, value: int) -> str:
    """A register's value, as it is written."""
    return f"0x{value:04x}" if name in _SEGMENTS else f"{value:#x}"


def meaning(step: Step) -> str:
    """What the step changed, in a sentence: the most telling thing; empty at the first look."""
    before, after = step.before, step.after
    if step.happened:
        return f"{'; '.join(step.happened)}."
    if not before:
        return ""
    if step.span.owner != step.earlier.owner and step.span.owner:
        return f"it jumped into the memory of {step.span.owner}: the CPU belongs to it now."
    old, new = bits_of(before), bits_of(after)
    turned = {name for name, bit in new.items() if bit and not old[name]}
    if "CS.L" in turned:
        return f"it loaded CS with selector {after['cs']:#x}, a segment with L = 1: 64-bit code."
    if "CR0.PG" in turned and new["EFER.LMA"]:
        return (
            "it set CR0.PG; with PAE and LME the CPU set EFER.LMA: long mode. CS.L is 0 still: compatibility sub-mode."
        )
    if "CS.D" in turned:
        return f"it loaded CS with selector {after['cs']:#x}, a 32-bit segment: this, not PE, made the code 32-bit."
    sentences = {
        "CR0.PE": "it set CR0.PE: protected mode. CS keeps its base and 16-bit code until a far jump loads it.",
        "EFER.LME": "it set EFER.LME: paging, once it is on, will be long mode's.",
        "CR4.PAE": "it set CR4.PAE: page-table entries have 64 bits, as long mode demands.",
        "CR0.PG": "it set CR0.PG: linear addresses go through page tables now.",
    }
    for name, words in sentences.items():
        if name in turned:
            return words
    if lost := sorted(name for name, bit in old.items() if bit and not new[name]):
        return f"it cleared {', '.join(lost)}."
    if before["cr3"] != after["cr3"]:
        use = "another address space" if new["CR0.PG"] else "nobody reads it before CR0.PG is set"
        return f"it loaded CR3 with {after['cr3']:#x}, where the top page table lies: {use}."
    tables = [
        name
        for name in ("gdtr", "idtr")
        if any(before[f"{name}.{part}"] != after[f"{name}.{part}"] for part in ("base", "limit"))
    ]
    if tables == ["idtr"] and after["idtr.limit"] < 3:
        return "it loaded IDTR with an empty table: any exception or NMI now shuts the CPU down."
    if tables:
        parts = [f"{name.upper()}, the table at {after[f'{name}.base']:#x}" for name in tables]
        return f"it loaded {' and '.join(parts)}."
    if before["ss"] != after["ss"]:
        return f"it loaded SS with {after['ss']:#x}: the stack's base is {after['ss.base']:#x} now."
    return ""
