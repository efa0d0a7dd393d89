import contextlib
import io
import json
import lzma
import re
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from mklab.errors import ImageError, KexecError, MklabError
from mklab.kernel.inspect import describe, payload_compression, render
from tests.kernel.multiboot_image import BASE, built


def text(description: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(description))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bzimage(make_bzimage: Callable[..., bytes]) -> None:
    description = describe(make_bzimage())
    assert description == json.loads(json.dumps(description))
    assert description["format"] == "bzImage64"
    assert description["size"] == 1024 + 0x3000
    assert description["entry"] == 0x1000200
    assert description["segments"] == [
        {"name": "boot_params", "mem": 0xFFE000, "memsz": 0x2000, "bufsz": 0x1020},
        {"name": "kernel", "mem": 0x1000000, "memsz": 0x13000, "bufsz": 0x3000},
    ]
    assert description["refused"] == []
    assert description["kernel_version"] == "9.9.9 (test)"
    assert description["payload"] == {"offset": 0x800, "length": 0x1000, "compression": "zstd"}
    assert description["header"]["xloadflags"] == 0x7F


def test_a_refused_bzimage_lists_every_reason(make_bzimage: Callable[..., bytes]) -> None:
    description = describe(make_bzimage(version=0x0204, xloadflags=2))
    assert [(r["errno"], r["function"]) for r in description["refused"]] == [("ENOEXEC", "bzImage64_probe")] * 2
    assert [r["reason"][:20] for r in description["refused"]] == ["Must be at least pro", "Not a bzImage64. XLF"]
    assert description["entry"] is None
    assert description["segments"] == []
    assert description["header"]["version"] == 0x0204
    assert "refused: bzImage64_probe: -ENOEXEC: Must be at least protocol version 2.12" in text(description)


def test_a_bzimage_that_no_memory_can_hold(make_bzimage: Callable[..., bytes]) -> None:
    description = describe(make_bzimage(pref_address=0xFFFFFFFFFFE00000))
    assert [(r["errno"], r["function"]) for r in description["refused"]] == [("EADDRNOTAVAIL", "kexec_locate_mem_hole")]


def test_a_bzimage_too_short_for_its_header(make_bzimage: Callable[..., bytes]) -> None:
    with pytest.raises(KexecError, match="File is too short to be a bzImage: 600 bytes"):
        describe(make_bzimage()[:600])


def test_a_truncated_bzimage(make_bzimage: Callable[..., bytes]) -> None:
    with pytest.raises(ImageError, match="truncated bzImage"):
        describe(make_bzimage()[:-1])


@pytest.mark.parametrize(("kernel_version", "version"), [(0, None), (0x200, None), (0x10D, "xyz")])
def test_the_version_string_lies_in_the_setup_code(
    kernel_version: int, version: str | None, make_bzimage: Callable[..., bytes]
) -> None:
    assert describe(make_bzimage(kernel_version=kernel_version))["kernel_version"] == version


def test_an_elf_file(elf_files: dict[str, Path], require_tool: Callable[[str], Path]) -> None:
    description = describe(elf_files["high"].read_bytes())
    assert description == json.loads(json.dumps(description))
    assert description["format"] == "ELF64"
    assert description["entry"] == 0x1000000
    assert description["refused"] == []
    assert (description["header"]["e_machine"], description["header"]["e_type"]) == ("EM_X86_64", "ET_EXEC")
    readelf = subprocess.run(
        [require_tool("readelf"), "-lW", elf_files["high"]], check=True, capture_output=True, text=True
    )
    rows = re.findall(r"^  ([A-Z_]+) +((?:0x[0-9a-f]+ +){5})([R ][W ][E ]) (0x[0-9a-f]+|0)$", readelf.stdout, re.M)
    assert len(rows) == description["header"]["e_phnum"]
    for row, phdr in zip(rows, description["program_headers"], strict=True):
        names = ("p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz")
        assert phdr["p_type"] == "PT_" + row[0]
        assert [phdr[name] for name in names] == [int(number, 16) for number in row[1].split()]
        assert phdr["p_flags"] == sum(bit for letter, bit in (("R", 4), ("W", 2), ("E", 1)) if letter in row[2])
        assert phdr["p_align"] == int(row[3], 16)


def test_an_elf_file_that_kexec_refuses(elf_files: dict[str, Path]) -> None:
    image = bytearray(elf_files["low"].read_bytes())
    image[16] = 1
    description = describe(bytes(image))
    assert [(r["errno"], r["function"]) for r in description["refused"]] == [("ENOEXEC", "kexec_build_elf_info")]
    assert (description["entry"], description["segments"]) == (None, [])
    assert description["header"]["e_type"] == "ET_REL"


@pytest.mark.parametrize(
    ("payload", "compression"),
    [
        (zlib.compress(b"x", wbits=31), "gzip"),
        (lzma.compress(b"x"), "xz"),
        (lzma.compress(b"x", format=lzma.FORMAT_ALONE), "lzma"),
        (b"BZh9", "bzip2"),
        (b"\x89LZO\x00", "lzo"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x7fELF", "none"),
        (b"", "unknown"),
        (b"abcd", "unknown"),
    ],
)
def test_payload_compression(payload: bytes, compression: str) -> None:
    assert payload_compression(payload) == compression


def test_a_debian_kernel_is_what_file_says(debian_kernel: Path, require_tool: Callable[[str], Path]) -> None:
    image = debian_kernel.read_bytes()
    description = describe(image)
    said = subprocess.run(
        [require_tool("file"), "-b", debian_kernel], check=True, capture_output=True, text=True
    ).stdout
    assert "Linux kernel x86 boot executable bzImage" in said
    assert f"version {description['kernel_version']}, " in said
    assert description["kernel_version"].split()[0] == debian_kernel.name.removeprefix("vmlinuz-")
    assert description["refused"] == []
    kernel = next(s for s in description["segments"] if s["name"] == "kernel")
    header = description["header"]
    assert kernel["mem"] == header["pref_address"] == description["entry"] - 0x200
    assert header["header"] == 0x53726448
    assert header["boot_flag"] == 0xAA55
    for name, offset, size in (("init_size", 0x260, 4), ("payload_length", 0x24C, 4), ("cmdline_size", 0x238, 4)):
        assert header[name] == int.from_bytes(image[offset : offset + size], "little")
    assert description["payload"]["compression"] in ("gzip", "xz", "lz4", "zstd")
    assert kernel["bufsz"] == len(image) - (header["setup_sects"] + 1) * 512


def test_a_multiboot_image_with_addresses() -> None:
    image = built(0x10007)
    description = describe(image.file)
    assert description == json.loads(json.dumps(description))
    assert (description["format"], description["entry"]) == ("multiboot", image.symbols["_start"])
    size = image.symbols["_end"] - BASE
    assert description["segments"] == [
        {"name": "image", "mem": BASE, "memsz": -(-size // 4096) * 4096, "bufsz": len(image.file)}
    ]
    assert "program_headers" not in description
    header = description["header"]
    assert (header["offset"], header["magic"], header["flags"]) == (8, 0x1BADB002, 0x10007)
    assert [header[name] for name in ("header_addr", "load_addr", "load_end_addr", "bss_end_addr", "entry_addr")] == [
        *(BASE + 8, BASE, image.symbols["_edata"], image.symbols["_end"], image.symbols["_start"])
    ]
    shown = text(description)
    assert "PAGE_ALIGN, MEMORY_INFO, VIDEO_MODE, AOUT_KLUDGE" in " ".join(shown.split())
    assert "in 32-bit protected mode" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_multiboot_image_in_an_elf32_file() -> None:
    image = built(0x3, elf=True)
    description = describe(image.file)
    assert (description["format"], description["entry"]) == ("multiboot", image.symbols["_start"])
    assert [p["p_paddr"] for p in description["program_headers"]] == [BASE]
    assert list(description["header"]) == ["offset", "magic", "flags", "checksum"]


def test_a_multiboot_image_that_is_refused() -> None:
    image = bytearray(built(0x3, elf=True).file)
    image[18] = 62
    description = describe(bytes(image))
    assert description["entry"] is None
    assert [(r["errno"], r["function"]) for r in description["refused"]] == [("ENOEXEC", "elf_x86_probe")]


@pytest.mark.parametrize("source", ["debian_kernel", "low"])
def test_the_text_fits_80_columns_and_names_what_the_data_hold(source: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue("debian_kernel") if source == "debian_kernel" else None
    path = path or request.getfixturevalue("elf_files")[source]
    description = describe(path.read_bytes())
    shown = text(description)
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown
    for segment in description["segments"]:
        assert f"{segment['mem']:#x}" in shown
    for name, value in description["header"].items():
        assert re.search(rf"^{name} +{re.escape(str(value) if isinstance(value, str) else hex(value))}\b", shown, re.M)


@settings(deadline=None)
@given(data=st.data())
def test_no_damage_raises_anything_else(
    make_bzimage: Callable[..., bytes], elf_files: dict[str, Path], data: st.DataObject
) -> None:
    image = bytearray(data.draw(st.sampled_from([make_bzimage(), elf_files["pie"].read_bytes()])))
    for offset in data.draw(st.lists(st.integers(0, 0x290), max_size=3)):
        image[offset] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(image)))
    with contextlib.suppress(MklabError):
        assert text(describe(bytes(image[:cut])))
