"""Plain data in a file that is checked, bounded, and written and read a little at a time.

A file is a line that names the format, the SHA-256 of that line and of all that follows, and lines of JSON, compressed
(zlib). Each line is ``[number, part, row, row, ...]``; the last one is of the part ``end``. The digest finds damage, by
accident or by cutting; it is no signature. A file holds no code: reading a foreign one can fail, but runs nothing.

Python takes Ctrl-C between two calls of C functions only. So none of those that take long is given more than a line.
"""

import gc
import hashlib
import json
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

__all__ = ["DAMAGE", "LINE", "Format", "leaves", "made", "pack", "read", "tree", "unpack", "write"]

LINE = 1 << 19
"""Characters in a line, at most."""
DAMAGE = (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError, MemoryError, zlib.error)
"""What making something of a damaged or forged file may raise."""

_ROWS = 1000
_STEP = 1 << 16
_DIGEST = hashlib.sha256().digest_size
_END = "end"

T = TypeVar("T")


class Format(NamedTuple):
    """What a file begins with, and how large it may be.

    Attributes:
        name: of the format.
        version: of the format.
        most: bytes of JSON that are read: a few hundred bytes could ask for terabytes.
    """

    name: str
    version: int
    most: int

    @property
    def magic(self) -> bytes:
        """The first line."""
        return f"{self.name} {self.version}\n".encode()


def pack(form: Format, parts: Iterable[tuple[str, Iterable[Any]]]) -> bytes:
    """The bytes of a file of ``form``: of each part its name and its rows, which JSON can hold.

    Raises:
        ValueError: a row does not fit into a line.
    """
    digest, packer, pieces = hashlib.sha256(form.magic), zlib.compressobj(6), []
    for line in _lines(parts):
        pieces.append(packer.compress(line.encode("ascii")))
        digest.update(pieces[-1])
    pieces.append(packer.flush())
    digest.update(pieces[-1])
    return b"".join([form.magic, digest.digest(), *pieces])


def unpack(form: Format, data: bytes) -> Iterator[tuple[str, Iterator[Any]]]:
    """The inverse of :func:`pack`: each part's name, and its rows, to be read before the next part is asked for.

    Nothing is read before the digest is checked; a part without rows does not appear.

    Raises:
        ValueError: it is no such file, one of another version, damaged, too large, or a line of it is missing.
        zlib.error, RecursionError: it was forged.
    """
    name = f"{form.name} ".encode()
    if not data.startswith(name):
        raise ValueError("it does not begin as one; it must be a file that mklab has saved")
    if not data.startswith(form.magic):
        version = data[len(name) : len(name) + 8].split(b"\n")[0].decode("ascii", "replace")
        raise ValueError(f"it has the format {version!r}, and this mklab reads {str(form.version)!r}")
    begin = len(form.magic) + _DIGEST
    digest = hashlib.sha256(form.magic)
    for piece in _pieces(data, begin):
        digest.update(piece)
    if data[len(form.magic) : begin] != digest.digest():
        raise ValueError("it is damaged: its SHA-256 does not fit")
    for part, lines in groupby(_numbered(_split(_opened(_pieces(data, begin), form.most))), itemgetter(0)):
        yield part, (row for _, rows in lines for row in rows)


def made(make: Callable[[], T]) -> T:
    """What ``make`` makes of a file, without the garbage collector, which would look through all of it again and again.

    After Ctrl-C it is gone before the collector goes on: both together would take too long.
    """
    collecting = gc.isenabled()
    try:
        gc.disable()
        return make()
    except KeyboardInterrupt as stop:
        raise stop.with_traceback(None) from None
    finally:
        if collecting:
            gc.enable()


def _lines(parts: Iterable[tuple[str, Iterable[Any]]]) -> Iterator[str]:
    number = 0
    for part, rows in (*parts, (_END, [None])):
        rest = iter(rows)
        while batch := list(islice(rest, _ROWS)):
            todo = [batch]
            while todo:
                some = todo.pop()
                line = json.dumps([number, part, *some], separators=(",", ":")) + "\n"
                if len(line) <= LINE:
                    number += 1
                    yield line
                elif len(some) > 1:
                    todo += [some[len(some) // 2 :], some[: len(some) // 2]]
                else:
                    raise ValueError(f"a row of {part} must be {LINE} characters of JSON at most, not {len(line)!r}")


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[str, list[Any]]]:
    """Part and rows of each line, but the last."""
    part = ""
    for number, line in enumerate(lines):
        match json.loads(line) if part != _END else None:
            case [int(found), str(part), *rows] if found == number:
                if part != _END:
                    yield part, rows
            case _:
                raise ValueError(f"its line {number} is missing, or another one")
    if part != _END:
        raise ValueError("its last line is missing")


def _split(texts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for text in texts:
        *lines, rest = (rest + text).split(b"\n")
        if any(len(line) > LINE for line in (*lines, rest)):
            raise ValueError(f"it has a line of more than {LINE} bytes")
        yield from lines
    if rest:
        raise ValueError("its last line is not whole")


def _opened(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """What is compressed in ``pieces``, a step at a time."""
    opener, size = zlib.decompressobj(), 0
    for piece in pieces:
        todo, full = piece, True
        while todo or full:
            text = opener.decompress(todo, _STEP)
            todo, full = opener.unconsumed_tail, len(text) == _STEP
            size += len(text)
            if size > most:
                raise ValueError(f"it holds more than {most} bytes")
            yield text
    if not opener.eof or opener.unused_data:
        raise ValueError("its contents are not whole")


def _pieces(data: bytes, begin: int = 0) -> Iterator[bytes]:
    return (data[at : at + _STEP] for at in range(begin, len(data), _STEP))


# Anything as rows


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The rows of any plain data, be it large: each a path of keys and indices, and what is there.

    A long string comes in pieces, one after the other.
    """
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)))
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    elif isinstance(value, str):
        yield path, value[:_STEP]
        for at in range(_STEP, len(value), _STEP):
            yield path, value[at : at + _STEP]
    else:
        yield path, value


def tree(rows: Iterable[Any]) -> Any:
    """The inverse of :func:`leaves`; a tuple has become a list.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: :func:`leaves` has not made them.
    """
    root: list[Any] = []
    for path, group in groupby(rows, itemgetter(0)):
        pieces = [value for _, value in group]
        here: Any = root
        for key, after in pairwise((0, *path)):
            here = _there(here, key, [] if isinstance(after, int) else {})
        _there(here, path[-1] if path else 0, "".join(pieces) if len(pieces) > 1 else pieces[0])
    return root[0]


def _there(here: Any, key: str | int, new: Any) -> Any:
    """What lies in ``here`` at ``key``: ``new`` if there was nothing."""
    if isinstance(here, list):
        if key == len(here):
            here.append(new)
        return here[key]  # type: ignore[index]  # a forged file may have anything there
    return here.setdefault(key, new)


# Files


def read(path: Path) -> bytes:
    """What ``path`` holds.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(_STEP), b""))


def write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``; a file that is there is replaced as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("wb") as file:
            for piece in _pieces(data):
                file.write(piece)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
