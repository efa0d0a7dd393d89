"""What kexec would load from an image file, and what it would refuse: as plain data, and as text for a terminal."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mklab.errors import KexecError
from mklab.kernel import kexec_bzimage64, kexec_elf, kexec_multiboot_x86
from mklab.kernel.bootparam import E820_TYPE_RAM, HDR_OFFSET, LOADFLAGS, XLOADFLAGS, SetupHeader
from mklab.kernel.image import probe
from mklab.kernel.kexec import KEXEC_DESTINATION_MEMORY_LIMIT, PAGE_SIZE, LoadedImage

__all__ = ["describe", "payload_compression", "render"]

# The magic numbers that boot.rst lists under payload_offset.
_PAYLOAD_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9e", "gzip"),
    (b"\x42\x5a", "bzip2"),
    (b"\x5d\x00", "lzma"),
    (b"\xfd\x37", "xz"),
    (b"\x89\x4c", "lzo"),
    (b"\x02\x21", "lz4"),
    (b"\x28\xb5", "zstd"),
    (b"\x7fELF", "none"),
)


def describe(image: bytes) -> dict[str, Any]:
    """What is in ``image``, in values that JSON can hold. Addresses and sizes are integers, in bytes.

    Keys: ``format``; ``size`` of the file; ``entry``, None if the image is refused; ``segments``, each with ``name``,
    ``mem``, ``memsz`` and ``bufsz``; ``refused``, each with ``errno``, ``function`` and ``reason``, empty if kexec
    takes the image; ``header``, the fields by their names in Linux, in ELF or in the Multiboot Specification (with its
    ``offset`` in the file, and its addresses where it has them). For a bzImage also ``kernel_version`` and ``payload``
    (``offset`` in the file, ``length``, ``compression``), for an ELF file ``program_headers``.

    A bzImage is placed at the lowest address that it allows; kexec itself goes for the highest free one. Of a multiboot
    image only its own segments are listed, and its own entry, in 32-bit protected mode: what kexec adds depends on the
    memory there is.

    Raises:
        ImageError: the file is of no known format, or truncated, or corrupt.
        KexecError: ENOEXEC, a bzImage too short to hold the header.
    """
    return {"ELF64": _describe_elf, "bzImage64": _describe_bzimage, "multiboot": _describe_multiboot}[probe(image)](
        image
    )


def payload_compression(payload: bytes) -> str:
    """How a bzImage's payload is compressed: ``"gzip"``, ``"xz"``, ..., ``"none"`` (a plain ELF) or ``"unknown"``."""
    return next((name for magic, name in _PAYLOAD_MAGIC if payload.startswith(magic)), "unknown")


def _describe_elf(image: bytes) -> dict[str, Any]:
    info = kexec_elf.build_elf_info(image)
    return {
        "format": kexec_elf.FORMAT,
        "size": len(image),
        **_load([], lambda: kexec_elf.load(image)),
        "header": dict(info.header),
        "program_headers": [asdict(phdr) for phdr in info.program_headers],
    }


def _describe_multiboot(image: bytes) -> dict[str, Any]:
    header = kexec_multiboot_x86.find_header(image)
    assert header is not None
    addresses = bool(header.flags & kexec_multiboot_x86.AOUT_KLUDGE)
    description = {
        "format": kexec_multiboot_x86.FORMAT,
        "size": len(image),
        **_load([], lambda: kexec_multiboot_x86.executable(image)),
        "header": {name: value for name, value in asdict(header).items() if addresses or not name.endswith("_addr")},
    }
    if not addresses:
        info = kexec_elf.build_elf_info(image, 32)
        description["program_headers"] = [asdict(phdr) for phdr in info.program_headers]
    return description


def _describe_bzimage(image: bytes) -> dict[str, Any]:
    refused = list(kexec_bzimage64.refusals(image))
    if len(image) < kexec_bzimage64.MIN_FILE_SIZE:
        raise refused[0]
    header = SetupHeader.from_buffer_copy(image, HDR_OFFSET)
    base = kexec_bzimage64.lowest_load_address(header)
    # The smallest memory that holds the kernel there: boot_params goes below it, as kexec's search has it.
    end = min(base + max(-(-header.init_size // PAGE_SIZE) * PAGE_SIZE, PAGE_SIZE), KEXEC_DESTINATION_MEMORY_LIMIT)
    ram = [(0, 0x9F000, E820_TYPE_RAM), (0x100000, end, E820_TYPE_RAM)]
    payload = kexec_bzimage64.protected_mode_offset(header) + header.payload_offset
    return {
        "format": kexec_bzimage64.FORMAT,
        "size": len(image),
        **_load(refused, lambda: kexec_bzimage64.load(image, base=base, ram=ram)),
        "kernel_version": _kernel_version(image, header),
        "payload": {
            "offset": payload,
            "length": header.payload_length,
            "compression": payload_compression(image[payload : payload + 4]),
        },
        "header": {name: getattr(header, name) for name, _ in SetupHeader._fields_},
    }


def _load(refused: Iterable[KexecError], load: Callable[[], LoadedImage]) -> dict[str, Any]:
    """The part of a description that loading yields, where nothing is ``refused`` so far."""
    refused = list(refused)
    loaded = None
    if not refused:
        try:
            loaded = load()
        except KexecError as error:
            refused.append(error)
    return {
        "entry": loaded.entry if loaded else None,
        "segments": [
            {"name": segment.name, "mem": segment.mem, "memsz": segment.memsz, "bufsz": segment.bufsz}
            for segment in (loaded.segments if loaded else ())
        ],
        "refused": [{"errno": e.name, "function": e.function, "reason": e.reason} for e in refused],
    }


def _kernel_version(image: bytes, header: SetupHeader) -> str | None:
    """The version string in the setup code; None if the header points to none (boot.rst, kernel_version)."""
    start = header.kernel_version + 0x200
    end = kexec_bzimage64.protected_mode_offset(header)
    if not header.kernel_version or start >= end:
        return None
    return image[start:end].split(b"\0", 1)[0].decode("ascii", errors="replace")


def _names(flags: Mapping[int, str]) -> Callable[[int], str]:
    return lambda value: ", ".join(name for bit, name in flags.items() if value & bit)


def _mebibytes(value: int) -> str:
    return f"{value / 2**20:.1f} MiB"


_MEANING: dict[str, Callable[[int], str]] = {
    "flags": _names(kexec_multiboot_x86.FLAGS),
    "header": lambda value: value.to_bytes(4, "little").decode("ascii", errors="replace"),
    "version": lambda value: f"boot protocol {value >> 8}.{value & 0xFF:02}",
    "loadflags": _names(LOADFLAGS),
    "xloadflags": _names(XLOADFLAGS),
    "syssize": lambda value: f"in 16 bytes: {_mebibytes(value * 16)}",
    "kernel_alignment": _mebibytes,
    "payload_length": _mebibytes,
    "pref_address": _mebibytes,
    "init_size": _mebibytes,
}


def render(description: Mapping[str, Any]) -> RenderableType:
    """A description from :func:`describe` for people: 80 columns are enough."""
    parts: list[RenderableType] = [_summary(description)]
    for refusal in description["refused"]:
        parts.append(
            Text(f"refused: {refusal['function']}: -{refusal['errno']}: {refusal['reason']}", style="bold red")
        )
    if description["segments"]:
        parts.append(_rows("Segments", description["segments"]))
    if "program_headers" in description:
        columns = ("p_type", "p_flags", "p_offset", "p_paddr", "p_filesz", "p_memsz")
        parts.append(_rows("Program headers", [{c: p[c] for c in columns} for p in description["program_headers"]]))
    header = [
        {"field": name, "value": value, "meaning": _MEANING[name](value) if name in _MEANING else ""}
        for name, value in description["header"].items()
    ]
    parts.append(_rows("Header", header))
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts))


def _summary(description: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("format", description["format"])
    table.add_row("file size", f"{description['size']} bytes")
    if description.get("kernel_version"):
        table.add_row("kernel version", Text(description["kernel_version"]))
    if "payload" in description:
        payload = description["payload"]
        table.add_row("payload", f"{payload['compression']}, {payload['length']} bytes at {payload['offset']:#x}")
    if description["entry"] is not None:
        table.add_row("entry", f"{description['entry']:#x}")
    if description["format"] == kexec_multiboot_x86.FORMAT:
        table.add_row("entered", "in 32-bit protected mode, through purgatory")
    if description["format"] == kexec_bzimage64.FORMAT and description["segments"]:
        table.add_row("placed", "as low as the kernel allows; kexec takes the highest free memory")
    return table


def _rows(title: str, rows: list[dict[str, Any]]) -> Table:
    """A table of dicts with the same keys; numbers in hexadecimal."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in rows[0] if rows else ():
        table.add_column(name, justify="left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:#x}" if isinstance(value, int) else Text(str(value)) for value in row.values()))
    return table
