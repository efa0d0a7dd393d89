"""The hex view: bytes, what they were, whose doing it was, and the fields they belong to."""

import re
from dataclasses import replace

import pytest

from mklab.recording import Film
from mklab.widgets.hex_view import PICTURE
from mklab.widgets.picture import twin
from mklab.widgets.view import View
from tests.widgets.memory_film import (
    DESCRIPTION,
    FIRST,
    INSIDE,
    SLOTS,
    check,
    emit,
    film,
    kimage,
    linked,
    selectable,
    texts,
    write,
)


def test_bytes_in_rows_with_what_they_were() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x2F010, b"before\0\0"))
    write(one, 1, "kernel 1", (0x2F012, b"GONE"))
    told = twin(PICTURE, View.at_end(one))
    assert "0002f010  62 65 47 4f 4e 45 00 00 00 00 00 00 00 00 00 00  beGONE.........." in told
    assert "     was        66 6f 72 65" in told
    lines = texts(PICTURE, View.at_end(one))
    assert "beGONE.........." in lines
    drawing = PICTURE.body(View.at_end(one), 600)
    assert re.search('bold"[^>]*>47<', drawing)
    assert not re.search('bold"[^>]*>62<', drawing)
    assert [line for line in lines if line in ("66", "6f", "72", "65", "was")][-5:] == ["was", "66", "6f", "72", "65"]
    check(PICTURE, View.at_end(one))


def test_it_follows_the_last_write() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x2F010, b"here"))
    emit(one)
    one.look(0, "host")
    answer = "0x2f010 is in kernel 1's memory. Last written by CPU 1 (kernel 1), e3, t=40"
    assert PICTURE.answer(View.at_event(one, 3)) == f"{answer}, in this step."
    assert PICTURE.answer(View.at_end(one)) == f"{answer}."


def test_of_several_writes_the_one_astray_counts_then_what_kernels_share() -> None:
    one = film()
    write(one, 0, "host", (0x800, b"own"), (SLOTS + 16, b"slot"), (0x9010, b"stack"))
    assert PICTURE.answer(View.at_end(one)).startswith("0x6010 is in the host's mk_shared_data")
    write(one, 1, "kernel 1", (0x20800, b"OWN"), (SLOTS + 16, b"SLOT"), (0x31010, b"astray"))
    assert PICTURE.answer(View.at_end(one)).startswith("0x31010 is in kernel 2's stacks")
    drawing = PICTURE.body(View.at_end(one), 600)
    assert "var(--mk-alert)" in drawing
    check(PICTURE, View.at_end(one))


def test_an_address_that_is_selected() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x2F010, b"here"))
    view = replace(View.at_end(one), address=0x3123)
    assert PICTURE.answer(view) == "0x3123 is in the host's trampoline. Nothing was written there yet."
    ways = {part["aria-label"] for part in selectable(PICTURE, view)}
    assert {"256 B back: 0x3000", "256 B on: 0x3200", "Page back: 0x2000", "Page on: 0x4000"} <= ways
    assert "Written by this step: 0x2f010" in ways
    assert any("the host's trampoline: 0x3000-0x3fff, 4 KiB; trampoline" in line for line in texts(PICTURE, view))
    check(PICTURE, view)


def test_what_was_there_before_the_first_look() -> None:
    view = replace(View.at_end(film()), address=0x8100)
    assert PICTURE.answer(view).endswith("It was written before the recording's first look.")


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        (0xFEE00020, "0xfee00020 is no RAM."),
        (0x9999999999, "0x9999999999 is no RAM."),
        (0, "0x0 is in the host's memory. Nothing was written there yet."),
        (0x8000000FFF, "0x8000000fff is in nobody's memory. Nothing was written there yet."),
    ],
)
def test_the_edges_of_memory(address: int, answer: str) -> None:
    view = replace(View.at_end(film()), address=address)
    assert PICTURE.answer(view) == answer
    assert all(int(part["data-address"]) >= 0 for part in selectable(PICTURE, view))
    check(PICTURE, view)


def test_bytes_that_the_recording_does_not_hold() -> None:
    one = Film([0], [(0, 0x10000)], DESCRIPTION, most_bytes=4)
    one.look()
    emit(one)
    one.look(0, "host", writes=[(0x4000, b"too much to hold")])
    view = View.at_end(one)
    assert PICTURE.answer(view).endswith("and the recording does not hold what lies there.")
    check(PICTURE, view)


def test_the_fields_of_a_slot() -> None:
    one = film()
    slot = SLOTS + 16
    write(one, 0, "host", (slot, (0).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"payload!"))
    write(one, 0, "host", (slot + 4, (0x80000001).to_bytes(4, "little")))
    view = View.at_end(one)
    lines = texts(PICTURE, view)
    assert "Fields of the host's mk_shared_data[1]" in lines
    assert {"sender_cpu", "type", "0x80000001", "was 5", "buffer"} <= set(lines)
    told = twin(PICTURE, view)
    assert f"{slot + 4:#x}  type                 0x80000001  CHANGED, was 5" in told
    check(PICTURE, view)


def test_the_fields_of_a_kimage() -> None:
    one = film()
    emit(one)
    card = kimage(FIRST, 7, (0x30000, 0x1000))
    one.look(0, "host", "call", "kexec_load.install", writes=[card, *linked(FIRST)])
    view = replace(View.at_end(one), address=FIRST + INSIDE)
    told = twin(PICTURE, view)
    assert "Fields of kimage of node 1" in texts(PICTURE, view)
    assert "segment[2]           0x30000" in told
    assert "segment[4]" not in told
    assert "id                   7" in told
    assert f"{FIRST + INSIDE:#x}  list_next            0x1000" in told
    check(PICTURE, view)


def test_rows_of_zeros_are_left_out_unless_they_changed() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x2F080, b"x" * 64))
    view = replace(View.at_end(one), address=0x2F0F0)
    rows = [line[:8].strip() for line in twin(PICTURE, view).splitlines()[3:]]
    changed = [line for row in "89ab" for line in (f"0002f0{row}0", "was")]
    # Where the address is, zeros are shown.
    assert rows == ["*", *changed, "*", "0002f0f0"]
    write(one, 1, "kernel 1", (0x2F080, bytes(64)))
    assert "0002f080  00 00" in twin(PICTURE, replace(View.at_end(one), address=0x2F0F0))


def test_addresses_above_four_gigabytes() -> None:
    one = film()
    write(one, 0, "host", (0x8000000010, b"high"))
    view = View.at_end(one)
    assert "8000000010" in texts(PICTURE, view)
    check(PICTURE, view)


def test_moments_without_memory() -> None:
    empty = Film([0])
    assert PICTURE.answer(View.at_end(empty)).startswith("Nothing recorded yet.")
    check(PICTURE, View.at_end(empty))
