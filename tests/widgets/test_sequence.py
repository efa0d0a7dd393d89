"""The drawing of the message flow: legible, within its width, and what it shows of each fate."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mklab.recording import Film
from mklab.trace import Accepted, Delivered, Eoi, IpiSent, Message, MessageTaken, OwnerChange
from mklab.widgets import sequence
from mklab.widgets.palette import DARK, LIGHT, LIVE, Palette
from mklab.widgets.picture import markup, svg, twin
from mklab.widgets.sequence_lanes import MOST_ROWS, Lane, window
from mklab.widgets.svg import width_of
from mklab.widgets.view import View

PICTURE = sequence.PICTURE
SVG = "{http://www.w3.org/2000/svg}"


def drawn(view: View, palette: Palette = LIGHT, width: int = 600) -> ET.Element:
    """The drawing as a tree."""
    drawing = PICTURE.draw(view, palette, width)
    return ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg" height="{drawing.height}">{drawing.content}</svg>')


def words(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def selectable(root: ET.Element) -> list[ET.Element]:
    return [group for group in root.iter(f"{SVG}g") if group.get("data-event")]


def exchange(count: int, cpus: int) -> Iterator[tuple[Any, ...]]:
    """Messages round the CPUs, each delivered at once."""
    for cpu in range(cpus):
        owner = "host" if cpu < cpus // 2 else "kernel 1"
        yield (OwnerChange, 0, cpu, {"owner": owner, "planned": None, "address": 0x1000})
    for number in range(count):
        a, b = number % cpus, (number + 1) % cpus
        values = {"vector": 0xEA, "delivery": "fixed", "shorthand": "none", "level": True, "targets": [b]}
        slot = {"slot": 0x1000 * (b + 1), "sender": a, "type": 1, "size": 2, "payload": "6869"}
        yield (IpiSent, number, a, values)
        yield (Message, number, a, {"to_cpu": b, "vector": 0xEA, **slot})
        yield (Accepted, number, b, {"from_cpu": a, "vector": 0xEA, "merged": False})
        yield (Delivered, number, b, {"vector": 0xEA, "source": "interrupt", "rip": 0, "handler": 0x20})
        yield (MessageTaken, number, b, slot)
        yield (Eoi, number, b, {"vector": 0xEA})


@pytest.mark.parametrize("width", [480, 600, 1240])
def test_every_moment_is_drawn_within_its_width(told_film: Film, width: int) -> None:
    for event in range(-1, told_film.count):
        root = drawn(View.at_event(told_film, event), LIGHT, width)
        for text in root.iter(f"{SVG}text"):
            size, x, wide = int(text.get("font-size", "0")), float(text.get("x", "0")), text.text or ""
            assert size >= 11
            anchor = {"middle": 0.5, "end": 1.0}.get(text.get("text-anchor", ""), 0.0)
            left = x - anchor * width_of(wide, size)
            assert left >= -2
            assert left + width_of(wide, size) <= width + 2, wide
            assert float(text.get("y", "0")) <= float(root.get("height", "0"))


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_all_colours_are_the_palettes(told_film: Film, palette: Palette) -> None:
    picture = svg(PICTURE, View.at_end(told_film), palette)
    roles = ("ink", "muted", "alert", "good", "focus", "axis", "paper", "panel", "rule")
    known = {palette.role(role) for role in roles}
    known |= {colour(owner) for owner in ("host", "kernel 1", None) for colour in (palette.line, palette.fill)}
    assert set(re.findall(r'(?:fill|stroke)="(#\w+)"', picture)) <= known
    assert set(re.findall(r'(?:fill|stroke)="([^#"]*)"', picture)) == {"none"}


def test_on_a_page_colours_follow_the_theme(told_film: Film) -> None:
    page = markup(PICTURE, View.at_end(told_film), 600)
    assert not re.findall(r'(?:fill|stroke)="#', page)
    assert 'fill="var(--mk-alert)"' in page


def test_bytes_and_interrupt_have_lanes_of_their_own(told_film: Film) -> None:
    shown = window(View.at_end(told_film), 600)
    slots = {lane.what for lane in shown.lanes if lane.kind == "slot"}
    assert slots == {33522208, 33522480}
    assert [lane.kind for lane in sorted(shown.lanes, key=shown.lanes.__getitem__)] == [
        "cpu",
        "slot",
        "cpu",
        "slot",
        "cpu",
    ]
    assert {"CPU 0", "slot 2", "CPU 2", "slot 3", "CPU 3"} <= set(words(drawn(View.at_end(told_film))))


def test_owners_are_those_of_their_time(told_film: Film) -> None:
    """CPU 2 belongs to nobody when the story begins, and to kernel 1 from event 24 on."""
    texts = words(drawn(View.at_end(told_film)))
    assert texts.count("nobody") == 2
    assert texts.count("kernel 1") == 1
    early = words(drawn(View.at_event(told_film, 21)))
    assert "kernel 1" not in early


def test_each_fate_has_its_mark_and_the_key_names_it(told_film: Film) -> None:
    texts = words(drawn(View.at_end(told_film)))
    for mark in ("merged", "lost", "ignored", "overwritten", "never read", "INIT", "SIPI", "pending (IRR)", "EOI"):
        assert mark in texts, mark
    assert "read torn" not in texts
    early = words(drawn(View.at_event(told_film, 14)))
    assert "lost" not in early
    assert "IPI accepted" not in early


def test_a_torn_message_is_drawn_torn(told_film: Film, written: Callable[..., Film]) -> None:
    acts = list(exchange(1, 4))
    acts[-2] = (MessageTaken, 0, 1, {**acts[-2][3], "payload": "ffff"})
    texts = words(drawn(View.at_end(written(*acts))))
    assert "read torn" in texts
    assert "read whole" not in texts


def test_rows_can_be_selected(told_film: Film) -> None:
    view = View.at_end(told_film)
    groups = selectable(drawn(view))
    assert [int(group.get("data-event", "")) for group in groups] == [14, 18, 21, 38, 42, 45, 48, 51, 54, 58]
    for group in groups:
        assert (group.get("tabindex"), group.get("role")) == ("0", "button")
    assert (
        groups[8].get("aria-label", "").startswith("e54, t=13,500: m4 to CPU 3, lost. Slot 3: type 1, 5 B. The local")
    )
    focus = f'stroke="{LIVE.role("focus")}"'
    assert focus not in markup(PICTURE, view, 600)
    # Event 43, MessageTaken, belongs to the row of event 42.
    for event in (54, 43):
        assert markup(PICTURE, replace(view, selected=event), 600).count(focus) == 1


def test_the_newest_rows_are_shown_and_older_ones_can_be_reached(written: Callable[..., Film]) -> None:
    film = written(*exchange(100, 2), cpus=2)
    view = View.at_end(film)
    shown = window(view, 600)
    assert (len(shown.rows), shown.earlier, shown.later) == (MOST_ROWS, 200 - MOST_ROWS, 0)
    link = selectable(drawn(view))[0]
    assert link.get("aria-label") == "184 earlier: show e551"
    older = replace(view, selected=int(link.get("data-event", "")))
    there = window(older, 600)
    assert any(551 in row.events for row in there.rows)
    assert there.earlier + len(there.rows) + there.later == 200
    assert there.later > 0
    assert any((group.get("aria-label") or "").startswith(f"{there.later} later") for group in selectable(drawn(older)))


def test_the_head_over_short_times_is_whole(written: Callable[..., Film]) -> None:
    film = written(*exchange(3, 3))
    (head,) = (one for one in drawn(View.at_end(film)).iter(f"{SVG}text") if one.text == "instr.")
    assert float(head.get("x", "0")) - width_of("instr.", 11) >= 0


def test_past_a_dozen_cpus_lanes_are_the_kernels(written: Callable[..., Film]) -> None:
    film = written(*exchange(60, 16), cpus=16)
    view = View.at_end(film)
    shown = window(view, 600)
    # The newest row is of a message from CPU 11 to CPU 12: these two have lanes of their own.
    assert set(shown.lanes) == {
        *(Lane("kernel", "host"), Lane("kernel", "kernel 1"), Lane("cpu", 11), Lane("cpu", 12)),
        *(Lane("slot", 0xC000), Lane("slot", 0xD000)),
    }
    assert "CPU 4 sends m53 to CPU 5, accepted" in " ".join(words(drawn(view)))
    chosen = window(replace(view, selected=16 + 6 * 57), 600)
    assert {Lane("cpu", 9), Lane("cpu", 10)} <= set(chosen.lanes)


@pytest.mark.parametrize("width", [600, 900])
def test_heads_of_kernels_stand_apart(written: Callable[..., Film], width: int) -> None:
    film = written(*exchange(60, 16), cpus=16)
    heads = [text for text in drawn(View.at_end(film), width=width).iter(f"{SVG}text") if text.get("y") == "14"]
    (left, one), (right, other) = [(float(head.get("x", "0")), head.text or "") for head in heads[:2]]
    # Bold letters are wider: as those of two pixels more.
    assert right - left - (width_of(one, 14) + width_of(other, 14)) / 2 >= 8


def test_a_dozen_cpus_have_their_own(written: Callable[..., Film]) -> None:
    film = written(*exchange(60, 12), cpus=12)
    for width in (480, 600, 1240):
        shown = window(View.at_end(film), width)
        assert all(lane.kind != "kernel" for lane in shown.lanes)
        assert 2 <= len(shown.rows) <= MOST_ROWS
        assert shown.words <= width - 160


def test_nothing_sent_is_said() -> None:
    view = View.at_end(Film([0, 1]))
    assert "No CPU has written its interrupt command register (ICR) yet" in " ".join(words(drawn(view)))
    assert twin(PICTURE, view).endswith("No message has been sent yet.\n\nNothing.")


def test_twins_are_ascii(told_film: Film) -> None:
    for event in range(-1, told_film.count):
        assert twin(PICTURE, View.at_event(told_film, event)).isascii()
