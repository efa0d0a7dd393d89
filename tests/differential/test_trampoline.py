"""The trampoline on the model and in QEMU: the same bytes, started in the same way, leave the same CPU and memory.

Unicorn descends from QEMU, so the two may share an error. What they leave is therefore held against a third source as
well: a Linux with RFC v1's patches, observed under QEMU, for the registers, and the SDM, for the memory.
"""

import functools
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab import guest
from tests.differential.experiment import BOOT_PARAMS, TRAMPOLINE, Experiment, Outcome, run_in_qemu, run_on_model

LOW, HIGH, TOO_HIGH = 0x2000000, 5 << 30, 512 << 30
SYMBOLS = guest.trampoline().symbols
PML4 = TRAMPOLINE + 0x2000
PDPT, DIRECTORIES, EXTRA_DIRECTORY = PML4 + 0x1000, PML4 + 0x2000, PML4 + 0x6000

# SDM "4-Level Paging".
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = (1 << bit for bit in (0, 1, 2, 5, 6, 7, 8))
TABLE = PRESENT | WRITABLE | USER
PAGE = PRESENT | WRITABLE | LARGE | GLOBAL

OBSERVED = dict.fromkeys(("rbx", "rbp", "r9", "r10", "r11", "r12", "r13"), 0)
OBSERVED |= {"rsp": 0x1204, "rsi": BOOT_PARAMS, "r15": BOOT_PARAMS, "r8": 0xFFFFFFFF_00000000, "rflags": 0x46}
OBSERVED |= {"cr0": 0x80000011, "cr2": 0, "cr3": 0x98000, "cr4": 0x20, "efer": 0x500, "dr6": 0xFFFF0FF0, "dr7": 0x400}
OBSERVED |= {"cs": 0x10, "ds": 0x18, "es": 0x18, "ss": 0x18, "fs": 0, "gs": 0, "tr": 0, "ldtr": 0}
OBSERVED |= {"gdtr": 0x961B8 << 16 | 0x30, "idtr": 0}
"""What RFC v1's trampoline at 0x96000 hands to a kernel."""
OBSERVED_BY_ENTRY = {
    LOW: {"rdi": 0x9E000, "rcx": 0xC0000080, "rdx": 0, "rax": 0x80000001},
    # After the loop that fills the extra directory; from the code, since no Linux was seen with such an entry.
    HIGH: {"rdi": 0x9F000, "rcx": 0, "rdx": 0x9E007, "rax": 0x1_80000183},
}
STRAY = {0x11FC: 0x00096104, 0x1200: 0x10}
"""Defect 3: the two pushes through a stack pointer that is an offset no more."""


@pytest.fixture(scope="module")
def in_qemu(require_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Outcome]:
    """A function that takes an entry and returns what QEMU makes of it."""
    qemu = require_tool("qemu-system-x86_64")
    return functools.cache(lambda entry: run_in_qemu(qemu, experiment(entry), tmp_path_factory.mktemp("qemu")))


def experiment(entry: int, old: bytes = b"", new: bytes = b"") -> Experiment:
    """The trampoline as it is shipped, or with ``new`` in the one place where it has ``old``."""
    blob = guest.trampoline().data
    assert not old or blob.count(old) == 1
    return Experiment(entry, blob.replace(old, new) if old else blob)


def expected_low_memory(entry: int) -> bytes:
    """Low memory as it should be after a start at ``entry``, computed from the layout and from the SDM."""
    memory = bytearray(experiment(entry).low_memory)

    def store(address: int, *values: int, form: str = "Q") -> None:
        struct.pack_into(f"<{len(values)}{form}", memory, address, *values)

    for address, value in STRAY.items():
        store(address, value, form="I")
    store(TRAMPOLINE + SYMBOLS["boot_params_phys_addr"], BOOT_PARAMS, entry)
    store(TRAMPOLINE + SYMBOLS["trampoline_status_bsp"], 0xA5A5A5A5, form="I")
    for name in ("tgdt", "gdt64"):
        store(TRAMPOLINE + SYMBOLS[name] + 2, TRAMPOLINE + SYMBOLS[name], form="I")
    for name in ("startup_32", "startup_64"):
        store(TRAMPOLINE + SYMBOLS[f"{name}_vector"], TRAMPOLINE + SYMBOLS[name], form="I")

    # The data segments came from tgdt, where they are marked as accessed; for gdt64's code segment see the next test.
    memory[PML4:EXTRA_DIRECTORY] = bytes(EXTRA_DIRECTORY - PML4)
    store(PML4, PDPT | TABLE | ACCESSED)
    store(PDPT, *(DIRECTORIES + 0x1000 * i | TABLE for i in range(4)))
    store(PDPT, DIRECTORIES | TABLE | ACCESSED)
    pages = [number << 21 | PAGE for number in range(2048)]
    pages[0] |= ACCESSED  # the trampoline's own page
    pages[LOW >> 21] |= ACCESSED | DIRTY  # the record
    if entry == HIGH:
        pages[0] |= DIRTY  # it stored into the tables below
        store(PDPT + 8 * (entry >> 30), EXTRA_DIRECTORY | TABLE | ACCESSED)
        extra = [(entry >> 21) + number << 21 | PAGE for number in range(512)]
        extra[0] |= ACCESSED  # the payload's code
        store(EXTRA_DIRECTORY, *extra)
    store(DIRECTORIES, *pages)
    return bytes(memory)


def differences(one: bytes, other: bytes) -> list[str]:
    """The doublewords in which two memories differ, for a person to read."""
    return [
        f"{at:#x}: {one[at : at + 4].hex()} and {other[at : at + 4].hex()}"
        for at in range(0, len(one), 4)
        if one[at : at + 4] != other[at : at + 4]
    ]


@pytest.mark.parametrize("entry", [LOW, HIGH], ids=["low", "high"])
def test_both_leave_the_same(entry: int, in_qemu: Callable[[int], Outcome]) -> None:
    model, qemu = run_on_model(experiment(entry)), in_qemu(entry)
    assert (model.ended, qemu.ended) == ("done", "done")
    assert model.record == qemu.record
    assert model.segments == qemu.segments
    assert differences(model.low, qemu.low) == []


@pytest.mark.parametrize("entry", [LOW, HIGH], ids=["low", "high"])
def test_the_model_leaves_what_was_observed_and_what_the_manual_says(entry: int) -> None:
    model = run_on_model(experiment(entry))
    expected = OBSERVED | OBSERVED_BY_ENTRY[entry] | {"r14": entry}
    assert {name: model.record[name] for name in expected} == expected
    assert differences(model.low, expected_low_memory(entry)) == []


def test_a_far_return_leaves_a_code_segment_unaccessed(in_qemu: Callable[[int], Outcome]) -> None:
    """A departure from hardware, which marks what it loads into CS (SDM "Code- and Data-Segment Descriptor Types")."""
    descriptor = TRAMPOLINE + SYMBOLS["gdt64"] + 0x10
    for outcome in (run_on_model(experiment(LOW)), in_qemu(LOW)):
        assert outcome.low[descriptor + 5] == 0x9A, "on hardware 0x9b"
        assert outcome.segments["cs"] == (0x10, 0, 0xFFFFFFFF, 0xA09A00)


def test_an_entry_from_512_gib_on_overwrites_the_tables(in_qemu: Callable[[int], Outcome]) -> None:
    """Defects 7 and 9: the first directory is hit, and the fault that follows finds no handler.

    When the fault comes is left to the TLB, which may or may not still hold the page that the trampoline runs in.
    """
    model, qemu = run_on_model(experiment(TOO_HIGH)), in_qemu(TOO_HIGH)
    assert (model.ended, qemu.ended) == ("reset", "reset")
    assert differences(model.low, qemu.low) == []
    (hit,) = struct.unpack_from("<Q", model.low, DIRECTORIES)
    assert hit & ~ACCESSED == EXTRA_DIRECTORY | TABLE


@pytest.mark.parametrize(
    ("old", "new", "seen_in"),
    [
        # movl $0x183, %eax: pages without the global bit.
        pytest.param(b"\xb8\x83\x01\x00\x00", b"\xb8\x83\x00\x00\x00", "low", id="tables"),
        # movw $0x1204, %sp
        pytest.param(b"\xbc\x04\x12", b"\xbc\x04\x11", "record", id="stack"),
        # tgdt's data segment, one page shorter: 64-bit code cannot see it, the hidden part of DS can.
        pytest.param(b"\xff\xff\0\0\0\x93\xcf\0", b"\xfe\xff\0\0\0\x93\xcf\0", "segments", id="segments"),
    ],
)
def test_another_trampoline_is_seen(old: bytes, new: bytes, seen_in: str, in_qemu: Callable[[int], Outcome]) -> None:
    """The comparison can fail: the model is given other bytes than QEMU."""
    model, qemu = run_on_model(experiment(LOW, old, new)), in_qemu(LOW)
    assert model.ended == "done"
    assert getattr(model, seen_in) != getattr(qemu, seen_in)
