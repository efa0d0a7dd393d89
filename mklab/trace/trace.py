"""The trace: every event of a run, and a digest over all of them.

The digest is a chain, ``sha256(previous digest + event as JSON)``, so it covers every field of every event, and a
restored machine goes on with it.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Self, TypeVar

from mklab.trace.event import Event
from mklab.trace.kinds import Input

E = TypeVar("E", bound=Event)

FORMAT = "mklab-trace-1"


class Trace:
    """The events of a run, and a digest over all of them.

    Attributes:
        events: the events held, oldest first. After a restore, those since the restored moment.
        count: number of events since power-on.
        blobs: long byte strings that Input events name by their SHA-256.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.count = 0
        # Digest and what it does not cover yet: in one place, so that Ctrl-C never parts the two.
        self._chain: tuple[str, list[Event | str]] = (hashlib.sha256(FORMAT.encode()).hexdigest(), [])
        self.blobs: dict[str, bytes] = {}

    def emit(self, kind: type[E], time: int, cpu: int | None, **values: Any) -> E:
        """Append an event of ``kind`` and return it."""
        event = kind(self.count, time, cpu, **values)
        self._hold(event)
        return event

    def append(self, event: Event) -> None:
        """Append ``event``.

        Raises:
            ValueError: its number does not follow the last one.
        """
        if event.seq != self.count:
            raise ValueError(f"seq must be {self.count}, not {event.seq!r}")
        self._hold(event)

    def _hold(self, event: Event) -> None:
        self.count += 1
        self.events.append(event)
        # The arguments of an act from outside are somebody else's, too; other events never change.
        self._chain[1].append(event.to_line() if isinstance(event, Input) else event)

    @property
    def sha256(self) -> str:
        """Digest over every event since power-on (hex). It is made when it is asked for: most never are."""
        digest, pending = self._chain
        if pending:
            for event in pending:
                line = event if isinstance(event, str) else event.to_line()
                digest = hashlib.sha256((digest + line).encode()).hexdigest()
            self._chain = (digest, [])
        return digest

    @sha256.setter
    def sha256(self, digest: str) -> None:
        self._chain = (digest, [])

    def keep(self, data: bytes) -> dict[str, Any]:
        """Hold ``data`` for replay and return what an Input event says of it: its SHA-256 and size in bytes."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = bytes(data)
        return {"sha256": digest, "size": len(data)}

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events, oldest first."""
        return iter(self.events)

    def __len__(self) -> int:
        """Number of events held."""
        return len(self.events)

    def to_json(self) -> str:
        """The trace as one JSON object."""
        data = {
            "format": FORMAT,
            "sha256": self.sha256,
            "events": [event.to_dict() for event in self.events],
            "blobs": {name: base64.b64encode(blob).decode() for name, blob in self.blobs.items()},
        }
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of :meth:`to_json` for a trace that begins at power-on.

        Raises:
            ValueError: not such a trace, or its digest does not fit its events.
        """
        data = json.loads(text)
        complete = isinstance(data, dict) and data.keys() >= {"sha256", "events", "blobs"}
        if not complete or data.get("format") != FORMAT:
            raise ValueError(f"text must be a trace of format {FORMAT}, not {text[:40]!r}")
        trace = cls()
        for item in data["events"]:
            trace.append(Event.from_dict(item))
        if trace.sha256 != data["sha256"]:
            raise ValueError(f"the events must have the digest {trace.sha256}, not {data['sha256']!r}")
        for blob in data["blobs"].values():
            trace.keep(base64.b64decode(blob))
        return trace

    def state(self) -> dict[str, Any]:
        """What a restored machine needs to go on with this trace."""
        return {"sha256": self.sha256, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`; the events held are dropped."""
        self.sha256 = state["sha256"]
        self.count = state["count"]
        self.events = []
