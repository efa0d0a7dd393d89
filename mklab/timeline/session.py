"""A session in a file: how the machine was made, everything that happened, and where it stands.

The file is one of :mod:`mklab.packed`: there is no code in it, and a damaged file is refused before anything of it is
read. Ctrl-C leaves the machine, and a file that was there, as they were.
"""

import base64
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from mklab import packed
from mklab.errors import require
from mklab.machine import state
from mklab.machine.machine import Machine
from mklab.machine.schedule import schedule_of
from mklab.packed import leaves, tree
from mklab.timeline.journal import Installers
from mklab.trace import Trace
from mklab.trace.rows import events_of, kinds_of, rows_of

__all__ = ["FORMAT", "load", "save"]

_MOST = 1 << 30
"""Bytes of JSON, and of a machine's RAM: more than that no session here has."""
FORMAT = packed.Format("mklab session", 2, _MOST)
_PIECE = 3 << 14
"""Bytes of a blob in a row; a multiple of three, so that base64 pads the last one only."""


def save(machine: Machine, path: str | Path) -> None:
    """Write the machine's session to ``path``; a file that is there is replaced as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    trace = machine.trace
    kinds = kinds_of(trace.events)
    parts = [
        ("head", leaves({"arguments": machine.arguments, "first": trace.count - len(trace.events)})),
        ("state", leaves(state.state(machine))),
        ("kinds", kinds),
        ("events", rows_of(trace.events, kinds)),
        ("blobs", _blob_rows(trace.blobs)),
    ]
    packed.write(Path(path), packed.pack(FORMAT, parts))


def load(path: str | Path, installers: Installers | None = None) -> Machine:
    """The machine whose session was saved to ``path``: with its trace, at the moment at which it was saved.

    Args:
        path: the file.
        installers: who makes kernel functions known, by name; for a host kernel ``{"host": Host}``.

    Raises:
        ValueError: the file is damaged, of a newer mklab, none of mklab's, or needs an installer that is not there.
        OSError: it cannot be read.
    """
    file = Path(path)
    data = packed.read(file)
    try:
        return packed.made(lambda: _machine(data, installers or {}))
    except packed.DAMAGE as error:
        raise ValueError(f"path must be a session file, not {os.fspath(file)!r}: {error}") from None


def _machine(data: bytes, installers: Installers) -> Machine:
    trace = Trace()
    head: dict[str, Any] = {}
    end: dict[str, Any] = {}
    kinds: list[list[Any]] = []
    for part, rows in packed.unpack(FORMAT, data):
        match part:
            case "head":
                head = tree(rows)
                require("the number of its first event", head["first"], 0, 1 << 62)
                trace.count = head["first"]
            case "state":
                end = tree(rows)
            case "kinds":
                kinds = list(rows)
            case "events":
                for event in events_of(kinds, rows, trace.count):
                    trace.append(event)
            case "blobs":
                _keep(trace, rows)
            case _:
                raise ValueError(f"it has a part {part!r}, which no session has")
    if trace.count != end["trace"]["count"] or (not head["first"] and trace.sha256 != end["trace"]["sha256"]):
        raise ValueError("its events do not have the number and the digest that its state names")
    arguments = head["arguments"]
    if sum(size for _, size in arguments["ram"]) > _MOST:
        raise ValueError(f"its machine has more than {_MOST} bytes of RAM")
    machine = Machine.from_arguments(arguments)
    for name in end["installed"]:
        if name not in installers:
            raise ValueError(f"installers must have what installs {name!r}, not only {sorted(installers)}")
        installers[name](machine)
    machine.restore_schedule(schedule_of(end["schedule"]), end["schedule"])
    state.restore(machine, end)
    machine.trace.events = trace.events
    machine.trace.blobs.update(trace.blobs)
    return machine


def _blob_rows(blobs: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Each blob's name and its bytes, piece by piece."""
    for name, blob in blobs.items():
        for at in range(0, len(blob) or 1, _PIECE):
            yield name, base64.b64encode(blob[at : at + _PIECE]).decode()


def _keep(trace: Trace, rows: Iterable[Any]) -> None:
    for name, pieces in groupby(rows, itemgetter(0)):
        if trace.keep(b"".join(base64.b64decode(piece, validate=True) for _, piece in pieces))["sha256"] != name:
            raise ValueError(f"its byte string {name[:16]} is another one")
