import contextlib
import errno
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.errors import ImageError, KexecError, MklabError
from mklab.kernel import kexec_elf
from mklab.kernel.kexec import LoadedImage

NAMES = ["low", "high", "pie"]


def memory(image: LoadedImage) -> dict[int, int]:
    """Every byte that the segments fill or zero, by address; no segment may fill what another has."""
    bytes_at: dict[int, int] = {}
    for segment in image.segments:
        assert segment.mem % 4096 == 0
        assert segment.memsz % 4096 == 0
        assert segment.bufsz <= segment.memsz
        for offset, byte in enumerate(segment.buf.ljust(segment.memsz, b"\0")):
            assert segment.mem + offset not in bytes_at
            bytes_at[segment.mem + offset] = byte
    return bytes_at


def differences(one: dict[int, int], other: dict[int, int]) -> dict[str, tuple[int | None, int | None]]:
    """Where two memories differ; a page or two of them would make pytest's own comparison very slow."""
    return {hex(at): (one.get(at), other.get(at)) for at in one.keys() | other if one.get(at) != other.get(at)}


def readelf_loads(readelf: Path, file: Path) -> list[tuple[int, ...]]:
    """Offset, VirtAddr, PhysAddr, FileSiz, MemSiz of each PT_LOAD, as binutils reads them."""
    text = subprocess.run([readelf, "-lW", file], check=True, capture_output=True, text=True).stdout
    return [tuple(int(n, 16) for n in line.split()[1:6]) for line in text.splitlines() if line.startswith("  LOAD ")]


@pytest.mark.parametrize("name", NAMES)
def test_memory_holds_what_readelf_shows_and_zeros_around_it(
    name: str, elf_files: dict[str, Path], require_tool: Callable[[str], Path]
) -> None:
    file = elf_files[name].read_bytes()
    image = kexec_elf.load(file)
    expected = dict.fromkeys(memory(image), 0)
    for offset, _, paddr, filesz, memsz in readelf_loads(require_tool("readelf"), elf_files[name]):
        assert paddr + memsz - 1 in expected
        expected.update(zip(range(paddr, paddr + filesz), file[offset : offset + filesz], strict=True))
    assert differences(memory(image), expected) == {}


@pytest.mark.parametrize("name", NAMES)
def test_entry_and_symbols_are_readelfs(
    name: str, elf_files: dict[str, Path], require_tool: Callable[[str], Path]
) -> None:
    readelf = require_tool("readelf")
    run = subprocess.run([readelf, "-hsW", elf_files[name]], check=True, capture_output=True, text=True)
    entry = re.search(r"Entry point address: +0x([0-9a-f]+)", run.stdout)
    symbols = re.findall(r"\d+: ([0-9a-f]+) +\d+ \w+ +GLOBAL \w+ +\d+ (\w+)", run.stdout)
    physical = {}
    for value, symbol in symbols:
        for _, vaddr, paddr, _, memsz in readelf_loads(readelf, elf_files[name]):
            if vaddr <= int(value, 16) < vaddr + memsz:
                physical[symbol] = int(value, 16) - vaddr + paddr
    image = kexec_elf.load(elf_files[name].read_bytes())
    assert entry is not None
    assert image.entry == int(entry[1], 16)
    assert {"_start", "boot_args", "stack"} <= physical.keys()
    assert image.symbols == physical
    assert memory(image)[image.entry] == 0xF4  # hlt
    assert image.format == "ELF64"
    assert image.boot_params is None


def test_one_linked_high_is_loaded_low(elf_files: dict[str, Path]) -> None:
    image = kexec_elf.load(elf_files["high"].read_bytes())
    assert image.symbols["_start"] == image.entry == 0x1000000
    assert [segment.mem for segment in image.segments] == [0x1000000, 0x1200000, 0x1201000]


def test_et_dyn_is_moved_to_base(elf_files: dict[str, Path]) -> None:
    file = elf_files["pie"].read_bytes()
    here, there = kexec_elf.load(file), kexec_elf.load(file, base=0x40000000)
    bias = 0x40000000 - here.segments[0].mem
    moved = {address + bias: byte for address, byte in memory(here).items()}
    assert differences(memory(there), moved) == {}
    assert there.entry == here.entry + bias
    assert there.symbols == {name: address + bias for name, address in here.symbols.items()}


@pytest.mark.parametrize("base", [0x40000800, -0x1000])
def test_base_must_suit_the_images_alignment(base: int, elf_files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=f"base must be a multiple of the image's alignment 0x1000, not {base}$"):
        kexec_elf.load(elf_files["pie"].read_bytes(), base=base)


def test_et_exec_cannot_be_moved(elf_files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"base must be None for an ET_EXEC image, .*, not 33554432$"):
        kexec_elf.load(elf_files["low"].read_bytes(), base=0x2000000)


@pytest.mark.parametrize("name", NAMES)
def test_patched_changes_the_variable_and_nothing_else(name: str, elf_files: dict[str, Path]) -> None:
    image = kexec_elf.load(elf_files[name].read_bytes())
    data = struct.pack("<QQ", 0x1122334455667788, 0x99)
    patched = image.patched("boot_args", data)
    at = image.symbols["boot_args"]
    assert bytes(memory(image)[at + n] for n in range(16)) == struct.pack("<QQ", 1, 2)
    expected = memory(image) | dict(zip(range(at, at + 16), data, strict=True))
    assert differences(memory(patched), expected) == {}
    assert (patched.entry, patched.symbols) == (image.entry, image.symbols)


@pytest.mark.parametrize(("symbol", "size"), [("nothing", 8), ("stack", 8), ("boot_args", 0x4000), ("FIXED", 1)])
def test_patched_refuses_what_it_cannot_reach(symbol: str, size: int, elf_files: dict[str, Path]) -> None:
    image = kexec_elf.load(elf_files["low"].read_bytes())
    with pytest.raises(ValueError, match=f"symbol must .*, not '{symbol}'"):
        image.patched(symbol, bytes(size))


def changed(file: Path, offset: int, code: str, value: int) -> bytes:
    """The file with one value overwritten."""
    image = bytearray(file.read_bytes())
    struct.pack_into("<" + code, image, offset, value)
    return bytes(image)


# Offsets by the ELF specification: the header's fields, and (from 64 on) those of the first program header.
@pytest.mark.parametrize(
    ("offset", "code", "value", "function", "reason"),
    [
        (16, "H", 1, "kexec_build_elf_info", "Not an ELF executable: e_type is ET_REL"),
        (18, "H", 183, "kexec_elf_probe", "e_machine is EM_AARCH64"),
        (32, "Q", 0, "kexec_build_elf_info", "No ELF program header"),
        (56, "H", 0, "kexec_build_elf_info", "No ELF program header"),
        (64, "I", 3, "kexec_build_elf_info", "Requires an ELF interpreter"),
    ],
)
def test_what_kexec_refuses(
    offset: int, code: str, value: int, function: str, reason: str, elf_files: dict[str, Path]
) -> None:
    with pytest.raises(KexecError, match=reason) as refusal:
        kexec_elf.load(changed(elf_files["low"], offset, code, value))
    assert (refusal.value.errno, refusal.value.function) == (errno.ENOEXEC, function)


@pytest.mark.parametrize(
    ("offset", "code", "value", "reason"),
    [
        (0, "B", 0x7E, "not a little-endian ELF64 file: it begins with 7e 45"),
        (4, "B", 1, "not a little-endian ELF64 file"),
        (5, "B", 2, "not a little-endian ELF64 file"),
        (6, "B", 9, "unknown ELF version"),
        (20, "I", 9, "unknown ELF version"),
        (32, "Q", 1 << 63, "4 program headers at 0x8000000000000000 end at 0x80000000000000e0, the file at"),
        (40, "Q", 0xFFFFFF, "section headers at 0xffffff end at"),
        (52, "H", 63, "e_ehsize is 63, not 64"),
        (54, "H", 57, "e_phentsize is 57, not 56"),
        (58, "H", 40, "e_shentsize is 40, not 64"),
        (62, "H", 0xFFF0, "corrupt ELF file"),
        (72, "Q", 0xFFFFFF, "the bytes of program header 0 at 0xffffff end at 0x1000002, the file at"),
        (88, "Q", 0xFFFFFFFFFFFFFFFF, "program header 0, at 0xffffffffffffffff, wraps round the end of memory"),
        (88, "Q", 0x2000012, "program header 1, at 0x2000013, overlaps the one before it"),
        (96, "Q", 0x4, "program header 0 has p_filesz 0x4 over p_memsz 0x3"),
        (112, "Q", 0x1800, "program header 0 has p_align 0x1800, no power of two"),
    ],
)
def test_corruption_is_told_by_what_and_where(
    offset: int, code: str, value: int, reason: str, elf_files: dict[str, Path]
) -> None:
    with pytest.raises(ImageError, match=re.escape(reason)):
        kexec_elf.load(changed(elf_files["low"], offset, code, value))


def test_an_image_without_memory(elf_files: dict[str, Path]) -> None:
    image = bytearray(elf_files["low"].read_bytes())
    for n in range(4):
        struct.pack_into("<I", image, 64 + 56 * n, 4)
    with pytest.raises(ImageError, match="nothing to load"):
        kexec_elf.load(bytes(image))


@settings(deadline=None)
@given(st.data())
def test_no_byte_of_the_file_can_raise_anything_else(elf_files: dict[str, Path], data: st.DataObject) -> None:
    image = bytearray(elf_files[data.draw(st.sampled_from(NAMES))].read_bytes())
    tables = st.one_of(
        st.integers(0, 63), st.integers(64, 64 + 56 * 8), st.integers(len(image) - 64 * 20, len(image) - 1)
    )
    for offset in data.draw(st.lists(st.one_of(tables, st.integers(0, len(image) - 1)), min_size=1, max_size=4)):
        image[offset] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MklabError):
        loaded = kexec_elf.load(bytes(image))
        assert all(segment.memsz >= segment.bufsz for segment in loaded.segments)


@settings(deadline=None)
@given(st.data())
def test_a_truncated_file_is_never_loaded(elf_files: dict[str, Path], data: st.DataObject) -> None:
    image = elf_files[data.draw(st.sampled_from(NAMES))].read_bytes()
    with pytest.raises(ImageError, match=r"truncated|too short"):
        kexec_elf.load(image[: data.draw(st.integers(0, len(image) - 1))])
