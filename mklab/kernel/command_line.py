"""Kernel parameters of the host that the RFC and kexec read (lib/cmdline.c)."""

import re
from dataclasses import dataclass

__all__ = ["CommandLine", "memparse", "parse"]

_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_NUMBER = re.compile(r"(0x[0-9a-f]+|\d+)([kmgt]?)", re.IGNORECASE)


@dataclass(frozen=True)
class CommandLine:
    """What the host makes of its command line.

    Attributes:
        mk_shared_memory: where the message area is to lie; 0: anywhere.
        crashkernel: ``(start, end)`` of the region for a crash image, or None.
        malformed: names of parameters that could not be read.
    """

    mk_shared_memory: int = 0
    crashkernel: tuple[int, int] | None = None
    malformed: tuple[str, ...] = ()


def memparse(text: str) -> tuple[int, str] | None:
    """A number with K, M, G or T behind it, and what follows; None where there is no number."""
    found = _NUMBER.match(text)
    if found is None:
        return None
    return int(found[1], 0 if found[1][:2].lower() == "0x" else 10) << _SHIFTS[found[2].lower()], text[found.end() :]


def parse(text: str) -> CommandLine:
    """``mk_shared_memory=ADDRESS`` and ``crashkernel=SIZE@ADDRESS``; other parameters are other people's."""
    shared, crash, malformed = 0, None, []
    for name, _, value in (word.partition("=") for word in text.split()):
        if name == "mk_shared_memory":
            number = memparse(value)
            shared = number[0] if number else 0
        elif name == "crashkernel":
            size = memparse(value)
            number = memparse(size[1][1:]) if size and size[1].startswith("@") else None
            crash = (number[0], number[0] + size[0]) if number and size else None
        else:
            continue
        if number is None:
            malformed.append(name)
    return CommandLine(shared, crash, tuple(malformed))
