"""How examiner and candidate talk: a line of JSON for each message, and plain data inside.

What comes from a candidate is not trusted: decoding it makes numbers, texts, bytes, lists and a few records of plain
data, and never runs anything.
"""

import json
from collections.abc import Callable
from dataclasses import fields
from typing import IO, Any

__all__ = ["LONGEST", "Reference", "WireError", "decode", "encode", "line", "message", "receive", "send"]

LONGEST = 16 << 20
"""Bytes of a message at most."""
_DEEPEST = 40


class WireError(Exception):
    """A message that cannot be sent or understood."""


class Reference:
    """Stands for something that only the examiner has.

    Attributes:
        name: what it was offered as.
    """

    def __init__(self, name: str) -> None:
        self.name = name


def _records() -> dict[str, type[Any]]:
    """The frozen dataclasses of plain data that may pass; loaded when the first one does."""
    from mklab.kernel.kexec import KexecSegment, LoadedImage

    return {kind.__name__: kind for kind in (KexecSegment, LoadedImage)}


def encode(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON has it.

    Raises:
        WireError: it is no plain data.
    """
    if depth > _DEEPEST:
        raise WireError("it is nested too deeply, perhaps in itself")
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        # JSON has numbers of any length, Python's reader of them a limit that hexadecimal has not.
        return {"int": hex(value)} if abs(value) >> 63 else int(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, (list, tuple, set, frozenset)):
        kind = next(name for name, one in _SEQUENCES.items() if isinstance(value, one))
        return {kind: [encode(item, depth + 1) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]}
    if isinstance(value, Reference):
        return {"object": value.name}
    name = type(value).__name__
    if hasattr(value, "__dataclass_fields__") and _records().get(name) is type(value):
        return {"record": name, "fields": {f.name: encode(getattr(value, f.name), depth + 1) for f in fields(value)}}
    raise WireError(f"it holds {type(value).__name__}, which is not plain data")


_SEQUENCES: dict[str, type[Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def decode(data: Any, find: Callable[[str], Any]) -> Any:
    """The inverse of :func:`encode`.

    Args:
        data: what JSON gave.
        find: gives what a :class:`Reference` of some name stands for.

    Raises:
        WireError: it was not made by :func:`encode`.
    """
    if not isinstance(data, dict):
        if data is None or isinstance(data, (bool, str, float, int)):
            return data
        raise WireError(f"a message holds {str(data)[:80]!r}")
    try:
        match data:
            case {"int": str(digits)}:
                return int(digits, 16)
            case {"bytes": str(digits)}:
                return bytes.fromhex(digits)
            case {"dict": list(pairs)}:
                return {decode(key, find): decode(item, find) for key, item in pairs}
            case {"object": str(name)}:
                return find(name)
            case {"record": str(name), "fields": dict(values)}:
                return _records()[name](**{key: decode(item, find) for key, item in values.items()})
            case _:
                ((kind, items),) = data.items()
                return _SEQUENCES[kind](decode(item, find) for item in items)
    except Exception as error:  # a record refuses what it likes
        raise WireError(f"a message holds {str(data)[:80]!r}: {error}") from None


def line(message: dict[str, Any]) -> bytes:
    """The line that carries a message.

    Raises:
        WireError: it is too long.
    """
    text = json.dumps(message).encode() + b"\n"
    if len(text) > LONGEST:
        raise WireError(f"it is longer than {LONGEST >> 20} MiB")
    return text


def message(text: bytes) -> dict[str, Any]:
    """The inverse of :func:`line`.

    Raises:
        WireError: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise WireError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise WireError("it is no object")
    return found


def send(stream: IO[bytes], sent: dict[str, Any]) -> None:
    """Send one message.

    Raises:
        WireError: it is too long.
        OSError: nobody listens any more.
    """
    stream.write(line(sent))
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any]:
    """Receive one message from somebody who is trusted.

    Raises:
        EOFError: the other side has ended.
        WireError: it is none.
    """
    text = stream.readline()
    if not text.endswith(b"\n"):
        raise EOFError
    return message(text)
