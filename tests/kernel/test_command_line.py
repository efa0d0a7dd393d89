"""Kernel parameters (lib/cmdline.c: memparse; the two that the RFC and kexec read)."""

import pytest

from mklab.kernel.command_line import CommandLine, memparse, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", (4096, "")),
        ("0x10000000", (0x10000000, "")),
        ("32M@0x1d000000", (32 << 20, "@0x1d000000")),
        ("1g", (1 << 30, "")),
        ("0XFFk,", (255 << 10, ",")),
        ("2T", (2 << 40, "")),
        ("banana", None),
        ("", None),
    ],
)
def test_memparse(text: str, expected: tuple[int, str] | None) -> None:
    assert memparse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", CommandLine()),
        ("console=ttyS0 quiet", CommandLine()),
        ("mk_shared_memory=0x8000000", CommandLine(0x8000000)),
        ("mk_shared_memory=banana", CommandLine(malformed=("mk_shared_memory",))),
        ("crashkernel=4M@0x1400000 x", CommandLine(crashkernel=(0x1400000, 0x1800000))),
        ("crashkernel=4M", CommandLine(malformed=("crashkernel",))),
        ("mk_shared_memory= crashkernel=@", CommandLine(malformed=("mk_shared_memory", "crashkernel"))),
    ],
)
def test_parse(text: str, expected: CommandLine) -> None:
    assert parse(text) == expected
