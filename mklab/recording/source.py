"""The source lines that code in memory was made from."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Source", "SourceLine"]

_LISTED = re.compile(r"^ +([0-9a-f]+) {2}([0-9a-f]+) .* (\S+):(\d+)$", re.MULTILINE)


class SourceLine(NamedTuple):
    """A line of a source file.

    Attributes:
        file: the file's name, as in :attr:`Source.texts`.
        number: the number of the line, from 1.
        text: the line, without its end.
    """

    file: str
    number: int
    text: str


@dataclass(frozen=True)
class Source:
    """What the code at a place was made from.

    Attributes:
        place: the name of the place at whose beginning the code's offset 0 lies.
        listing: a line for each instruction: offset and bytes in hex, the instruction, and ``file:line`` where it is
            known; lines of another form are for people.
        texts: the source files by name.
    """

    place: str
    listing: str
    texts: Mapping[str, str]

    def at(self, offset: int, code: str) -> SourceLine | None:
        """The line that the instruction ``code`` (bytes in hex) at ``offset`` was made from.

        None where none is known, and where another instruction was built there: somebody has changed it since.
        """
        built, file, number = self._lines.get(offset, ("", "", 0))
        return SourceLine(file, number, self._texts[file][number - 1]) if number and built == code else None

    # Made when they are first asked for: a machine that nobody records needs neither.

    @functools.cached_property
    def _lines(self) -> dict[int, tuple[str, str, int]]:
        return {int(at, 16): (code, file, int(line)) for at, code, file, line in _LISTED.findall(self.listing)}

    @functools.cached_property
    def _texts(self) -> dict[str, list[str]]:
        return {file: text.splitlines() for file, text in self.texts.items()}
