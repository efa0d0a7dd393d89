"""Multiboot images: the header, what is loaded where, what the image is told, and its entry on the machine."""

import contextlib
import errno
import itertools
import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.errors import ImageError, KexecError, MklabError
from mklab.kernel import kexec_multiboot_x86
from mklab.kernel.host import Host
from mklab.kernel.kexec import KexecSegment, LoadedImage
from mklab.kernel.kexec_multiboot_x86 import executable, find_header, load, probe
from mklab.kernel.layout import HOST_END
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.trace import Fault, ModeChange
from tests.kernel.multiboot_image import BASE, RECORD, booted, built, elf32, loops

MIB = 1 << 20
RAM = [(0, 0x9F000, 1), (0x9F000, 0x100000, 2), (MIB, 64 * MIB, 1)]
MAGIC = 0x1BADB002


def header(flags: int, *addresses: int, magic: int = MAGIC, wrong: int = 0) -> bytes:
    """A header by the specification: magic, flags, checksum, and five addresses."""
    return struct.pack(f"<3I{len(addresses)}I", magic, flags, -magic - flags + wrong & 0xFFFFFFFF, *addresses)


def flat(before: int = 0x20, size: int = 0x100, **changes: int) -> bytes:
    """A file of ``size`` bytes with a header of addresses ``before`` bytes into it, loaded at 2 MiB."""
    values = {
        "header_addr": 2 * MIB + before,
        "load_addr": 2 * MIB,
        "load_end_addr": 2 * MIB + size,
        "bss_end_addr": 2 * MIB + size + 0x1000,
        "entry_addr": 2 * MIB + 0x60,
    } | changes
    return (bytes(before) + header(0x10000, *values.values())).ljust(size, b"\x90")


def by_name(image: LoadedImage) -> dict[str, KexecSegment]:
    return {segment.name: segment for segment in image.segments}


class TestHeader:
    """Specification 3.1.1, "The layout of Multiboot header"."""

    @pytest.mark.parametrize("offset", [0, 4, 4096, 8192 - 12])
    def test_anywhere_in_the_first_8_kib(self, offset: int) -> None:
        found = find_header(bytes(offset) + header(3) + bytes(100))
        assert found is not None
        assert (found.offset, found.magic, found.flags) == (offset, MAGIC, 3)
        assert (found.magic + found.flags + found.checksum) % (1 << 32) == 0

    @pytest.mark.parametrize(
        "image",
        [
            b"",
            header(3)[:11],
            bytes(2) + header(3),
            bytes(8192 - 8) + header(3),
            bytes(8192) + header(3),
            header(3, wrong=1),
            header(3, magic=0x2BADB002),
        ],
        ids=["empty", "cut off", "not aligned", "across the end", "behind it", "checksum", "magic"],
    )
    def test_elsewhere_there_is_none(self, image: bytes) -> None:
        assert find_header(image) is None
        with pytest.raises(KexecError, match="Not multiboot: no header with magic 0x1badb002") as refusal:
            probe(image)
        assert (refusal.value.errno, refusal.value.function) == (errno.ENOEXEC, "multiboot_x86_probe")

    def test_the_first_that_is_right_counts(self) -> None:
        found = find_header(header(1, wrong=4) + header(2) + header(3))
        assert found is not None
        assert (found.offset, found.flags) == (12, 2)

    @pytest.mark.parametrize("bit", range(3, 16))
    def test_what_must_be_understood_and_is_not(self, bit: int) -> None:
        with pytest.raises(KexecError, match=f"options that are not understood: flags {1 << bit:#x}") as refusal:
            probe(header(1 << bit))
        assert refusal.value.errno == errno.ENOEXEC

    @pytest.mark.parametrize("bit", [0, 1, 2, *range(17, 32)])
    def test_what_is_understood_or_optional(self, bit: int) -> None:
        """Bit 2 wants a video mode: kexec-tools goes on without, and so do we."""
        assert probe(header(1 << bit)).flags == 1 << bit

    @pytest.mark.parametrize("length", range(12, 32, 4))
    def test_addresses_that_are_cut_off(self, length: int) -> None:
        with pytest.raises(ImageError, match="with addresses, it ends at 0x20; it must lie in the file's first"):
            find_header(flat(0)[:length])

    def test_addresses_across_the_end_of_the_search(self) -> None:
        with pytest.raises(ImageError, match=r"at 0x1fe4, with addresses, it ends at 0x2004; .* first 8192 bytes"):
            find_header(flat(8192 - 28, 16384))


class TestAddresses:
    """Specification 3.1.3, "The address fields of Multiboot header"."""

    def test_the_fields(self) -> None:
        found = find_header(flat())
        assert found is not None
        assert (found.header_addr, found.load_addr, found.load_end_addr) == (2 * MIB + 0x20, 2 * MIB, 2 * MIB + 0x100)
        assert (found.bss_end_addr, found.entry_addr) == (2 * MIB + 0x1100, 2 * MIB + 0x60)

    def test_what_is_loaded(self) -> None:
        file = flat(size=0x3000)
        image = executable(file)
        assert [(s.mem, s.memsz, s.buf) for s in image.segments] == [(2 * MIB, 0x4000, file)]
        assert image.entry == 2 * MIB + 0x60

    def test_text_that_begins_inside_the_file(self) -> None:
        """load_addr is where the text begins: what lies before it in the file is not loaded."""
        file = flat(header_addr=2 * MIB + 0x10, load_end_addr=2 * MIB + 0xF0)
        (segment,) = executable(file).segments
        assert segment.buf == file[0x10:]

    def test_zeros_mean_the_whole_file_and_no_bss(self) -> None:
        file = flat(load_end_addr=0, bss_end_addr=0)
        (segment,) = executable(file).segments
        assert (segment.buf, segment.memsz) == (file, 0x1000)

    def test_text_that_begins_inside_a_page(self) -> None:
        base = 2 * MIB + 0x123
        places = {"header_addr": base + 0x20, "load_addr": base, "load_end_addr": base + 0x100}
        (segment,) = executable(flat(**places, bss_end_addr=2 * MIB + 0x1001)).segments
        assert (segment.mem, segment.memsz) == (2 * MIB, 0x2000)
        assert segment.buf[:0x123] == bytes(0x123)
        assert segment.buf[0x143:0x147] == struct.pack("<I", MAGIC)

    def test_they_come_before_what_else_the_file_is(self) -> None:
        """Even of an ELF64 file, as the specification has it."""
        file = bytearray(flat(0x80))
        file[:6] = b"\x7fELF\x02\x01"
        assert executable(bytes(file)).entry == 2 * MIB + 0x60

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"load_addr": 2 * MIB + 0x24}, "header_addr 0x200020 is below load_addr 0x200024"),
            ({"load_addr": 2 * MIB - 4}, "what goes to load_addr 0x1ffffc would begin 4 bytes before the file"),
            ({"load_addr": 0}, "would begin 2097152 bytes before the file"),
            ({"load_end_addr": 2 * MIB - 1}, "load_end_addr 0x1fffff leaves out the header at 0x200020"),
            ({"load_end_addr": 2 * MIB + 0x20}, "load_end_addr 0x200020 leaves out the header"),
            ({"load_end_addr": 2 * MIB + 0x101}, "it ends at 0x101 in the file, which ends at 0x100"),
            ({"load_end_addr": 0xFFFFFFFF, "bss_end_addr": 0}, "it ends at 0xffdfffff in the file"),
            ({"bss_end_addr": 2 * MIB + 0xFF}, "bss_end_addr 0x2000ff is below the end of what is loaded, 0x200100"),
            (
                {"header_addr": 0xFFFFFFF0, "load_addr": 0xFFFFFFD0, "load_end_addr": 0, "bss_end_addr": 0},
                "it ends at 0x1000000d0, beyond 4 GiB",
            ),
        ],
    )
    def test_corruption_is_told_by_what_and_where(self, changes: dict[str, int], reason: str) -> None:
        with pytest.raises(ImageError, match=re.escape(reason)):
            executable(flat(**changes))


class TestElf32:
    """Specification 3.1.3: without addresses the image has to be an ELF file."""

    def test_its_segment_and_entry(self) -> None:
        data = header(0) + b"code"
        image = executable(elf32(data, 2 * MIB + 12, 2 * MIB, 0x2345))
        assert [(s.mem, s.memsz, s.buf) for s in image.segments] == [(2 * MIB, 0x3000, data)]
        assert image.entry == 2 * MIB + 12

    @pytest.mark.parametrize(
        ("image", "reason"),
        [
            (header(0) + bytes(100), "belongs in an ELF32 file; this is no ELF file"),
            (b"\x7fELF\x02\x01" + bytes(58) + header(0), "belongs in an ELF32 file; this is an ELF64 file"),
            (elf32(header(0), 0, 0, 99, machine=62), "Not for the i386: e_machine is EM_X86_64"),
            (elf32(header(0), 0, 0, 99, kind=1), "Not an ELF executable: e_type is ET_REL"),
        ],
    )
    def test_what_is_refused(self, image: bytes, reason: str) -> None:
        with pytest.raises(KexecError, match=reason) as refusal:
            executable(image)
        assert refusal.value.errno == errno.ENOEXEC

    @pytest.mark.parametrize(
        ("offset", "value", "reason"),
        [
            (40, 53, "e_ehsize is 53, not 52"),
            (42, 56, "e_phentsize is 56, not 32"),
            (52 + 4, 0xFFFF, "the bytes of program header 0 at 0xffff end at"),
            (52 + 20, 0xFFFFFFFF, "program header 0, at 0x200000, wraps round the end of memory"),
            (52 + 20, 4, "program header 0 has p_filesz 0xc over p_memsz 0x4"),
        ],
    )
    def test_corruption_is_told_by_what_and_where(self, offset: int, value: int, reason: str) -> None:
        file = bytearray(elf32(header(0), 0, 2 * MIB, 99))
        struct.pack_into("<I" if offset > 51 else "<H", file, offset, value)
        with pytest.raises(ImageError, match=re.escape(reason)):
            executable(bytes(file))

    def test_truncated(self) -> None:
        file = elf32(header(0) + bytes(64), 0, 2 * MIB, 99)
        with pytest.raises(ImageError, match=r"truncated or corrupt ELF file: .* the file at 0xcb"):
            executable(file[:-1])


class TestLoading:
    """What goes where, and what the image is told (specification 3.3); QEMU's answers are another test's matter."""

    def test_segments(self) -> None:
        image = load(flat(), ram=RAM, cmdline="a b", modules=[(b"one", "first x"), (bytes(5000), "second")])
        assert [(s.name, s.mem, s.memsz) for s in image.segments] == [
            ("purgatory", 64 * MIB - 0x3000, 0x3000),
            ("image", 2 * MIB, 0x2000),
            ("module 0", 64 * MIB - 0x4000, 0x1000),
            ("module 1", 64 * MIB - 0x6000, 0x2000),
            ("multiboot_info", 64 * MIB - 0x7000, 0x1000),
        ]
        assert image.entry == 64 * MIB - 0x3000
        assert image.multiboot_info == 64 * MIB - 0x7000
        assert image.format == "multiboot"

    def test_the_information_structure(self) -> None:
        """Offsets by the specification's table of the boot information format."""
        image = load(flat(), ram=RAM, cmdline="a b", name="kernel", modules=[(b"one", "first x"), (bytes(5000), "")])
        segment = by_name(image)["multiboot_info"]

        def word(offset: int) -> int:
            return int.from_bytes(segment.buf[offset : offset + 4], "little")

        def text(address: int) -> bytes:
            return segment.buf[address - segment.mem :].split(b"\0", 1)[0]

        assert word(0) == 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
        assert (word(4), word(8)) == (0x9F000 >> 10, 63 << 10)
        assert text(word(16)) == b"kernel a b"
        assert text(word(64)) == b"kexec mklab"
        assert (word(44), word(20)) == (24 * 3, 2)
        for index, (start, end, kind) in enumerate(RAM):
            at = word(48) - segment.mem + 24 * index
            assert struct.unpack_from("<IQQI", segment.buf, at) == (20, start, end - start, 1 if kind == 1 else 0xBAD)
        modules = [struct.unpack_from("<4I", segment.buf, word(24) - segment.mem + 16 * n) for n in range(2)]
        assert modules[0][:2] == (64 * MIB - 0x4000, 64 * MIB - 0x4000 + 3)
        assert modules[1][:2] == (64 * MIB - 0x6000, 64 * MIB - 0x6000 + 5000)
        assert [text(module[2]) for module in modules] == [b"first x", b""]
        assert all(word(offset) == 0 for offset in (12, 28, 52, 60, 68, 72))

    def test_without_modules_the_flag_is_clear(self) -> None:
        segment = by_name(load(flat(), ram=RAM))["multiboot_info"]
        assert struct.unpack_from("<I", segment.buf)[0] == 0x245
        assert struct.unpack_from("<2I", segment.buf, 20) == (0, 0)

    @pytest.mark.parametrize(
        ("ram", "sizes"),
        [
            ([(0, 64 * MIB, 1)], (640, 63 << 10)),
            ([(0, 0x9FC00, 1), (0x9FC00, MIB, 2), (MIB, 16 * MIB, 1), (16 * MIB, 64 * MIB, 1)], (639, 15 << 10)),
            ([(MIB, 16 * MIB, 1)], (0, 15 << 10)),
            ([(0, 1 << 50, 1)], (640, 0xFFFFFFFF)),
        ],
    )
    def test_memory_sizes(self, ram: list[tuple[int, int, int]], sizes: tuple[int, int]) -> None:
        segment = by_name(load(flat(), ram=ram))["multiboot_info"]
        assert struct.unpack_from("<2I", segment.buf, 4) == sizes

    def test_nothing_above_4_gib(self) -> None:
        image = load(flat(), ram=[*RAM, (1 << 32, 1 << 33, 1)], modules=[(b"one", "")])
        assert all(segment.mem + segment.memsz <= 64 * MIB for segment in image.segments)

    def test_everything_in_the_window(self) -> None:
        image = load(flat(), ram=RAM, window=(2 * MIB, 3 * MIB), modules=[(b"one", "")])
        assert all(2 * MIB <= s.mem < s.mem + s.memsz <= 3 * MIB for s in image.segments)

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ({"ram": [(MIB, 2 * MIB, 1)]}, "Invalid memory segment 0x200000-0x202000"),
            ({"window": (3 * MIB, 4 * MIB)}, "Invalid memory segment .* within 0x300000-0x400000"),
            ({"modules": [(bytes(64 * MIB), "")]}, "no free RAM for the module 0"),
            ({"window": (2 * MIB, 2 * MIB + 0x5000)}, "no free RAM for the multiboot information"),
            ({"window": (2 * MIB, 2 * MIB + 0x4000)}, "no free RAM for the purgatory"),
        ],
    )
    def test_no_room(self, arguments: dict[str, Any], reason: str) -> None:
        with pytest.raises(KexecError, match=reason) as refusal:
            load(flat(), **({"ram": RAM} | arguments))
        assert refusal.value.errno == errno.EADDRNOTAVAIL

    @pytest.mark.parametrize("arguments", [{"cmdline": "a\0b"}, {"modules": [(b"", "a\0b")]}])
    def test_strings_end_at_nul(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"must be without NUL, not 'a\\x00b'$"):
            load(flat(), ram=RAM, **arguments)


class TestOnTheMachine:
    """Entered as the specification says (3.2): by a boot loader, and through RFC v1's trampoline."""

    @pytest.mark.parametrize("elf", [False, True])
    def test_by_a_boot_loader(self, elf: bool) -> None:
        file = built(0x3 if elf else 0x10003, elf=elf)
        image = load(file.file, ram=[(0, 64 * MIB, 1)])
        machine = booted(image, 64 * MIB)
        record = self.record(machine, file.symbols["record"])
        assert record["done"] == 1
        self.check(record, image)
        assert [event.mode for event in machine.trace.of(ModeChange)] == ["long", "protected"]
        assert machine.trace.of(Fault) == []

    def test_through_the_trampoline(self) -> None:
        file = built(0x10003)
        moved = self.moved(file.file, HOST_END)
        machine = Machine(2)
        host = Host(machine)
        host.boot()
        host.cpu_down(1)
        image = load(moved, ram=[(0, 64 * MIB, 1)], window=(HOST_END, 64 * MIB), checks=False)
        host.load(image)
        host.multikernel_kexec(1)
        stop = machine.run(1_000_000, lambda m: m.cpus[1].owner == "kernel 1" and m.cpus[1].state is CpuState.HALTED)
        assert stop.reason == "until"
        assert [e.mode for e in machine.trace.of(ModeChange) if e.cpu == 1][-3:] == ["protected", "long", "protected"]
        assert machine.cpus[1].owner == "kernel 1"
        after = machine.registers(1)
        assert (after.rax, after.rbx) == (0x2BADB002, image.multiboot_info)
        assert (after.cr0, after.cr3, after.cr4, after.efer) == (0x11, 0, 0, 0)

    def test_a_tampered_image_is_never_entered(self) -> None:
        file = built(0x10003)
        image = load(file.file, ram=[(0, 64 * MIB, 1)], modules=[(b"module", "")])
        module = by_name(image)["module 0"].mem
        machine = booted(image, 64 * MIB, {module + 5: 0x80})
        assert loops(machine)
        assert machine.memory.read(file.symbols["record"], 80) == bytes(80)

    @staticmethod
    def record(machine: Machine, at: int) -> dict[str, int]:
        values = struct.unpack(f"<{len(RECORD)}I", machine.memory.read(at, 4 * len(RECORD)))
        return dict(zip(RECORD, values, strict=True))

    @staticmethod
    def check(record: dict[str, int], image: LoadedImage) -> None:
        assert (record["eax"], record["ebx"]) == (0x2BADB002, image.multiboot_info)
        assert record["cr0"] & (1 << 31 | 1) == 1, "PE set, PG clear"
        assert record["eflags"] & (1 << 9 | 1 << 17) == 0, "IF and VM clear"
        assert {record[f"{name}.limit"] for name in ("cs", "ds", "es", "ss", "fs", "gs")} == {0xFFFFFFFF}
        assert record["cs.rights"] & 0x40FF00 == 0x409B00, "32-bit code, readable"
        assert {record[f"{name}.rights"] & 0x40FF00 for name in ("ds", "es", "ss", "fs", "gs")} == {0x409300}

    @staticmethod
    def moved(file: bytes, base: int) -> bytes:
        """A flat image that halts at once, at another address: its own code is linked to lie at ``BASE``."""
        found = find_header(file)
        assert found is not None
        moved = bytearray(file)
        addresses = (found.header_addr, found.load_addr, found.load_end_addr, found.bss_end_addr, found.entry_addr)
        struct.pack_into("<5I", moved, found.offset + 12, *(address - BASE + base for address in addresses))
        moved[found.entry_addr - BASE] = 0xF4
        return bytes(moved)


images = st.sampled_from([flat(), flat(0x1000, 0x2000), built(0x10003).file, built(0x3, elf=True).file])


@settings(max_examples=300)
@given(images, st.data())
def test_no_damage_can_raise_anything_else(image: bytes, data: st.DataObject) -> None:
    damaged = bytearray(image)
    found = find_header(image)
    assert found is not None
    places = st.one_of(
        st.integers(0, 51 + 32),
        st.integers(found.offset, found.offset + 47),
        st.integers(0, len(image) - 1),
    )
    for _ in range(data.draw(st.integers(0, 3))):
        at = min(data.draw(places), len(image) - 4)
        if data.draw(st.booleans()):
            damaged[at] = data.draw(st.integers(0, 255))
        else:
            at = found.offset + 4 * data.draw(st.integers(0, 7))
            struct.pack_into("<I", damaged, at, data.draw(st.integers(0, 0xFFFFFFFF) | st.integers(0, 4 * MIB)))
    if data.draw(st.booleans()):  # or the checksum hides the rest
        magic, flags = struct.unpack_from("<2I", damaged, found.offset)
        struct.pack_into("<I", damaged, found.offset + 8, -magic - flags & 0xFFFFFFFF)
    cut = data.draw(st.just(len(image)) | st.integers(0, len(image)))
    with contextlib.suppress(MklabError):
        loaded = load(bytes(damaged[:cut]), ram=RAM, modules=[(b"module", "")])
        assert all(segment.bufsz <= segment.memsz for segment in loaded.segments)
        assert all(segment.mem % 4096 == segment.memsz % 4096 == 0 for segment in loaded.segments)
        ranges = sorted((segment.mem, segment.mem + segment.memsz) for segment in loaded.segments)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_nor_can_bytes_of_any_kind(image: bytes) -> None:
    with contextlib.suppress(MklabError):
        load(image, ram=RAM)
    with contextlib.suppress(MklabError):
        kexec_multiboot_x86.load(header(0x10000) + image, ram=RAM)
