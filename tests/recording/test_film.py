"""Films made by hand: seeking, cutting, files, and what lies in memory decoded."""

import json
import random
import zlib
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mklab import trace
from mklab.recording import Description, Film, Line, Place, Write
from mklab.recording.film_file import FORMAT
from mklab.structs import Field, Struct
from mklab.trace import Trace

RAM = [(0, 0x10000)]
NODE = Struct("node", Field("id", "u32"), Field("next", "u64"), Field("prev", "u64"), Field("name", "u8", 4))
HEAD, FIRST, SECOND = 0x1000, 0x2000, 0x2100
DESCRIPTION = Description(
    [NODE, Struct("pair", Field("one", "u64"), Field("two", "u16", 3))],
    [
        Place("nodes", "list", HEAD, struct="node", link="next"),
        Place("pairs", "data", 8, symbol="pairs", struct="pair", count=2),
        Place("area", "data", symbol="area", pointer=True, size=0x100),
    ],
)
NOP = Line(0x100, "90", "nop")


def film(description: Description = DESCRIPTION) -> Film:
    return Film([0, 1], RAM, description)


def emit(film: Film, count: int = 1, time: int = 10) -> None:
    made = Trace()
    made.count = film.count
    for _ in range(count):
        made.emit(trace.Printk, film.recording.time + time, 0, kernel="host", text="hello")
    film.extend(made)


def u64(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def link(film: Film, **spoiled: int) -> None:
    """A list of two nodes, but for the pointers that are ``spoiled``."""
    pointers = {
        "head_next": (HEAD, FIRST + 8),
        "head_prev": (HEAD + 8, SECOND + 8),
        "first_next": (FIRST + 8, SECOND + 8),
        "first_prev": (FIRST + 16, HEAD),
        "second_next": (SECOND + 8, HEAD),
        "second_prev": (SECOND + 16, FIRST + 8),
    }
    stores = [(address, u64(spoiled.get(name, value))) for name, (address, value) in pointers.items()]
    film.look(writes=[(FIRST, (7).to_bytes(4, "little")), (FIRST + 24, b"abcd"), *stores])


def test_what_stood_at_each_event() -> None:
    one = film()
    one.look(cause="start", registers={0: {"rip": 1}, 1: {"rip": 100}})
    emit(one, 2)
    one.look(0, "host", registers={0: {"rip": 2}}, writes=[(0x20, b"new")], lines={0: [NOP]})
    emit(one)
    one.look(1, None, registers={1: {"rip": 101}}, apics={0: {"irr": [0xEA]}}, texts={"/proc/multikernel": "none\n"})
    emit(one)
    assert [one.frame(event).registers(0)["rip"] for event in (-1, 0, 1, 2, 3)] == [1, 1, 2, 2, 2]
    assert [one.frame(event).registers(1)["rip"] for event in (-1, 0, 1, 2, 3)] == [100, 100, 100, 101, 101]
    assert [one.frame(event).look.number for event in (-1, 0, 1, 2, 3)] == [0, 0, 1, 2, 2]
    frame = one.frame(1)
    assert (frame.look.cpu, frame.look.owner, frame.look.time) == (0, "host", 10)
    assert frame.writes() == [Write(0x20, 3, bytes(3), b"new")]
    assert frame.changed(0) == {"rip": (1, 2)}
    assert (frame.code(0), frame.code(1)) == ([NOP], [])
    assert frame.read(0x20, 4) == b"new\0"
    assert frame.read(0xFFFF, 2) is None
    assert frame.text("/proc/multikernel") is None
    last = one.frame(3)
    assert last.apic(0) == {"irr": [0xEA]}
    assert last.apic_changed(0) == {"irr": (None, [0xEA])}
    assert last.text("/proc/multikernel") == "none\n"
    writer = last.last_writer(0x21)
    assert writer is not None
    assert writer.cpu == 0
    assert last.last_writer(0x3000) is None


def test_several_looks_belong_to_one_event() -> None:
    one = film()
    emit(one)
    for step in range(3):
        one.look(0, registers={0: {"rip": step}}, time=10 + step)
    assert one.frame(0).registers(0) == {"rip": 2}
    assert [one.frame_of(number).registers(0)["rip"] for number in range(3)] == [0, 1, 2]
    assert [one.look_at_time(time) for time in (9, 10, 11, 50)] == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("event", "text"), [(-2, "event must be -1 to 1, not -2"), (2, "event must be -1 to 1, not 2")]
)
def test_events_that_there_are_not(event: int, text: str) -> None:
    one = film()
    emit(one, 2)
    one.look()
    with pytest.raises(ValueError, match=text):
        one.frame(event)
    with pytest.raises(ValueError, match="event must be 1 or later, not 0"):
        one.frame(0)
    with pytest.raises(ValueError, match="look must be 0 to 0, not 1"):
        one.frame_of(1)


def test_what_no_machine_has() -> None:
    one = film()
    with pytest.raises(ValueError, match="cpu must be 0 to 1, not 2"):
        one.look(registers={2: {"rip": 1}})
    with pytest.raises(ValueError, match="address must be one of 1 bytes of RAM, not 65536"):
        film().look(writes=[(0x10000, b"x")])
    emit(one)
    one.look(time=10)
    with pytest.raises(ValueError, match=r"time must be 10 to .*, not 9"):
        one.look(time=9)


def made(events: int = 40) -> Film:
    """A film with something of everything."""
    one, generator = film(), random.Random(7)
    one.look(cause="start", images={"host": {"ranges": [[0, 0x100]], "entry": 0, "symbols": {"pairs": 0x3000}}})
    for _ in range(events):
        emit(one, generator.randrange(1, 3))
        cpu = generator.randrange(2)
        one.look(
            cpu,
            generator.choice(["host", None]),
            "call",
            "kexec_load.check",
            registers={cpu: {"rip": generator.randrange(4), "rax": generator.randrange(1 << 64)}},
            apics={cpu: {"irr": generator.sample(range(256), 2), "mode": "xapic", "deadline": None}},
            where={cpu: {"gdt": generator.choice([None, 0x1000]), "walk": [["PML4", 0x1000, 3]]}},
            lines={cpu: [Line(generator.randrange(4), "90", "nop")]},
            writes=[(generator.randrange(0x8000), generator.randbytes(generator.randrange(1, 9)))],
            texts={"/proc/multikernel": generator.choice(["a", "b"])},
        )
    return one


def everything(film: Film, number: int) -> tuple[Any, ...]:
    frame = film.frame_of(number)
    seen = [(frame.registers(cpu), frame.apic(cpu), frame.where(cpu), frame.code(cpu)) for cpu in (0, 1)]
    return frame.look, seen, frame.read(0, 0x10000), frame.writes(), frame.images(), frame.text("/proc/multikernel")


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    one = made()
    one.save(tmp_path / "run.film")
    again = Film.load(tmp_path / "run.film")
    assert again.events == one.events
    assert again.recording == one.recording
    assert again.description.to_dict() == one.description.to_dict()
    assert [everything(again, look) for look in range(len(one.looks))] == [
        everything(one, look) for look in range(len(one.looks))
    ]
    assert again.to_bytes() == one.to_bytes()
    emit(again)
    again.look(0, writes=[(0, b"goes on")])
    assert again.frame(again.count - 1).read(0, 7) == b"goes on"


def test_a_film_that_is_cut_goes_on_as_if_it_had_ended_there() -> None:
    whole = made()
    event = whole.looks[20].event
    kept = whole.look_at(event)
    before = [everything(whole, look) for look in range(kept + 1)]
    whole.cut(event)
    assert (whole.count, len(whole.looks), whole.recording.count) == (event + 1, kept + 1, event + 1)
    assert [everything(whole, look) for look in range(kept + 1)] == before
    again = Film.from_bytes(whole.to_bytes())
    assert [everything(again, look) for look in range(kept + 1)] == before


def test_a_file_cut_anywhere_is_refused() -> None:
    data = made(3).to_bytes()
    for end in range(len(data)):
        with pytest.raises(ValueError, match="data must be a"):
            Film.from_bytes(data[:end])


def test_a_file_with_a_bit_turned_is_refused() -> None:
    data, generator = made(3).to_bytes(), random.Random(1)
    for _ in range(100):
        damaged = bytearray(data)
        damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        with pytest.raises(ValueError, match="data must be a"):
            Film.from_bytes(bytes(damaged))


def packed(text: str) -> bytes:
    body = zlib.compress(text.encode())
    return f"{FORMAT} {sha256(body).hexdigest()}\n".encode() + body


def unpacked(film: Film) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(zlib.decompress(film.to_bytes().partition(b"\n")[2]))
    return data


@pytest.mark.parametrize(
    "change",
    [
        {"apic_ids": []},
        {"ram": 5},
        {"looks": [[0, 0, 0]]},
        {"looks": [[99, 0, 0, "host", "slice", ""]] * 2},
        {"registers": [[[0], []], [[], []]]},
        {"registers": [[[0], [5]], [[], []]]},
        {"events": [[0, 1]]},
        {"events": [[9, 1, 0, "host", "x"]]},
        {"kinds": {"Printk": ["kernel"]}},
        {"runs": [[0, 0xFFFF0, "AAAA"]]},
        {"runs": [[0, 0, "not base64"]]},
        {"runs": [[0, 0, None]]},
        {"blocks": [[[1]]]},
        {"description": {"structs": {"node": [["id", "u33", 1]]}, "places": []}},
        {"description": {}},
    ],
)
def test_what_is_whole_but_no_film_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Film.from_bytes(packed(json.dumps({**unpacked(made(3)), **change})))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, "not json"])
def test_what_is_no_film_at_all(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|Expecting"):
        Film.from_bytes(packed(text))


def test_a_newer_film_and_a_bomb() -> None:
    with pytest.raises(ValueError, match=f"data must be a film of the format {FORMAT}, not b'mklab-film-2"):
        Film.from_bytes(made(1).to_bytes().replace(FORMAT.encode(), b"mklab-film-2", 1))
    with pytest.raises(ValueError, match="data must be a film of at most 268435456 bytes, not"):
        Film.from_bytes(packed(" " * (300 << 20)))


# What lies in memory


def test_places_and_their_fields() -> None:
    one = film()
    image = {"ranges": [[0x3000, 0x4000]], "entry": 0x3000, "symbols": {"pairs": 0x3000, "area": 0x3100}}
    other = {"ranges": [[0x3800, 0x5000]], "entry": 0x3800, "symbols": {"pairs": 0x3800}}
    one.look(images={"host": image, "kernel 1": other}, writes=[(0x3008 + 16, u64(5)), (0x3100, u64(0x6000))])
    frame = one.frame(-1)
    assert [(found.place.name, found.kernel, found.address, found.size) for found in frame.places()] == [
        ("nodes", "", HEAD, 16),
        ("pairs", "host", 0x3008, 32),
        ("pairs", "kernel 1", 0x3808, 32),
        ("area", "host", 0x6000, 0x100),
    ]
    assert frame.fields(frame.find("pairs", "host"), 1) == {"one": 5, "two": [0, 0, 0]}
    assert [frame.kernel_at(address) for address in (0x2FFF, 0x3000, 0x3900)] == [None, "host", "kernel 1"]
    with pytest.raises(ValueError, match="name must be a place of kernel 1 that is known at event -1, not 'area'"):
        frame.find("area", "kernel 1")


def test_a_list_in_order() -> None:
    one = film()
    link(one)
    frame = one.frame(-1)
    head, first, second = frame.nodes(frame.find("nodes"))
    assert (head.address, head.next, head.prev, head.fields, head.why) == (HEAD, FIRST + 8, SECOND + 8, {}, "")
    assert (first.address, first.link, first.next, first.prev, first.why) == (FIRST, FIRST + 8, SECOND + 8, HEAD, "")
    assert first.fields == {"id": 7, "next": SECOND + 8, "prev": HEAD, "name": b"abcd".hex()}
    assert second.why == ""


@pytest.mark.parametrize(
    ("spoiled", "place", "why"),
    [
        ({"first_next": 0xDEAD0000}, -1, "next leads to 0xdead0000, where there is no memory"),
        ({"second_next": FIRST + 8}, -1, "next leads back to 0x2008: a circle that misses the head"),
        ({"second_prev": HEAD}, -1, "prev is 0x1000, not 0x2008"),
        ({"head_prev": FIRST + 8}, 0, "prev is 0x2008, not 0x2108"),
    ],
)
def test_a_corrupt_list_is_drawn_as_it_is(spoiled: dict[str, int], place: int, why: str) -> None:
    one = film()
    link(one, **spoiled)
    frame = one.frame(-1)
    nodes = frame.nodes(frame.find("nodes"))
    assert nodes[place].why == why
    assert [node.why for node in nodes if node is not nodes[place]] == [""] * (len(nodes) - 1)


def test_a_list_without_an_end() -> None:
    one = Film([0], [(0, 0x100000)], DESCRIPTION)
    nodes = [HEAD, *range(0x2008, 0x2008 + 300 * 0x40, 0x40)]
    one.look(writes=[(at, u64(after)) for at, after in pairwise(nodes)])
    one.look(writes=[(at + 8, u64(before)) for before, at in pairwise(nodes)])
    frame = one.frame(-1)
    assert frame.nodes(frame.find("nodes"))[-1].why == "more than 256 nodes"


def test_what_an_interrupt_must_pass() -> None:
    one = film()
    apic = {"irr": [0x41, 0xEA], "isr": [0xF0], "ppr": 0xF0, "svr": 0x1FF}
    one.look(registers={0: {"rflags": 0x202, "shadow": 0}}, apics={0: apic, 1: {"irr": []}})
    gates = one.frame(-1).gates(0)
    assert ("priority: class 14 > 15 of PPR", False) in gates
    assert ("RFLAGS.IF is 1", True) in gates
    assert ("the CPU waits for a SIPI", False) in gates
    assert ("pending: 0xEA is set in IRR", True) in gates
    assert one.frame(-1).gates(1) == []


def test_slot_0_of_a_descriptor_table_takes_one_slot_whatever_it_holds() -> None:
    one = film()
    # The trampoline keeps the table's own pseudo-descriptor there: no upper half of a system segment follows it.
    table = u64(0x96198_0020, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF)
    one.look(
        writes=[(0x3000, table)],
        registers={0: {"gdtr.base": 0x3000, "gdtr.limit": 23, "efer": 0x500}},
        where={0: {"gdt": 0x3000}},
    )
    assert [(selector, entry.bits) for selector, entry in one.frame_of(0).gdt(0)][1:] == [(8, 32), (16, 64)]
