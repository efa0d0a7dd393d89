"""A multiboot image booted by `mklab boot` and by QEMU's ``-kernel`` prints the same and ends the same way."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.boot_image import multiboot

DEADLINE = 120
QEMU = (
    *("-accel", "tcg", "-cpu", "Nehalem", "-smp", "2", "-m", "64", "-net", "none", "-vga", "none"),
    *("-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
)


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("leave", b""),
        ("multiboot_told", b""),
        ("echo", b"hello, world\n\xff."),
        ("smp", b""),
        ("timer", b""),
        ("fifo", b""),
        ("user", b""),
        ("triple_fault", b""),
        ("reset", b""),
    ],
)
def test_the_same(
    program: str, typed: bytes, require_tool: Callable[[str], Path], mklab_command: Path, tmp_path: Path
) -> None:
    file, module = tmp_path / "kernel", tmp_path / "module"
    file.write_bytes(multiboot(program))
    module.write_bytes(b"what it holds")
    qemu = [
        str(require_tool("qemu-system-x86_64")),
        *QEMU,
        "-kernel",
        f"{file}",
        "-append",
        "a b=c",
        "-initrd",
        f"{module}",
    ]
    ours = [f"{mklab_command}", "boot", f"{file}", "--cpus", "2", "--cmdline", "a b=c", "--module", f"{module}"]
    theirs, mine = (
        subprocess.run(command, input=typed, stdout=subprocess.PIPE, timeout=DEADLINE, check=False)
        for command in (qemu, ours)
    )
    assert mine.stdout == theirs.stdout
    assert mine.stdout, "it has printed something"
    # QEMU ends with 0 where a reset would follow.
    expected = {"triple_fault": (4, 0), "reset": (6, 0)}
    assert (mine.returncode, theirs.returncode) == expected.get(program, (theirs.returncode,) * 2)
    assert program in expected or theirs.returncode & 1
