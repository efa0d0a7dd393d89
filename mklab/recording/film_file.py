"""Films in files of :mod:`mklab.packed`: what a film holds, part by part, and back."""

import base64
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from mklab import packed
from mklab.packed import leaves, tree
from mklab.recording.description import Description
from mklab.recording.look import Line, Look
from mklab.recording.track import Track
from mklab.trace.rows import events_of, kinds_of, rows_of

if TYPE_CHECKING:
    from mklab.recording.film import Film

__all__ = ["FORMAT", "pack", "unpack"]

FORMAT = packed.Format("mklab film", 2, 1 << 28)
_CHANGES = ("registers", "apics", "where")
"""A film's tracks for each CPU."""

F = TypeVar("F", bound="Film")


def pack(film: "Film") -> bytes:
    """The bytes of ``film``."""
    head = {
        "apic_ids": film.recording.apic_ids,
        "ram": film.contents.ram,
        "most_bytes": film.contents.most,
        "description": film.description.to_dict(),
        "images": _track(film.images),
        "texts": _track(film.texts),
    }
    kinds = kinds_of(film.events)
    parts: list[tuple[str, Iterable[Any]]] = [
        ("head", leaves(head)),
        ("kinds", kinds),
        ("events", rows_of(film.events, kinds)),
        ("looks", ((one.event, one.time, one.cpu, one.owner, one.cause, one.detail) for one in film.looks)),
        *((name, _changes(getattr(film, name))) for name in _CHANGES),
        ("blocks", film.blocks),
        ("runs", _runs(film)),
    ]
    return packed.pack(FORMAT, parts)


def unpack(kind: type[F], data: bytes) -> F:
    """The inverse of :func:`pack`, as a ``kind``.

    Raises:
        ValueError: not such a film, one of another version, or damaged.
    """
    try:
        return packed.made(lambda: _film(kind, data))
    except packed.DAMAGE as error:
        raise ValueError(f"data must be a film that to_bytes() made, not {data[:20]!r}...: {error}") from None


def _film(kind: type[F], data: bytes) -> F:
    film: F | None = None
    kinds: list[list[Any]] = []
    for part, rows in packed.unpack(FORMAT, data):
        if part == "head":
            film = _begun(kind, tree(rows))
        elif part == "kinds":
            kinds = list(rows)
        elif film is None:
            raise ValueError("its head is missing")
        else:
            _add(film, part, rows, kinds)
    if film is None:
        raise ValueError("its head is missing")
    return film


def _begun(kind: type[F], head: dict[str, Any]) -> F:
    ram = [(start, size) for start, size in head["ram"]]
    film = kind(head["apic_ids"], ram, Description.from_dict(head["description"]), head["most_bytes"])
    for track, rows in ((film.images, head["images"]), (film.texts, head["texts"])):
        for look, change in rows:
            track.append(look, dict(change))
    return film


def _add(film: "Film", part: str, rows: Iterator[Any], kinds: list[list[Any]]) -> None:
    """Put the rows of one part into ``film``."""
    if part == "events":
        film.extend(events_of(kinds, rows, film.count))
    elif part == "looks":
        film.looks = [Look(number, *values) for number, values in enumerate(rows)]
        for one, before in zip(film.looks[1:], film.looks, strict=False):
            if not (-1 <= before.event <= one.event < film.count and before.time <= one.time):
                raise ValueError(f"looks must follow one another and the events, not {one!r}")
    elif part in _CHANGES:
        tracks = getattr(film, part)
        for cpu, look, change in rows:
            tracks[cpu].append(look, dict(change))
    elif part == "blocks":
        film.blocks = [[Line(*line) for line in block] for block in rows]
    elif part == "runs":
        for look, address, run in rows:
            held = base64.b64decode(run) if isinstance(run, str) else None
            film.contents.put_back(look, address, held, run if held is None else len(held))
    else:
        raise ValueError(f"it has a part {part!r}, which no film has")


def _track(track: Track) -> list[tuple[int, dict[str, Any]]]:
    return list(zip(track.looks, track.changes, strict=True))


def _changes(tracks: Iterable[Track]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Of each change of a CPU's track the CPU, the look, and the values."""
    for cpu, track in enumerate(tracks):
        for look, change in zip(track.looks, track.changes, strict=True):
            yield cpu, look, change


def _runs(film: "Film") -> Iterator[tuple[int, int, Any]]:
    for look, address, size, data in film.contents.runs():
        yield look, address, size if data is None else base64.b64encode(data).decode()
