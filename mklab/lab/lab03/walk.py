"""A walk through page tables in guest RAM, written in Python."""

import re

from mklab import paging
from mklab.guest import trampoline as prebuilt
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab import trampoline
from mklab.lab.checking.answer import Answer, AnswerError, Offer
from mklab.lab.checking.wire import Reference
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, CR4, EFER, Registers
from mklab.paging import PageWalk

__all__ = ["GuestMemory", "walk"]

_ADDRESS_2M = 0x000F_FFFF_FFE0_0000
_TABLES = 0x320_0000
"""Where nothing else lies."""


class GuestMemory:
    """Physical memory as an answer may use it: eight bytes at a time.

    Args:
        memory: the machine's.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory

    def read_u64(self, address: object) -> int:
        """The eight bytes at a physical address, as a number.

        Raises:
            ValueError: there is no RAM, or it is no multiple of 8.
        """
        return self._memory.read_u64(self._checked(address))

    def write_u64(self, address: object, value: object) -> None:
        """Store eight bytes.

        Raises:
            ValueError: there is no RAM, or it is no multiple of 8, or the value has more than 64 bits.
        """
        place = self._checked(address)
        if not isinstance(value, int) or not 0 <= value < 1 << 64:
            raise ValueError(f"value must be a number of 64 bits, not {value!r}")
        self._memory.write(place, value.to_bytes(8, "little"))

    def _checked(self, address: object) -> int:
        if isinstance(address, int) and not address % 8 and self._memory.contains(address, 8):
            return address
        shown = hex(address) if isinstance(address, int) else repr(address)
        raise ValueError(f"address must be a multiple of 8 with RAM behind it, not {shown}")


def _registers(cr3: int) -> Registers:
    return Registers(cr0=CR0.PE | CR0.PG, cr3=cr3, cr4=CR4.PAE, efer=EFER.LME | EFER.LMA | EFER.NXE)


def _cases(host_tables: int) -> tuple[tuple[str, int, int], ...]:
    low = TRAMPOLINE_BASE + prebuilt().symbols["pgtable"]
    return (
        ("an address in the trampoline's tables", low, 0x12345678),
        ("the first byte of a large page", low, 0xC0200000),
        ("the local APIC", low, 0xFEE00300),
        ("an address that the trampoline does not map", low, 0x1_4000_0000),
        ("an address in the upper half, in its tables", low, 0xFFFF_8880_0009_6000),
        ("the host's own tables, with pages of 4 KiB", host_tables, 0xFFFF_8880_0009_6198),
        ("the host's own tables, an entry with bit 63 set", host_tables, 0xFFFF_8880_0100_0010),
        ("the host's own tables, where nothing is mapped", host_tables, 0x7FFF_FFFF_F000),
        ("tables that map a large page elsewhere", _TABLES, 0x4060_0000 | 0x12_3450),
        ("tables that map a small page elsewhere", _TABLES, 0x4080_0000 | 7 << 12 | 0x678),
    )


def _make_tables(memory: PhysicalMemory) -> None:
    """Tables at ``_TABLES`` that map to other numbers, so that a bit on the wrong side of the offset shows."""
    pdpt, directory, table = (_TABLES + 0x1000 * number for number in (1, 2, 3))
    entries = ((_TABLES, pdpt | 7), (pdpt + 8, directory | 7), (directory + 8 * 3, 0x280_0000 | 0x183))
    for at, entry in (*entries, (directory + 8 * 4, table | 7), (table + 8 * 7, 0x234_4000 | 0x8000_0000_0000_0003)):
        memory.write(at, entry.to_bytes(8, "little"))


def _judge(answer: Answer, _seed: int) -> Verdict:
    machine = trampoline.offline().machine
    memory, cases = machine.memory, _cases(machine.registers(0).cr3)
    _make_tables(memory)
    for name, cr3, vaddr in cases:
        wanted = paging.walk(memory, _registers(cr3), vaddr)
        offer = Offer(GuestMemory(memory), ("read_u64",))
        try:
            given = answer.call("walk", Reference("memory"), cr3, vaddr, memory=offer)
        except AnswerError as error:
            if error.cause is None:
                raise
            return _strayed(error, answer, f'case "{name}": walk(memory, {cr3:#x}, {vaddr:#x})', wanted)
        if given != wanted.paddr or isinstance(given, bool):
            return _told(f'case "{name}": walk(memory, {cr3:#x}, {vaddr:#x})', vaddr, wanted, given)
    return Verdict(
        Outcome.PASSED,
        f"Your walk came to where the CPU comes in {len(cases)} cases, with pages of 2 MiB and of 4 KiB.",
        next_step="The stepper draws the same walk: give it the address 0xc0200000.",
    )


def _way(walked: PageWalk) -> str:
    return ", ".join(f"{name} {entry:#x} at {at:#x}" for name, at, entry in walked.entries)


def _strayed(error: AnswerError, answer: Answer, where: str, walked: PageWalk) -> Verdict:
    level, at, entry = walked.entries[-1]
    found = re.search(r"not (0x[0-9a-f]+)$", str(error))
    if level == "PD" and found and int(found[1], 16) >> 12 == (entry & _ADDRESS_2M) >> 12:
        return not_yet(
            f"The entry of the directory at {at:#x} is {entry:#x}: PS is set, so it maps a page of 2 MiB, and the"
            f" walk ends"
            f" there. Yours went on, and read at {found[1]}, as if a fourth table lay in that page.",
            f"{where}; {error.where(answer.source)}".removesuffix("; "),
            "Look at bit 7 of an entry of the directory before you take its address for that of a table.",
        )
    return not_yet(
        f"Your walk read where there is no table: {error}.",
        f"{where}; {error.where(answer.source)}".removesuffix("; "),
        f"The CPU's way: {_way(walked)}. An entry's address is the table's plus 8 times the index. And an entry"
        f" holds flags"
        " beside the address, below bit 12 and above bit 51.",
    )


def _told(where: str, vaddr: int, walked: PageWalk, given: object) -> Verdict:
    last, at, entry = walked.entries[-1]
    look = f"The CPU's way: {_way(walked)}."
    expected = "None" if walked.paddr is None else f"{walked.paddr:#x}"
    got = f"{given:#x}" if isinstance(given, int) and not isinstance(given, bool) else repr(given)[:80]
    if walked.paddr is None:
        return not_yet(
            f"Nothing is mapped there: the entry of the {last} at {at:#x} is {entry:#x}, and its bit 0 (P) is 0."
            f" The CPU"
            " would raise a page fault, and the rest of the entry counts for nothing.",
            where,
            f"Return None where an entry is not present. {look}",
            expected=expected,
            got=got,
        )
    large = last == "PD"
    if large and isinstance(given, int) and given == (entry & _ADDRESS_2M) | vaddr & 0xFFF:
        happened = (
            "PS is set in the entry of the directory: the walk ends there, and the offset in the page has 21 bits."
            " Yours"
            " has 12."
        )
    elif isinstance(given, int) and walked.paddr != given and given & ~0xFFF & (1 << 52) - 1 == walked.paddr & ~0xFFF:
        happened = "The page is right, and the rest is not: flags of the entry are no part of the address."
    elif large and isinstance(given, int) and given >> 21 == walked.paddr >> 21:
        happened = "The page is right, and the rest is not: below bit 21 stands the offset, and no flag is part of it."
    elif given is None:
        happened = "Your walk says that nothing is mapped there, and the CPU finds a page."
    else:
        happened = "Your walk came to another address than the CPU."
    return not_yet(happened, where, look, expected=expected, got=got)


walk = Exercise(
    "03.2",
    "A page walk",
    "python",
    _judge,
    (
        "In the picture, under 'Page walk', give the stepper an address: which bits of it choose the entry in each"
        " table?",
        "Nine bits for each table, from bit 39 down: 47:39, 38:30, 29:21, 20:12. The walk ends at an entry with PS"
        " (bit 7)"
        " in a directory, at one without P (bit 0), or behind the last table.",
        "A loop over the shifts 39, 30, 21, 12: read the entry, return None without P; at 21 with PS, and at 12, return"
        " the entry's address | the rest of vaddr; else go on with the entry's bits 51:12.",
    ),
    (
        Mistake("no large pages", ((" or (shift == 21 and entry & 0x80)", ""),), "Yours went on"),
        Mistake("twelve bits of a large page", (("(1 << shift) - 1", "0xFFF"),), "the offset in the page has 21 bits"),
        Mistake("the flags stay in", (("table & ~rest | vaddr & rest", "entry + (vaddr & rest)"),), "flags of"),
        Mistake(
            "P is not looked at",
            (("not entry & 1 or ", ""), (" if entry & 1 else None", "")),
            "its bit 0 (P) is 0",
        ),
        Mistake("entries of one byte", (("8 * (", "("),), "Your walk read where there is no table"),
        Mistake("ten bits of index", (("0x1FF", "0x3FF"),), "the CPU finds a page"),
        Mistake("bit 63 stays in", (("entry & 0x000FFFFFFFFFF000", "entry & ~0xFFF"),), "no part of the address"),
        Mistake("one bit too many of the offset", (("(1 << shift)", "(2 << shift)"),), "another address than the CPU"),
    ),
    alternatives=(
        "def walk(memory, cr3, vaddr):\n"
        "    mask, table = (1 << 52) - 4096, cr3\n"
        "    for level in (4, 3, 2, 1):\n"
        "        bits = 12 + 9 * (level - 1)\n"
        "        entry = memory.read_u64(table + ((vaddr >> bits) % 512) * 8)\n"
        "        if entry % 2 == 0:\n            return None\n"
        "        table = entry & mask\n"
        "        if level < 4 and entry >> 7 & 1 and level != 1:\n"
        "            return (table >> bits << bits) + vaddr % (1 << bits)\n"
        "    return table + vaddr % 4096\n",
    ),
)
