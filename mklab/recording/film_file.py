"""Films in files: one line that names the format and the SHA-256 of the rest, then JSON, compressed (zlib).

The digest finds damage, by accident or by cutting; it is no signature. What a file holds is plain data: reading a
foreign one can fail, but runs nothing.
"""

import base64
import hashlib
import json
import zlib
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any, TypeVar

from mklab.recording.description import Description
from mklab.recording.look import Line, Look
from mklab.recording.track import Track
from mklab.trace import Event

if TYPE_CHECKING:
    from mklab.recording.film import Film

__all__ = ["FORMAT", "pack", "unpack"]

FORMAT = "mklab-film-1"
_MOST = 1 << 28
"""Bytes of JSON that are read: a few hundred bytes could ask for terabytes."""

F = TypeVar("F", bound="Film")


def pack(film: "Film") -> bytes:
    """The bytes of ``film``."""
    body = zlib.compress(json.dumps(_data(film), separators=(",", ":")).encode(), 6)
    return f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode() + body


def unpack(kind: type[F], data: bytes) -> F:
    """The inverse of :func:`pack`, as a ``kind``.

    Raises:
        ValueError: not such a film, one of another version, or damaged.
    """
    head, _, body = data.partition(b"\n")
    name, _, digest = head.partition(b" ")
    if name != FORMAT.encode():
        raise ValueError(f"data must be a film of the format {FORMAT}, not {data[:40]!r}")
    if digest.decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        raise ValueError(f"data must be a whole film, not one damaged or cut off after {len(data)!r} bytes")
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(body, _MOST)
        film = None if unpacker.unconsumed_tail else _film(kind, json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error) as error:
        raise ValueError(f"data must be a film that to_bytes() made, not one damaged at {error!r}") from None
    if film is None:
        raise ValueError(f"data must be a film of at most {_MOST} bytes, not {len(data)!r} bytes that hold more")
    return film


def _data(film: "Film") -> dict[str, Any]:
    return {
        "apic_ids": film.recording.apic_ids,
        "ram": film.contents.ram,
        "most_bytes": film.contents.most,
        "description": film.description.to_dict(),
        **_events(film.events),
        "looks": [list(astuple(look)[1:]) for look in film.looks],
        "registers": [_track(track) for track in film.registers],
        "apics": [_track(track) for track in film.apics],
        "where": [_track(track) for track in film.where],
        "images": _track(film.images),
        "texts": _track(film.texts),
        "blocks": film.blocks,
        "runs": [
            [look, address, size if data is None else base64.b64encode(data).decode()]
            for look, address, size, data in film.contents.runs()
        ],
    }


def _film(kind: type[F], data: dict[str, Any]) -> F:
    ram = [(start, size) for start, size in data["ram"]]
    film = kind(data["apic_ids"], ram, Description.from_dict(data["description"]), data["most_bytes"])
    names = [(name, ("time", "cpu", *values)) for name, values in data["kinds"].items()]
    film.extend(
        Event.from_dict({"kind": names[kind][0], "seq": seq, **dict(zip(names[kind][1], values, strict=True))})
        for seq, (kind, *values) in enumerate(data["events"])
    )
    film.looks = [Look(number, *values) for number, values in enumerate(data["looks"])]
    for one, before in zip(film.looks[1:], film.looks, strict=False):
        if not (-1 <= before.event <= one.event < film.count and before.time <= one.time):
            raise ValueError(f"looks must follow one another and the events, not {one!r}")
    for tracks, items in (
        (film.registers, data["registers"]),
        (film.apics, data["apics"]),
        (film.where, data["where"]),
    ):
        for track, item in zip(tracks, items, strict=True):
            _fill(track, item)
    _fill(film.images, data["images"])
    _fill(film.texts, data["texts"])
    film.blocks = [[Line(*line) for line in block] for block in data["blocks"]]
    for look, address, run in data["runs"]:
        held = base64.b64decode(run) if isinstance(run, str) else None
        film.contents.put_back(look, address, held, run if held is None else len(held))
    return film


def _events(events: list[Event]) -> dict[str, Any]:
    """Each kind's fields once, and of each event the kind's number, the time, the CPU and the fields' values."""
    kinds: dict[str, list[str]] = {}
    rows = []
    for event in events:
        if event.kind not in kinds:
            kinds[event.kind] = [field.name for field in fields(event)[3:]]
        values = [getattr(event, name) for name in kinds[event.kind]]
        rows.append([list(kinds).index(event.kind), event.time, event.cpu, *values])
    return {"kinds": kinds, "events": rows}


def _track(track: Track) -> list[Any]:
    return [track.looks, track.changes]


def _fill(track: Track, data: list[Any]) -> None:
    for look, change in zip(*data, strict=True):
        track.append(look, dict(change))
