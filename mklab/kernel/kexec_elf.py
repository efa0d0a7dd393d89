"""``kernel/kexec_elf.c`` and kexec-tools' ``kexec-elf-exec.c``: what kexec checks and loads of an ELF executable.

An ELF64 one is an image of its own; an ELF32 one is part of a multiboot image (``kexec_multiboot_x86``).

The file is read by pyelftools; the checks are those of ``elf_is_ehdr_sane``, ``elf_is_phdr_sane`` and
``kexec_build_elf_info``. No relocation is applied: an ET_DYN image has to be position independent by itself.
"""

import errno
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.errors import ImageError, KexecError
from mklab.kernel.kexec import PAGE_SIZE, KexecSegment, LoadedImage

__all__ = [
    "FORMAT",
    "ElfInfo",
    "ProgramHeader",
    "build_elf_exec_info",
    "build_elf_info",
    "load",
    "load_segments",
    "place",
    "probe",
]

FORMAT = "ELF64"


@dataclass(frozen=True)
class _Class:
    """ELFCLASS32 or ELFCLASS64: its name, the first bytes of a file, and the sizes of entries."""

    name: str
    ident: bytes
    ehdr: int
    phdr: int
    shdr: int
    sym: int


_CLASSES = {
    32: _Class("ELF32", b"\x7fELF\x01\x01", 52, 32, 40, 16),
    64: _Class("ELF64", b"\x7fELF\x02\x01", 64, 56, 64, 24),
}


@dataclass(frozen=True)
class ProgramHeader:
    """One ``Elf64_Phdr`` (or ``Elf32_Phdr``); ``p_type`` as a name (``"PT_LOAD"``), or a number where it has none."""

    p_type: str | int
    p_flags: int
    p_offset: int
    p_vaddr: int
    p_paddr: int
    p_filesz: int
    p_memsz: int
    p_align: int

    @property
    def flags(self) -> str:
        """``p_flags`` as letters, for example ``"R-X"``."""
        return "".join(letter if self.p_flags & bit else "-" for letter, bit in (("R", 4), ("W", 2), ("X", 1)))


@dataclass(frozen=True)
class ElfInfo:
    """``struct kexec_elf_info``: the headers of an ELF file.

    Attributes:
        header: the fields of the ELF header; ``e_type`` and ``e_machine`` as names where they have one.
        program_headers: in the file's order.
        symbols: physical address of each global symbol that lies in a loaded segment, as linked.
    """

    header: Mapping[str, int | str]
    program_headers: tuple[ProgramHeader, ...]
    symbols: Mapping[str, int]

    @property
    def loads(self) -> tuple[tuple[int, ProgramHeader], ...]:
        """The PT_LOADs that take up memory, each with its index in the file's table."""
        return tuple((n, p) for n, p in enumerate(self.program_headers) if p.p_type == "PT_LOAD" and p.p_memsz)


def build_elf_info(image: bytes, bits: int = 64) -> ElfInfo:
    """Read the headers and the global symbols.

    Args:
        image: the file's bytes.
        bits: 64 or 32: its class.

    Raises:
        ImageError: the file is no little-endian ELF file of that class, or it is truncated or corrupt.
    """
    kind = _CLASSES[bits]
    if len(image) < kind.ehdr:
        raise ImageError(f"too short for an {kind.name} header: {len(image)} bytes, the header has {kind.ehdr}")
    if image[:6] != kind.ident:
        raise ImageError(
            f"not a little-endian {kind.name} file: it begins with {image[:6].hex(' ')}, not {kind.ident.hex(' ')}"
        )
    # Whatever pyelftools stumbles over (it raises errors of many kinds on corrupt files) is the file's fault.
    try:
        elf = ELFFile(io.BytesIO(image))
        _check_header(elf, len(image), kind)
        program_headers = tuple(_program_header(elf, n, len(image), kind) for n in range(_entries(elf, "e_ph")))
        symbols = _symbols(elf, program_headers, len(image), kind)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"corrupt ELF file: {str(error) or type(error).__name__}") from error
    header = {name: value for name, value in elf.header.items() if name != "e_ident"}
    return ElfInfo(header, program_headers, symbols)


def probe(image: bytes) -> ElfInfo:
    """``kexec_elf_probe``: the headers of an ELF64 image that kexec accepts.

    Raises:
        ImageError: as :func:`build_elf_info`.
        KexecError: ENOEXEC, as :func:`build_elf_exec_info`, or it is not for x86-64.
    """
    info = build_elf_exec_info(image)
    machine = info.header["e_machine"]
    if machine != "EM_X86_64":
        why = f"Not for this machine: e_machine is {machine}, this one is EM_X86_64"
        raise KexecError(errno.ENOEXEC, "kexec_elf_probe", why)
    return info


def build_elf_exec_info(image: bytes, bits: int = 64) -> ElfInfo:
    """The headers of a file that can be executed (kexec-tools' ``build_elf_exec_info``; Linux has it in one function).

    Raises:
        ImageError: as :func:`build_elf_info`.
        KexecError: ENOEXEC, it is no executable, has no program headers, or wants an interpreter.
    """
    info = build_elf_info(image, bits)

    def refuse(reason: str) -> KexecError:
        return KexecError(errno.ENOEXEC, "kexec_build_elf_info", reason)

    kind = info.header["e_type"]
    if kind not in ("ET_EXEC", "ET_DYN"):
        raise refuse(f"Not an ELF executable: e_type is {kind}. Link it first.")
    if not info.program_headers:
        raise refuse("No ELF program header")
    if any(p.p_type == "PT_INTERP" for p in info.program_headers):
        raise refuse("Requires an ELF interpreter. Link it statically, without an operating system.")
    return info


def load(image: bytes, *, base: int | None = None) -> LoadedImage:
    """Load an ELF64 image: its segments and its entry.

    Args:
        image: the file's bytes.
        base: where the lowest page of an ET_DYN image goes; None for where it is linked. An ET_EXEC image stays at its
            p_paddr.

    Raises:
        ImageError: the file is truncated or corrupt, its PT_LOADs overlap, or it has none.
        KexecError: ENOEXEC, as :func:`probe`.
        ValueError: ``base`` is given for an ET_EXEC image, or does not fit the image's alignment.
    """
    return place(image, probe(image), base)


def place(image: bytes, info: ElfInfo, base: int | None) -> LoadedImage:
    """As :func:`load`, of an image whose headers :func:`probe` has read: that is most of the work."""
    bias = 0 if base is None else _bias(base, info)
    return LoadedImage(
        FORMAT,
        int(info.header["e_entry"]) + bias,
        load_segments(image, info, bias),
        {name: address + bias for name, address in info.symbols.items()},
    )


def load_segments(image: bytes, info: ElfInfo, bias: int = 0) -> tuple[KexecSegment, ...]:
    """``elf_exec_load``: a segment for each PT_LOAD, in pages, in the order of their addresses.

    A PT_LOAD that begins inside a page gets that page's beginning too: zeros, or, where the PT_LOAD before it ends in
    the same page, that one's last bytes. So two PT_LOADs in one page become one segment.

    Args:
        image: the file's bytes.
        info: its headers.
        bias: added to each address.

    Raises:
        ImageError: the PT_LOADs overlap, or there is none.
    """
    segments: list[KexecSegment] = []
    end = 0
    for n, phdr in _by_address(info):
        start = phdr.p_paddr + bias
        if start < end:
            raise ImageError(f"corrupt ELF file: program header {n}, at {start:#x}, overlaps the one before it")
        end = start + phdr.p_memsz
        mem = start & -PAGE_SIZE
        name, head = f"PT_LOAD {n} {phdr.flags}", b""
        if segments and mem < segments[-1].mem + segments[-1].memsz:
            before = segments.pop()
            kept = mem - before.mem
            head = before.buf[kept:]
            if kept:
                segments.append(replace(before, buf=before.buf[:kept], memsz=kept))
            else:
                name = f"{before.name}, {name}"
        buf = head.ljust(start - mem, b"\0") + image[phdr.p_offset : phdr.p_offset + phdr.p_filesz]
        segments.append(KexecSegment(buf, mem, ((end + PAGE_SIZE - 1) & -PAGE_SIZE) - mem, name))
    return tuple(segments)


def _by_address(info: ElfInfo) -> list[tuple[int, ProgramHeader]]:
    loads = sorted(info.loads, key=lambda load: load[1].p_paddr)
    if not loads:
        raise ImageError("nothing to load: the ELF file has no PT_LOAD with memory")
    return loads


def _check_header(elf: ELFFile, size: int, kind: _Class) -> None:
    """``elf_is_ehdr_sane``: the tables have entries of the right size and lie in the file."""
    if elf["e_ehsize"] != kind.ehdr:
        raise ImageError(f"corrupt {kind.name} header: e_ehsize is {elf['e_ehsize']}, not {kind.ehdr}")
    if elf["e_version"] != "EV_CURRENT" or elf["e_ident"]["EI_VERSION"] != "EV_CURRENT":
        raise ImageError(f"corrupt {kind.name} header: unknown ELF version")
    for table, prefix, entry in (("program", "e_ph", kind.phdr), ("section", "e_sh", kind.shdr)):
        offset, number, entsize = elf[prefix + "off"], _entries(elf, prefix), elf[prefix + "entsize"]
        if number and entsize != entry:
            raise ImageError(f"corrupt {kind.name} header: {prefix}entsize is {entsize}, not {entry}")
        _check_in_file(f"{number} {table} headers", offset, number * entry, size)


def _entries(elf: ELFFile, prefix: str) -> int:
    """Entries of the table whose fields begin with ``prefix``; a table at offset 0 is no table."""
    return int(elf[prefix + "num"]) if elf[prefix + "off"] else 0


def _check_in_file(what: str, offset: int, length: int, size: int) -> None:
    if length and offset + length > size:
        raise ImageError(
            f"truncated or corrupt ELF file: {what} at {offset:#x} end at {offset + length:#x}, the file at {size:#x}"
        )


def _program_header(elf: ELFFile, n: int, size: int, kind: _Class) -> ProgramHeader:
    """Entry ``n`` of the program header table, sane as in ``elf_is_phdr_sane`` and by the ELF specification."""
    fields: dict[str, Any] = dict(struct_parse(elf.structs.Elf_Phdr, elf.stream, elf["e_phoff"] + n * kind.phdr))
    phdr = ProgramHeader(**fields)
    what = f"program header {n}"
    _check_in_file(f"the bytes of {what}", phdr.p_offset, phdr.p_filesz, size)
    if phdr.p_paddr + phdr.p_memsz > 1 << (64 if kind.name == "ELF64" else 32):
        raise ImageError(f"corrupt ELF file: {what}, at {phdr.p_paddr:#x}, wraps round the end of memory")
    if phdr.p_type == "PT_LOAD" and phdr.p_filesz > phdr.p_memsz:
        raise ImageError(f"corrupt ELF file: {what} has p_filesz {phdr.p_filesz:#x} over p_memsz {phdr.p_memsz:#x}")
    if phdr.p_type == "PT_LOAD" and phdr.p_align & (phdr.p_align - 1):
        raise ImageError(f"corrupt ELF file: {what} has p_align {phdr.p_align:#x}, no power of two")
    return phdr


def _symbols(elf: ELFFile, program_headers: tuple[ProgramHeader, ...], size: int, kind: _Class) -> dict[str, int]:
    """Global symbols by name: those that ``kexec_purgatory_find_symbol`` would find, if in a loaded segment."""
    symbols = {}
    for n in range(_entries(elf, "e_sh")):
        section = elf.get_section(n)
        if not isinstance(section, SymbolTableSection) or section["sh_type"] != "SHT_SYMTAB":
            continue
        if section["sh_entsize"] != kind.sym:
            raise ImageError(f"corrupt ELF file: symbols of {section['sh_entsize']} bytes, not {kind.sym}")
        _check_in_file("the symbols", section["sh_offset"], section["sh_size"], size)
        for symbol in section.iter_symbols():
            if symbol["st_info"]["bind"] != "STB_GLOBAL" or symbol["st_shndx"] in ("SHN_UNDEF", "SHN_ABS"):
                continue
            for phdr in program_headers:
                if phdr.p_type == "PT_LOAD" and 0 <= symbol["st_value"] - phdr.p_vaddr < phdr.p_memsz:
                    symbols[symbol.name] = symbol["st_value"] - phdr.p_vaddr + phdr.p_paddr
    return symbols


def _bias(base: int, info: ElfInfo) -> int:
    """What is added to each address so that the lowest page of an ET_DYN image lies at ``base``."""
    if info.header["e_type"] != "ET_DYN":
        raise ValueError(f"base must be None for an ET_EXEC image, which stays where it is linked, not {base!r}")
    loads = _by_address(info)
    align = max(PAGE_SIZE, *(phdr.p_align for _, phdr in loads))
    if base < 0 or base % align:
        raise ValueError(f"base must be a multiple of the image's alignment {align:#x}, not {base!r}")
    return base - (loads[0][1].p_paddr & -PAGE_SIZE)
