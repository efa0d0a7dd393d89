"""Purgatory on the machine: an intact image is entered with its registers, a tampered one never."""

import errno
import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.errors import KexecError
from mklab.guest.build import build
from mklab.kernel import kexec_bzimage64, kexec_elf, kexec_elf_x86_64
from mklab.kernel.bootparam import BootParams
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KexecSegment, LoadedImage
from mklab.kernel.kexec_file import Room
from mklab.kernel.layout import BOOT_PARAMS, HOST_END
from mklab.kernel.purgatory import enter_through, place, with_purgatory
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.machine.registers import GPRS
from mklab.trace import Fault
from tests.kernel.multiboot_image import booted, loops

MIB, GIB = 1 << 20, 1 << 30
RAM = [(0, 64 * MIB, 1)]
WINDOW = (HOST_END, 64 * MIB)
HLT = KexecSegment(b"\xf4", 2 * MIB, 16, "kernel")


def reaches(
    image: LoadedImage, entry: int, tamper: dict[int, int] | None = None, ram: int = 64 * MIB
) -> Machine | None:
    """The machine halted at ``entry`` after purgatory, or None if it is still in purgatory; bytes may be changed."""
    machine = booted(image, ram, tamper or {})
    registers = machine.registers(0)
    if machine.cpus[0].state is CpuState.HALTED:
        assert registers.rip == entry + 1
        return machine
    own = image.segments[0]
    assert own.name == "purgatory"
    assert own.mem <= registers.rip < own.mem + own.memsz
    assert loops(machine)
    return None


def hashed(lengths: list[int]) -> LoadedImage:
    """An image of segments of such lengths, far apart, each with other bytes."""
    segments = [
        KexecSegment(bytes((n * 31 + i * 7) & 0xFF for i in range(length)), 4 * MIB + n * 64 * 1024, length)
        for n, length in enumerate(lengths)
    ]
    return LoadedImage("ELF64", HLT.mem, (HLT, *segments))


class TestTheDigest:
    """SHA-256 by the guest's code, against hashlib's."""

    @pytest.mark.parametrize(
        "lengths", [[], [0], [1], [39], [40], [47], [48], [49], [103, 1], [3, 61, 64, 7], [1] * 15, [1000]]
    )
    def test_lengths_around_the_blocks(self, lengths: list[int]) -> None:
        """Of the message: 16 bytes with the HLT, and these; FIPS 180-4 pads it to whole blocks."""
        image = enter_through(place(Room(RAM, None)), hashed(lengths))
        assert reaches(image, HLT.mem)

    @settings(max_examples=20)
    @given(st.lists(st.integers(0, 200), min_size=1, max_size=4), st.data())
    def test_one_bit_anywhere_is_noticed(self, lengths: list[int], data: st.DataObject) -> None:
        image = enter_through(place(Room(RAM, None)), hashed(lengths))
        assert reaches(image, HLT.mem)
        region = data.draw(st.sampled_from([s for s in image.segments[1:] if s.memsz]))
        at = region.mem + data.draw(st.integers(1 if region.mem == HLT.mem else 0, region.memsz - 1))
        assert reaches(image, HLT.mem, {at: 1 << data.draw(st.integers(0, 7))}) is None

    def test_what_the_loader_writes_down(self) -> None:
        """kexec_calculate_store_digests: regions of all but purgatory, the digest of bytes and zeros behind."""
        image = enter_through(place(Room(RAM, None)), LoadedImage("ELF64", HLT.mem, (HLT,)))
        own = image.segments[0]
        start = image.symbols["purgatory_sha_regions"] - own.mem
        assert struct.unpack_from("<32Q", own.buf, start) == (HLT.mem, 16, *[0] * 30)
        start = image.symbols["purgatory_sha256_digest"] - own.mem
        assert own.buf[start : start + 32] == hashlib.sha256(b"\xf4" + bytes(15)).digest()

    def test_no_more_segments_than_kexec_load_takes(self) -> None:
        purgatory = place(Room(RAM, None))
        enter_through(purgatory, hashed([1] * 15))
        with pytest.raises(KexecError, match="17 segments to verify; purgatory has room for 16") as refusal:
            enter_through(purgatory, hashed([1] * 16))
        assert refusal.value.errno == errno.EINVAL
        enter_through(purgatory, hashed([1] * 16), checks=False)

    def test_without_checks_nothing_is_noticed(self) -> None:
        image = enter_through(place(Room(RAM, None)), hashed([100]), checks=False)
        assert reaches(image, HLT.mem, {4 * MIB: 0xFF})


class TestTheRegisters:
    """What the kernel finds."""

    def test_of_the_64_bit_boot_protocol(self) -> None:
        """boot.rst: RSI = boot_params; flat segments, CS 0x10 and the others 0x18; interrupts off."""
        image = replace(LoadedImage("ELF64", HLT.mem, (HLT,)), boot_params=0x123000)
        image = enter_through(place(Room(RAM, None)), image)
        machine = reaches(image, HLT.mem)
        assert machine
        after = machine.registers(0)
        values = dict.fromkeys(GPRS, 0) | {"rsi": 0x123000, "rsp": image.symbols["stack_end"]}
        assert {name: getattr(after, name) for name in GPRS} == values
        assert after.cs.selector == 0x10
        assert after.cs.long
        for name in ("ds", "es", "ss", "fs", "gs"):
            segment = getattr(after, name)
            assert (segment.selector, segment.base, segment.limit) == (0x18, 0, 0xFFFFFFFF)
        assert not after.rflags & 1 << 9
        assert machine.trace.of(Fault) == []

    def test_its_own_descriptors_are_what_the_segments_came_from(self) -> None:
        """A kernel that reloads a segment before it has a GDT of its own gets the same."""
        image = enter_through(place(Room(RAM, None)), LoadedImage("ELF64", HLT.mem, (HLT,)))
        machine = reaches(image, HLT.mem)
        assert machine
        table = machine.registers(0).gdtr
        own = image.segments[0]
        assert own.mem <= table.base < table.base + table.limit < own.mem + own.memsz
        entries = struct.unpack("<3Q", machine.memory.read(table.base + 0x10, 24))
        assert entries == (0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CF9B000000FFFF)


class TestPlacing:
    """Where purgatory goes."""

    def test_the_highest_hole(self) -> None:
        image = place(Room(RAM, None))
        assert image.segments[0].mem + image.segments[0].memsz == 64 * MIB
        assert image.entry == image.segments[0].mem

    def test_never_over_the_image(self) -> None:
        top = KexecSegment(b"", 64 * MIB - 0x5000, 0x5000)
        image = with_purgatory(LoadedImage("ELF64", HLT.mem, (HLT, top)), Room(RAM, None))
        assert image.segments[0].mem + image.segments[0].memsz == top.mem

    def test_no_room(self) -> None:
        with pytest.raises(KexecError, match="no free RAM for the purgatory") as refusal:
            place(Room([(0, 0x4000, 1)], None))
        assert refusal.value.errno == errno.EADDRNOTAVAIL

    def test_an_image_outside_ram(self) -> None:
        with pytest.raises(KexecError, match="Invalid memory segment 0x200000-0x200010") as refusal:
            with_purgatory(LoadedImage("ELF64", HLT.mem, (HLT,)), Room([(4 * MIB, 8 * MIB, 1)], None))
        assert (refusal.value.errno, refusal.value.function) == (errno.EADDRNOTAVAIL, "add_segment")

    def test_adjoining_ranges_are_one(self) -> None:
        room = Room([(2 * MIB + 4096, 4 * MIB, 1), (0, 2 * MIB + 4096, 1)], None)
        room.take(2 * MIB, 8192)
        with pytest.raises(KexecError, match="not all RAM within"):
            Room(RAM, (MIB, 2 * MIB)).take(MIB, 2 * MIB)


HALTING = """
.section .text, "ax"
.globl _start
_start: hlt
.data
.quad 1
"""
SCRIPT = "SECTIONS { . = 0x%x; .text : { *(.text) } .data : { *(.data) } /DISCARD/ : { *(.comment) *(.note*) } }"


@pytest.fixture(scope="module")
def halting() -> bytes:
    """An ELF64 image whose first instruction is HLT."""
    return build({"kernel.S": HALTING}, SCRIPT % HOST_END, movable=False)


def host_of(machine: Machine) -> Host:
    """A host whose CPU 1 is offline."""
    host = Host(machine)
    host.boot()
    host.cpu_down(1)
    return host


def kick(host: Host, image: LoadedImage, tamper: int | None = None) -> Machine:
    """Load it, change a byte, start it on CPU 1, and run until that halts or loops."""
    machine = host.machine
    host.load(image)
    if tamper is not None:
        machine.poke(tamper, bytes([machine.memory.read(tamper, 1)[0] ^ 1]))
    host.multikernel_kexec(1)

    def ended(machine: Machine) -> bool:
        entered = machine.cpus[1].owner == "kernel 1"
        return entered and (machine.cpus[1].state is CpuState.HALTED or loops(machine, 1))

    assert machine.run(10_000_000, ended).reason == "until"
    return machine


class TestKicked:
    """Through the RFC's trampoline, whose RSI is the host's own boot_params (defect 13)."""

    def test_without_purgatory_a_kernel_gets_the_hosts_boot_params(self, halting: bytes) -> None:
        image = kexec_elf_x86_64.load(halting, ram=RAM, window=WINDOW, purgatory=False)
        machine = kick(host_of(Machine(2)), image)
        assert (machine.registers(1).rip, machine.registers(1).rsi) == (HOST_END + 1, BOOT_PARAMS)

    def test_with_purgatory_its_own(self, halting: bytes) -> None:
        host = host_of(Machine(2))
        image = kexec_elf_x86_64.load(halting, ram=RAM, window=WINDOW)
        machine = kick(host, image)
        assert (machine.registers(1).rip, machine.registers(1).rsi) == (HOST_END + 1, image.boot_params)
        assert image.boot_params not in (BOOT_PARAMS, None)
        assert f"0x{image.entry:012x}" in host.proc_multikernel()
        assert image.entry == image.symbols["purgatory_start"] == image.segments[0].mem

    def test_a_minikernel_says_so(self) -> None:
        """Unchecked: its half a megabyte of stacks would take as long to hash as all the rest here."""
        image = replace(minikernel_image(HOST_END, 1, [1]), boot_params=0x12345000)
        image = with_purgatory(image, Room(RAM, WINDOW), checks=False)
        machine = kick(host_of(Machine(2)), image)
        assert machine.console("kernel 1").endswith("kernel 1 up, boot_params at 0x12345000\n")

    def test_a_tampered_kernel_is_never_entered(self, halting: bytes) -> None:
        """RFC v1 copies at load: whoever writes there before the kick is found out."""
        image = kexec_elf_x86_64.load(halting, ram=RAM, window=WINDOW)
        machine = kick(host_of(Machine(2)), image, HOST_END)
        own = image.segments[0]
        assert own.mem <= machine.registers(1).rip < own.mem + own.memsz
        assert machine.run(10_000).reason == "budget"
        assert loops(machine, 1)


class TestLoaders:
    """The option of each loader; multiboot's is in test_kexec_multiboot_x86.py."""

    def test_elf64(self, halting: bytes) -> None:
        image = kexec_elf_x86_64.load(halting, ram=RAM, cmdline="quiet", initrd=b"disk" * 99)
        assert [s.name for s in image.segments[:1] + image.segments[-2:]] == ["purgatory", "boot_params", "initrd"]
        machine = reaches(image, HOST_END)
        assert machine
        assert machine.registers(0).rsi == image.boot_params
        params = BootParams.from_buffer_copy(machine.memory.read(machine.registers(0).rsi, 4096))
        assert machine.memory.read(params.hdr.cmd_line_ptr, 6) == b"quiet\0"
        assert machine.memory.read(params.hdr.ramdisk_image, params.hdr.ramdisk_size) == b"disk" * 99
        assert params.hdr.ramdisk_image >= 16 * MIB
        assert [(e.addr, e.size, e.type) for e in params.e820_table[: params.e820_entries]] == [(0, 64 * MIB, 1)]
        assert (params.hdr.header, params.hdr.type_of_loader) == (0x53726448, 0xD0)
        assert reaches(image, HOST_END, {params.hdr.ramdisk_image: 1}) is None

    def test_elf64_without_purgatory_is_entered_itself(self, halting: bytes) -> None:
        image = kexec_elf_x86_64.load(halting, ram=RAM, purgatory=False)
        assert image.entry == HOST_END
        assert [segment.name for segment in image.segments[-1:]] == ["boot_params"]
        assert image.segments[:-1] == kexec_elf.load(halting).segments

    @pytest.mark.parametrize("base", [None, 32 * MIB])
    def test_bzimage64(self, base: int | None, make_bzimage: Callable[..., bytes]) -> None:
        file = bytearray(make_bzimage(init_size=0x3000))
        file[1024 + 0x200] = 0xF4
        image = kexec_bzimage64.load(bytes(file), ram=RAM, base=base, initrd=b"disk", purgatory=True)
        assert [s.name for s in image.segments] == ["purgatory", "boot_params", "kernel", "initrd"]
        if base is None:
            assert image.segments[0].mem + image.segments[0].memsz == 64 * MIB, "Linux places it first"
        machine = reaches(image, image.segments[2].mem + 0x200)
        assert machine
        assert (machine.registers(0).rsi, machine.registers(0).rbx) == (image.boot_params, 0)
        assert reaches(image, image.segments[2].mem + 0x200, {image.segments[3].mem: 1}) is None

    def test_bzimage64_above_4_gib_through_the_trampoline(self, make_bzimage: Callable[..., bytes]) -> None:
        """Everything in one GiB, which is what the trampoline maps there (defect 8)."""
        file = bytearray(make_bzimage(init_size=0x3000))
        file[1024 + 0x200] = 0xF4
        low, high = 5 * GIB, 5 * GIB + 64 * MIB
        ram = [(0, 64 * MIB, 1), (low, high, 1)]
        host = host_of(Machine(2, ram=[(0, 64 * MIB), (low, 64 * MIB)]))
        image = kexec_bzimage64.load(
            bytes(file), ram=ram, window=(low, high), cmdline="quiet", initrd=b"disk" * 9, purgatory=True
        )
        assert all(low <= s.mem < s.mem + s.memsz <= high for s in image.segments)
        machine = kick(host, image)
        after = machine.registers(1)
        kernel = next(segment for segment in image.segments if segment.name == "kernel")
        assert (after.rip, after.rsi) == (kernel.mem + 0x201, image.boot_params)
        params = BootParams.from_buffer_copy(machine.memory.read(after.rsi, 4096))
        cmdline = params.hdr.cmd_line_ptr | params.ext_cmd_line_ptr << 32
        assert (params.ext_cmd_line_ptr, params.ext_ramdisk_image, params.ext_ramdisk_size) == (1, 1, 0)
        assert machine.memory.read(cmdline, 6) == b"quiet\0"
        initrd = params.hdr.ramdisk_image | params.ext_ramdisk_image << 32
        assert machine.memory.read(initrd, 36) == b"disk" * 9
