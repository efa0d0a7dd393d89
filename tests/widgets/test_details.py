"""The details of an event: every kind is told, decoded, and drawn."""

import subprocess
import sys
import typing
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mklab import trace
from mklab.recording import Description, Film, Place
from mklab.structs import Field, Struct
from mklab.trace import Event
from mklab.widgets import bits_words, details
from mklab.widgets.event_words import told
from mklab.widgets.palette import LIGHT
from mklab.widgets.picture import markup, svg, twin
from mklab.widgets.view import View

PICTURE = details.PICTURE

LOST = """\
What exactly happened, and why? At t=18,000, event 64 of 64.
e54, t=13,500: m4 to CPU 3, lost. Slot 3: type 1, 5 B. The local APIC of CPU 3, which waits for a SIPI, is \
software-disabled (SVR=0xff). Its bytes stay in the slot, unread.

event 54 of 64, IpiSent, selected
on              CPU 2 (kernel 1, long)
from, to        CPU 2 (kernel 1) to CPU 3 (nobody)
message         type 1, 5 B, slot 3 at 0x1ff8330
sender_cpu      2, as the sender says
payload         6c 6f 73 74 3f
as text         "lost?"
sent            e54, t=13,500
interrupt       LOST, IRR unchanged: the local APIC of CPU 3, which waits for a SIPI, is software-disabled (SVR=0xff)
bytes           still in the slot; nobody is told to read them"""


def at(film: Film, event: int) -> View:
    return replace(View.at_end(film), selected=event)


def facts(film: Film, event: int) -> dict[str, str]:
    return {fact.label: fact.words for fact in told(at(film, event), event).facts if fact.label}


def test_a_lost_message_is_told_with_all_that_became_of_it(told_film: Film) -> None:
    assert twin(PICTURE, at(told_film, 54)) == LOST


def test_bytes_and_interrupt_are_told_apart(told_film: Film) -> None:
    overwritten = facts(told_film, 45)
    assert overwritten["delivered"] == "e51, 900 instructions later"
    assert overwritten["bytes"] == "OVERWRITTEN before they were read, e49: one slot, no full flag"
    merged = facts(told_film, 48)
    assert merged["accepted"] == "e50, merged: the IRR bit was set already"
    assert merged["bytes"] == "read whole, e52"


def test_an_event_later_than_the_moment_shown_is_told_as_it_was_then(told_film: Film) -> None:
    later = PICTURE.tell(replace(View.at_event(told_film, 20), selected=46))
    assert "later than the moment shown" in later
    assert 'as text         "one"' in later
    assert "OVERWRITTEN" not in later


def test_stages_lead_to_their_events(told_film: Film) -> None:
    page = markup(PICTURE, at(told_film, 38), 600)
    for event in (40, 42, 43, 44):
        assert f'data-event="{event}"' in page
    assert 'data-event="38"' not in page


def test_every_event_of_the_story_is_told_and_drawn(told_film: Film) -> None:
    for event in range(told_film.count):
        view = at(told_film, event)
        ET.fromstring(svg(PICTURE, view))
        ET.fromstring(f"<div>{PICTURE.body(view, 480)}</div>")
        assert twin(PICTURE, view).isascii()


VALUES: dict[type, Any] = {int: 14, str: "real", bool: True, list: [1], dict: {"cpu": 1}}


@pytest.mark.parametrize("kind", sorted(Event.kinds))
def test_every_kind_of_event_is_told(kind: str, written: Callable[..., Film]) -> None:
    """Each by itself, with values that fit its fields: none comes without words."""
    cls = Event.kinds[kind]
    hints = {name: getattr(annotation, "__origin__", annotation) for name, annotation in _hints(cls).items()}
    values = {name: VALUES.get(hint, 14) for name, hint in hints.items() if name not in ("seq", "time", "cpu")}
    values |= {name: "6869" for name in values if name == "payload"}
    film = written((cls, 5, 1, values))
    known = told(at(film, 0), 0)
    assert known.head
    assert any(fact.label == "on" for fact in known.facts)
    ET.fromstring(svg(PICTURE, at(film, 0)))


def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {
        name: next((arg for arg in typing.get_args(hint) if arg is not type(None)), hint)
        if type(None) in typing.get_args(hint)
        else hint
        for name, hint in hints.items()
        if name != "kinds"
    }


def test_the_newest_event_that_is_no_turn_is_shown_by_default(written: Callable[..., Film]) -> None:
    turn = (trace.Slice, 9, 0, {"budget": 10, "executed": 10, "stop": "budget", "registers": "00"})
    film = written((trace.Halted, 3, 1, {"interruptible": False}), turn)
    assert PICTURE.answer(View.at_end(film)) == (
        "e0, t=3: CPU 1 halts. It executed HLT. RFLAGS.IF is 0: only NMI and INIT wake it."
    )
    assert PICTURE.answer(View.at_event(film, -1)) == "Nothing recorded yet. Press Step (S), or run the cell above."
    assert "later than the moment shown" in PICTURE.tell(replace(View.at_event(film, 0), selected=1))


def test_the_icr_words_are_decoded(written: Callable[..., Film]) -> None:
    sent = {"vector": 0x96, "delivery": "sipi", "shorthand": "none", "level": True, "targets": [2]}
    film = written(
        (trace.ApicWrite, 1, 0, {"offset": 0x310, "value": 2 << 24}),
        (trace.ApicWrite, 2, 0, {"offset": 0x300, "value": 0x696}),
        (trace.IpiSent, 2, 0, sent),
        (trace.Sipi, 2, 2, {"from_cpu": 0, "vector": 0x96}),
    )
    assert facts(film, 2)["ICR"] == "0x02000000 0x00000696"
    assert "to APIC id 2; start-up (SIPI), vector 0x96: start at 0x96000, physical destination" in PICTURE.tell(
        at(film, 2)
    )
    assert facts(film, 1)["so"] == "e2: an IPI is sent"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        # SDM "Interrupt Command Register (ICR)"; Linux writes these in wakeup_secondary_cpu_via_init and for 0xEA.
        (0xC500, "INIT, physical destination, level, assert"),
        (0x8500, "INIT, physical destination, level, de-assert"),
        (0xEA, "fixed, vector 0xea, physical destination"),
        (0xC0400, "NMI, physical destination, to all but itself (shorthand)"),
        (0x8FD, "fixed, vector 0xfd, logical destination"),
    ],
)
def test_icr_low(value: int, words: str) -> None:
    assert bits_words.icr_low(value) == words


@pytest.mark.parametrize(
    ("vector", "error", "words"),
    [
        (14, 2, "no page is mapped there, a write, supervisor mode"),
        (14, 0x15, "the page forbids it, a read, user mode, fetching an instruction"),
        (13, 0x752, "selector 0x750 in the IDT"),
        (13, 0, "no selector is to blame"),
    ],
)
def test_error_codes(vector: int, error: int, words: str) -> None:
    assert bits_words.error_code(vector, error) == words


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (0xF0, 0x1FF, ("SVR", "APIC enabled; spurious vector 0xff")),
        (0xF0, 0xFF, ("SVR", "APIC software-disabled: it loses what it is sent; spurious vector 0xff")),
        (0x80, 0xE0, ("TPR", "class 14: interrupts of this class and below wait")),
        (0x320, 0x200EC, ("LVT timer", "vector 0xec, periodic, not masked")),
        (0x300, 0x2_000000EA, ("ICR", "fixed, vector 0xea, physical destination; destination 0x2")),
        (0x44, 1, ("a register without a name", "")),
    ],
)
def test_apic_registers(offset: int, value: int, words: tuple[str, str]) -> None:
    assert bits_words.apic_write(offset, value) == words


def test_a_fault_says_where_and_why(told_film: Film) -> None:
    known = told(at(told_film, 62), 62)
    assert known.trouble
    assert known.why.endswith("reached for 0xdead000: no page is mapped there, a write, supervisor mode.")


KIMAGE = Struct("kimage", Field("next", "u64"), Field("prev", "u64"), Field("start", "u64"))


def link(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def test_a_change_of_the_list_is_told_before_and_after() -> None:
    """An image joins kexec_image_list between two looks; then somebody spoils its pointer."""
    place = Place("kexec_image_list", "kimages", 0x1000, kernel="host", struct="kimage", link="next")
    film = Film([0], [(0, 0x4000)], Description([KIMAGE], [place]))
    film.look(writes=[(0x1000, link(0x1000, 0x1000))])
    step = {"function": "kexec_load", "step": "install", "detail": "kernel 1 is in kexec_image_list"}
    film.extend([trace.Step(0, 5, 0, **step)])
    film.look(0, writes=[(0x1000, link(0x2000, 0x2000)), (0x2000, link(0x1000, 0x1000, 0x200000))])
    film.extend([trace.Input(1, 6, None, "poke", {"paddr": 0x2000, "size": 8})])
    film.look(writes=[(0x2000, link(0x999999))])
    first = PICTURE.tell(at(film, 0))
    assert "list before     empty\nlist now        0x2000 (entry 0x200000)\n" in first
    assert "bytes changed   0x1001, 9 B in kexec_image_list of host\n" in first
    assert "source          kernel/kexec.c and kernel/kexec_core.c" in first
    assert "CORRUPT: next leads to 0x999999, where there is no memory" in PICTURE.tell(at(film, 1))
    ET.fromstring(svg(PICTURE, at(film, 1)))


def test_long_values_are_broken_not_cut(written: Callable[..., Film]) -> None:
    film = written((trace.Printk, 1, 0, {"kernel": "host", "text": "x" * 400}))
    page = PICTURE.body(at(film, 0), 480)
    assert page.count("x" * 20) >= 400 // 60
    assert sum(len(part) for part in page.replace("<", ">").split(">") if set(part) == {"x"}) == 400


def test_words_are_not_broken_where_a_line_can_end(written: Callable[..., Film]) -> None:
    step = {"function": "work", "step": "wait", "detail": "it is still illicit; till it will, it is ill"}
    view = at(written((trace.Step, 1, 0, step)), 0)
    whole = set(" ".join([PICTURE.tell(view), PICTURE.answer(view), "e0 work: wait"]).split())
    for width in range(480, 900, 20):
        root = ET.fromstring(f"<svg>{PICTURE.draw(view, LIGHT, width).content}</svg>")
        shown = [word for text in root.iter("text") for word in (text.text or "").split()]
        assert not [word for word in shown if word not in whole]


def test_the_module_needs_no_engine() -> None:
    modules = "mklab.widgets.details, mklab.widgets.consoles, mklab.widgets.sequence"
    code = f"import sys, {modules}; print('unicorn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
