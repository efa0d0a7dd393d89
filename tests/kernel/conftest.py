"""Sample images: ELF files linked by zig, and the smallest bzImage that kexec takes."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab.kernel.host import Host
from mklab.machine import state
from mklab.machine.machine import Machine

SOURCE = """
.section .text, "ax"
.globl _start
_start: hlt
1:      jmp 1b
.section .rodata, "a"
hello:  .ascii "hello"
        .fill 5000, 1, 0x55
.data
.globl boot_args
boot_args: .quad 1, 2
        .quad 3
.bss
.globl stack
stack:  .skip 8192
.globl FIXED
.set FIXED, 0x2000012
"""
# An image that begins inside a page; each of its PT_LOADs ends in a page in which the next one begins.
LOW = """
SECTIONS { . = 0x2000010; .text : { *(.text) } .rodata : { *(.rodata) } .data : { *(.data) } .bss : { *(.bss) } }
"""
# As vmlinux has it: linked high, loaded low; the physical entry in e_entry.
HIGH = """
entry = _start - 0xffffffff80000000;
SECTIONS {
  . = 0xffffffff81000000;
  .text : AT(ADDR(.text) - 0xffffffff80000000) { *(.text) }
  . = ALIGN(0x200000);
  .data : AT(ADDR(.data) - 0xffffffff80000000) { *(.rodata) *(.data) }
  .bss : AT(ADDR(.bss) - 0xffffffff80000000) { *(.bss) }
}
"""


@pytest.fixture(scope="session")
def elf_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ELF64 files linked by zig: ``low`` and ``high`` are ET_EXEC, ``pie`` is ET_DYN."""
    folder = tmp_path_factory.mktemp("elf")
    (folder / "kernel.S").write_text(SOURCE)
    (folder / "low.ld").write_text(LOW)
    (folder / "high.ld").write_text(HIGH)
    options = {
        "low": ["-static", "-Wl,-T,low.ld"],
        "high": ["-static", "-mcmodel=kernel", "-Wl,-T,high.ld", "-Wl,-e,entry"],
        "pie": ["-fPIE", "-pie", "-Wl,--no-dynamic-linker"],
    }
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder), "ZIG_LOCAL_CACHE_DIR": str(folder)}
    for name, extra in options.items():
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-freestanding-none", "-nostdlib"]
        subprocess.run([*zig, *extra, "-o", f"{name}.elf", "kernel.S"], cwd=folder, env=environment, check=True)
    return {name: folder / f"{name}.elf" for name in options}


@pytest.fixture(scope="session")
def make_bzimage() -> Callable[..., bytes]:
    """A function that makes a bzImage of one setup sector; any of its fields, at boot.rst's offsets, may be changed."""
    fields = {
        "setup_sects": (0x1F1, "B", 1),
        "syssize": (0x1F4, "I", 0x3000 // 16),
        "boot_flag": (0x1FE, "H", 0xAA55),
        "jump": (0x200, "H", 0x6AEB),
        "header": (0x202, "4s", b"HdrS"),
        "version": (0x206, "H", 0x020F),
        "kernel_version": (0x20E, "H", 0x100),
        "loadflags": (0x211, "B", 0x01),
        "kernel_alignment": (0x230, "I", 0x200000),
        "relocatable_kernel": (0x234, "B", 1),
        "xloadflags": (0x236, "H", 0x7F),
        "cmdline_size": (0x238, "I", 2047),
        "payload_offset": (0x248, "I", 0x400),
        "payload_length": (0x24C, "I", 0x1000),
        "pref_address": (0x258, "Q", 0x1000000),
        "init_size": (0x260, "I", 0x12345),
    }

    def make(**changes: int | bytes) -> bytes:
        image = bytearray(1024 + 0x3000)
        for name, (offset, code, value) in fields.items():
            struct.pack_into("<" + code, image, offset, changes.get(name, value))
        image[0x1EF] = 0xFF  # the sentinel, and the setup code after the header: not for boot_params
        image[0x26C:0x300] = b"\xcc" * 0x94
        image[0x300:0x310] = b"9.9.9 (test)\0xyz"
        for offset in range(1024, len(image)):
            image[offset] = offset * 7 & 0xFF
        image[1024 + 0x400 : 1024 + 0x404] = b"\x28\xb5\x2f\xfd"
        return bytes(image)

    return make


@pytest.fixture(scope="session")
def booted_machine() -> str:
    """The state of a machine of four CPUs and 64 MiB whose host has booted."""
    machine = Machine(4)
    Host(machine).boot()
    return json.dumps(state.state(machine))


@pytest.fixture(scope="session")
def make_host(booted_machine: str) -> Callable[[], Host]:
    """A function that gives a booted host on a machine of its own."""

    def make() -> Host:
        machine = Machine(4)
        host = Host(machine)
        state.restore(machine, json.loads(booted_machine))
        return host

    return make


@pytest.fixture
def host(make_host: Callable[[], Host]) -> Host:
    """A booted host: four CPUs, 64 MiB; from 32 MiB on memory is for spawned kernels."""
    return make_host()
