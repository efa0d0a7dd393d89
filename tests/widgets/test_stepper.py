"""The trampoline stepper over films made by hand: the way of CPU 1 from SIPI into 64-bit mode, and odd films."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mklab import trace
from mklab.recording import Description, Film, Line, Place, Source
from mklab.trace import Trace
from mklab.widgets.modes import mode_of
from mklab.widgets.palette import LIGHT
from mklab.widgets.picture import Picture, markup, svg, twin
from mklab.widgets.stepper import PICTURE
from mklab.widgets.steps import last_step
from mklab.widgets.view import View

BASE = 0x96000
GDT = (0x96198_0020, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
LISTING = """\
         0  b80100                   movw $1, %ax                                 start.S:1
         3  0f01f0                   lmsww %ax                                    start.S:2
         6  66ff2ee801               ljmpl *0x1e8                                 start.S:3
"""
SOURCE = "\tmovw\t$1, %ax\n\tlmsw\t%ax\t\t\t\t/* CR0.PE */\n\tljmpl\t*LOW(vector)\n"
DESCRIPTION = Description(
    [], [Place("trampoline", "trampoline", BASE, size=0x100)], [Source("trampoline", LISTING, {"start.S": SOURCE})]
)
MOV = Line(BASE, "b80100", "movw $1, %ax")
LMSW = Line(BASE + 3, "0f01f0", "lmsww %ax")
JUMP = Line(BASE + 6, "66ff2ee801", "ljmpl *0x1e8")
PADDING = Line(BASE + 11, "0000", "addb %al, (%bx, %si)")
THIRTY_TWO = Line(BASE + 0x5C, "b818000000", "movl $0x18, %eax")
D, L = 1 << 22, 1 << 21


def at_reset() -> dict[str, int]:
    """Registers as INIT and a SIPI with vector 0x96 leave them."""
    values = dict.fromkeys(("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "cr2", "cr3", "cr4"), 0)
    for name in ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"):
        values |= {name: 0, f"{name}.base": 0, f"{name}.limit": 0xFFFF, f"{name}.flags": 0x9300}
    values |= {
        f"{table}.{part}": 0xFFFF * (part == "limit") for table in ("gdtr", "idtr") for part in ("base", "limit")
    }
    values |= {f"r{number}": 0 for number in range(8, 16)}
    return {**values, "rflags": 2, "cr0": 0x10, "efer": 0, "shadow": 0, "cs": 0x9600, "cs.base": BASE}


def u64(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


class Story:
    """A film that is made step by step; CPU 1 is the one that goes the way."""

    def __init__(self, cpus: int = 2) -> None:
        self.film = Film(list(range(cpus)), [(0, 0x200000)], DESCRIPTION)
        self.trace = Trace()
        self.time = 100

    def event(self, kind: type[trace.Event], cpu: int | None = 1, **values: Any) -> None:
        self.trace.emit(kind, self.time, cpu, **values)
        self.film.extend([self.trace.events[-1]])

    def step(self, *lines: Line, count: int = 1, cpu: int = 1, writes: Any = (), **registers: int) -> None:
        self.time += count
        where = {1: {"gdt": BASE + 0x198, "rip": lines[0].linear}} if lines else {}
        changed = {name.replace("_", "."): value for name, value in registers.items()}
        self.film.look(
            cpu,
            time=self.time,
            registers={cpu: changed},
            lines={1: lines} if lines else {},
            where=where,
            writes=writes,
        )

    def view(self, **what: Any) -> View:
        return replace(View.at_end(self.film), cpu=1, **what)


@pytest.fixture
def story() -> Story:
    """Up to the SIPI, the trampoline's table loaded."""
    made = Story()
    made.event(trace.Sipi, from_cpu=0, vector=0x96)
    registers = {**at_reset(), "gdtr.base": BASE + 0x198, "gdtr.limit": 0x20}
    made.film.look(
        None,
        cause="start",
        time=100,
        registers={0: at_reset(), 1: registers},
        where={1: {"gdt": BASE + 0x198, "rip": BASE}},
        lines={1: [MOV, LMSW, JUMP, PADDING]},
        writes=[(BASE + 0x198, u64(*GDT))],
    )
    return made


def jumped(story: Story) -> View:
    """Just behind the far jump."""
    story.step(LMSW, JUMP, PADDING, rip=3, rax=1)
    story.step(JUMP, PADDING, rip=6, cr0=0x11)
    story.event(trace.ModeChange, mode="protected")
    story.step(THIRTY_TWO, rip=BASE + 0x5C, cs=8, cs_base=0, cs_limit=0xFFFFFFFF, cs_flags=0xCF9B00)
    return story.view()


JUMPED = """\
What did this step change, and in which mode is the CPU? At t=103, event 1 of 1.
CPU 1 executed ljmpl *0x1e8 at 0x96006: it loaded CS with selector 0x8, a 32-bit segment: this, not PE, made the code \
32-bit. It is in protected mode, 32-bit code. Next is long mode.

way: real yes, GDT yes, PE yes, far jump NEW, PAE no, CR3 no, LME no, PG no, long no, kernel no
mode: protected mode, 32-bit code; CR0.PE=1 CR4.PAE=0 EFER.LME=0 CR0.PG=0 EFER.LMA=0 CS.D=1 CS.L=0
next: long mode
  needs CR4.PAE = 1
  needs CR3 holds the address of a PML4
  needs EFER.LME = 1 (WRMSR)
  needs CR0.PG = 1, the last of the four

         0x96000  movw $1, %ax                       start.S:1  movw $1, %ax
         0x96003  lmsww %ax                          start.S:2  lmsw %ax /* CR0.PE */
step     0x96006  ljmpl *0x1e8                       start.S:3  ljmpl *LOW(vector)
next     0x9605c  movl $0x18, %eax

CHANGED CS         0x9600 -> 0x0008
CHANGED CS base    0x96000 -> 0x0
CHANGED CS limit   0xffff -> 0xffffffff
CHANGED CS.D       0 -> 1
CHANGED EIP        0x6 -> 0x9605c

GDT: GDTR 0x96198, limit 0x20
0x00  null             the CPU never reads it, whatever it holds
0x08  code, 32-bit     base 0x0, limit 0xffffffff, present, ring 0, RXA  <- CS
0x10  code, 64-bit     base 0x0, limit 0xffffffff, present, ring 0, RXA
0x18  data, 32-bit     base 0x0, limit 0xffffffff, present, ring 0, RWA

Page walk of the next instruction, 0x9605c: walk of 0x9605c
CR0.PG is 0, paging is off: linear address 0x9605c is physical address 0x9605c."""


def test_the_twin_says_all_of_it(story: Story) -> None:
    assert twin(PICTURE, jumped(story)) == JUMPED


def words_of(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


def test_the_drawing_says_it_too(story: Story) -> None:
    view = jumped(story)
    words = words_of(svg(PICTURE, view))
    for expected in ("far jump", "this step", "here", "protected, 32-bit", "CS.D", "was 0", "selected by CS", "step"):
        assert expected in words, expected
    assert "Entry 0x08, at 0x961a0: 0x00cf9b000000ffff" in words
    assert words[words.index("type") + 1] == "0xb"
    assert words[words.index("next") - 1] == "CR4.PAE"


def test_it_is_legible(story: Story, faults: Callable[[Picture, View], list[str]]) -> None:
    view = jumped(story)
    assert faults(PICTURE, view) == []
    assert faults(PICTURE, replace(view, address=0xFFFF_8000_0000_0000)) == []
    assert faults(PICTURE, paged(story, fault=False)) == []
    assert faults(PICTURE, paged(story, fault=True)) == []


def test_pe_alone_leaves_16_bit_code(story: Story) -> None:
    story.step(LMSW, JUMP, PADDING, rip=3, rax=1)
    story.step(JUMP, PADDING, rip=6, cr0=0x11)
    story.event(trace.ModeChange, mode="protected")
    view = story.view()
    assert PICTURE.answer(view) == (
        "CPU 1 executed lmsww %ax at 0x96003: it set CR0.PE: protected mode. CS keeps its base and 16-bit code until a "
        "far jump loads it. It is in protected mode, 16-bit code. Next is 32-bit code."
    )
    told = PICTURE.tell(view)
    assert "CHANGED CR0        0x10 -> 0x11  PE set" in told
    assert "PE NEW, far jump no" in told
    # A selector that the table does not have, because it is none.
    assert "CS = 0x9600 is no entry of it: CS keeps what it held, until it is loaded" in told
    # What lies behind the jump is not executed next.
    assert "addb" not in told


def paged(story: Story, *, fault: bool) -> View:
    """In compatibility mode: three tables, the last of which maps a page of 2 MiB."""
    entries = [(0x98000, 0x99007), (0x99000, 0x9A007), (0x9A000, 0 if fault else 0x183)]
    story.step(
        THIRTY_TWO,
        cr0=0x80000011,
        cr3=0x98000,
        cr4=0x20,
        efer=0x500,
        cs=8,
        cs_base=0,
        cs_flags=0xCF9B00,
        rip=BASE + 0x5C,
        writes=[(address, u64(entry)) for address, entry in entries],
    )
    return story.view()


def test_paging_begins_in_compatibility_mode(story: Story) -> None:
    view = paged(story, fault=False)
    told = PICTURE.tell(view)
    assert "PG NEW, long no" in told
    assert "mode: compatibility mode, 32-bit code" in told
    assert "CHANGED EFER       0x0 -> 0x500  LME LMA set" in told
    assert "CHANGED 0x98000    00 00 00 -> 07 90 09  3 B of memory" in told
    assert "PDPT  0x99000[0x0]  0x9a007  P R/W U/S  -> 0x9a000" in told
    assert told.endswith(
        "PD    0x9a000[0x0]  0x183  P R/W PS G  -> 0x0\n"
        "Physical address 0x9605c, in a page of 2 MiB: writable, executable, for the kernel only."
    )


def test_a_page_that_is_not_there_is_a_fault(story: Story) -> None:
    view = paged(story, fault=True)
    assert PICTURE.tell(view).endswith("FAULT Page fault: the PD entry is not present.")
    drawn = svg(PICTURE, view)
    assert LIGHT.role("alert") in drawn
    assert "not present: P is 0" in words_of(drawn)
    # Another address, another way.
    assert "walk of 0x40000000\nPML4  0x98000[0x0]" in PICTURE.tell(replace(view, address=0x40000000))
    assert "Page walk of the chosen address 0x40000000" in words_of(svg(PICTURE, replace(view, address=0x40000000)))


def test_the_jump_into_a_kernel_ends_the_way(story: Story) -> None:
    story.step(THIRTY_TWO, cr0=0x80000011, cr3=0x98000, cr4=0x20, efer=0x500, cs=16, cs_base=0, cs_flags=0xAF9B00)
    assert "64-bit code" in PICTURE.answer(story.view())
    assert PICTURE.answer(story.view()).endswith("It is in 64-bit mode. Next is a kernel.")
    story.event(trace.OwnerChange, owner="kernel 1", planned=None, address=0x100000)
    story.step(Line(0x100000, "fa", "cli"), rip=0x100000)
    assert PICTURE.answer(story.view()).endswith(
        "it jumped into the memory of kernel 1: the CPU belongs to it now. It is in 64-bit mode."
    )
    assert "long yes, kernel NEW" in PICTURE.tell(story.view())


MODES = [
    ({}, "real mode, 16-bit code"),
    ({"cr0": 0x11}, "protected mode, 16-bit code"),
    ({"cr0": 0x11, "cs.flags": D}, "protected mode, 32-bit code"),
    ({"cr0": 0x11, "cs.flags": D, "rflags": 1 << 17}, "virtual-8086 mode, 16-bit code"),
    ({"cr0": 0x80000011, "efer": 0x500, "cs.flags": D}, "compatibility mode, 32-bit code"),
    ({"cr0": 0x80000011, "efer": 0x500, "cs.flags": 0}, "compatibility mode, 16-bit code"),
    ({"cr0": 0x80000011, "efer": 0x500, "cs.flags": L}, "64-bit mode"),
    # L without long mode means nothing (SDM "Code-Segment Descriptor in 64-bit Mode").
    ({"cr0": 0x11, "cs.flags": L}, "protected mode, 16-bit code"),
]


@pytest.mark.parametrize(("values", "words"), MODES)
def test_modes(values: dict[str, int], words: str) -> None:
    assert mode_of({**at_reset(), "cs.flags": 0, **values}).words == words


MEANINGS = [
    ({"cr4": 0x20}, "it set CR4.PAE: page-table entries have 64 bits"),
    ({"cr3": 0x98000}, "it loaded CR3 with 0x98000, where the top page table lies: nobody reads it before CR0.PG"),
    ({"efer": 0x100}, "it set EFER.LME"),
    ({"gdtr_base": 0x961B8}, "it loaded GDTR, the table at 0x961b8."),
    ({"idtr_limit": 0}, "it loaded IDTR with an empty table: any exception or NMI now shuts the CPU down."),
    ({"ss": 0x18, "ss_base": 0}, "it loaded SS with 0x18: the stack's base is 0x0 now."),
    ({"cr0": 0x10}, "it cleared CR0.PE."),
]


@pytest.mark.parametrize(("values", "words"), MEANINGS)
def test_what_a_step_means(story: Story, values: dict[str, int], words: str) -> None:
    story.step(JUMP, rip=6, cr0=0x11)
    story.step(THIRTY_TWO, rip=7, **values)
    assert f"executed ljmpl *0x1e8 at 0x96006: {words}" in PICTURE.answer(story.view())
    if "cr0" in values:
        assert "CHANGED CR0        0x11 -> 0x10  PE cleared\n" in PICTURE.tell(story.view())
        # The hidden part of CS keeps its bits, but real mode does not look at them.
        story.step(THIRTY_TWO, cs_flags=0xCF9B00)
        assert "CS.D=0 CS.L=0" in PICTURE.tell(story.view())


def test_a_cpu_that_did_not_run_keeps_its_last_step(story: Story) -> None:
    before = PICTURE.tell(jumped(story))
    story.step(count=500, cpu=0, rip=0x77)
    assert PICTURE.tell(story.view()) == before
    assert last_step(story.view()).time == 103  # type: ignore[union-attr]
    assert "0x77" in PICTURE.tell(replace(story.view(), cpu=0))


def test_many_instructions_at_once(story: Story) -> None:
    story.step(
        JUMP, count=1000, rip=6, cr0=0x11, **{f"r{number}": number for number in range(8, 16)}, rbx=1, rcx=2, rdx=3
    )
    view = story.view()
    assert PICTURE.answer(view).startswith("CPU 1 executed 1,000 instructions up to t=1,100; among them it set CR0.PE")
    assert "1 more is in the text twin." in words_of(svg(PICTURE, view))
    assert PICTURE.tell(view).count("CHANGED") == 13
    # Which instructions they were, nobody saw.
    assert last_step(view).trail == []  # type: ignore[union-attr]


def test_init_takes_it_back(story: Story, faults: Callable[[Picture, View], list[str]]) -> None:
    jumped(story)
    story.event(trace.Init, from_cpu=0)
    story.step(cpu=1, count=0, **{name.replace(".", "_"): value for name, value in at_reset().items()})
    view = story.view()
    assert PICTURE.answer(view) == (
        "CPU 1: INIT reset it: it waits for a SIPI. It is in wait-for-SIPI. "
        "A SIPI: the CPU then starts at its vector times 4 KiB."
    )
    assert "way: real no, GDT no" in PICTURE.tell(view)
    assert faults(PICTURE, view) == []


def test_an_interrupt_is_not_the_next_instruction(story: Story) -> None:
    story.event(trace.Delivered, vector=0xEA, source="interrupt", rip=BASE, handler=0x4000)
    story.step(THIRTY_TWO, rip=0x4000)
    assert PICTURE.answer(story.view()).startswith("CPU 1: it entered the handler of vector 0xEA at 0x4000. It is in")
    assert "movw" not in PICTURE.tell(story.view())


def test_what_another_cpu_did_to_this_one(story: Story) -> None:
    story.film.look(0, time=101, registers={1: {"rip": 9}})
    assert PICTURE.answer(story.view()).startswith("CPU 1 did not run: something else changed its registers at t=101.")
    assert "step " not in PICTURE.tell(story.view())


def test_what_nobody_recorded(faults: Callable[[Picture, View], list[str]]) -> None:
    empty = View.at_end(Film([0, 1]))
    assert PICTURE.answer(empty) == "Nothing recorded yet. Press Step (S), or run the cell above."
    bare = Story()
    bare.event(trace.Sipi, from_cpu=0, vector=0x96)
    assert PICTURE.answer(bare.view()).startswith("Nobody looked at the machine up to this moment")
    bare.film.look(None, cause="start", registers={1: at_reset()})
    assert PICTURE.answer(bare.view()).startswith("Nothing is recorded of what CPU 1 did before this.")
    assert "code: not recorded" in PICTURE.tell(bare.view())
    for view in (empty, bare.view(), replace(bare.view(), cpu=0)):
        assert faults(PICTURE, view) == []
        markup(PICTURE, view, 600)


def test_a_table_of_any_size_stays_bounded(story: Story, faults: Callable[[Picture, View], list[str]]) -> None:
    table = u64(0, *[GDT[1]] * 511)
    story.step(JUMP, rip=6, cr0=0x11, gdtr_limit=0xFFFF, writes=[(BASE + 0x198, table)])
    view = story.view()
    assert "499 more entries are in the text twin" in words_of(svg(PICTURE, view))
    assert PICTURE.draw(view, LIGHT, 600).height < 2000
    assert faults(PICTURE, view) == []


def test_one_chooses_a_cpu_and_an_address() -> None:
    story = Story(64)
    story.film.look(None, cause="start", registers={cpu: at_reset() for cpu in range(64)})
    body = PICTURE.body(story.view(address=0x96000), 600)
    assert body.count("<option") == 64
    assert '<option value="1" selected>CPU 1: nobody, wait-for-SIPI</option>' in body
    assert 'data-act="cpu"' in body
    assert 'data-act="address"' in body
    assert 'value="0x96000"' in body


def test_no_engine_is_needed() -> None:
    code = (
        "import sys, mklab.widgets.stepper, mklab.widgets.apic; "
        "print('unicorn' in sys.modules, 'capstone' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
