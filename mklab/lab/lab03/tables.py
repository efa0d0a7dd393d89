"""The trampoline's tables: where an entry lies, and the loop that writes them."""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from mklab.guest import trampoline as prebuilt
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab import forms, trampoline
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.forms.guest import Ran
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine
from mklab.paging import ACCESSED, DIRTY

__all__ = ["directories", "entries"]

_PAGES, _PAGE = 2048, 2 << 20
_TABLES = TRAMPOLINE_BASE + prebuilt().symbols["pgtable"]
_PRESENT_WRITABLE_LARGE = 0x83
_ADDRESS = 0x000F_FFFF_FFE0_0000
_RESERVED = 0x1F_E000
"""Bits 20 to 13 of an entry for a page of 2 MiB."""


# Where an entry lies


@cache
def _kicked() -> Machine:
    host = trampoline.offline()
    host.multikernel_kexec(trampoline.CPU)
    host.settle()
    return host.machine


def _address(seed: int) -> int:
    """An address of the student's own, in the second to fourth GiB, in no page that the trampoline itself uses."""
    one = hashlib.sha256(f"03.3 {seed}".encode()).digest()
    return (1 + one[0] % 3) << 30 | (1 + one[1] * 2 % 510) << 21 | one[2] << 12 | one[3] << 4


def _facts(seed: int) -> Mapping[str, Any]:
    vaddr, memory = _address(seed), _kicked().memory
    pdpt = memory.read_u64(_TABLES) & ~0xFFF
    pdpte = pdpt + 8 * (vaddr >> 30)
    pde = (memory.read_u64(pdpte) & ~0xFFF) + 8 * (vaddr >> 21 & 0x1FF)
    return {"pdpte": pdpte, "pde": pde, "entry": memory.read_u64(pde) & ~(ACCESSED | DIRTY)}


def _given(seed: int) -> str:
    return f"CR3 is {_TABLES:#x}. The CPU is to translate the address {_address(seed):#x}."


def _first_directory(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"pde": _TABLES + 0x2000 + right["pde"] % 4096}


def _no_eights(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"pde": right["pde"] & ~0xFFF | right["pde"] % 4096 // 8}


def _running_index(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"pdpte": _TABLES + 8 * ((right["pdpte"] - _TABLES - 0x1000) // 8)}


def _index_only(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"pdpte": right["pdpte"] & ~0xFFF | right["pdpte"] % 4096 // 8}


def _held(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"pdpte": right["pde"] & ~0xFFF | 7}


def _not_global(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"entry": right["entry"] & ~0x100}


def _four_kib(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"entry": right["entry"] | 0x1000}


def _no_flags(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"entry": right["entry"] & ~0xFFF}


entries = forms.values(
    "03.3",
    "Where an entry lies",
    "memory",
    _facts,
    (
        Value(
            "pdpte", "the physical address of the entry in the PDPT", "The PDPT is the second page; bits 38:30 choose."
        ),
        Value(
            "pde",
            "the physical address of the entry in the directory",
            "Which of the four directories? Then 8 times bits 29:21.",
        ),
        Value(
            "entry",
            "the value of that entry, as the trampoline writes it",
            "The address of a page of 2 MiB, whose bits 20:0 are 0, and the flags P, RW, PS, G.",
        ),
    ),
    (
        "Cut your address into 47:39, 38:30, 29:21 and the offset. The first of them is 0.",
        "Six pages from CR3 on: PML4, PDPT, then the directories of GiB 0, 1, 2 and 3. An entry has 8 bytes.",
        "pdpte = CR3 + 0x1000 + 8 * (vaddr >> 30); pde = CR3 + 0x2000 + 0x1000 * (vaddr >> 30) + 8 * (vaddr >> 21 &"
        " 0x1ff).",
    ),
    (
        Wrong(
            "the first directory",
            _first_directory,
            "That is an entry of the directory for GiB 0. Bits 31:30 of your address choose another one.",
        ),
        Wrong("entries of one byte", _no_eights, "The index is right, but entries have eight bytes each."),
        Wrong(
            "in the PML4",
            _running_index,
            "That is an entry of the PML4, the first page. Each of its entries spans 512 GiB.",
        ),
        Wrong(
            "the page of 4 KiB",
            _four_kib,
            "The entry is for a page of 2 MiB: below bit 21 it holds no address. Bit 12 is another flag (PAT).",
        ),
        Wrong("a PDPT's entries of one byte", _index_only, "The index is right, but entries have eight bytes each."),
        Wrong(
            "what the PDPT's entry holds",
            _held,
            "That is what the entry holds: the directory's address, and flags. Where does the entry itself lie?",
        ),
        Wrong(
            "no G",
            _not_global,
            "The CPU would go on with that, but the trampoline sets one flag more: G, bit 8. It adds 0x183.",
        ),
        Wrong("no flags", _no_flags, "Without flags the page is not present. The trampoline adds 0x183."),
    ),
    passed="So it lies in the machine's memory after a kick; where the CPU has used an entry, it has set bit A.",
    given=_given,
)

# The loop

_BEFORE, _AFTER = trampoline.around("LOW(pgtable) + 0x2000(%esi), %edi", "jnz\t1b")


def _table_verdict(ran: Ran, _seed: int) -> Verdict | None:
    """The first of the 2048 entries that is not as it should be."""
    base = ran.code.symbols["pgtable"] + 0x2000
    data = ran.read(base, 8 * _PAGES)
    found = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
    right = [_is_right(entry, number) for number, entry in enumerate(found)]
    if all(right):
        return _behind(ran) or _lost_esi(ran)
    number = right.index(False)
    entry, wanted = found[number], number * _PAGE | 0x183
    done = f"Of 2048 entries {sum(right)} are right."
    return not_yet(
        f"{done} The first other one is number {number}, for the addresses from {number * _PAGE:#x} on:"
        f" {_wrong(entry, number, found)}",
        f"directory entry {number}, at {base + 8 * number:#x}",
        "Start value, step of the value, step of the address, number of turns: which of the four makes this entry?",
        expected=f"{wanted:#x} (P, RW, PS; G is optional)",
        got=f"{entry:#x}",
    )


def _behind(ran: Ran) -> Verdict | None:
    """Whether something was stored behind the last directory."""
    at = ran.code.symbols["extra_directory"]
    found = ran.read(at, 4096)
    if not any(found):
        return None
    return not_yet(
        f"All 2048 entries are right, and something was stored behind the last: the bytes at {at:#x} are"
        f" {found[:8].hex(' ')}.",
        f"extra_directory, at {at:#x}",
        "How often did your loop turn? That page is for an entry above 4 GiB.",
    )


def _lost_esi(ran: Ran) -> Verdict | None:
    """Whether what stands behind has no page's address any more."""
    esi = ran.registers.rsi & 0xFFFFFFFF
    if trampoline.arrived(ran) or esi == ran.place.base:
        return None
    return not_yet(
        f"All 2048 entries are right, but ESI is {esi:#x} behind them, and was {ran.place.base:#x}. The next lines take"
        f" CR3 from LOW(pgtable)(%esi): it became {ran.registers.cr3:#x}.",
        "ESI at the end of your part",
        "Count up in another register: EDI, for example.",
        expected=f"esi = {ran.place.base:#x}",
        got=f"esi = {esi:#x}",
    )


def _is_right(entry: int, number: int) -> bool:
    flags = entry & _PRESENT_WRITABLE_LARGE == _PRESENT_WRITABLE_LARGE
    return flags and entry & _ADDRESS == number * _PAGE and not entry & _RESERVED


def _wrong(entry: int, number: int, found: list[int]) -> str:
    if not entry:
        again = next((at for at in range(number + 1, len(found)) if found[at]), None)
        if again is None:
            return "it is 0, and so are all behind it. An access there is a page fault."
        return f"it is 0; the next that is not is number {again}."
    if not entry & 1:
        return "P is 0, so there is no page."
    if not entry & 0x80:
        return "PS is 0, so it names a table of 4 KiB pages, and what lies there is none."
    if not entry & 2:
        return "RW is 0: the page is read-only."
    if entry & _RESERVED:
        return "its address is no multiple of 2 MiB: bits that must be 0 are set, and the CPU refuses the entry."
    return f"it maps them to {entry & _ADDRESS:#x}."


def _judge(ran: Ran, seed: int) -> Verdict:
    found = _table_verdict(ran, seed)
    if found is not None:
        return found
    if not trampoline.arrived(ran):
        return trampoline.rested("Which instruction halts?")
    return Verdict(
        Outcome.PASSED,
        f"All 2048 entries are right, the CPU pages with them, and {trampoline.KERNEL} is up.",
        next_step="The CPU has used a few of them: it has set their bit A (0x20). Which, and why those?",
    )


directories = forms.guest(
    "03.4",
    "Two thousand entries",
    "assembly",
    _judge,
    (
        "Where do the four directories lie? They follow each other: for a loop they are one table of 2048 entries.",
        "Entry n is n * 2 MiB, with P (bit 0), RW (bit 1) and PS (bit 7). Each has 8 bytes, the upper four 0 here.",
        "EDI = LOW(pgtable) + 0x2000 + ESI, EAX = 0x183, ECX = 2048; store EAX at (%edi), add 0x200000 to EAX and 8"
        " to EDI,"
        " count down.",
    ),
    (
        Mistake(
            "one directory only", (("$2048", "$512"),), "number 512, for the addresses from 0x40000000 on: it is 0"
        ),
        Mistake("one entry too many", (("$2048", "$2049"),), "something was stored behind the last"),
        Mistake("one entry too few", (("$2048", "$2047"),), "number 2047"),
        Mistake("no PS", (("$0x183", "$0x103"),), "PS is 0, so it names"),
        Mistake("not present", (("$0x183", "$0x182"),), "P is 0, so there is no page"),
        Mistake("read-only", (("$0x183", "$0x181"),), "RW is 0: the page is read-only"),
        Mistake("pages of 4 KiB", (("$0x200000", "$0x1000"),), "it maps them to 0x0"),
        Mistake("pages of 1 MiB", (("$0x200000", "$0x100000"),), "no multiple of 2 MiB"),
        Mistake("entries of four bytes", (("$8, %edi", "$4, %edi"),), "Of 2048 entries"),
        Mistake(
            "ESI counts up",
            (("(%esi), %edi", "(%esi), %esi"), ("(%edi)", "(%esi)"), ("8, %edi", "8, %esi")),
            "and was 0x96000",
        ),
        Mistake("over the PDPT", (("+ 0x2000", "+ 0x1000"),), "Of 2048 entries"),
        Mistake(
            "without the page's address",
            (("(%esi), %edi", ", %edi"), ("leal", "movl"), ("LOW(", "$LOW(")),
            "Of 2048 entries 0 are right",
        ),
    ),
    place=trampoline.place(),
    causes=_table_verdict,
    before=_BEFORE,
    after=_AFTER,
    alternatives=(
        "leal LOW(pgtable) + 0x2000(%esi), %edi\nxorl %ecx, %ecx\n1: movl %ecx, %eax\nshll $21, %eax\norl $0x83, %eax\n"
        "movl %eax, (%edi, %ecx, 8)\nincl %ecx\ncmpl $2048, %ecx\njb 1b",
    ),
)
