"""A platform that was reset at the far jump: what the machine's last state says."""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from mklab.guest import trampoline as prebuilt
from mklab.kernel.layout import BOOT_PARAMS
from mklab.lab import forms, trampoline
from mklab.lab.forms.values import Value, Wrong
from mklab.machine.machine import Machine
from mklab.machine.registers import Registers
from mklab.trace import Event, Fault, ModeChange, Shutdown, Sipi
from mklab.widgets.bits_words import EXCEPTIONS

__all__ = ["far_jump"]

_STORE, _NOPS = bytes.fromhex("66a39a01"), b"\x90" * 4
"""movl %eax, LOW(tgdt) + 2: the table's address, stored where LGDT will read it; and nothing instead."""
_PAGES = range(0x30, 0x60)
_SELECTOR = 8


class _Failure(NamedTuple):
    """A run that failed.

    Attributes:
        base: where the trampoline lay.
        machine: as it stands after it.
        events: what CPU 1 did.
    """

    base: int
    machine: Machine
    events: list[Event]

    @property
    def registers(self) -> Registers:
        """Of CPU 1."""
        return self.machine.registers(trampoline.CPU)

    @property
    def tgdt(self) -> int:
        """Where the table lies."""
        return self.base + prebuilt().symbols["tgdt"]


@cache
def _failure(seed: int) -> _Failure:
    page = hashlib.sha256(f"02.8 {seed}".encode()).digest()[0] % len(_PAGES)
    base = _PAGES[page] << 12
    machine = trampoline.offline().machine
    blob = prebuilt()
    assert blob.data.count(_STORE) == 1
    machine.poke(base, blob.data.replace(_STORE, _NOPS))
    machine.poke(base + blob.symbols["kernel_phys_addr"], trampoline.ENTRY.to_bytes(8, "little"))
    machine.poke(base + blob.symbols["boot_params_phys_addr"], BOOT_PARAMS.to_bytes(8, "little"))
    begin = machine.trace.count
    trampoline.kick(machine, base)
    machine.run(100_000)
    kinds = (Sipi, ModeChange, Fault, Shutdown)
    return _Failure(base, machine, [one for one in machine.trace.events if one.seq >= begin and isinstance(one, kinds)])


def _facts(seed: int) -> Mapping[str, Any]:
    failed = _failure(seed)
    first = next(one for one in failed.events if isinstance(one, Fault))
    return {
        "event": first.seq,
        "looked": failed.registers.gdtr.base + _SELECTOR,
        "lies": failed.tgdt + _SELECTOR,
        "cause": "B",
    }


def _given(seed: int) -> str:
    failed = _failure(seed)
    r, vector = failed.registers, failed.base + prebuilt().symbols["startup_32_vector"]
    rows = [f"The trampoline lies at {failed.base:#x}. What CPU 1 did, by the numbers of its events:"]
    rows += [f"  {one.seq}  {_words(one)}" for one in failed.events]
    rows += [
        "Its registers:",
        f"  cs {r.cs.selector:#06x}, base {r.cs.base:#x}; ip {r.rip:#x}; esi {r.rsi:#x}; cr0 {r.cr0:#x}",
        f"  gdtr base {r.gdtr.base:#x}, limit {r.gdtr.limit:#x}; idtr base {r.idtr.base:#x}, limit {r.idtr.limit:#x}",
        "Memory:",
        *_dump(failed, "address 0", 0, 2),
        *_dump(failed, "tgdt", failed.tgdt, 2),
        *_dump(failed, "startup_32_vector", vector, 1),
    ]
    return "\n".join(rows)


def _dump(failed: _Failure, name: str, start: int, rows: int) -> list[str]:
    """Memory, eight bytes a row."""
    places = range(start, start + 8 * rows, 8)
    dumped = [f"  {at:#7x}  {failed.machine.memory.read(at, 8).hex(' ')}" for at in places]
    return [f"{dumped[0]}  {name}", *dumped[1:]]


def _words(event: Event) -> str:
    match event:
        case Sipi():
            return f"SIPI, vector {event.vector:#x}"
        case ModeChange():
            return f"mode: {event.mode}"
        case Fault():
            return f"exception: {EXCEPTIONS.get(event.vector, event.vector)}, error code {event.error or 0:#x}"
    assert isinstance(event, Shutdown)
    return f"shutdown: {event.why}; the platform is reset"


def _right_place(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"looked": right["lies"]}


def _shutdown_event(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"event": right["event"] + 1}


def _table_itself(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"lies": right["lies"] - _SELECTOR}


far_jump = forms.values(
    "02.8",
    "Reset at the far jump",
    "diagnose",
    _facts,
    (
        Value(
            "event",
            "the number of the event in which the CPU first says that something is wrong",
            "Read the events from above: which is the first that no good run has?",
            decimal=True,
        ),
        Value(
            "looked",
            "the linear address at which the CPU looked for the descriptor of selector 8",
            "A selector is an offset into the table that GDTR points to.",
        ),
        Value(
            "lies",
            "the linear address at which the descriptor for selector 8 lies in truth",
            "The table begins at tgdt; slot 0 is not used as a descriptor.",
        ),
        Value(
            "cause",
            "the letter of the cause",
            "Compare GDTR, base and limit, with the six bytes at tgdt, and with what INIT leaves there.",
        ),
    ),
    (
        "The error code of the first exception is a selector. Where did the CPU look it up?",
        "LGDT takes two bytes of limit and four of base. INIT leaves the base 0 and the limit 0xffff.",
        "looked = gdtr base + 8; lies = tgdt + 8. Then find the line that stores an address at tgdt + 2, and ask"
        " whether"
        " it was executed.",
    ),
    (
        Wrong(
            "the descriptor is blamed",
            {"cause": "A"},
            "The descriptor's bytes are those of the worked example. But the CPU has not read them: where does GDTR"
            " point?",
        ),
        Wrong(
            "LGDT was left out",
            {"cause": "C"},
            "GDTR's limit is 0x20, the table's own: LGDT was executed. INIT had left 0xffff.",
        ),
        Wrong("PE is not set", {"cause": "D"}, "CR0 has bit 0 set, and an event says that the mode is protected."),
        Wrong(
            "the far pointer is wrong",
            {"cause": "E"},
            "The far pointer holds the 32-bit code's address and selector 8, as it should.",
        ),
        Wrong(
            "the CPU read the right table",
            _right_place,
            "The CPU knows nothing of tgdt. It adds the selector to the base in GDTR.",
        ),
        Wrong(
            "the table instead of the descriptor",
            _table_itself,
            "That is where the table begins. Selector 8 is eight bytes further.",
        ),
        Wrong("the shutdown is named", _shutdown_event, "That is where it ends. The CPU had complained before."),
    ),
    passed="GDTR's limit was right and its base was not: LGDT read the six bytes before the address was in them. The"
    " first exception met an interrupt table without a single entry, so it became a double fault and then a reset.",
    given=_given,
)
