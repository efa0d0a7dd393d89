import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mklab.cli_inspect import inspect

FORMATS = "a little-endian ELF64 file nor a Linux bzImage nor a multiboot image"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(inspect, [str(argument) for argument in arguments])


def elf(folder: Path, *, e_type: int = 2) -> Path:
    """A file of one ELF64 header, one program header, and the four bytes that it loads at 1 MiB."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", e_type, 62, 1, 0x100000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, 120, 0x100000, 0x100000, 4, 4, 4096)
    file = folder / "kernel.elf"
    file.write_bytes(header + b"\xf4\xeb\xfd\x90")
    return file


def test_json_is_one_object(tmp_path: Path) -> None:
    file = elf(tmp_path)
    result = run(file, "--json")
    description = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (description["file"], description["format"], description["entry"]) == (str(file), "ELF64", 0x100000)
    assert [(s["mem"], s["memsz"], s["bufsz"]) for s in description["segments"]] == [(0x100000, 0x1000, 4)]


def test_text(tmp_path: Path) -> None:
    result = run(elf(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "0x100000" in result.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_refused_image_is_described_and_is_a_failure(options: list[str], tmp_path: Path) -> None:
    file = elf(tmp_path, e_type=1)
    result = run(file, *options)
    assert result.exit_code == 1
    assert result.stderr == (
        f"mklab inspect: {file}: refused by kexec_build_elf_info: -ENOEXEC: "
        "Not an ELF executable: e_type is ET_REL. Link it first.\n"
    )
    assert "ET_REL" in result.stdout


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    short = tmp_path / "short"
    short.write_bytes(elf(tmp_path).read_bytes()[:-1])
    for file, reason in (
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "a directory, not a file"),
        (Path("/dev/zero"), "not a regular file"),
        (empty, f"neither {FORMATS}, which kexec takes, but an empty file"),
        (short, "truncated or corrupt ELF file: the bytes of program header 0 at 0x78 end at 0x7c, the file at 0x7b"),
    ):
        result = run(file)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"mklab inspect: {file}: {reason}\n"


def test_a_multiboot_header_deep_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    values = (0x1BADB002, 0x10000, -0x1BADB002 - 0x10000 & 0xFFFFFFFF, 0x101000, 0x100000, 0, 0, 0x101020)
    file.write_bytes(bytes(0x1000) + struct.pack("<8I", *values) + bytes(16))
    description = json.loads(run(file, "--json").stdout)
    assert (description["format"], description["entry"]) == ("multiboot", 0x101020)
    assert description["header"]["offset"] == 0x1000


def test_of_a_large_file_of_another_kind_only_the_beginning_is_read(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(1 << 40)
    result = run(large)
    assert result.exit_code == 1
    assert "something that begins with 00 00" in result.stderr
