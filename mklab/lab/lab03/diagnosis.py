"""An entry at 512 GiB and above (defect 7): an index that is not masked."""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from mklab.guest import trampoline as prebuilt
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab import forms, trampoline
from mklab.lab.forms.values import Value, Wrong
from mklab.machine.machine import Machine
from mklab.trace import Event, Fault, ModeChange, Shutdown, Sipi
from mklab.widgets.bits_words import EXCEPTIONS

__all__ = ["beyond"]

_TABLES = TRAMPOLINE_BASE + prebuilt().symbols["pgtable"]
_PDPT, _DIRECTORY = _TABLES + 0x1000, _TABLES + 0x2000
_SHOWN = 12


class _Failure(NamedTuple):
    """A run that failed: the entry, the machine after it, and what CPU 1 did."""

    entry: int
    machine: Machine
    events: list[Event]


@cache
def _failure(seed: int) -> _Failure:
    # Entry 0 of the directory maps the trampoline itself: there the CPU would not even come to the jump.
    number = 1 + hashlib.sha256(f"03.9 {seed}".encode()).digest()[0] % (_SHOWN - 2)
    entry = (512 + number) << 30
    machine = trampoline.offline([(0, 64 << 20), (entry, 2 << 20)]).machine
    machine.poke(entry, b"\xf4")
    machine.poke(TRAMPOLINE_BASE + prebuilt().symbols["kernel_phys_addr"], entry.to_bytes(8, "little"))
    begin = machine.trace.count
    trampoline.kick(machine)
    machine.run(100_000)
    kinds = (Sipi, ModeChange, Fault, Shutdown)
    return _Failure(
        entry, machine, [one for one in machine.trace.events if one.seq >= begin and isinstance(one, kinds)]
    )


def _facts(seed: int) -> Mapping[str, Any]:
    failed = _failure(seed)
    index, memory = failed.entry >> 30, failed.machine.memory
    wrote = _PDPT + 8 * index
    assert memory.read_u64(wrote) & ~0xFFF == TRAMPOLINE_BASE + prebuilt().symbols["extra_directory"]
    return {
        "index": index,
        "wrote": wrote,
        "lost": (wrote - _DIRECTORY) // 8 << 21,
        "needed": _TABLES + 8 * (failed.entry >> 39),
    }


def _given(seed: int) -> str:
    failed = _failure(seed)
    r = failed.machine.registers(trampoline.CPU)
    rows = [f"The kernel's entry is {failed.entry:#x}. What CPU 1 did:"]
    rows += [f"  {one.seq}  {_words(one)}" for one in failed.events]
    rows += [
        f"Its registers: rip {r.rip:#x}, r14 {r.r14:#x}, cr2 {r.cr2:#x}, cr3 {r.cr3:#x}",
        "Memory, eight bytes an entry:",
        *_dump(failed, "PML4", _TABLES, 2),
        *_dump(failed, "PDPT", _PDPT, 5),
        *_dump(failed, "directory of GiB 0", _DIRECTORY, _SHOWN),
    ]
    return "\n".join(rows)


def _dump(failed: _Failure, name: str, start: int, count: int) -> list[str]:
    rows = [f"  {at:#x}  {failed.machine.memory.read_u64(at):#x}" for at in range(start, start + 8 * count, 8)]
    return [f"{rows[0]:<24}{name}", *rows[1:]]


def _words(event: Event) -> str:
    match event:
        case Sipi():
            return f"SIPI, vector {event.vector:#x}"
        case ModeChange():
            return f"mode: {event.mode}"
        case Fault():
            return f"exception: {EXCEPTIONS.get(event.vector, event.vector)}, at address {event.cr2:#x}"
    assert isinstance(event, Shutdown)
    return "shutdown; the platform is reset"


def _masked(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"index": right["index"] & 0x1FF}


def _masked_address(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"wrote": _PDPT + 8 * (right["index"] & 0x1FF)}


def _not_scaled(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"wrote": _PDPT + right["index"]}


def _as_gib(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"lost": (right["index"] & 0x1FF) << 30}


def _entry(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"lost": right["index"] << 30}


def _small_pages(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"lost": (right["wrote"] - _DIRECTORY) // 8 << 12}


def _written(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"needed": right["wrote"]}


def _in_pdpt(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"needed": _masked_address(right)["wrote"]}


def _first_pml4(_right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"needed": _TABLES}


beyond = forms.values(
    "03.9",
    "An entry beyond the table",
    "diagnose",
    _facts,
    (
        Value(
            "index",
            "the index into the PDPT that the trampoline computes from the entry",
            "entry >> 30, as the trampoline has it: what does it do to the result?",
        ),
        Value(
            "wrote",
            "the physical address at which it has stored the extra directory's address",
            "The PDPT's address plus 8 times the index.",
        ),
        Value(
            "lost",
            "the first linear address that is translated otherwise than before",
            "Which table lies where the store went, and what does one of its entries span?",
        ),
        Value(
            "needed",
            "the physical address of the entry without which the kernel's entry can't be translated",
            "Which index has this address in the topmost table? It is bits 47:39.",
        ),
    ),
    (
        "Divide the entry by 1 GiB. How many entries has a PDPT?",
        "A table has 512 entries, and nothing stops a store behind its end: the next page is the directory of GiB 0.",
        "wrote = PDPT + 8 * index; lost = (wrote - directory) / 8 * 2 MiB; needed = CR3 + 8 * (entry >> 39).",
    ),
    (
        Wrong(
            "the index is masked",
            _masked,
            "That is the index that a CPU would take, nine bits of the address. The trampoline shifts, and does not"
            " mask: one of its defects.",
        ),
        Wrong(
            "the address is masked",
            _masked_address,
            "There lies an entry that was not written: look at the dump. The trampoline does not mask the index.",
        ),
        Wrong("entries of one byte", _not_scaled, "Entries have eight bytes each."),
        Wrong(
            "lost as an entry of the PDPT",
            _as_gib,
            "The store went into a directory: there an entry spans 2 MiB, not 1 GiB.",
        ),
        Wrong(
            "lost as a page of 4 KiB",
            _small_pages,
            "The store went into a directory: there an entry spans 2 MiB, not 4 KiB.",
        ),
        Wrong(
            "the entry itself is lost",
            _entry,
            "That address was not translated before either. Which one was, and is not as it was any more?",
        ),
        Wrong(
            "the entry that was written",
            _written,
            "That entry is there: it was written, and it lies in the directory of GiB 0. The CPU looks for an entry for"
            " this address in the PML4 first.",
        ),
        Wrong(
            "an entry of the PDPT",
            _in_pdpt,
            "The CPU did not come to a PDPT: the PML4 comes first, and has no entry for this address.",
        ),
        Wrong(
            "the first entry of the PML4",
            _first_pml4,
            "That entry is there: it leads to the PDPT. It spans 512 GiB from 0 on, and the kernel lies above.",
        ),
    ),
    passed="The store behind the table's end did harm that shows much later or never; what stopped the CPU was the"
    " missing entry of the PML4. A mask would have saved the directory, and not the kernel.",
    given=_given,
)
