"""Model-specific registers against the SDM's tables (volume 4)."""

import json

import pytest

from mklab.machine.delivery import GuestFaultError
from mklab.machine.lapic import ApicFaultError, LocalApic
from mklab.machine.msr import ModelSpecificRegisters
from mklab.machine.registers import CR0, EFER, Registers, Segment
from tests.machine.guestcode import long_mode

TSC, APIC_BASE, FEATURE_CONTROL, BIOS_SIGN_ID, MTRRCAP = 0x10, 0x1B, 0x3A, 0x8B, 0xFE
MISC_ENABLE, PAT, MTRR_DEF_TYPE = 0x1A0, 0x277, 0x2FF
EFER_MSR, STAR, LSTAR, FMASK = 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084
FS_BASE, GS_BASE, KERNEL_GS = 0xC0000100, 0xC0000101, 0xC0000102


class Bench:
    """The registers of one CPU, in 64-bit mode, at a time of choice."""

    def __init__(self) -> None:
        self.now = 1000
        self.apic = LocalApic(3, lambda icr: None, lambda: self.now, True)
        self.msrs = ModelSpecificRegisters(self.apic, self.apic.write_msr, lambda: self.now)
        self.registers = Registers(
            efer=EFER.LME | EFER.LMA, cr0=CR0.PE | CR0.PG, fs=Segment(base=5), gs=Segment(base=6)
        )

    def read(self, msr: int) -> int:
        return self.msrs.read(msr, self.registers)

    def write(self, msr: int, value: int) -> None:
        self.msrs.write(msr, value, self.registers)


@pytest.fixture
def bench() -> Bench:
    return Bench()


READ_AFTER_RESET = {
    APIC_BASE: 0xFEE00900,
    FEATURE_CONTROL: 1,
    BIOS_SIGN_ID: 1 << 32,
    MTRRCAP: 0x508,
    0x179: 0,
    0x17A: 0,
    0x174: 0,
    MISC_ENABLE: 0x1801,
    PAT: 0x0007040600070406,
    MTRR_DEF_TYPE: 0,
    0x200: 0,
    0x20F: 0,
    0x250: 0,
    0x26F: 0,
    STAR: 0,
    EFER_MSR: 0x500,
    FS_BASE: 5,
    GS_BASE: 6,
    KERNEL_GS: 0,
    TSC: 1000,
}


@pytest.mark.parametrize(("msr", "value"), READ_AFTER_RESET.items())
def test_after_reset(bench: Bench, msr: int, value: int) -> None:
    assert bench.read(msr) == value


HIGH = 0xFFFF800000000000


@pytest.mark.parametrize(
    ("msr", "value"),
    [
        (0x174, 0x10),
        (0x175, HIGH),
        (0x176, 0x7FFFFFFFFFFF),
        (PAT, 0x0706050401000706),
        (MTRR_DEF_TYPE, 0xC06),
        (0x200, 0x00000000C0000006),
        (0x201, 0xFFC0000800),
        (0x26F, 0x0505050505050505),
        (STAR, 0x0023001000000000),
        (LSTAR, HIGH | 0x1000),
        (FMASK, 0x47700),
        (FS_BASE, HIGH),
        (GS_BASE, 0x1234),
        (KERNEL_GS, HIGH),
        (MISC_ENABLE, 0x401801),
        (0x17A, 0b100),
        (0x1D9, 0b10),
    ],
)
def test_what_is_written_is_read(bench: Bench, msr: int, value: int) -> None:
    bench.write(msr, value)
    assert bench.read(msr) == value


@pytest.mark.parametrize(
    ("msr", "value"),
    [
        (0x175, 0x800000000000),
        (0x176, 0xFFFF000000000000),
        (PAT, 0x0007040600070402),
        (PAT, 0x0807040600070406),
        (MTRR_DEF_TYPE, 0x1006),
        (MTRR_DEF_TYPE, 0x02),
        (0x200, 0x107),
        (0x200, 1 << 40 | 6),
        (0x201, 0x801),
        (0x250, 0x0306060606060606),
        (LSTAR, 1 << 47),
        (FMASK, 1 << 32),
        (FS_BASE, 1 << 63),
        (GS_BASE, 1 << 47),
        (KERNEL_GS, 1 << 47),
        (EFER_MSR, 1 << 1),
        (EFER_MSR, 1 << 12),
        (EFER_MSR, EFER.SCE),  # LME would change while paging is on
        (MTRRCAP, 0x508),
        (FEATURE_CONTROL, 5),
        (0x179, 0),
        (0x17, 0),
        (0x400, 0),
        (0x12345, 0),
        (0xC0000103, 0),
        (0x6E0, 0),
    ],
)
def test_what_is_refused_changes_nothing(bench: Bench, msr: int, value: int) -> None:
    before = bench.msrs.state(), bench.registers.to_dict()
    with pytest.raises(GuestFaultError) as caught:
        bench.write(msr, value)
    assert (caught.value.vector, caught.value.error) == (13, 0)
    assert hex(msr) in str(caught.value) or "IA32_EFER" in str(caught.value)
    assert (bench.msrs.state(), bench.registers.to_dict()) == before


def test_efer(bench: Bench) -> None:
    """LMA is read-only: a write neither sets nor clears it."""
    bench.write(EFER_MSR, EFER.LME | EFER.SCE | EFER.NXE)
    assert bench.read(EFER_MSR) == EFER.LME | EFER.LMA | EFER.SCE | EFER.NXE
    bench.registers = Registers(cr0=CR0.PE)
    bench.write(EFER_MSR, EFER.LME | EFER.LMA)
    assert bench.read(EFER_MSR) == EFER.LME


def test_misc_enable_keeps_its_read_only_bits(bench: Bench) -> None:
    bench.write(MISC_ENABLE, 0)
    assert bench.read(MISC_ENABLE) == 0x1800


def test_the_microcodes_revision_comes_back(bench: Bench) -> None:
    """SDM "Determining the Signature": software writes 0, executes CPUID, and reads it from the upper half."""
    bench.write(BIOS_SIGN_ID, 0)
    assert bench.read(BIOS_SIGN_ID) >> 32 == 1


def test_the_time_stamp_counter(bench: Bench) -> None:
    bench.write(TSC, 5)
    bench.now += 10
    assert bench.read(TSC) == 15
    bench.write(TSC, (1 << 64) - 1)
    bench.now += 1
    assert bench.read(TSC) == 0, "64 bits"


def test_the_local_apic_behind_its_registers(bench: Bench) -> None:
    """x2APIC's registers exist in x2APIC mode; IA32_APIC_BASE is the APIC's own."""
    with pytest.raises(ApicFaultError):
        bench.read(0x802)
    bench.write(APIC_BASE, 0xFEE00D00)
    assert bench.apic.mode == "x2apic"
    assert bench.read(0x802) == 3
    bench.write(0x808, 0x20)
    assert (bench.apic.tpr, bench.read(0x808)) == (0x20, 0x20)
    with pytest.raises(ApicFaultError):
        bench.write(APIC_BASE, 0xFEE00900)


def test_it_is_plain_data_and_power_on_forgets_it(bench: Bench) -> None:
    new = bench.msrs.state()
    bench.write(PAT, 0)
    bench.write(TSC, 5)
    kept = json.loads(json.dumps(bench.msrs.state()))
    other = Bench()
    other.msrs.restore(kept)
    assert other.msrs.state() == bench.msrs.state() != new
    bench.msrs.power_on()
    assert bench.msrs.state() == new


def test_init_keeps_them_and_a_reset_does_not() -> None:
    """SDM "Processor State After Reset", its columns for INIT and for reset."""
    source = """
    cpu0: pause
    cmpl $1, 0xe000
    jne cpu0
    mov $0xfee00000, %ebx
    movl $0x1000000, 0x310(%rbx)
    movl $0x4500, 0x300(%rbx)
    cli
    hlt
    cpu1: mov $0x277, %ecx
    mov $0x06060606, %eax
    mov %eax, %edx
    wrmsr
    mov $0xc0000080, %ecx
    rdmsr
    or $1, %eax
    wrmsr
    movl $1, 0xe000
    1: jmp 1b
    """
    machine, _ = long_mode(source, cpus=2)
    machine.run()
    assert machine.board.msrs[1].values[PAT] == 0x0606060606060606
    assert machine.registers(1).efer == 0
    machine.out(0, 0xCF9, 6)
    assert machine.board.msrs[1].values[PAT] == 0x0007040600070406
