"""The kimage list: whole, half linked, leading nowhere, in a circle; and /proc beside it."""

from dataclasses import replace
from typing import Any

import pytest

from mklab.recording import Film
from mklab.widgets.kimage_list import Images, images
from mklab.widgets.kimages import PICTURE
from mklab.widgets.picture import twin
from mklab.widgets.view import View
from mklab.widgets.writes import history
from tests.widgets.memory_film import (
    FIRST,
    HEAD,
    INSIDE,
    PROC,
    SECOND,
    THIRD,
    check,
    emit,
    film,
    kimage,
    linked,
    selectable,
    texts,
    u64,
    write,
)

HEADER = "Type        Start Address   Segments\n----------  --------------  --------\n"
ROWS = [f"multikernel  0x{start:012x}  {1:8d}\n" for start in (0x20000, 0x30000, 0x34000)]
CARDS = [
    kimage(FIRST, 1, (0x20000, 0x1000)),
    kimage(SECOND, 2, (0x30000, 0x1000)),
    kimage(THIRD, 3, (0x34000, 0x1000)),
]


def loaded(**spoiled: int) -> Film:
    """Three images are loaded, and then kernel 1 writes over the pointers that are ``spoiled``."""
    one = film()
    emit(one)
    nodes = (FIRST, SECOND, THIRD)
    one.look(0, "host", "call", "kexec_load.install", writes=[*CARDS, *linked(*nodes)])
    one.look(texts={PROC: HEADER + "".join(ROWS)}, time=one.recording.time)
    if spoiled:
        write(one, 1, "kernel 1", *linked(*nodes, **spoiled))
    return one


def found(one: Film) -> Images:
    view = View.at_end(one)
    assert view.frame is not None
    images_ = images(view.frame, one.description, history(one).layout(view.look))
    assert images_ is not None
    return images_


def test_a_list_that_is_whole() -> None:
    one = found(loaded())
    assert [(node.name, node.address) for node in one.nodes] == [
        ("head", HEAD),
        ("node 1", FIRST),
        ("node 2", SECOND),
        ("node 3", THIRD),
    ]
    assert [(node.next.target, node.prev.target) for node in one.nodes] == [(1, 3), (2, 0), (3, 1), (0, 2)]
    assert one.wrong == []
    assert [(node.kernel, node.kind) for node in one.nodes[1:]] == [
        ("kernel 1", "multikernel"),
        ("kernel 2", "multikernel"),
        ("kernel 3", "multikernel"),
    ]
    assert [(s.number, s.start, s.end) for s in one.nodes[2].segments] == [(0, 0x30000, 0x31000)]
    assert PICTURE.answer(View.at_end(loaded())) == "3 images are loaded; the list is whole."
    check(PICTURE, View.at_end(loaded()))


@pytest.mark.parametrize(
    ("spoiled", "wrong", "names"),
    [
        ({"next0": 0xDEAD0000}, {("head", "next"): "no memory is there"}, "head 1< 2< 3<"),
        ({"next2": 0}, {("node 2", "next"): "NULL"}, "head 1 2 3<"),
        ({"next2": FIRST}, {("node 2", "next"): "inside node 1, 0x0 behind its beginning, not at its list_head"}, ""),
        ({"next1": 0x21500}, {("node 1", "next"): "in kernel 1's stacks, where no kimage is"}, "head 1 2< 3<"),
        (
            {"next3": SECOND + INSIDE},
            {("node 3", "next"): f"prev of node 2 is {FIRST + INSIDE:#x}, not {THIRD + INSIDE:#x}"},
            "head 1 2 3",
        ),
        (
            {"prev2": HEAD},
            {("node 2", "prev"): f"next of the head is {FIRST + INSIDE:#x}, not {SECOND + INSIDE:#x}"},
            "head 1 2 3<",
        ),
        (
            {"prev0": FIRST + INSIDE},
            {("head", "prev"): f"next of node 1 is {SECOND + INSIDE:#x}, not {HEAD:#x}"},
            "head 1 2 3",
        ),
    ],
)
def test_a_pointer_is_taken_as_it_is(spoiled: dict[str, int], wrong: dict[Any, str], names: str) -> None:
    film_ = loaded(**spoiled)
    one = found(film_)
    assert {(node.name, pointer.name): pointer.why for node, pointer in one.wrong} == wrong
    shown = [node.name.removeprefix("node ") + "<" * node.only_back for node in one.nodes]
    assert not names or " ".join(shown) == names
    view = View.at_end(film_)
    answer = PICTURE.answer(view)
    assert "the list is broken" in answer
    assert next(iter(wrong.values())) in answer
    told = twin(PICTURE, view)
    assert "BROKEN" in told
    assert "CPU 1 (kernel 1) wrote it" in told
    check(PICTURE, view)


def test_a_circle_is_said_to_be_one() -> None:
    assert "A walk goes round and never ends." in PICTURE.answer(View.at_end(loaded(next3=SECOND + INSIDE)))


def test_who_changed_it_and_what_it_was() -> None:
    one = loaded(next1=0x9999999999)
    view = View.at_end(one)
    told = twin(PICTURE, view)
    was = f"it was {SECOND + INSIDE:#x}"
    assert f"next of node 1 is 0x9999999999: no memory is there. CPU 1 (kernel 1) wrote it, e4, t=50; {was}." in told
    assert f"CHANGED next, was {SECOND + INSIDE:#x}" in told
    lines = texts(PICTURE, view)
    assert f"was {SECOND + INSIDE:#x}" in lines
    # At the next look it is no longer new, and still told.
    write(one, 0, "host", (0x7000, b"elsewhere"))
    later = View.at_end(one)
    assert "CHANGED" not in twin(PICTURE, later)
    assert "CPU 1 (kernel 1) wrote it, e4, t=50" in twin(PICTURE, later)
    check(PICTURE, later)


def test_an_arrow_to_nowhere_ends_in_a_card_that_says_so() -> None:
    one = View.at_end(loaded(next0=0xDEAD0000, prev0=(1 << 64) - 8))
    lines = texts(PICTURE, one)
    assert lines.count("no memory is there") == 2
    parts = selectable(PICTURE, one)
    assert str(0xDEAD0000) in [part.get("data-address") for part in parts]
    # A browser would round it, and there is nothing to be seen there.
    assert str((1 << 64) - 8) not in [part.get("data-address") for part in parts]


def test_a_kimage_in_another_kernels_memory_is_drawn_as_that_kernels() -> None:
    one = loaded()
    forged, link = 0x22000, 0x22000 + INSIDE
    pointers = [(link, u64(HEAD, THIRD + INSIDE)), (THIRD + INSIDE, u64(link)), (HEAD + 8, u64(link))]
    write(one, 1, "kernel 1", kimage(forged, 9, (0x10000, 0x1000)), *pointers)
    assert found(one).wrong == []
    assert [node.address for node in found(one).nodes] == [HEAD, FIRST, SECOND, THIRD, forged]
    drawing = PICTURE.body(View.at_end(one), 600)
    assert "var(--mk-k1-line)" in drawing
    assert "var(--mk-k1-line)" not in PICTURE.body(View.at_end(loaded()), 600)


@pytest.mark.parametrize(
    ("rows", "differences"),
    [
        (ROWS, []),
        ([ROWS[0], ROWS[2]], ["It does not tell of node 2."]),
        ([*ROWS, ROWS[1]], ["again node 2"]),
        ([*ROWS[:2], ROWS[2].replace("34", "35")], ["no node says so", "It does not tell of node 3."]),
    ],
)
def test_where_proc_and_the_list_disagree(rows: list[str], differences: list[str]) -> None:
    one = loaded()
    one.look(texts={PROC: HEADER + "".join(rows)}, time=one.recording.time)
    view = View.at_end(one)
    told = [line.removeprefix("DISAGREES: ") for line in twin(PICTURE, view).splitlines() if "DISAGREES" in line]
    assert told == differences
    assert ("It agrees with the list." in texts(PICTURE, view)) is not bool(differences)
    assert all(words in texts(PICTURE, view) for words in differences)
    check(PICTURE, view)


def test_a_file_that_cannot_be_read() -> None:
    one = loaded(next0=0)
    one.look(texts={PROC: f"{PROC} cannot be read: kexec_image_list leads to 0x0\n"}, time=one.recording.time)
    lines = texts(PICTURE, View.at_end(one))
    assert any("Linux follows it" in line for line in lines)


def test_which_kernel_runs_and_which_a_kick_would_start() -> None:
    told = twin(PICTURE, View.at_end(loaded()))
    assert "kernel 1 runs on CPU 1, multikernel, start 0x20000, 1 segment(s)" in told
    assert "kernel 3 runs nowhere" in told
    assert any("a kick of any CPU starts node 1" in line for line in texts(PICTURE, View.at_end(loaded())))


def test_numbers_that_no_kernel_would_write() -> None:
    one = loaded()
    write(one, 1, "kernel 1", (FIRST, b"\xff" * INSIDE))
    (node,) = [node for node in found(one).nodes if node.address == FIRST]
    assert len(node.segments) == 2
    assert node.kind == "unknown"
    check(PICTURE, View.at_end(one))


def test_as_many_segments_as_it_says() -> None:
    one = loaded()
    card = kimage(FIRST, 1, (0x20000, 0x1000), (0x22000, 0x1000))
    write(one, 0, "host", card, (FIRST + 8, u64(1)))
    assert [(s.number, s.start) for s in found(one).nodes[1].segments] == [(0, 0x20000)]


def test_many_images() -> None:
    one = film()
    addresses = range(0x1100, 0x1100 + 20 * 0x80, 0x80)
    cards = [kimage(address, number, (0x30000, 0x1000)) for number, address in enumerate(addresses, 1)]
    emit(one)
    one.look(0, "host", "call", "kexec_load.install", writes=[*cards, *linked(*addresses)])
    view = View.at_end(one)
    assert PICTURE.answer(view).startswith("20 images are loaded")
    assert "9 more nodes; the text twin has them." in texts(PICTURE, view)
    assert "node 20" in twin(PICTURE, view)
    check(PICTURE, view)


def test_moments_without_a_list() -> None:
    one = film()
    assert PICTURE.answer(View.at_end(one)).startswith("No image is loaded; the list is whole")
    check(PICTURE, View.at_end(one))
    bare = Film([0], [(0, 0x10000)], one.description)
    bare.look()
    assert PICTURE.answer(View.at_end(bare)).startswith("There is no list yet")
    check(PICTURE, View.at_end(bare))
    empty = Film([0])
    assert PICTURE.answer(View.at_end(empty)).startswith("Nothing recorded yet.")
    check(PICTURE, View.at_end(empty))
    emit(empty)
    assert PICTURE.answer(View.at_end(empty)).startswith("The recording holds events only")
    empty.look()
    assert PICTURE.answer(View.at_event(empty, 0)).startswith("The recording does not hold the memory")
    check(PICTURE, View.at_end(empty))


def test_before_the_first_look() -> None:
    one = film()
    assert PICTURE.answer(View.at_event(one, 0)) == "Memory was first looked at after event 2. Go on to there."


def test_what_is_selected_is_framed() -> None:
    one = replace(View.at_end(loaded(next0=0)), selected=4)
    plain = PICTURE.body(View.at_end(loaded(next0=0)), 600)
    assert "var(--mk-focus)" not in plain
    assert "var(--mk-focus)" in PICTURE.body(one, 600)
    assert "var(--mk-focus)" in PICTURE.body(replace(View.at_end(loaded()), address=SECOND + 8), 600)
