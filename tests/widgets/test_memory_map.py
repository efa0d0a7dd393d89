"""The memory map: whose memory, what was loaded where, what went astray."""

from dataclasses import replace
from itertools import pairwise

import pytest

from mklab.recording import Film
from mklab.widgets.atlas import BREAK, sheets
from mklab.widgets.memory_map import PICTURE
from mklab.widgets.memory_state import state_of
from mklab.widgets.picture import twin
from mklab.widgets.view import View
from mklab.widgets.writes import history
from tests.widgets.memory_film import (
    DESCRIPTION,
    FIRST,
    SECOND,
    THIRD,
    check,
    emit,
    film,
    image,
    kimage,
    linked,
    own,
    selectable,
    texts,
    write,
)


def loaded(*cards: tuple[int, bytes]) -> Film:
    """The images of ``cards`` are in the list."""
    one = film()
    emit(one)
    writes = [*cards, *linked(*(address for address, _ in cards))]
    one.look(0, "host", "call", "kexec_load.install", writes=writes)
    return one


def test_whose_memory_it_is() -> None:
    view = View.at_end(film())
    assert (
        PICTURE.answer(view) == "Host 128 KiB, kernel 1 64 KiB, kernel 2 32 KiB, nobody 36 KiB. No write went astray."
    )
    told = twin(PICTURE, view)
    assert "host      0x0-0x1ffff                 128 KiB" in told
    assert "          0x3000-0x3fff                 4 KiB  trampoline" in told
    assert "nobody    0x8000000000-0x8000000fff     4 KiB" in told
    assert "device    0xfee00000-0xfee00fff         4 KiB  local APIC" in told
    check(PICTURE, view)


def test_regions_can_be_selected() -> None:
    view = View.at_end(film())
    parts = {(int(part["data-address"]), part["aria-label"]) for part in selectable(PICTURE, view)}
    assert (0x20000, "0x20000-0x2ffff, 64 KiB: kernel 1, 64 KiB") in parts
    assert (0xFEE00000, "0xfee00000-0xfee00fff, 4 KiB: local APIC") in parts
    assert (0x3000, "trampoline, 0x3000-0x3fff, 4 KiB") in parts
    inside = replace(view, address=0x20000)
    assert "What lies in kernel 1's memory, not to scale" in texts(PICTURE, inside)
    assert {0x20100, 0x21000} <= {int(part["data-address"]) for part in selectable(PICTURE, inside)}
    check(PICTURE, inside)


@pytest.mark.parametrize("address", [0x1000, 0x3F000, 0xFEE00000, 0x9999999999, (1 << 64) - 1])
def test_any_address_can_be_shown(address: int) -> None:
    check(PICTURE, replace(View.at_end(film()), address=address))


def test_what_lies_inside_a_place_that_is_selected() -> None:
    lines = texts(PICTURE, replace(View.at_end(film()), address=0x1010))
    assert "Inside kimages" in lines
    assert "0x1000-0x100f  kexec_image_list, 16 B" in lines


def test_ranges_are_drawn_side_by_side_with_breaks() -> None:
    pieces = sheets(history(film()).layout(0), 800)
    assert [(one.start, one.device, one.row) for one in pieces] == [
        (0, "", 0),
        (0xFEE00000, "local APIC", 0),
        (0x8000000000, "", 0),
    ]
    for left, right in pairwise(pieces):
        assert right.x - left.x - left.width == pytest.approx(BREAK)
    assert pieces[-1].x + pieces[-1].width <= 800
    assert pieces[0].at(0x20000) == pytest.approx(pieces[0].x + pieces[0].width / 2)
    assert sheets(history(film()).layout(0), 300)[-1].row == 1


def test_many_ranges_take_several_rows() -> None:
    one = Film([0], [(number << 40, 0x1000) for number in range(9)], DESCRIPTION)
    one.look()
    pieces = sheets(history(one).layout(0), 480)
    assert max(piece.row for piece in pieces) >= 2
    assert all(piece.x + piece.width <= 480 for piece in pieces)
    check(PICTURE, View.at_end(one))


def test_a_stray_write_says_who_when_and_where() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x31004, b"\x0f\x0b"))
    view = View.at_end(one)
    assert PICTURE.answer(view).endswith("1 write went astray, the last one by CPU 1 (kernel 1) at 0x31004.")
    words = "0x31004-0x31005, 2 B: CPU 1 (kernel 1), e3, t=40, into kernel 2's stacks"
    assert f"STRAY     {words}" in twin(PICTURE, view)
    lines = texts(PICTURE, view, 1240)
    assert f"Stray write {words}." in lines
    assert "00 00 became 0f 0b" in lines
    assert any("Nothing keeps a kernel out" in line for line in lines)
    (part,) = [part for part in selectable(PICTURE, view) if part["aria-label"].startswith("Stray write")]
    assert (part["data-event"], part["data-address"]) == ("3", str(0x31004))
    # What is shown follows the write: kernel 2's memory.
    assert "What lies in kernel 2's memory, not to scale" in lines
    assert "STRAY" not in twin(PICTURE, View.at_event(one, 2))
    check(PICTURE, view)


def test_a_stray_write_of_a_cpu_that_starts() -> None:
    one = film()
    write(one, 3, None, (0x1FC, b"\x04\x61\x09"))
    view = View.at_end(one)
    assert "0x1fc-0x1fe, 3 B: CPU 3 (nobody), e3, t=40, into the host's memory" in twin(PICTURE, view)
    assert any("From INIT to its kernel's entry" in line for line in texts(PICTURE, view, 1240))
    assert "no known place" in texts(PICTURE, view)
    check(PICTURE, view)


def test_a_selected_stray_write_is_framed() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x31004, b"\x0f\x0b"))
    framed = PICTURE.body(replace(View.at_end(one), selected=3), 600).count("var(--mk-focus)")
    assert framed == PICTURE.body(View.at_end(one), 600).count("var(--mk-focus)") + 1


def test_many_stray_writes() -> None:
    one = film()
    for number in range(80):
        write(one, 1, "kernel 1", (0x31000 + 16 * number, b"x"))
    view = View.at_end(one)
    assert "80 writes went astray" in PICTURE.answer(view)
    assert "76 earlier stray writes; the text twin has the newest." in texts(PICTURE, view)
    told = twin(PICTURE, view)
    assert "STRAY     16 earlier ones" in told
    assert told.count("into kernel 2's stacks") == 64
    check(PICTURE, view)


def test_what_this_step_has_written() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x21010, b"12345678"), (0x6010, b"slot"))
    view = View.at_end(one)
    words = "Written by this step, e3, t=40: CPU 1 (kernel 1), 12 B in 2 stretches: "
    assert words + "the host's mk_shared_data; kernel 1's stacks." in texts(PICTURE, view, 1240)
    assert "64 B, 4 B written" in texts(PICTURE, view)
    assert "WRITTEN   0x21010-0x21017                 8 B  kernel 1's stacks, by CPU 1 (kernel 1)" in twin(
        PICTURE, view
    )
    check(PICTURE, view)


def test_segments_that_lie_over_one_another() -> None:
    cards = [kimage(FIRST, 3, (0x38000, 0x2000), (0x3C000, 0x1000)), kimage(SECOND, 4, (0x39000, 0x2000))]
    view = View.at_end(loaded(*cards))
    told = twin(PICTURE, view)
    assert "SEGMENT   0x3c000-0x3cfff               4 KiB  image 1, number 1; kernel 3" in told
    assert "OVERLAP   0x39000-0x39fff               4 KiB  image 2 over image 1" in told
    assert told.count("OVERLAP") == 1
    assert "Image 2 lies over image 1 at 0x39000." in PICTURE.answer(view)
    lines = texts(PICTURE, view)
    assert "Overlap 0x39000-0x39fff, 4 KiB: image 2 over image 1." in lines
    assert any("sanity_check_segment_list" in line for line in lines)
    check(PICTURE, view)


@pytest.mark.parametrize(
    ("segment", "over"),
    [
        ((0x8000, 0x1000), "the host's own code and data"),
        ((0x2800, 0x1000), "the host's trampoline"),
        ((0x22000, 0x1000), "kernel 1"),
        ((0x10000, 0x1000), ""),
        ((0x3C000, 0x1000), ""),
    ],
)
def test_segments_over_others_memory(segment: tuple[int, int], over: str) -> None:
    told = twin(PICTURE, View.at_end(loaded(kimage(FIRST, 3, segment))))
    assert (f"image 1 over {over}" in told) if over else "OVERLAP" not in told


def test_an_image_that_is_copied_only_when_it_starts_lies_over_nothing() -> None:
    view = View.at_end(loaded(kimage(FIRST, 3, (0x8000, 0x1000), kind=0)))
    assert "OVERLAP" not in twin(PICTURE, view)
    assert "image 1, number 0; type default: copied there when it is started" in twin(PICTURE, view)
    check(PICTURE, view)


def test_segments_nowhere_and_of_no_size() -> None:
    cards = [kimage(FIRST, 3, (0x7777000000, 0x1000), (0x38000, 0)), kimage(SECOND, 4), kimage(THIRD, 5, (0, 1 << 63))]
    check(PICTURE, View.at_end(loaded(*cards)))


def test_more_images_than_lanes_those_in_the_way_first() -> None:
    cards = [kimage(0x1100 + 0x80 * n, 3 + n, (0x38000 + 0x400 * n, 0x400)) for n in range(7)]
    cards.append(kimage(0x1500, 12, (0x38000 + 0x400 * 6, 0x400)))
    view = View.at_end(loaded(*cards))
    lines = texts(PICTURE, view)
    assert any(line.startswith("image 8,") for line in lines)
    assert not any(line.startswith("image 6,") for line in lines)
    assert any(line.endswith("more images; the text twin has them.") for line in lines)
    check(PICTURE, view)


def test_fifteen_kernels() -> None:
    one = Film(list(range(16)), [(0, 0x200000)], DESCRIPTION)
    names = ["host", *(f"kernel {number}" for number in range(1, 16))]
    for cpu, name in enumerate(names):
        own(one, cpu, name)
    one.look(images={name: image(0x10000 * n, 0x10000 * n + 0x8000) for n, name in enumerate(names)})
    view = View.at_end(one)
    assert "others the rest" in PICTURE.answer(view)
    check(PICTURE, view)


def test_moments_without_memory() -> None:
    empty = Film([0])
    assert PICTURE.answer(View.at_end(empty)).startswith("Nothing recorded yet.")
    check(PICTURE, View.at_end(empty))
    empty.look()
    assert PICTURE.answer(View.at_end(empty)) == "The recording tells of no RAM."
    assert state_of(View.at_end(empty)) is None
    check(PICTURE, View.at_end(empty))
