"""Whose memory each byte is."""

import pytest

from mklab.recording import Film
from mklab.widgets.memory import Layout, Region, amount, stretch
from tests.widgets.memory_film import BOOT_INFO, DESCRIPTION, RAM, film, image, told


def layout(one: Film) -> Layout:
    return Layout(RAM, one.frame(one.count - 1), DESCRIPTION)


def test_memory_by_owner() -> None:
    assert layout(film()).regions == [
        Region(0, 0x20000, "host"),
        Region(0x20000, 0x30000, "kernel 1"),
        Region(0x30000, 0x38000, "kernel 2"),
        Region(0x38000, 0x40000, None),
        Region(0x8000000000, 0x8000001000, None),
    ]


def test_what_was_loaded_last_counts_and_more_than_what_a_kernel_claims() -> None:
    one = film()
    # Kernel 1 claims everything, and is loaded at 512 GiB too.
    loaded = {**image(0x20000, 0x24000), "ranges": [[0x20000, 0x24000], [0x8000000000, 0x8000001000]]}
    one.look(images={"kernel 1": loaded}, writes=told(0x20000, 0, 1 << 60))
    owners = {at: layout(one).owner_at(at) for at in (0, 0x8000, 0x24000, 0x32000, 0x3F000, 0x8000000000)}
    assert owners == {
        0: "kernel 1",
        0x8000: "host",
        0x24000: "kernel 1",
        0x32000: "kernel 2",
        0x3F000: "kernel 1",
        0x8000000000: "kernel 1",
    }


def test_a_map_that_was_written_over() -> None:
    one = film()
    one.look(writes=[(0x20100, b"\xff" * 40)])
    assert layout(one).owner_at(0x20000) == "kernel 1"
    assert layout(one).owner_at(0x2F000) is None
    assert layout(one).region_at(0x50000) is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (0x3010, "the host's trampoline"),
        (0x2F000, "kernel 1's memory"),
        (0x3F000, "nobody's memory"),
        (0xFEE00020, "the local APIC"),
        (0x9999999999, "no memory"),
        (0x1000, "the host's kexec_image_list"),
    ],
)
def test_where_it_is(address: int, words: str) -> None:
    assert layout(film()).words(address) == words


def test_parts_and_what_is_inside_them() -> None:
    one = layout(film())
    names = [found.place.name for found in one.parts(0, 0x20000)]
    assert names == ["kimages", "trampoline", "tables", "mk_shared_data", "mk_boot_info", "stacks"]
    assert [found.place.name for found in one.inside(one.parts(0, 0x20000)[0])] == ["kexec_image_list"]


def test_what_all_this_follows_from() -> None:
    """Each kernel's memory map, and its pointer to the slots: found byte by byte, and in any stretch."""
    one = layout(film())
    size = BOOT_INFO.size
    starts = [(0x8100, size), (0x8200, 8), (0x20100, size), (0x20200, 8), (0x30100, size), (0x30200, 8)]
    bytes_ = {start + at for start, length in starts for at in range(length)}
    places = [*range(0x8080, 0x8280), *range(0x20080, 0x20280), *range(0x30080, 0x30280)]
    assert [at for at in places if one.follows_from(at, 1)] == sorted(bytes_)
    for at in places[::7]:
        assert one.follows_from(at, 100) == bool(bytes_ & set(range(at, at + 100)))
    assert one.follows_from(0, 1 << 40)
    assert not one.follows_from(0x40000, 1 << 40)


def test_numbers_in_words() -> None:
    sizes = {8: "8 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 16 << 20: "16 MiB", 3 << 30: "3 GiB"}
    assert {size: amount(size) for size in sizes} == sizes
    assert (stretch(0x96000, 0x9F000), stretch(7, 8)) == ("0x96000-0x9efff", "0x7")


def test_slots_that_a_kernel_keeps_in_anothers_memory() -> None:
    one = film()
    one.look(writes=[(0x20200, (0x10000).to_bytes(8, "little"))])
    assert layout(one).words(0x10000) == "the host's memory (kernel 1's mk_shared_data)"
    assert layout(one).words(0x6000) == "the host's mk_shared_data"
