import contextlib
import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.errors import KexecError
from mklab.kernel.kexec_file import locate_mem_hole

PAGE = 4096


def linux_steps(
    ram: list[tuple[int, int, int]], taken: list[tuple[int, int]], memsz: int, align: int, lowest: int, ceiling: int
) -> int | None:
    """``locate_mem_hole_top_down`` as Linux walks: from each range's top, a page down after every collision."""
    for start, end, kind in sorted(ram, reverse=True):
        mem = (min(end, ceiling) - memsz) // align * align
        while kind == 1 and mem >= start and mem >= lowest:
            if all(mem + memsz <= first or after <= mem for first, after in taken):
                return mem
            mem = (mem - PAGE) // align * align
    return None


# Four chunks of 16 pages each, with borders anywhere in them, so that ranges never overlap.
ranges = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 0x7000), st.integers(0x8000, 0x10000), st.integers(1, 2)),
    min_size=1,
    max_size=4,
    unique_by=lambda chunk: chunk[0],
).map(lambda chunks: [(n * 0x10000 + start, n * 0x10000 + end, kind) for n, start, end, kind in chunks])
pages = st.integers(0, 63).map(lambda page: page * PAGE)


@settings(deadline=None)
@given(
    ram=ranges,
    taken=st.lists(st.tuples(pages, st.integers(1, 8)).map(lambda t: (t[0], t[0] + t[1] * PAGE)), max_size=5),
    memsz=st.integers(0, 12).map(lambda n: n * PAGE),
    align=st.sampled_from([PAGE, 2 * PAGE, 4 * PAGE]),
    minimum=st.integers(0, 0x20000),
    window=st.none() | st.tuples(st.integers(0, 0x1FFFF), st.integers(0x20000, 0x40000)),
)
def test_it_finds_the_place_that_linux_finds(
    ram: list[tuple[int, int, int]],
    taken: list[tuple[int, int]],
    memsz: int,
    align: int,
    minimum: int,
    window: tuple[int, int] | None,
) -> None:
    lowest, ceiling = window or (0, 1 << 64)
    expected = linux_steps(ram, taken, memsz, align, max(lowest, minimum), ceiling)
    found: int | None = None
    with contextlib.suppress(KexecError):
        found = locate_mem_hole(ram, taken, name="kernel", memsz=memsz, align=align, minimum=minimum, window=window)
    assert found == expected


@pytest.mark.parametrize(("taken", "place"), [((0x4000, 0xF000), 0xF000), ((0xF000, 0x10000), 0xE000)])
def test_neighbours_may_touch(taken: tuple[int, int], place: int) -> None:
    found = locate_mem_hole([(0, 0x10000, 1)], [taken], name="", memsz=0x1000, align=0x1000, minimum=0, window=None)
    assert found == place


def test_an_alignment_below_a_page_means_a_page() -> None:
    place = locate_mem_hole(
        [(0, 0x10800, 1)], [], name="boot_params", memsz=0x1000, align=16, minimum=0x3000, window=None
    )
    assert place == 0xF000


def test_no_room_is_told_with_what_was_asked() -> None:
    with pytest.raises(KexecError) as refusal:
        locate_mem_hole(
            [(0, 0x10000, 1)], [], name="kernel", memsz=0x9000, align=0x1000, minimum=0x8000, window=(0, 0x20000)
        )
    assert refusal.value.errno == errno.EADDRNOTAVAIL
    assert str(refusal.value) == (
        "kexec_locate_mem_hole: -EADDRNOTAVAIL: no free RAM for the kernel: it needs 0x9000 bytes, "
        "aligned to 0x1000, at or above 0x8000 and within 0x0-0x20000"
    )
