"""A session in a file: how the machine was made, everything that happened, and where it stands.

The file is a line that names the format, the SHA-256 of all that follows, and JSON, compressed. There is no code in it,
and a damaged file is refused before anything of it is read.
"""

import base64
import functools
import hashlib
import json
import os
import secrets
import types
import typing
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mklab.machine import state
from mklab.machine.machine import Machine
from mklab.machine.schedule import schedule_of
from mklab.timeline.journal import Installers
from mklab.trace import Event, Trace

__all__ = ["load", "save"]

_NAME, _VERSION = b"mklab session ", b"1"
_MAGIC = _NAME + _VERSION + b"\n"
_DIGEST = hashlib.sha256().digest_size
_MOST = 1 << 30
"""Bytes of JSON, and of a machine's RAM: more than that no session here has."""
_HOW = "it must be a file that mklab has saved"


def save(machine: Machine, path: str | Path) -> None:
    """Write the machine's session to ``path``; a file that is there is replaced as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    events = [event.to_dict() for event in machine.trace.events]
    blobs = {name: base64.b64encode(blob).decode() for name, blob in machine.trace.blobs.items()}
    data = {"arguments": machine.arguments, "events": events, "blobs": blobs, "state": state.state(machine)}
    body = zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 6)
    target = Path(path)
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    try:
        partial.write_bytes(_MAGIC + hashlib.sha256(_MAGIC + body).digest() + body)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


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
    try:
        return _machine(_unpack(file.read_bytes()), installers or {})
    except (
        *(LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError, MemoryError),
        zlib.error,
    ) as error:
        raise ValueError(f"path must be a session file, not {os.fspath(file)!r}: {error}") from None


def _unpack(data: bytes) -> dict[str, Any]:
    if not data.startswith(_NAME):
        raise ValueError(f"it does not begin as one; {_HOW}")
    if not data.startswith(_MAGIC):
        version = data[len(_NAME) : len(_NAME) + 8].split(b"\n")[0].decode("ascii", "replace")
        raise ValueError(f"it has the format {version!r}, and this mklab reads {_VERSION.decode()!r}")
    digest, body = data[len(_MAGIC) : len(_MAGIC) + _DIGEST], data[len(_MAGIC) + _DIGEST :]
    if hashlib.sha256(_MAGIC + body).digest() != digest:
        raise ValueError("it is damaged: its SHA-256 does not fit")
    opened = zlib.decompressobj()
    text = opened.decompress(body, _MOST)
    if not opened.eof or opened.unused_data:
        raise ValueError(f"its contents are not whole, or more than {_MOST} bytes; {_HOW}")
    session = json.loads(text)
    if not isinstance(session, dict) or session.keys() != {"arguments", "events", "blobs", "state"}:
        raise ValueError(f"it has other parts than a session; {_HOW}")
    return session


def _machine(session: dict[str, Any], installers: Installers) -> Machine:
    trace = _trace(session["events"], session["blobs"], session["state"]["trace"])
    if sum(size for _, size in session["arguments"]["ram"]) > _MOST:
        raise ValueError(f"its machine has more than {_MOST} bytes of RAM")
    machine = Machine.from_arguments(session["arguments"])
    for name in session["state"]["installed"]:
        if name not in installers:
            raise ValueError(f"installers must have what installs {name!r}, not only {sorted(installers)}")
        installers[name](machine)
    machine.restore_schedule(schedule_of(session["state"]["schedule"]), session["state"]["schedule"])
    state.restore(machine, session["state"])
    machine.trace.events = trace.events
    machine.trace.blobs.update(trace.blobs)
    return machine


def _trace(events: list[dict[str, Any]], blobs: Mapping[str, str], end: dict[str, Any]) -> Trace:
    """The events held, checked against the number and the digest that the state says, as far as that can be done."""
    trace = Trace()
    complete = end["count"] == len(events)
    trace.count = end["count"] - len(events)
    for item in events:
        event = Event.from_dict(item)
        _check_types(event)
        trace.append(event)
    if complete and trace.sha256 != end["sha256"]:
        raise ValueError("its events do not have the digest that its state names")
    for name, blob in blobs.items():
        if trace.keep(base64.b64decode(blob, validate=True))["sha256"] != name:
            raise ValueError(f"its byte string {name[:16]} is another one")
    return trace


def _check_types(event: Event) -> None:
    for name, allowed in _types(event.kind).items():
        if not isinstance(getattr(event, name), allowed):
            raise ValueError(f"{name} of event {event.seq!r} must be {allowed}, not {getattr(event, name)!r}")


@functools.cache
def _types(kind: str) -> dict[str, tuple[type, ...]]:
    """The types that each field of such an event may have."""
    result = {}
    for name, hint in typing.get_type_hints(Event.kinds[kind]).items():
        if typing.get_origin(hint) is not typing.ClassVar:
            hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            result[name] = tuple(typing.get_origin(one) or one for one in hints)
    return result
