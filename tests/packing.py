"""Files of :mod:`mklab.packed`, made and opened without it, to be forged."""

import zlib
from hashlib import sha256

from mklab.packed import Format

__all__ = ["opened", "sealed"]


def sealed(form: Format, text: bytes) -> bytes:
    """A file of ``form`` with ``text`` in it, whose SHA-256 fits."""
    magic, body = f"{form.name} {form.version}\n".encode(), zlib.compress(text)
    return magic + sha256(magic + body).digest() + body


def opened(data: bytes) -> bytes:
    """The text in a file."""
    return zlib.decompress(data.partition(b"\n")[2][32:])
