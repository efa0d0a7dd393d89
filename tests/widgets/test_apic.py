"""The view of a local APIC over films made by hand: an interrupt behind each gate, and all its registers."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mklab import trace
from mklab.recording import Film
from mklab.trace import Trace
from mklab.widgets.apic import PICTURE
from mklab.widgets.palette import LIGHT
from mklab.widgets.picture import Picture, markup, svg, twin
from mklab.widgets.view import View

RESET: dict[str, Any] = {
    "mode": "xapic",
    "base": 0xFEE00800,
    **dict.fromkeys(("tpr", "ppr", "ldr", "esr", "errors", "icr_low", "icr_high", "icr_vector", "icr_destination"), 0),
    "dfr": 0xFFFFFFFF,
    "svr": 0x1FF,
    "irr": [],
    "isr": [],
    "icr_delivery": "fixed",
    "icr_shorthand": "none",
    "icr_logical": False,
    "icr_level": True,
    **{f"lvt.{name}": 1 << 16 for name in ("timer", "thermal", "performance", "lint0", "lint1", "error")},
}
SERVED: dict[str, Any] = {"isr": [0xEA], "ppr": 0xE0}


class Story:
    """A film of CPU 2, which runs; its APIC changes as it is told."""

    def __init__(self, ids: list[int] | None = None, **first: Any) -> None:
        self.film = Film(ids or [0, 1, 2, 3])
        self.trace = Trace()
        self.event(trace.Sipi, 1, from_cpu=0, vector=0x96)
        self.film.look(
            None, cause="start", registers={2: {"rflags": 0x202, "shadow": 0}}, apics={2: {**RESET, **first}}
        )

    def event(self, kind: type[trace.Event], time: int, **values: Any) -> None:
        self.trace.emit(kind, time, values.pop("cpu", 2), **values)
        self.film.extend([self.trace.events[-1]])

    def look(self, registers: dict[str, int] | None = None, **apic: Any) -> View:
        self.film.look(2, registers={2: registers or {}}, apics={2: apic})
        return self.view

    @property
    def view(self) -> View:
        return replace(View.at_end(self.film), cpu=2)


@pytest.fixture
def story() -> Story:
    """0xEA waits behind 0xEA: its handler has sent no EOI."""
    made = Story()
    made.event(trace.Accepted, 10, from_cpu=0, vector=0xEA, merged=False)
    made.event(trace.Delivered, 11, vector=0xEA, source="interrupt", rip=0x2000, handler=0x3000)
    made.look(**SERVED)
    made.event(trace.Accepted, 20, from_cpu=0, vector=0xEA, merged=False)
    made.event(trace.Lost, 22, from_cpu=1, vector=0x05, why="an illegal vector")
    made.look(irr=[0x20, 0xEA], esr=0x40, errors=0x20, tpr=0x20)
    return made


TOLD = """\
What waits in this CPU's local APIC, and why is it not delivered? At t=22, event 4 of 4.
0xEA waits on CPU 2, because class 14 is not above class 14 of PPR: 0xEA is in service since e2, t=11. No EOI has \
followed yet; one, a store to offset 0xB0, lets it pass. 1 more waits below it.

gates: 0xEA is set in IRR yes | SVR bit 8 is 1 yes | class 14 > 14 of PPR NO | RFLAGS.IF is 1 yes | \
no shadow of STI or MOV SS yes | the CPU runs yes

IRR pending    0x20 0xEA
CHANGED IRR 0x20 set
CHANGED IRR 0xEA set
ISR in service 0xEA
TMR level      none

TPR         0x20                class 2
CHANGED TPR 0x00 -> 0x20
PPR         0xe0                class 14, from ISR 0xEA
SVR         0x1ff               enabled, spurious vector 0xFF
ICR         0x00000000:00000000 nothing sent since its reset
ESR         0x40                receive illegal vector; a write to ESR will show: send illegal vector
CHANGED ESR 0x00 -> 0x40
ID          0x2                 IA32_APIC_BASE 0xfee00800: xAPIC mode, page at 0xfee00000
LDR         0x00000000          no logical id
DFR         0xffffffff          flat model
LVT timer   0x10000             masked

e1 t=10  0xEA set in IRR, from CPU 0
e2 t=11  0xEA delivered: it moved from IRR to ISR
e3 t=20  0xEA set in IRR, from CPU 0
e4 t=22  0x05, from CPU 1 LOST: an illegal vector"""


def words_of(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


def test_the_twin_says_all_of_it(story: Story) -> None:
    assert twin(PICTURE, story.view) == TOLD


def test_the_drawing_says_it_too(story: Story) -> None:
    drawn = svg(PICTURE, story.view)
    words = words_of(drawn)
    for expected in ("Priority?", "0xEA", "PPR 0xe0", "TPR 0x20", "was 0x00", "waits", "0x20 new, 0xEA new"):
        assert expected in words, expected
    # Two crosses, each with words: the gate that is shut, and what was lost.
    assert drawn.count(f'stroke="{LIGHT.role("alert")}"') == 5
    assert "class 14 &gt; 14 of" in " ".join(words)


def test_it_is_legible(story: Story, faults: Callable[[Picture, View], list[str]]) -> None:
    assert faults(PICTURE, story.view) == []
    full = story.look(irr=list(range(16, 256)), isr=list(range(16, 256)), ppr=0xF0)
    assert faults(PICTURE, full) == []
    named = " ".join(words_of(svg(PICTURE, full)))
    assert "0x10 new, 0x11 new" in named
    assert named.count("and 220 more") == 2
    assert len(svg(PICTURE, full)) < 200_000


GATES = [
    ({}, {}, "Every gate is open to 0x31: CPU 2 takes it before its next instruction."),
    ({}, {"svr": 0xFF}, "because the local APIC is software-disabled. Setting bit 8 of SVR enables it."),
    (
        {},
        SERVED,
        "because class 3 is not above class 14 of PPR: 0xEA is in service. No EOI has followed yet; one, a store",
    ),
    (
        {},
        {"tpr": 0x30, "ppr": 0x30},
        "because class 3 is not above class 3 of PPR, which TPR sets. A lower TPR (or CR8)",
    ),
    # TPR and the one in service in one class: the EOI alone would not do.
    ({}, {"isr": [0x35], "tpr": 0x30, "ppr": 0x30}, "because class 3 is not above class 3 of PPR, which TPR sets."),
    ({"rflags": 2}, {}, "because RFLAGS.IF is 0. STI, or a POPF or IRET that sets IF, lets it pass."),
    ({"shadow": 1}, {}, "because the instruction behind STI or MOV SS is executed first."),
]


@pytest.mark.parametrize(("registers", "apic", "words"), GATES)
def test_each_gate_has_its_why(registers: dict[str, int], apic: dict[str, Any], words: str) -> None:
    view = Story().look(registers, irr=[0x31], **apic)
    answer = PICTURE.answer(view)
    assert words in answer
    shut = words.startswith("because")
    assert answer.startswith("0x31 waits on CPU 2, ") == shut
    told = PICTURE.tell(view).splitlines()[0]
    assert (" NO" in told) == shut
    assert ("before the next instruction" in " ".join(words_of(PICTURE.draw(view, LIGHT, 1240).content))) == (not shut)


def test_a_cpu_that_waits_for_a_sipi_takes_none() -> None:
    story = Story()
    story.event(trace.Init, 5, from_cpu=0)
    view = story.look(irr=[0x31])
    assert "because the CPU waits for a SIPI. Only a CPU that runs or is halted takes interrupts." in PICTURE.answer(
        view
    )
    assert "INIT, from CPU 0: IRR, ISR and the registers were reset" in PICTURE.tell(view)


def test_nothing_waits() -> None:
    story = Story(isr=[0x20, 0xEA], ppr=0xE0)
    assert PICTURE.answer(story.view) == "Nothing waits: no bit of IRR is set on CPU 2. 0x20 and 0xEA are in service."
    assert PICTURE.tell(story.view).startswith("gates: nothing is pending\n")


def test_x2apic(faults: Callable[[Picture, View], list[str]]) -> None:
    story = Story([0, 1, 300, 3], mode="x2apic", base=0xFEE00C00)
    view = story.look(irr=[0x31], icr_low=0xEA, icr_high=0x12D, icr_vector=0xEA, icr_destination=0x12D, **SERVED)
    told = PICTURE.tell(view)
    assert "ICR         0x0000012d:000000ea fixed, vector 0xEA, to APIC 0x12d" in told
    assert "ID          0x12c               IA32_APIC_BASE 0xfee00c00: x2APIC mode, MSRs 0x800 to 0x8FF" in told
    # SDM "Logical x2APIC ID": cluster is id bits 4 to 19, and a bit for id bits 0 to 3.
    assert "LDR         0x00121000          cluster 0x12, CPU 12 in it; from the id" in told
    assert "DFR" not in told
    assert "a store to MSR 0x80B, lets it pass" in PICTURE.answer(view)
    assert faults(PICTURE, view) == []


COMMANDS = [
    ({"icr_low": 0x4500, "icr_delivery": "init", "icr_destination": 3}, "INIT, to APIC 0x3"),
    ({"icr_low": 0x8500, "icr_delivery": "init", "icr_level": False}, "INIT level de-assert, to APIC 0x0"),
    ({"icr_low": 0x4696, "icr_delivery": "sipi", "icr_vector": 0x96}, "SIPI 0x96: start at 0x96000, to APIC 0x0"),
    ({"icr_low": 0xC4EA, "icr_vector": 0xEA, "icr_shorthand": "all-but-self"}, "vector 0xEA, to every APIC but itself"),
    ({"icr_low": 0xEA, "icr_vector": 0xEA, "icr_destination": 0xFF}, "fixed, vector 0xEA, to every APIC"),
    ({"icr_low": 0x8EA, "icr_vector": 0xEA, "icr_logical": True, "icr_destination": 3}, "to logical destination 0x3"),
    ({"icr_low": 0x400, "icr_delivery": "nmi"}, "NMI, to APIC 0x0"),
]


@pytest.mark.parametrize(("icr", "words"), COMMANDS)
def test_icr_in_words(icr: dict[str, Any], words: str) -> None:
    (line,) = [one for one in PICTURE.tell(Story(**icr).view).splitlines() if one.startswith("ICR ")]
    assert line.endswith(words)


def test_the_timer() -> None:
    periodic: dict[str, Any] = {"lvt.timer": 0x200EC, "deadline": 123456}
    stopped: dict[str, Any] = {"lvt.timer": 0xEC, "deadline": None, "lvt.error": 0xFE}
    story = Story(**periodic)
    assert "LVT timer   0x200ec             periodic, vector 0xEC, next at t=123,456" in PICTURE.tell(story.view)
    assert "LVT error" not in PICTURE.tell(story.view)
    view = story.look(**stopped)
    assert "one-shot, vector 0xEC, stopped" in PICTURE.tell(view)
    assert "CHANGED LVT timer 0x200ec -> 0x000ec" in PICTURE.tell(view)
    assert "LVT error   0x000fe             vector 0xFE" in PICTURE.tell(view)


def test_one_that_is_switched_off_takes_nothing() -> None:
    view = Story(mode="disabled", base=0xFEE00000).view
    assert PICTURE.answer(view).startswith("The local APIC of CPU 2 is switched off: bit 11 of IA32_APIC_BASE is 0.")
    assert "switched off" in PICTURE.tell(view)


def test_what_changed_at_another_look_is_not_new(story: Story) -> None:
    story.film.look(0)
    assert "CHANGED" not in PICTURE.tell(story.view)
    cleared = story.look(irr=[0xEA])
    assert "CHANGED IRR 0x20 cleared" in PICTURE.tell(cleared)
    assert "0xEA, 0x20 gone" in words_of(svg(PICTURE, cleared))


def test_an_event_can_be_selected(story: Story) -> None:
    body = PICTURE.body(replace(story.view, selected=2), 600)
    assert [int(one) for one in re.findall(r'<g data-event="(\d+)"', body)] == [1, 2, 3, 4]
    chosen = body[body.index('<g data-event="2"') : body.index('<g data-event="3"')]
    assert "var(--mk-focus)" in chosen
    assert body.count("var(--mk-focus)") == 1
    assert 'aria-label="event 2, t=11: 0xEA delivered: it moved from IRR to ISR"' in body


def test_only_the_last_events_are_looked_through(story: Story) -> None:
    for time in range(30, 2030):
        story.event(trace.Printk, time, cpu=0, kernel="host", text="hello")
    assert "e4 t=22" not in PICTURE.tell(story.view)
    assert "None of its events is among the last 2,000." in words_of(svg(PICTURE, story.view))
    assert "0xEA is in service. No EOI" in PICTURE.answer(story.view)


def test_the_choice_says_where_something_waits(story: Story) -> None:
    body = PICTURE.body(story.view, 600)
    assert '<option value="2" selected>CPU 2: 0xEA waits, 0xEA in service</option>' in body
    assert '<option value="0">CPU 0: not recorded</option>' in body


def test_what_nobody_recorded(faults: Callable[[Picture, View], list[str]]) -> None:
    empty = View.at_end(Film([0, 1]))
    assert PICTURE.answer(empty) == "Nothing recorded yet. Press Step (S), or run the cell above."
    other = replace(Story().view, cpu=0)
    assert PICTURE.answer(other).startswith("Nobody looked at the machine up to this moment")
    for view in (empty, other):
        assert faults(PICTURE, view) == []
        assert markup(PICTURE, view, 600)
