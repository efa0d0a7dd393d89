"""The trampoline of RFC v1 on the machine: its layout, what it leaves, and the defects that are kept.

Expected values are those seen on a Linux with the RFC's patches under QEMU (the trampoline at 0x96000); the same bytes
under QEMU without Linux are another test's matter (tests/differential).
"""

import struct

import capstone
import pytest

from mklab import guest
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.trace import AbsentAccess, Delivered, Fault, ModeChange, OwnerChange, Shutdown, Sipi

BASE = 0x96000
BOOT_PARAMS, ENTRY = 0x13B50, 0x200000
MIB, GIB = 1 << 20, 1 << 30
BLOB = guest.trampoline()
PGTABLE = BASE + 0x2000
PDPT, DIRECTORIES, EXTRA = PGTABLE + 0x1000, PGTABLE + 0x2000, PGTABLE + 0x6000
HLT = b"\xf4"


def started(
    entry: int = ENTRY, payload: bytes = HLT, *, boot_params: int = BOOT_PARAMS, banks: tuple[tuple[int, int], ...] = ()
) -> Machine:
    """CPU 1 has got INIT and a SIPI from CPU 0, and has not run yet."""
    machine = Machine(cpus=2, ram=[(0, 4 * MIB), *banks])
    machine.poke(0, b"\xdd" * BASE)
    machine.poke(BASE, BLOB.data)
    machine.poke(BASE + BLOB.symbols["kernel_phys_addr"], struct.pack("<Q", entry))
    machine.poke(BASE + BLOB.symbols["boot_params_phys_addr"], struct.pack("<Q", boot_params))
    machine.poke(entry, payload)
    for high, low in ((1, 0xC500), (1, 0x8500), (1, 0x600 | BASE >> 12)):
        machine.store(0, APIC_BASE + 0x310, high << 24)
        machine.store(0, APIC_BASE + 0x300, low)
    halted = machine.registers(0)
    halted.cs.base = halted.cs.selector = 0
    halted.rip = 0x500
    machine.poke(0x500, HLT)
    machine.patch_registers(0, halted)
    machine.run(1, until=lambda m: bool(m.trace.of(Sipi)))
    return machine


@pytest.fixture(scope="module")
def finished() -> Machine:
    """CPU 1 stands at its first HLT in the kernel at ENTRY."""
    machine = started()
    machine.add_image(Image("kernel 1", [[ENTRY, ENTRY + 4096]], ENTRY))
    assert machine.run().reason == "idle"
    return machine


class TestLayout:
    """Where v1 has things: its host writes into the copy by these offsets."""

    def test_symbols(self) -> None:
        expected = {
            "x86_trampoline_bsp_start": 0x000,
            "startup_32": 0x05C,
            "startup_64": 0x104,
            "boot_params_phys_addr": 0x180,
            "kernel_phys_addr": 0x188,
            "tidt": 0x190,
            "tgdt": 0x198,
            "gdt64": 0x1B8,
            "gdt64_end": 0x1E8,
            "startup_32_vector": 0x1E8,
            "startup_64_vector": 0x1F0,
            "trampoline_status_bsp": 0x1F8,
            "trampoline_location": 0x1FC,
            "trampoline_stack_end": 0x1204,
            "pgtable": 0x2000,
            "extra_directory": 0x8000,
            "x86_trampoline_bsp_end": 0x9000,
        }
        assert {name: BLOB.symbols[name] for name in expected} == expected
        assert len(BLOB.data) == 0x9000

    def test_descriptor_tables(self) -> None:
        """The first slot of each is its own pseudo-descriptor: limit, and an address that is filled in."""
        limit, *_ = struct.unpack_from("<HIH", BLOB.data, 0x198)
        assert limit == 0x20
        assert struct.unpack_from("<3Q", BLOB.data, 0x1A0) == (0xCF9B000000FFFF, 0xAF9B000000FFFF, 0xCF93000000FFFF)
        assert struct.unpack_from("<H", BLOB.data, 0x1B8) == (0x30,)
        assert struct.unpack_from("<5Q", BLOB.data, 0x1C0) == (
            *(0, 0xAF9A000000FFFF, 0xCF92000000FFFF),
            *(0x80890000000000, 0),
        )
        assert BLOB.data[0x190:0x196] == bytes(6), "the empty IDT"

    def test_it_is_entered_with_cli_and_wbinvd(self) -> None:
        assert BLOB.data[:3] == b"\xfa\x0f\x09"


class TestTheWay:
    """From SIPI to the kernel."""

    def test_modes_in_order(self, finished: Machine) -> None:
        assert [event.mode for event in finished.trace.of(ModeChange) if event.cpu == 1] == ["protected", "long"]
        assert finished.cpus[1].mode == "long"

    def test_nobodys_until_the_jump(self, finished: Machine) -> None:
        assert [(event.cpu, event.owner, event.address) for event in finished.trace.of(OwnerChange)] == [
            (1, "kernel 1", ENTRY)
        ]
        last_mode = finished.trace.of(ModeChange)[-1]
        assert last_mode.time < finished.trace.of(OwnerChange)[0].time

    def test_no_exception_and_no_memory_that_is_absent(self, finished: Machine) -> None:
        for kind in (Fault, AbsentAccess, Shutdown, Delivered):
            assert finished.trace.of(kind) == []

    def test_general_registers(self, finished: Machine) -> None:
        after = finished.registers(1)
        observed = {"rsi": BOOT_PARAMS, "r15": BOOT_PARAMS, "r14": ENTRY, "rsp": 0x1204, "rdx": 0, "rdi": 0x9E000}
        observed |= {"rbp": 0, "rcx": 0xC0000080, "r8": 0xFFFFFFFF00000000, "rflags": 0x46}
        assert {name: getattr(after, name) for name in observed} == observed
        assert after.rip == ENTRY + 1

    def test_control_registers(self, finished: Machine) -> None:
        after = finished.registers(1)
        assert (after.cr0, after.cr2, after.cr3, after.cr4, after.efer) == (0x80000011, 0, 0x98000, 0x20, 0x500)
        assert finished.engine.extended(1)["debug"] == [0, 0, 0, 0, 0xFFFF0FF0, 0x400]

    def test_segments_and_tables(self, finished: Machine) -> None:
        after = finished.registers(1)
        names = ("cs", "ss", "ds", "es", "fs", "gs", "tr", "ldtr")
        assert [getattr(after, name).selector for name in names] == [0x10, 0x18, 0x18, 0x18, 0, 0, 0, 0]
        assert (after.gdtr.base, after.gdtr.limit) == (0x961B8, 0x30)
        assert (after.idtr.base, after.idtr.limit) == (0, 0)
        assert after.cs.long

    def test_the_local_apic_is_as_after_init(self, finished: Machine) -> None:
        apic = finished.apics[1]
        assert (apic.svr, apic.tpr, apic.dfr) == (0xFF, 0, 0xFFFFFFFF)

    def test_the_page_tables_map_4_gib_to_themselves(self, finished: Machine) -> None:
        accessed = 0x60
        (top,) = struct.unpack("<Q", finished.memory.read(PGTABLE, 8))
        assert top & ~accessed == PDPT | 7
        pdpt = struct.unpack("<512Q", finished.memory.read(PDPT, 4096))
        assert [entry & ~accessed for entry in pdpt] == [*(DIRECTORIES + (i << 12) | 7 for i in range(4)), *[0] * 508]
        pages = struct.unpack("<2048Q", finished.memory.read(DIRECTORIES, 0x4000))
        assert [entry & ~accessed for entry in pages] == [i << 21 | 0x183 for i in range(2048)]
        assert not any(finished.memory.read(EXTRA, 4096))

    def test_the_marker_is_set_by_the_first_instructions(self) -> None:
        machine = started()
        status = BASE + BLOB.symbols["trampoline_status_bsp"]
        assert machine.memory.read(status, 4) == bytes(4)
        machine.run(10, until=lambda m: m.memory.read(status, 4) != bytes(4))
        machine.run(10)
        assert machine.memory.read(status, 4) == struct.pack("<I", 0xA5A5A5A5)
        assert machine.cpus[1].mode == "real"

    def test_it_runs_wherever_it_is_placed(self) -> None:
        """Position-independent below 1 MiB: three addresses are filled in when it runs."""
        machine = started()
        for low in (0xC500, 0x600 | 0x20):
            machine.store(0, APIC_BASE + 0x310, 1 << 24)
            machine.store(0, APIC_BASE + 0x300, low)
        machine.poke(0x20000, machine.memory.read(BASE, 0x9000))
        machine.patch_registers(0, machine.registers(0))
        machine.poke(0x501, HLT)
        machine.run()
        after = machine.registers(1)
        assert (after.rip, after.cr3, after.gdtr.base) == (ENTRY + 1, 0x22000, 0x201B8)


class TestDefects:
    """What is wrong with it, and stays (docs/fidelity.md)."""

    def test_3_two_pushes_hit_low_memory(self, finished: Machine) -> None:
        """Seen on Linux: 0x11fc = 0x00096104, 0x1200 = 0x10, their neighbours untouched, and the stack too."""
        assert struct.unpack("<2I", finished.memory.read(0x11FC, 8)) == (0x00096104, 0x10)
        assert finished.memory.read(0x11F8, 4) == finished.memory.read(0x1204, 4) == b"\xdd" * 4
        below = finished.memory.read(0, BASE).replace(b"\xdd", b"")
        assert below == HLT + struct.pack("<2I", 0x00096104, 0x10), "nothing else below the trampoline"
        assert not any(finished.memory.read(BASE + 0x204, 0x1000))

    @pytest.mark.parametrize("entry", [4 * GIB, 5 * GIB + 4096, 511 * GIB])
    def test_above_4_gib_one_gib_is_mapped(self, entry: int) -> None:
        machine = started(entry, banks=((entry, 4096),))
        assert machine.run().reason == "idle"
        gib = entry // GIB * GIB
        pages = struct.unpack("<512Q", machine.memory.read(EXTRA, 4096))
        assert [page & ~0x60 for page in pages] == [gib + (i << 21) | 0x183 for i in range(512)]
        (slot,) = struct.unpack("<Q", machine.memory.read(PDPT + 8 * (entry >> 30), 8))
        assert slot & ~0x60 == EXTRA | 7

    def test_7_an_entry_from_512_gib_on_overwrites_a_directory(self) -> None:
        """entry >> 30 is 512: one behind the PDPT, which is where the first 2 MiB are mapped."""
        machine = started(512 * GIB, banks=((512 * GIB, 4096),))
        stop = machine.run()
        (hit,) = struct.unpack("<Q", machine.memory.read(DIRECTORIES, 8))
        assert hit & ~0x60 == EXTRA | 7
        assert machine.memory.read(PDPT + 8 * 4, 8) == bytes(8), "no entry of the PDPT was written"
        assert stop.reason == "reset", "the trampoline itself, or its target, is mapped no more"

    @pytest.mark.parametrize(
        ("entry", "boot_params", "payload"),
        [
            pytest.param(5 * GIB, 7 * GIB, b"\x48\x8b\x06\xf4", id="boot_params in another GiB"),  # mov (%rsi), %rax
            pytest.param(ENTRY, 7 * GIB, b"\x48\x8b\x06\xf4", id="boot_params high, entry low"),
            pytest.param(6 * GIB - 4096, BOOT_PARAMS, b"\xe9\xfb\x0f\0\0", id="image across two GiB"),  # jmp .+4096
        ],
    )
    def test_8_nothing_else_above_4_gib_is_mapped(self, entry: int, boot_params: int, payload: bytes) -> None:
        """The memory is there; the mapping is not."""
        high = entry if entry > 4 * GIB else 8 * GIB
        machine = started(entry, payload, boot_params=boot_params, banks=((high, 8192), (7 * GIB, 4096)))
        assert machine.run().reason == "reset"
        (fault,) = machine.trace.of(Fault)
        assert (fault.cpu, fault.vector) == (1, 14)
        assert fault.cr2 == (entry + 4096 if payload[0] == 0xE9 else boot_params)

    def test_8_does_not_touch_what_is_mapped(self) -> None:
        """The same payload with boot_params in the entry's GiB."""
        machine = started(5 * GIB, b"\x48\x8b\x06\xf4", boot_params=5 * GIB + 8, banks=((5 * GIB, 4096),))
        machine.poke(5 * GIB + 8, b"bootpars")
        assert machine.run().reason == "idle"
        assert machine.registers(1).rax.to_bytes(8, "little") == b"bootpars"

    @pytest.mark.parametrize("after", [18, 40, 14_400])
    def test_9_an_nmi_in_the_trampoline_takes_the_platform_down(self, after: int) -> None:
        """The IDT is empty in each of the three modes; CPU 0 loses its kernel with it."""
        machine = started()
        machine.run(after)
        mode = machine.cpus[1].mode
        machine.store(0, APIC_BASE + 0x310, 1 << 24)
        machine.store(0, APIC_BASE + 0x300, 0x400)
        machine.poke(0x501, HLT)
        machine.patch_registers(0, machine.registers(0))
        stop = machine.run()
        assert stop.reason == "reset"
        (shutdown,) = machine.trace.of(Shutdown)
        assert shutdown.cpu == 1
        assert f"vector 0x2 lies beyond the {'interrupt vector table' if mode == 'real' else 'IDT'}'s limit 0x0" in (
            shutdown.why
        )

    def test_9_so_does_an_exception(self) -> None:
        machine = started(payload=b"\x0f\x0b")  # ud2, as the kernel's first instruction
        assert machine.run().reason == "reset"
        assert [(event.cpu, event.vector) for event in machine.trace.of(Fault)] == [(1, 6)]

    def test_10_nobody_asks_whether_there_is_long_mode(self) -> None:
        """No CPUID in any of its three parts."""
        symbols = BLOB.symbols
        ends = [0, symbols["startup_32"], symbols["startup_64"], 0x180]
        mnemonics: list[str] = []
        modes = (capstone.CS_MODE_16, capstone.CS_MODE_32, capstone.CS_MODE_64)
        for mode, start, end in zip(modes, ends, ends[1:], strict=False):
            decoder = capstone.Cs(capstone.CS_ARCH_X86, mode)
            mnemonics += [one.mnemonic for one in decoder.disasm(BLOB.data[start:end], start)]
        assert {"lmsw", "rdmsr", "wrmsr"} <= set(mnemonics)
        assert "cpuid" not in mnemonics
