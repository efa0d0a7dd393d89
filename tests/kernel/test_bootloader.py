"""Images handed over by the boot loader: what they find, where it lies, and how they end."""

import contextlib
import struct
from pathlib import Path

import pytest

from mklab.errors import ImageError, KexecError, MklabError
from mklab.kernel.bootloader import KERNEL, boot, load, memory_map
from mklab.kernel.bootparam import BootParams
from mklab.kernel.kexec_multiboot_x86 import MultibootInfo
from mklab.machine.machine import Machine, Stop
from mklab.paging import walk
from mklab.trace import AbsentAccess, Sipi, TimerExpired
from tests.kernel.boot_image import bzimage, elf64, multiboot
from tests.kernel.multiboot_image import RECORD, built

RAM, RESERVED = 1, 2
MIB, GIB = 1 << 20, 1 << 30


def run(image: bytes, *, budget: int = 2_000_000, cpus: int = 1) -> tuple[Machine, Stop]:
    machine = boot(image, cpus=cpus)
    return machine, machine.run(budget)


class TestMemory:
    def test_the_map_of_a_pc(self) -> None:
        """As QEMU's BIOS reports it for 128 MiB, but for the BIOS's own tables at the top of RAM."""
        assert memory_map(128 * MIB) == [
            (0, 0x9FC00, RAM),
            (0x9FC00, 0xA0000, RESERVED),
            (0xF0000, 0x100000, RESERVED),
            (0x100000, 128 * MIB, RAM),
        ]

    def test_beyond_3_gib_it_goes_on_at_4_gib(self) -> None:
        assert memory_map(5 * GIB)[3:] == [(0x100000, 3 * GIB, RAM), (4 * GIB, 6 * GIB, RAM)]
        assert memory_map(3 * GIB)[3:] == [(0x100000, 3 * GIB, RAM)]

    def test_what_is_told_is_there_and_no_more(self) -> None:
        machine = boot(multiboot("leave"), memory=3 * GIB + 2 * MIB)
        for start, size in ((0, 0xA0000), (MIB, 3 * GIB - MIB), (4 * GIB, 2 * MIB)):
            assert machine.memory.contains(start, size)
        for hole in (0xA0000, 0xFFFFF, 3 * GIB, 4 * GIB + 2 * MIB):
            assert not machine.memory.contains(hole)

    @pytest.mark.parametrize("size", [0, -1, MIB, 65 * GIB, 1 << 70, 8 * MIB + 1])
    def test_absurd_sizes_are_refused(self, size: int) -> None:
        with pytest.raises(ValueError, match=rf", not {size}$"):
            boot(multiboot("leave"), memory=size)


class TestLinuxEntry:
    """Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"."""

    @pytest.mark.parametrize("image", [bzimage("told"), elf64("told")], ids=["bzImage", "ELF64"])
    @pytest.mark.parametrize("memory", [64 * MIB, 4 * GIB])
    def test_the_state(self, image: bytes, memory: int) -> None:
        machine = boot(image, memory=memory, cmdline="a=b", initrd=b"disk")
        registers = machine.registers(0)
        assert (registers.cs.selector, registers.cs.long, registers.ds.selector) == (0x10, True, 0x18)
        assert not registers.rflags & 1 << 9
        params = BootParams.from_buffer_copy(machine.memory.read(registers.rsi, 4096))
        assert params.hdr.header == 0x53726448
        told = [(one.addr, one.addr + one.size, one.type) for one in params.e820_table[: params.e820_entries]]
        assert told == memory_map(memory)
        assert params.ext_cmd_line_ptr == params.ext_ramdisk_image == 0, "below 4 GiB, where every kernel reaches it"
        assert machine.memory.read(params.hdr.cmd_line_ptr, 4) == b"a=b\0"
        assert machine.memory.read(params.hdr.ramdisk_image, params.hdr.ramdisk_size) == b"disk"
        for address in (0, registers.rip, registers.rsi, registers.rsp - 8, 0xFEE00000, memory_map(memory)[-1][1] - 1):
            assert walk(machine.memory, registers, address).paddr == address

    @pytest.mark.parametrize("image", [bzimage("told"), elf64("told")], ids=["bzImage", "ELF64"])
    def test_an_image_finds_what_it_was_told(self, image: bytes) -> None:
        machine = boot(image, cmdline="console=ttyS0 quiet", initrd=b"the disk")
        assert machine.run().reason == "idle"
        assert machine.console(KERNEL) == "console=ttyS0 quiet|the disk\n"

    def test_a_bzimage_lies_at_its_preferred_address(self) -> None:
        assert boot(bzimage("told")).registers(0).rip == 16 * MIB + 0x200

    @pytest.mark.parametrize(("linked", "moved"), [(0, MIB), (0x300000, 0)])
    def test_a_movable_elf64_file_leaves_the_first_mib_alone(self, linked: int, moved: int) -> None:
        image = elf64("leave", base=linked, movable=True)
        (entry,) = struct.unpack_from("<Q", image, 24)
        machine = boot(image)
        assert machine.registers(0).rip == entry + moved
        assert machine.run().code == 0x21

    def test_an_elf64_file_may_lie_above_4_gib(self) -> None:
        machine = boot(elf64("leave", base=4 * GIB + MIB), memory=5 * GIB)
        assert machine.registers(0).rip >= 4 * GIB
        assert machine.run().code == 0x21


class TestMultibootEntry:
    def test_the_state(self) -> None:
        """Multiboot Specification 0.6.96, "Machine state"."""
        image = built(0x3, elf=True)
        machine = boot(image.file)
        machine.run()
        record = struct.unpack(f"<{len(RECORD)}I", machine.memory.read(image.symbols["record"], 4 * len(RECORD)))
        seen = dict(zip(RECORD, record, strict=True))
        assert (seen["done"], seen["eax"]) == (1, 0x2BADB002)
        assert seen["cr0"] & 1 << 31 == 0
        assert seen["cr0"] & 1 == 1
        assert seen["eflags"] & (1 << 9 | 1 << 17) == 0
        assert seen["cs.rights"] == 0xC09B00, "the GDT's descriptors are those that are loaded"
        assert {seen[f"{name}.rights"] for name in ("ds", "es", "ss", "fs", "gs")} == {0xC09300}
        assert {seen[f"{name}.limit"] for name in ("cs", "ds", "es", "ss", "fs", "gs")} == {0xFFFFFFFF}

    def test_modules_lie_behind_the_image_and_the_rest_in_low_memory(self) -> None:
        loaded = load(multiboot("multiboot_told"), ram=memory_map(16 * MIB), modules=[(b"x" * 5000, "m"), (b"y", "n")])
        own, first, second, info = loaded.segments
        assert first.mem == own.mem + own.memsz
        assert second.mem == first.mem + 0x2000
        assert info.mem + info.memsz <= 0x9FC00

    def test_they_go_elsewhere_where_there_is_no_room(self) -> None:
        """The image lies at 6 MiB, memory ends at 8 MiB: a module of 3 MiB goes below the image."""
        image = multiboot("multiboot_told", base=6 * MIB)
        loaded = load(image, ram=memory_map(8 * MIB), modules=[(bytes(3 * MIB), "m")])
        assert [segment.mem for segment in loaded.segments[:2]] == [6 * MIB, 3 * MIB]

    def test_an_image_finds_what_it_was_told(self) -> None:
        machine = boot(
            multiboot("multiboot_told"), name="kernel", cmdline="a b", modules=[(b"one", "first"), (b"", "empty")]
        )
        assert machine.run().code == 3
        assert machine.console(KERNEL) == "kernel a b\nfirst=one\nempty=\n"
        info = MultibootInfo.from_buffer_copy(machine.memory.read(machine.registers(0).rbp, 88))
        assert (info.mem_lower, info.mem_upper) == (639, 127 * 1024)


class TestRunning:
    def test_the_debug_exit(self) -> None:
        machine, stop = run(multiboot("leave"))
        assert (stop.reason, stop.code, machine.console(KERNEL)) == ("exit", 0x21, "x")

    @pytest.mark.parametrize(("program", "cause"), [("triple_fault", "triple fault"), ("reset", "port 0xcf9")])
    def test_resets(self, program: str, cause: str) -> None:
        _, stop = run(multiboot(program))
        assert stop.reason == "reset"
        assert cause in stop.detail

    def test_what_is_absent(self) -> None:
        machine, stop = run(multiboot("absent"))
        assert stop.reason == "idle"
        assert machine.console(KERNEL) == "ffffffff00000000\n"
        assert [event.address for event in machine.trace.of(AbsentAccess)] == [0xE0000000]

    def test_a_second_cpu_reaches_the_ports_from_low_memory(self) -> None:
        machine, stop = run(multiboot("smp"), cpus=2)
        assert (stop.reason, stop.code, machine.console(KERNEL)) == ("exit", 5, "0100000000\n")
        assert [(event.cpu, event.vector) for event in machine.trace.of(Sipi)] == [(1, 8)]

    def test_the_timer(self) -> None:
        machine, stop = run(multiboot("timer"))
        assert (stop.code, machine.console(KERNEL)) == (21, "." * 10 + "\n")
        assert len(machine.trace.of(TimerExpired)) == 10

    def test_user_mode_paging_and_gates(self) -> None:
        machine, stop = run(multiboot("user"))
        assert machine.console(KERNEL).splitlines() == [
            "0000600d paging",
            "001b005a system call",
            "0008001b call gate",
            "00000000 protection",
            "00000004 page fault",
            "d0000040 its address",
            "0028001b tasks",
            "00000030 this task",
        ]
        assert stop.code == 7


class TestRefusals:
    @pytest.mark.parametrize(
        ("image", "arguments", "reason"),
        [
            (multiboot("leave"), {"initrd": b"x"}, "a multiboot image takes modules, and no initrd"),
            (elf64("leave"), {"modules": [(b"x", "")]}, "an ELF64 file takes an initrd, and no modules"),
            (bzimage("told"), {"modules": [(b"x", "")]}, "a bzImage takes an initrd, and no modules"),
            (bzimage("told")[:-1], {}, "truncated bzImage"),
            (elf64("leave")[:100], {}, "truncated"),
            (multiboot("leave")[:40], {}, "truncated"),
            (b"", {}, "an empty file"),
            (bzimage("told"), {"cmdline": "x" * 300}, "Kernel command line too long"),
            (bzimage("told"), {"memory": 8 * MIB}, "no free RAM for the kernel"),
            (elf64("leave", base=64 * MIB), {"memory": 16 * MIB}, "it is not all RAM"),
            (
                multiboot("leave"),
                {"memory": 4 * MIB, "modules": [(bytes(5 * MIB), "")]},
                "no free RAM for the module 0",
            ),
        ],
    )
    def test_what_does_not_fit(self, image: bytes, arguments: dict[str, object], reason: str) -> None:
        with pytest.raises((ImageError, KexecError), match=reason):
            boot(image, **arguments)  # type: ignore[arg-type]

    @pytest.mark.parametrize("cpus", [0, 256])
    def test_cpus(self, cpus: int) -> None:
        with pytest.raises(ValueError, match=rf"cpus must be 1 to 255.*, not {cpus}"):
            boot(multiboot("leave"), cpus=cpus)

    def test_every_truncation_is_refused_or_boots(self) -> None:
        """None is a traceback of another kind."""
        for image in (multiboot("leave"), elf64("leave"), bzimage("told")):
            for length in range(0, len(image), 61):
                with contextlib.suppress(MklabError):
                    load(image[:length], ram=memory_map(32 * MIB))


def test_a_debian_kernel_reads_its_command_line(debian_kernel: Path) -> None:
    """Its decompressor says so; what it decompresses is a hundred million instructions away."""
    machine = boot(debian_kernel.read_bytes(), cmdline="earlyprintk=serial,ttyS0 nokaslr")
    machine.run(4_000_000, lambda one: "cmdline" in one.console(KERNEL))
    assert "KASLR disabled: 'nokaslr' on cmdline." in machine.console(KERNEL)
