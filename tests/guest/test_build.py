"""Shipped guest code is what its sources say; binutils, where they are there, read it independently."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab import guest
from mklab.errors import GuestBuildError
from mklab.guest import abi
from mklab.guest.build import PREBUILT, build, build_all, listing, sources
from mklab.structs import Field, Struct

SCRIPT = "SECTIONS { . = 0x1000; .text : { *(.text) } /DISCARD/ : { *(.comment) *(.note*) } }"
NAMES = ("minikernel", "purgatory", "trampoline_64_bsp", "relocate_kernel_64")


def tool(command: Path, *arguments: str) -> str:
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def built() -> dict[str, bytes]:
    return build_all()


class TestPrebuilt:
    """What lies in mklab/guest/prebuilt."""

    def test_it_is_built_from_these_sources(self, built: dict[str, bytes]) -> None:
        """Byte for byte. After a change: python -m mklab.guest.build."""
        shipped = {path.name: path.read_bytes() for path in PREBUILT.iterdir()}
        assert sorted(shipped) == sorted(built)
        assert [name for name in built if built[name] != shipped[name]] == []

    def test_building_twice_gives_the_same_bytes(self, built: dict[str, bytes]) -> None:
        source = (PREBUILT.parent / "trampoline_64_bsp.S").read_text()
        script = (PREBUILT.parent / "trampoline_64_bsp.ld").read_text()
        again = build({"trampoline_64_bsp.S": source}, script, movable=False)
        assert again == built["trampoline_64_bsp.elf"]

    def test_what_the_package_hands_out(self) -> None:
        assert guest.minikernel() == (PREBUILT / "minikernel.elf").read_bytes()
        assert guest.purgatory() == (PREBUILT / "purgatory.elf").read_bytes()
        assert len(guest.trampoline().data) == 0x9000

    @pytest.mark.parametrize("name", ["minikernel", "trampoline_64_bsp"])
    def test_the_listing_names_the_lines_that_addr2line_sees(
        self, name: str, tmp_path: Path, require_tool: Callable[[str], Path]
    ) -> None:
        image = tmp_path / "image.elf"
        image.write_bytes(build(*sources(name), movable=name == "minikernel", debug=True))
        ours = re.findall(r"^ +([0-9a-f]+) {2}[0-9a-f]+ .* (?:\w+/)?(\w+\.\w+:\d+)$", guest.listing(name), re.MULTILINE)
        theirs = tool(require_tool("addr2line"), "-s", "-e", str(image), *(at for at, _ in ours)).splitlines()
        assert len(ours) > 90
        assert [place for _, place in ours] == [line.partition(" (")[0] for line in theirs]

    @pytest.mark.parametrize("name", NAMES)
    def test_the_listing_has_the_instructions_that_objdump_sees(
        self, name: str, require_tool: Callable[[str], Path]
    ) -> None:
        """Addresses and bytes, so instruction by instruction; each mode by itself."""
        objdump = require_tool("objdump")
        ours = instructions((PREBUILT / f"{name}.lst").read_text(), r"^ +([0-9a-f]+) {2}([0-9a-f]+)")
        image = str(PREBUILT / f"{name}.elf")
        if name in ("minikernel", "relocate_kernel_64"):
            parts = [("i386:x86-64", ours[0][0], ours[-1][0] + 1)]
        elif name == "purgatory":
            symbols = symbols_of(require_tool("readelf"), PREBUILT / "purgatory.elf")
            starts = [0, symbols["compatibility_mode"], symbols["purgatory"], ours[-1][0] + 1]
            parts = list(zip(("i386:x86-64", "i386", "i386:x86-64"), starts, starts[1:], strict=False))
        else:
            symbols = guest.trampoline().symbols
            starts = [0, symbols["startup_32"], symbols["startup_64"], 0x180]
            parts = list(zip(("i8086", "i386", "i386:x86-64"), starts, starts[1:], strict=False))
        theirs = []
        for machine, start, end in parts:
            options = ("-d", "-w", "-z", f"--start-address={start}", f"--stop-address={end}", "-m", machine)
            text = tool(objdump, *options, image)
            theirs += instructions(text, r"^ +([0-9a-f]+):\t((?:[0-9a-f]{2} )+)")
        assert len(ours) > (40 if name == "relocate_kernel_64" else 90)
        assert ours == theirs[: len(ours)]
        assert all(not any(code) for _, code in theirs[len(ours) :]), "padding behind the last one"


def instructions(text: str, pattern: str) -> list[tuple[int, bytes]]:
    """``(address, bytes)`` of each instruction, without the fill between functions."""
    found = [(int(at, 16), bytes.fromhex(code)) for at, code in re.findall(pattern, text, re.MULTILINE)]
    return sorted(dict(found).items())


class TestImages:
    """The headers, as readelf tells them."""

    @pytest.mark.parametrize("name", ["minikernel", "purgatory"])
    def test_it_is_one_movable_segment(self, name: str, require_tool: Callable[[str], Path]) -> None:
        readelf, image = require_tool("readelf"), str(PREBUILT / f"{name}.elf")
        header = tool(readelf, "-h", image)
        assert re.search(r"Type: +DYN", header)
        assert re.search(r"Machine: +Advanced Micro Devices X86-64", header)
        assert re.search(r"Entry point address: +0x0$", header, re.MULTILINE)
        loads = re.findall(r"^ +LOAD +(.*)$", tool(readelf, "-lW", image), re.MULTILINE)
        assert len(loads) == 1
        assert "There are no relocations in this file" in tool(readelf, "-r", image)

    def test_its_symbols_are_in_place(self, require_tool: Callable[[str], Path]) -> None:
        names = symbols_of(require_tool("readelf"), PREBUILT / "minikernel.elf")
        assert names["startup_64"] == 0
        wanted = {
            "mk_boot_info",
            "cpu_work",
            "cpu_online",
            "irq_stat",
            "secondary_startup_64",
            "sysvec_multikernel",
        }
        assert wanted <= names.keys()

    def test_the_trampolines_symbols(self, require_tool: Callable[[str], Path]) -> None:
        names = symbols_of(require_tool("readelf"), PREBUILT / "trampoline_64_bsp.elf")
        assert {name: names[name] for name in guest.trampoline().symbols} == guest.trampoline().symbols

    def test_relocate_kernel_fits_where_linux_has_room_for_it(self) -> None:
        """KEXEC_CONTROL_CODE_MAX_SIZE; its stack is the rest of the page. No address in it needs relocation."""
        blob = guest.relocate_kernel()
        assert blob.symbols["relocate_kernel"] == 0
        assert blob.symbols["relocate_kernel_end"] == len(blob.data) <= 2048

    @pytest.mark.parametrize("name", ["minikernel", "purgatory"])
    def test_general_registers_only(self, name: str) -> None:
        """Interrupts save no others, and the trampoline switches no others on."""
        text = (PREBUILT / f"{name}.lst").read_text()
        assert "%rax" in text
        assert re.findall(r"%[xyz]?mm\d|%st\b", text) == []


def symbols_of(readelf: Path, image: Path) -> dict[str, int]:
    table = tool(readelf, "-sW", str(image))
    return {name: int(at, 16) for at, name in re.findall(r"^ +\d+: ([0-9a-f]+) .* (\w+)$", table, re.MULTILINE)}


class TestAbi:
    """Structures that Python and guest code share."""

    def test_the_compiler_lays_structs_out_alike(self) -> None:
        """The header's own assertions, compiled; minikernel.c includes the same header."""
        build({"check.c": '#include "abi.h"\nint here;\n'}, SCRIPT, movable=False)

    @pytest.mark.parametrize("layout", [abi.MK_IPI_DATA, abi.BOOT_INFO, abi.CPU_WORK], ids=lambda layout: layout.name)
    def test_and_would_notice_if_it_did_not(self, layout: Struct) -> None:
        declaration = layout.c_declaration()
        wrong = declaration.replace(f"== {layout.size},", f"== {layout.size + 8},", 1)
        assert wrong != declaration
        with pytest.raises(GuestBuildError, match="static assertion failed"):
            build({"check.c": wrong}, SCRIPT, movable=False)
        name, offset = list(layout.offsets.items())[-1]
        wrong = declaration.replace(f"{name}) == {offset}", f"{name}) == {offset + 1}")
        with pytest.raises(GuestBuildError, match=rf"static assertion failed.*{layout.name}\.{name}"):
            build({"check.c": wrong}, SCRIPT, movable=False)

    def test_every_type_and_padding(self) -> None:
        kinds = ("u8", "s16", "u8", "s64", "u32", "s8", "u16", "s32", "u64")
        layout = Struct("mixed", *(Field(f"f{i}", kind, 1 + i % 3) for i, kind in enumerate(kinds)))
        build({"check.c": layout.c_declaration()}, SCRIPT, movable=False)

    def test_mk_ipi_data_is_the_rfcs(self) -> None:
        """Patch 4/7: int, u32, size_t, char[256]; 272 bytes."""
        assert abi.MK_IPI_DATA.offsets == {"sender_cpu": 0, "type": 4, "data_size": 8, "buffer": 16}
        assert abi.MK_IPI_DATA.size == 272
        assert abi.MK_IPI_DATA.size * abi.NR_CPUS == 17408
        assert (abi.MK_MAX_DATA_SIZE, abi.MULTIKERNEL_VECTOR) == (256, 0xEA)


class TestBuilding:
    """The builder itself."""

    def test_where_it_is_linked(self) -> None:
        fixed = build({"a.S": ".globl _start\n_start: hlt\n"}, SCRIPT, movable=False)
        movable = build({"a.S": ".globl _start\n_start: hlt\n"}, SCRIPT)
        assert (fixed[16], movable[16]) == (2, 3), "ET_EXEC and ET_DYN"
        assert int.from_bytes(fixed[24:32], "little") == 0x1000

    def test_c_and_assembly_go_together(self) -> None:
        image = build(
            {"a.S": ".globl _start\n_start: call five\nhlt\n", "b.c": "int five(void) { return 5; }\n"},
            SCRIPT,
            movable=False,
        )
        assert "<five>:" in listing(image)
        assert "movl $5, %eax" in listing(image)

    @pytest.mark.parametrize(
        ("sources", "message"),
        [
            ({"bad.S": "_start: mov %eax, %nothing\n"}, r"bad\.S:1:\d+: error"),
            ({"bad.c": "\nint f(void) { return missing; }\n"}, r"bad\.c:2:\d+: error: .*missing"),
            ({"bad.c": "int f(int unused) { return 0; }\n"}, r"bad\.c:1:\d+: error: unused parameter"),
            ({"bad.S": ".globl _start\n_start: call nowhere\n"}, "undefined symbol: nowhere"),
        ],
    )
    def test_a_mistake_is_told_with_its_place(self, sources: dict[str, str], message: str) -> None:
        with pytest.raises(GuestBuildError, match=message):
            build(sources, SCRIPT, movable=False)

    def test_a_missing_compiler_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "$0: No module named ziglang" >&2\nexit 1\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(GuestBuildError, match=r"package ziglang, which is missing; run: make setup$"):
            build({"a.S": "hlt\n"}, SCRIPT)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
        with pytest.raises(GuestBuildError, match=r"^cannot run .*nothing: "):
            build({"a.S": "hlt\n"}, SCRIPT)
