"""What an event is: its number, its time, its CPU, and the one way to write it as JSON."""

import functools
import json
from dataclasses import dataclass, fields
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_WORDS = {None: "null", True: "true", False: "false"}


def _json(value: Any) -> str:
    """``value`` as JSON; what is common goes without the encoder, which costs more than an event's hash."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    return _WORDS[value] if value is None or type(value) is bool else _ENCODER.encode(value)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        seq: number of the event in its trace, from 0.
        time: virtual time in instructions.
        cpu: the CPU (its index in the machine) it happened on, or None for the platform.
    """

    seq: int
    time: int
    cpu: int | None

    kinds: ClassVar[dict[str, type["Event"]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the kind, so that JSON can name it."""
        Event.kinds[cls.__name__] = cls

    @property
    def kind(self) -> str:
        """The event's kind, as in JSON."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """The event as plain data, ``kind`` first."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in _field_names(self.kind)}}

    def to_line(self) -> str:
        """The event as JSON, always in the same words: keys sorted, no spaces."""
        words = []
        for name in _sorted_names(self.kind):
            value = self.kind if name == "kind" else getattr(self, name)
            if type(value) is int:
                words.append(f'"{name}":{value}')
            else:
                words.append(f'"{name}":{_json(value)}')
        return "{" + ",".join(words) + "}"

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Event":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: the kind is unknown or the fields are not those of the kind.
        """
        rest = dict(data)
        kind = rest.pop("kind", None)
        cls = Event.kinds.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise ValueError(f"kind must name an event, not {kind!r}")
        if set(rest) != set(_field_names(kind)):
            raise ValueError(f"{kind} must have the fields {sorted(_field_names(kind))}, not {sorted(rest)!r}")
        return cls(**rest)


@functools.cache
def _field_names(kind: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(Event.kinds[kind]))


@functools.cache
def _sorted_names(kind: str) -> tuple[str, ...]:
    return tuple(sorted(("kind", *_field_names(kind))))
