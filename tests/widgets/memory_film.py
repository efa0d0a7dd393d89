"""Films of memory by hand: a host and two kernels in 256 KiB, and a page of RAM at 512 GiB. No machine ran."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from mklab import trace
from mklab.recording import Description, Film, Place
from mklab.structs import Field, Struct
from mklab.trace import Trace
from mklab.widgets.palette import DARK, LIGHT, LOOKS, ROLES
from mklab.widgets.picture import Picture, markup, svg, twin
from mklab.widgets.svg import width_of
from mklab.widgets.view import View

RAM = [(0, 0x40000), (0x8000000000, 0x1000)]
HEAD, FIRST, SECOND, THIRD = 0x1000, 0x1100, 0x1200, 0x1300
INSIDE = 88
"""Where the list_head lies in the kimage of these films."""
TRAMPOLINE, TABLES, SLOTS = 0x3000, 0x4000, 0x6000
PROC = "/proc/multikernel"

KIMAGE = Struct(
    "kimage",
    Field("start", "u64"),
    Field("nr_segments", "u64"),
    Field("segment", "u64", 8),
    Field("type", "u32"),
    Field("id", "u32"),
    Field("list_next", "u64"),
    Field("list_prev", "u64"),
)
BOOT_INFO = Struct("mk_boot_info", Field("nr_ram", "u32"), Field("ram", "u64", 4))
SLOT = Struct("mk_ipi_data", Field("sender_cpu", "s32"), Field("type", "u32"), Field("buffer", "u8", 8))
DESCRIPTION = Description(
    [KIMAGE, BOOT_INFO, SLOT],
    [
        Place("kexec_image_list", "kimages", HEAD, kernel="host", struct="kimage", link="list_next"),
        Place("kimages", "kimages", HEAD, kernel="host", size=0x1000, text=PROC),
        Place("trampoline", "trampoline", TRAMPOLINE, kernel="host", size=0x1000),
        Place("tables", "page tables", TABLES, kernel="host", size=0x1000),
        Place("local APIC", "APIC page", 0xFEE00000, size=0x1000),
        Place("mk_boot_info", "boot parameters", symbol="info", struct="mk_boot_info"),
        Place("mk_shared_data", "messages", symbol="shared", pointer=True, struct="mk_ipi_data", count=4),
        Place("stacks", "stacks", symbol="stacks", size=0x1000),
    ],
)


def u64(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def image(start: int, end: int) -> dict[str, Any]:
    """A kernel of which ``start`` to ``end`` was loaded."""
    symbols = {"info": start + 0x100, "shared": start + 0x200, "stacks": start + 0x1000}
    return {"ranges": [[start, end]], "entry": start, "symbols": symbols}


def told(start: int, *ranges: int) -> list[tuple[int, bytes]]:
    """What a kernel at ``start`` is told: its memory map, and where the slots lie."""
    count = (len(ranges) // 2).to_bytes(4, "little")
    return [(start + 0x100, count + bytes(4) + u64(*ranges)), (start + 0x200, u64(SLOTS))]


def kimage(address: int, number: int, *segments: tuple[int, int], kind: int = 2) -> tuple[int, bytes]:
    """A kimage of kernel ``number`` with segments of ``(mem, memsz)``."""
    words = [word for mem, size in segments for word in (0, size, mem, size)]
    words += [0] * (8 - len(words))
    kinds = kind.to_bytes(4, "little") + number.to_bytes(4, "little")
    return address, u64(segments[0][0] if segments else 0, len(segments), *words) + kinds


def linked(*addresses: int, **spoiled: int) -> list[tuple[int, bytes]]:
    """Pointers that link kimages into the list; ``next0`` is the head's, ``prev2`` the second node's."""
    links = [HEAD, *(address + INSIDE for address in addresses)]
    writes = []
    for number, link in enumerate(links):
        following, before = links[(number + 1) % len(links)], links[number - 1]
        values = spoiled.get(f"next{number}", following), spoiled.get(f"prev{number}", before)
        writes.append((link, u64(*values)))
    return writes


def emit(film: Film, kind: type[trace.Event] | None = None, cpu: int | None = 0, **values: Any) -> int:
    """One more event, ten instructions later; its number."""
    made = Trace()
    made.count = film.count
    values = values if kind else {"kernel": "host", "text": "hello"}
    made.emit(kind or trace.Printk, film.recording.time + 10, cpu, **values)
    film.extend(made)
    return film.count - 1


def own(film: Film, cpu: int, owner: str | None) -> int:
    """``cpu`` was seen to enter the memory of ``owner``."""
    return emit(film, trace.OwnerChange, cpu, owner=owner, planned=None, address=0)


def film() -> Film:
    """The host up to 0x20000, kernel 1 up to 0x30000 and kernel 2 up to 0x38000: CPU 0 to 2 run them, CPU 3 none."""
    one = Film([0, 1, 2, 3], RAM, DESCRIPTION)
    for cpu, owner in enumerate(("host", "kernel 1", "kernel 2")):
        own(one, cpu, owner)
    kernels = {"host": image(0x8000, 0xB000), "kernel 1": image(0x20000, 0x24000), "kernel 2": image(0x30000, 0x34000)}
    one.look(
        cause="start",
        images=kernels,
        writes=[
            *told(0x8000, 0, 0x20000),
            *told(0x20000, 0x20000, 0x30000),
            *told(0x30000, 0x30000, 0x38000),
            *linked(),
        ],
        texts={PROC: "Type  Start Address  Segments\n----  -------------  --------\nNo kimages loaded\n"},
    )
    return one


def write(one: Film, cpu: int | None, owner: str | None, *writes: tuple[int, bytes], cause: str = "slice") -> View:
    """An event, and a look that sees ``writes``; the moment after it."""
    emit(one, cpu=cpu)
    one.look(cpu, owner, cause, "kexec_load.copy" if cause == "call" else "", writes=writes)
    return View.at_end(one)


# Drawings

_COLOURS = {colour for look in LOOKS for pair in (look.light, look.dark) for colour in pair}
_COLOURS |= {colour for pair in ROLES.values() for colour in pair} | {"none"}


def texts(picture: Picture, view: View, width: int = 600) -> list[str]:
    """Every line of text in the drawing."""
    return [one.text or "" for one in _elements(ET.fromstring(svg(picture, view, LIGHT, width))) if _is(one, "text")]


def selectable(picture: Picture, view: View) -> list[dict[str, str]]:
    """What each part sends that can be selected, and its label."""
    root = ET.fromstring(f"<div>{picture.body(view, 600)}</div>")
    parts = [one.attrib for one in root.iter() if "role" in one.attrib and one.get("role") == "button"]
    assert all(part["tabindex"] == "0" and part["aria-label"] for part in parts)
    return parts


def check(picture: Picture, view: View) -> None:
    """Well-formed at every width, in the palette's colours, no text below 11 px or over the edges; the twin ASCII."""
    for width in (480, 600, 800, 1240):
        for palette in (LIGHT, DARK):
            root = ET.fromstring(svg(picture, view, palette, width))
            for one, x in _placed(root, 0):
                for name in ("fill", "stroke"):
                    assert one.get(name, "none") in _COLOURS, ET.tostring(one)
                if _is(one, "text"):
                    _legible(one, x, width)
        assert "#" not in re.sub("&#", "", picture.body(view, width))
    assert ET.fromstring(markup(picture, view, 600)) is not None
    words = twin(picture, view)
    assert words.isascii()
    assert words.startswith(f"{picture.question} At t={view.time:,}, event {view.event} of {view.film.count - 1}.")


def _legible(one: ET.Element, x: float, width: int) -> None:
    words, size = one.text or "", int(one.get("font-size", "0"))
    assert size >= 11
    assert "transform" not in one.attrib
    room = len(words) * size * 0.602 if "mono" in one.get("font-family", "") else width_of(words, size) * 0.95
    anchor = one.get("text-anchor", "start")
    left = x + float(one.get("x", "0")) - {"start": 0, "middle": room / 2, "end": room}[anchor]
    assert left >= 0, words
    assert left + room <= width, words


def _is(one: ET.Element, name: str) -> bool:
    return one.tag.rpartition("}")[2] == name


def _elements(root: ET.Element) -> Iterator[ET.Element]:
    return root.iter()


def _placed(one: ET.Element, x: float) -> Iterator[tuple[ET.Element, float]]:
    """Each element, and how far to the right its coordinates begin."""
    shift = re.match(r"translate\(([\d.]+)", one.get("transform", ""))
    x += float(shift.group(1)) if shift else 0
    yield one, x
    for inner in one:
        yield from _placed(inner, x)
