"""Build guest code with the locked ziglang wheel: the same bytes on every platform.

``python -m mklab.guest.build`` rebuilds what lies in ``prebuilt/``; a test does the same and compares.
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import capstone
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.errors import GuestBuildError
from mklab.guest import abi

__all__ = ["PREBUILT", "build", "build_all", "listing", "source_lines", "sources"]

_HERE = Path(__file__).parent
PREBUILT = _HERE / "prebuilt"

_COMPILE = (
    *("cc", "-c", "-target", "x86_64-freestanding-none", "-O2"),
    *("-ffreestanding", "-fPIE", "-fvisibility=protected", "-fno-stack-protector", "-fno-sanitize=all"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    # A kernel uses no x87 or SSE register (zig goes by -mcpu alone), and interrupts run on the stack they interrupt.
    *("-mcpu=x86_64-mmx-sse-sse2-x87+soft_float", "-mno-red-zone"),
    *("-Wall", "-Wextra", "-Werror"),
    # A compiler that dies would preprocess everything once more, to report it.
    "-fno-crash-diagnostics",
)
_LINK = ("ld.lld", "--build-id=none")
_MOVABLE = ("-pie", "--no-dynamic-linker", "--hash-style=gnu")
_MODE_FROM = {
    "startup_32": capstone.CS_MODE_32,
    "startup_64": capstone.CS_MODE_64,
    "compatibility_mode": capstone.CS_MODE_32,
    "purgatory": capstone.CS_MODE_64,
}
"""Symbols at which the assembler's ``.code32`` and ``.code64`` change what the bytes mean."""

_LARGEST = 16 << 20
"""Bytes of an image; beyond, a linker script has spread its sections and the gap between them is in the file."""

_IMAGES = {
    "minikernel": (
        (
            *("minikernel/entry.S", "minikernel/kernel.h", "minikernel/main.c", "minikernel/apic.c"),
            *("minikernel/console.c", "minikernel/mm.c", "minikernel/irq_work.c", "minikernel/multikernel.c"),
            *("minikernel/handlers.c", "minikernel/work.c", "trampoline_64_bsp.S"),
        ),
        "minikernel/minikernel.ld",
    ),
    "purgatory": (("purgatory/setup.S", "purgatory/purgatory.c"), "purgatory/purgatory.ld"),
    "trampoline_64_bsp": (("trampoline_64_bsp.S",), "trampoline_64_bsp.ld"),
    "relocate_kernel_64": (("relocate_kernel_64.S",), "relocate_kernel_64.ld"),
    "rings": (("rings.S",), "rings.ld"),
}
_COPIED = ("trampoline_64_bsp", "relocate_kernel_64", "rings")
"""Images whose bytes are copied to where they run; they need no loader."""


_LIMITS = ("due to signal", "File too large", "OutOfMemory", "out of memory", "bad_alloc", "unable to spawn")
"""What it says where it has met a limit."""
_STOPPED = "building it was stopped: it takes too long, or gives too much code"
_PATIENCE = 60.0
"""Seconds of a clock. A compiler that is confined has a limit of its own, of the processor's time."""


def _zig(compiler: str, *arguments: str, cwd: Path) -> None:
    command = [sys.executable, "-m", compiler, *arguments]
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
    except OSError as error:
        raise GuestBuildError(f"cannot run {command[0]}: {error}") from None
    except subprocess.TimeoutExpired:
        raise GuestBuildError(_STOPPED) from None
    told = done.stderr.strip()
    if done.returncode and (not told or any(words in told for words in _LIMITS)):
        raise GuestBuildError(_STOPPED)
    if "No module named ziglang" in done.stderr:
        raise GuestBuildError("guest code is built by the package ziglang, which is missing; run: make setup")
    if done.returncode:
        raise GuestBuildError(told)


def build(
    sources: dict[str, str],
    linker_script: str,
    *,
    movable: bool = True,
    debug: bool = False,
    compiler: str = "ziglang",
) -> bytes:
    """Assemble, compile and link.

    Args:
        sources: file name (``.S``, ``.c`` or, to be included, ``.h``) to text.
        linker_script: the text of the linker script.
        movable: an ET_DYN image, which a loader may place anywhere; otherwise ET_EXEC.
        debug: with what tells the source lines (DWARF); the code is the same.
        compiler: the module that runs it, as ``python -m`` does: another one for code that is not trusted.

    Returns:
        The ELF64 image.

    Raises:
        GuestBuildError: the compiler's message, with file and line; or ziglang is missing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "abi.h").write_text(abi.header())
        (folder / "image.ld").write_text(linker_script)
        objects: list[str] = []
        for file, text in sources.items():
            (folder / file).write_text(text)
        for file in sources:
            if file.endswith(".h"):
                continue
            objects.append(f"{Path(file).stem}-{len(objects)}.o")
            _zig(compiler, *_COMPILE, "-gdwarf-4" if debug else "-g0", "-o", objects[-1], file, cwd=folder)
        _zig(
            compiler, *_LINK, *(_MOVABLE if movable else ()), "-T", "image.ld", "-o", "image.elf", *objects, cwd=folder
        )
        image = folder / "image.elf"
        if image.stat().st_size > _LARGEST:
            size = image.stat().st_size
            raise GuestBuildError(
                f"the linked image has {size:,} bytes: its sections lie far apart; see the linker script"
            )
        return image.read_bytes()


def sources(name: str) -> tuple[dict[str, str], str]:
    """What the shipped image ``name`` is built from: each file's text by its name, and the linker script."""
    files, script = _IMAGES[name]
    return {Path(file).name: (_HERE / file).read_text() for file in files}, (_HERE / script).read_text()


def build_all() -> dict[str, bytes]:
    """Every shipped file by its name in ``prebuilt/``: images, and a listing of each."""
    files = {}
    for name in _IMAGES:
        movable = name not in _COPIED
        image, paths = build(*sources(name), movable=movable), {Path(file).name: file for file in _IMAGES[name][0]}
        lines = source_lines(build(*sources(name), movable=movable, debug=True))
        places = {at: f"{paths[file]}:{line}" if line else "" for at, (file, line) in lines.items()}
        files[f"{name}.elf"] = image
        files[f"{name}.lst"] = listing(image, name == "trampoline_64_bsp", places).encode()
    return files


def source_lines(image: bytes) -> dict[int, tuple[str, int]]:
    """File and line that code was made from, by the address at which it begins, of an image built with ``debug``.

    It holds up to the next address; line 0: the compiler made it up.
    """
    found: dict[int, tuple[str, int]] = {}
    debug = ELFFile(io.BytesIO(image)).get_dwarf_info()
    for unit in debug.iter_CUs():
        program = debug.line_program_for_CU(unit)
        assert program is not None, "built without debug"
        for state in (entry.state for entry in program.get_entries() if entry.state):
            if state.end_sequence:
                found.setdefault(state.address, ("", 0))  # unless another file's code begins there
            else:
                found[state.address] = (program["file_entry"][state.file - 1].name.decode(), state.line)
    return found


def listing(image: bytes, mixed: bool = False, places: Mapping[int, str] | None = None) -> str:
    """Disassembly with symbols, one function after the other.

    Args:
        image: an ELF64 image.
        mixed: the code of the trampoline: 16-bit first, and data from 0x180 on.
        places: what stands behind the instruction at an address and those that follow, up to the next address.
    """
    elf = ELFFile(io.BytesIO(image))
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    symbols = sorted((s["st_value"], s.name) for s in table.iter_symbols() if s.name and s["st_shndx"] != "SHN_ABS")
    code = next(section for section in elf.iter_sections() if section["sh_flags"] & 4 and section["sh_size"])
    data, start = code.data(), code["sh_addr"]
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_16 if mixed else capstone.CS_MODE_64)
    decoder.syntax = capstone.CS_OPT_SYNTAX_ATT
    lines, place = [], ""
    inside = [(at, name) for at, name in symbols if start <= at < start + len(data)]
    for (at, name), (end, _) in zip(inside, [*inside[1:], (start + len(data), "")], strict=True):
        lines.append(f"\n{at:08x} <{name}>:")
        if name in _MODE_FROM:
            decoder.mode = _MODE_FROM[name]
        if mixed and at >= 0x180:
            lines.append(f"    {end - at} bytes of data")
            continue
        for instruction in decoder.disasm(data[at - start : end - start], at):
            place = (places or {}).get(instruction.address, place)
            text = f"{instruction.mnemonic} {instruction.op_str}".rstrip()
            lines.append(f"    {instruction.address:6x}  {instruction.bytes.hex():<24} {text:<44} {place}".rstrip())
    return "\n".join(lines).lstrip("\n") + "\n"


def main() -> None:
    """Rebuild ``prebuilt/``."""
    PREBUILT.mkdir(exist_ok=True)
    for name, data in build_all().items():
        (PREBUILT / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
