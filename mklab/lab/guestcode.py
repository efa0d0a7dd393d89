"""Assembly and C that a student wrote, built for the machine: errors are told at the line of the cell."""

import io
import re
from dataclasses import dataclass, field

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.errors import GuestBuildError
from mklab.guest import build
from mklab.lab.checking import compiler

__all__ = ["TOO_WIDE", "Code", "Frame", "compiled"]

TOO_WIDE = "does not fit into the instruction"
"""What is told of an address that has more bits than its operand."""

_FILES = {"asm": "cell.S", "c": "cell.c"}
_OUTSIDE = (
    r'\.?incbin\b|\.include\b|(?:#|%:|\?\?=)\s*include(?:_next)?\b(?!\s*"(?:HEADERS)")'
    r"|(?:#|%:|\?\?=)\s*(?:import|embed)\b"
)
"""What takes in another file: wherever it stands, after a label, in inline assembly, or as a macro's argument."""
_TOLD = re.compile(r"^cell\.[Sc]:(\d+):\d+: (?:fatal )?(error|warning): (.*)$", re.MULTILINE)
_NARROW = re.compile(r"relocation R_X86_64_(?:8|16)\w* out of range: (\d+) is not in [^;]*; references '?([\w.]+)")
"""The linker's words where an address has more bits than an operand."""
_ALLOWED = '#pragma clang diagnostic ignored "-Wempty-body"\n'
"""To wait for a bit is a loop without a body, on one line with others or not."""
_SCRIPT = """
SECTIONS {{
  . = {base:#x};
  .text : {{ *(.text .text.*) *(.rodata .rodata.*) *(.data .data.*) *(.got .got.*) *(.bss .bss.* COMMON) }}
  /DISCARD/ : {{ *(.note.*) *(.comment) *(.eh_frame*) }}
}}
"""


@dataclass(frozen=True)
class Frame:
    """What stands around a cell that is a part of something larger.

    Attributes:
        before, after: the text above and below it, in the same file.
        sources: further sources that are built with it, each a file name (``frame.S``) and its text.
    """

    before: str = ""
    after: str = ""
    sources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Code:
    """Machine code with its symbols.

    Attributes:
        base: the address it was linked for.
        data: the bytes, data and zeros included.
        symbols: addresses by name.
        lines: line of the cell by the address at which its code begins; it holds up to the next one; 0: of no line.
    """

    base: int
    data: bytes
    symbols: dict[str, int]
    lines: dict[int, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def line(self, address: int) -> int | None:
        """The line of the cell that the code at ``address`` was made from; None where it is of none."""
        if not self.base <= address < self.base + self.size:
            return None
        return self.lines.get(max((one for one in self.lines if one <= address), default=-1)) or None


def compiled(text: str, lang: str, base: int = 0, frame: Frame = Frame()) -> Code:  # plain data
    """Build a cell.

    Args:
        text: the cell: GNU assembly (AT&T, or Intel after ``.intel_syntax noprefix``), or C without a library.
            ``#include "abi.h"`` gives the offsets and numbers that the kernels of this machine share.
        lang: ``asm`` or ``c``.
        base: the address it will lie at.
        frame: what stands around it.

    Raises:
        GuestBuildError: what is wrong, with its line in the cell.
        ValueError: ``lang`` is neither.
    """
    if lang not in _FILES:
        raise ValueError(f"lang must be one of {list(_FILES)}, not {lang!r}")
    others = dict(frame.sources)
    headers = ["abi.h", *(file for file in others if file.endswith(".h"))]
    # Lines that end in a backslash are one to the compiler.
    if outside := re.search(_OUTSIDE.replace("HEADERS", "|".join(map(re.escape, headers))), text.replace("\\\n", "")):
        line = text.count("\n", 0, outside.start()) + 1
        raise GuestBuildError(f"line {line}: {outside[0]}: a cell takes in no other file but {', '.join(headers)}")
    name = _FILES[lang]
    source = text if text.endswith("\n") else f"{text}\n"
    before = (_ALLOWED if lang == "c" else "") + frame.before
    if before or frame.after:
        source = f'#line 1 "frame"\n{before}\n#line 1 "{name}"\n{source}#line 1 "frame"\n{frame.after}\n'
    try:
        script = _SCRIPT.format(base=base)
        image = build.build({name: source, **others}, script, movable=False, debug=True, compiler=compiler.__name__)
    except GuestBuildError as error:
        raise GuestBuildError(_at_lines(str(error), text)) from None
    return _code(image, base, name, len(text.splitlines()))


def _at_lines(message: str, text: str) -> str:
    """The compiler's words, each with its line of the cell."""
    if "invalid .org offset" in message:
        return "it gives more code than there is room for: what comes behind it has a fixed place"
    if narrow := _NARROW.search(message):
        name = "an address" if narrow[2] == "section" else narrow[2]
        return f"{name} {TOO_WIDE}: it is {int(narrow[1]):#x}"
    lines = text.splitlines()
    found = []
    for number, _, words in _TOLD.findall(message):
        line = lines[int(number) - 1].strip() if int(number) <= len(lines) else ""
        found.append(f"line {number}: {words}" + (f"\n    {line}" if line else ""))
    return "\n".join(dict.fromkeys(found)) or message


def _code(image: bytes, base: int, file: str, count: int) -> Code:
    elf = ELFFile(io.BytesIO(image))
    section = elf.get_section_by_name(".text")
    data = section.data() if section is not None else b""
    table = elf.get_section_by_name(".symtab")
    symbols: dict[str, int] = {}
    if isinstance(table, SymbolTableSection):
        symbols = {
            one.name: one["st_value"]
            for one in table.iter_symbols()
            if one.name and one["st_shndx"] not in ("SHN_ABS", "SHN_UNDEF")
        }
    # A cell may hold a #line of its own.
    lines = {
        at: line if found == file and line <= count else 0
        for at, (found, line) in sorted(build.source_lines(image).items())
    }
    return Code(base, data, symbols, lines)
