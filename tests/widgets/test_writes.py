"""Writes that go astray, and who wrote what last."""

import gc
import weakref

import pytest

from mklab.recording import Film
from mklab.widgets.writes import Stray, history, last_touch, merged, when, who
from tests.widgets.memory_film import SLOTS, TABLES, TRAMPOLINE, emit, film, own, write


def strays(one: Film) -> list[tuple[int, int, str | None, str]]:
    return [(stray.start, stray.end, stray.writer, stray.owner) for stray in history(one).strays]


def test_a_write_into_the_memory_of_another() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x22000, b"mine"), (0x32000, b"hers"), (0x3F000, b"nobody's"), (0xF, b"x"))
    assert strays(one) == [(0xF, 0x10, "kernel 1", "host"), (0x32000, 0x32004, "kernel 1", "kernel 2")]
    assert (history(one).strays[0].cpu, history(one).strays[0].event) == (1, 3)


def test_a_write_over_a_border_counts_as_far_as_it_is_astray() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x2FFF8, b"sixteen bytes ..."))
    assert strays(one) == [(0x30000, 0x30009, "kernel 1", "kernel 2")]


def test_slots_are_shared() -> None:
    one = film()
    write(one, 1, "kernel 1", (SLOTS + 16, b"message"))
    write(one, 2, "kernel 2", (SLOTS + 60, b"a message over the last slot's end"))
    assert strays(one) == [(SLOTS + 64, SLOTS + 94, "kernel 2", "host")]


def test_a_cpu_that_starts_runs_on_the_trampoline() -> None:
    one = film()
    write(one, 3, None, (TRAMPOLINE + 0x100, b"status"), (TABLES, b"\x21"), (0x1FC, b"pushed"))
    assert strays(one) == [(0x1FC, 0x202, None, "host")]


def test_a_kernel_may_not_write_to_the_trampoline() -> None:
    one = film()
    write(one, 1, "kernel 1", (TRAMPOLINE, b"\xcc"))
    assert strays(one) == [(TRAMPOLINE, TRAMPOLINE + 1, "kernel 1", "host")]


@pytest.mark.parametrize(("new", "astray"), [(b"\x67", False), (b"\x69", True), (b"\x47\x01", True)])
def test_accessed_and_dirty_bits_are_the_cpus(new: bytes, astray: bool) -> None:
    one = film()
    write(one, 0, "host", (TABLES + 8, b"\x07"))
    write(one, 1, "kernel 1", (TABLES + 8, new))
    assert bool(strays(one)) is astray


def test_a_cpu_that_changed_hands_between_two_looks() -> None:
    one = film()
    own(one, 3, "kernel 2")
    write(one, 3, None, (0x32000, b"entered"))
    assert strays(one) == []


def test_kexec_fills_memory_in_which_nobody_runs() -> None:
    one = film()
    write(one, 0, "host", (0x32000, b"over a kernel that runs"), cause="call")
    assert strays(one) == [(0x32000, 0x32017, "host", "kernel 2")]
    own(one, 2, None)
    write(one, 0, "host", (0x32000, b"nobody runs there now"), cause="call")
    assert len(strays(one)) == 1


def test_acts_from_outside_are_nobodys_fault() -> None:
    one = film()
    write(one, None, None, (0x32000, b"poke"), cause="input")
    assert strays(one) == []


def test_it_grows_with_the_film_and_shrinks_with_it() -> None:
    one = film()
    assert strays(one) == []
    for number in range(3):
        write(one, 1, "kernel 1", (0x32000 + number, b"x"))
    seen = history(one)
    assert [stray.look for stray in seen.strays] == [1, 2, 3]
    assert (seen.written, seen.last_written(2), seen.strays_upto(2)) == ([0, 1, 2, 3], 2, 2)
    one.cut(3)
    write(one, 1, "kernel 1", (0x33000, b"instead"))
    assert history(one) is seen
    assert [stray.start for stray in seen.strays] == [0x32000, 0x33000]
    assert seen.written == [0, 1, 2]


def test_a_new_image_changes_whose_memory_it_is() -> None:
    one = film()
    emit(one)
    one.look(0, "host", images={"kernel 3": {"ranges": [[0x3C000, 0x3D000]], "entry": 0, "symbols": {}}})
    write(one, 1, "kernel 1", (0x3C000, b"x"))
    assert strays(one) == [(0x3C000, 0x3C001, "kernel 1", "kernel 3")]
    assert history(one).layout(0).owner_at(0x3C000) is None


def test_it_does_not_keep_the_film() -> None:
    one = film()
    history(one)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_who_touched_it_last() -> None:
    one = film()
    write(one, 1, "kernel 1", (0x22000, b"first"))
    write(one, 2, "kernel 2", (0x22100, b"the same page"))
    look = last_touch(one, 2, 0x22004, 8)
    assert look is not None
    assert (look.number, who(look), when(look)) == (1, "CPU 1 (kernel 1)", "e3, t=40")
    assert last_touch(one, 0, 0x22004) is None
    assert last_touch(one, 2, 0x23000) is None


def test_pieces_side_by_side_are_one() -> None:
    def stray(look: int, start: int, end: int, cpu: int = 1) -> Stray:
        return Stray(look, look, look, start, end, cpu, None, "host")

    one, two, apart, other = stray(1, 8, 12), stray(2, 4, 8), stray(3, 20, 24), stray(4, 24, 28, 2)
    both = merged([one, two, apart, other])
    assert [(s.look, s.last, s.start, s.end, s.cpu) for s in both] == [
        (1, 2, 4, 12, 1),
        (3, 3, 20, 24, 1),
        (4, 4, 24, 28, 2),
    ]
