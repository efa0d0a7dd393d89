"""What an event is: its number, its time, its CPU, and the one way to write it as JSON."""

import functools
import json
from dataclasses import FrozenInstanceError, dataclass, fields
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, TypeVar, dataclass_transform

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_WORDS = {None: "null", True: "true", False: "false"}


def _json(value: Any) -> str:
    """``value`` as JSON; what is common goes without the encoder, which costs more than an event's hash."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    return _WORDS[value] if value is None or type(value) is bool else _ENCODER.encode(value)


_K = TypeVar("_K", bound="Event")
_INIT = """
def __init__(self, {fields}):
    set_attribute(self, "__class__", unsealed)
    {stores}
    self.__class__ = sealed
"""


@dataclass_transform(frozen_default=True)
def _unchangeable(cls: type[_K]) -> type[_K]:
    """Make ``cls`` a dataclass with slots whose instances never change.

    ``dataclass(frozen=True)`` would store each field by ``object.__setattr__``, which makes an event cost twice as much
    (1.3 us instead of 0.7). So an event is of a class that takes stores until it has all its fields. What is the same
    for all kinds is inherited: to generate it for each took 20 ms of every start.
    """
    sealed = dataclass(slots=True, init=False, repr=False, eq=False)(cls)
    names = [field.name for field in fields(sealed)]
    unsealed = type(sealed.__name__, (sealed,), {"__slots__": (), "__setattr__": object.__setattr__})
    scope = {"sealed": sealed, "unsealed": unsealed, "set_attribute": object.__setattr__}
    stores = "; ".join(f"self.{name} = {name}" for name in names)
    exec(_INIT.format(fields=", ".join(names), stores=stores), scope)  # noqa: S102 - as dataclass does
    sealed.__init__ = scope["__init__"]  # type: ignore[assignment]
    sealed.__init__.__qualname__ = f"{sealed.__name__}.__init__"
    return sealed


@dataclass_transform(frozen_default=True)
def kind_of_event(cls: type[_K]) -> type[_K]:
    """Make ``cls`` a kind of event: a dataclass that never changes, and that JSON can name."""
    kind = _unchangeable(cls)
    kind.kinds[kind.__name__] = kind
    return kind


class _Sealed:
    """What is alike in all kinds of event; as ``dataclass(frozen=True)`` has it."""

    __slots__ = ()

    def __setattr__(self, name: str, _value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _field_names(type(self).__name__))

    def __repr__(self) -> str:
        name = type(self).__name__
        values = zip(_field_names(name), self._values(), strict=True)
        return f"{name}({', '.join(f'{field}={value!r}' for field, value in values)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Sealed) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made by the constructor: stores would be refused."""
        return type(self), self._values()


@_unchangeable
class Event(_Sealed):
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
