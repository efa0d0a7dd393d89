"""How CPUs begin and end: INIT, SIPI, shutdown, reset."""

import pytest

from mklab.machine.cpu import CpuState
from mklab.machine.engine import native_cpuid
from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers
from mklab.machine.process import Call
from mklab.machine.registers import CR0, reset_registers
from mklab.trace import Ignored, Init, ModeChange, PlatformReset, Shutdown, Sipi
from tests.machine.guestcode import CODE, DATA, RAM, assemble, load, long_mode, long_mode_registers

SIGNATURE = native_cpuid()[1, 0][0]
TO_CPU_1 = "mov $0xfee00000, %ebx; movl $0x1000000, 0x310(%rbx)\n"
INIT, DEASSERT, SIPI = (f"movl ${low:#x}, 0x300(%rbx)\n" for low in (0xC500, 0x8500, 0x610))


def kick(between: str = "\n") -> str:
    """INIT, its de-assert, and two SIPIs at 0x10000, to the CPU with id 1."""
    return f"{TO_CPU_1}{INIT}{DEASSERT}{SIPI}{between}\n{SIPI}"


def test_a_new_machine_waits() -> None:
    machine = Machine(cpus=2, ram=RAM)
    assert [cpu.state for cpu in machine.cpus] == [CpuState.WAIT_FOR_SIPI] * 2
    assert [machine.registers(cpu) for cpu in range(2)] == [reset_registers(SIGNATURE)] * 2
    assert machine.run().reason == "idle"


@pytest.mark.parametrize("vector", [0x10, 0x96, 0x9F])
def test_sipi_starts_at_its_page_in_real_mode(vector: int) -> None:
    """SDM "MP Initialization Protocol Algorithm": CS = VV00h, base VV000h, IP = 0."""
    machine, _ = long_mode(f"{TO_CPU_1} {INIT} movl ${0x600 | vector:#x}, 0x300(%rbx); cli; hlt", cpus=2)
    load(machine, assemble(".code16\nmov %cs, %ax; call 1f; 1: pop %bx; cli; hlt", vector << 12))
    machine.run()
    after = machine.registers(1)
    assert (after.rax, after.rbx) == (vector << 8, 5)
    assert (after.cs.selector, after.cs.base, after.cs.limit, after.mode) == (vector << 8, vector << 12, 0xFFFF, "real")
    assert machine.trace.of(Sipi)[0].vector == vector


def test_the_second_sipi_is_ignored() -> None:
    machine, _ = long_mode(f"{kick('mov $3000, %ecx; 1: loop 1b')} cli; hlt", cpus=2)
    load(machine, assemble(f".code16\nincb {DATA}; cli; hlt", 0x10000))
    machine.run()
    assert machine.memory.read(DATA, 1) == b"\x01"
    assert len(machine.trace.of(Sipi)) == 1
    assert [event.what for event in machine.trace.of(Ignored)] == ["INIT level de-assert", "SIPI 0x10"]


def test_init_keeps_what_hardware_keeps() -> None:
    """SDM "Processor State After Reset", the column for INIT: x87, SSE and most MSRs stay, debug registers do not."""
    machine, _ = long_mode(
        f"""
        cpu0: pause
        cmpl $1, {DATA}
        jne cpu0
        {TO_CPU_1} {INIT} cli
        hlt
        cpu1: mov $0x1234, %eax
        movd %eax, %xmm1
        mov %rax, %dr0
        mov $0x700, %edx
        mov %rdx, %dr7
        fninit
        fldpi
        xor %edx, %edx
        mov $0xc0000102, %ecx
        wrmsr
        mov %cr0, %rdx
        or $0x40000000, %edx
        mov %rdx, %cr0
        movl $1, {DATA}
        2: jmp 2b
        """,
        cpus=2,
    )
    new = machine.engine.extended(1)
    machine.run()
    kept = machine.engine.extended(1)
    assert machine.trace.of(Init)[0].from_cpu == 0
    assert machine.cpus[1].state is CpuState.WAIT_FOR_SIPI
    assert machine.registers(1) == reset_registers(SIGNATURE, CR0.CD)
    assert kept["debug"] == new["debug"] == [0, 0, 0, 0, 0xFFFF0FF0, 0x400]
    assert kept["xmm"][1] == "0x1234"
    assert kept["x87"] != new["x87"]
    assert 0x1234 in kept["msrs"]


def test_init_resets_the_local_apic_and_ends_calls() -> None:
    machine, _ = long_mode(f"{TO_CPU_1} {INIT} cli; hlt; cpu1: cli; hlt", cpus=2)
    machine.apics[1].tpr = 0x50
    machine.cpus[1].nmi_pending = True
    for cpu in range(2):
        machine.calls.append(Call("sleep", cpu, "on", wake=1 << 60))
    machine.run(1000, until=lambda m: bool(m.trace.of(Init)))
    assert (machine.apics[1].tpr, machine.apics[1].svr) == (0, 0xFF)
    assert not machine.cpus[1].nmi_pending
    assert [call.cpu for call in machine.calls] == [0], "what ran in its process context is gone"


def test_init_restarts_the_bsp_at_the_reset_vector() -> None:
    """It does not wait for a SIPI; and this machine has no firmware there."""
    machine, _ = long_mode(
        "cpu0: jmp cpu0; cpu1: mov $0xfee00000, %ebx; movl $0, 0x310(%rbx); movl $0x4500, 0x300(%rbx); cli; hlt", cpus=2
    )
    stop = machine.run()
    assert machine.trace.of(Init)[0].cpu == 0
    assert stop.reason == "reset"
    assert machine.trace.of(Shutdown)[0].why == ("it fetched an instruction at 0xfffffff0, where there is no memory")


def test_init_brings_a_cpu_out_of_shutdown() -> None:
    machine, _ = long_mode(
        f"mov $3000, %ecx; 1: loop 1b\n{kick()} cli; hlt; cpu1: ud2", cpus=2, on_shutdown="halt", handlers=False
    )
    load(machine, assemble(".code16\nmov $7, %di; cli; hlt", 0x10000))
    machine.run()
    assert [event.cpu for event in machine.trace.of(Shutdown)] == [1]
    assert (machine.cpus[1].state, machine.registers(1).rdi) == (CpuState.HALTED, 7)


def test_a_reset_takes_every_cpu_and_leaves_memory() -> None:
    machine, _ = long_mode(
        f"movl $5, {DATA}; mov $6, %al; mov $0xcf9, %dx; outb %al, %dx; movl $7, {DATA}; hlt", cpus=3
    )
    machine.engine.set_registers(2, long_mode_registers())
    stop = machine.run()
    detail = "CPU 0 wrote 0x6 to port 0xcf9. The platform was reset, every kernel with it; boot a host again."
    assert (stop.reason, stop.cpu, stop.detail) == ("reset", 0, detail)
    assert [event.cpu for event in machine.trace.of(PlatformReset)] == [0]
    assert machine.memory.read(DATA, 1) == b"\x05", "the instruction behind OUT is not reached"
    assert [machine.registers(cpu) for cpu in range(3)] == [reset_registers(SIGNATURE)] * 3
    assert [cpu.state for cpu in machine.cpus] == [CpuState.WAIT_FOR_SIPI] * 3
    assert machine.run() == stop, "nothing runs until a kernel is entered anew"


def test_a_reset_clears_what_init_keeps() -> None:
    machine, _ = long_mode("mov $0x1234, %eax; movd %eax, %xmm1; mov $0xc0000102, %ecx; wrmsr; ud2", handlers=False)
    new = machine.engine.extended(0)
    assert machine.run().reason == "reset"
    assert machine.engine.extended(0) == new


def test_a_kernel_can_be_entered_after_a_reset() -> None:
    machine, _ = long_mode("cmpl $0, 0xe000; jne 1f; movl $1, 0xe000; ud2; 1: mov $9, %esi; hlt", handlers=False)
    assert machine.run().reason == "reset"
    machine.enter_kernel(0, long_mode_registers())
    assert machine.run().reason == "idle"
    assert machine.registers(0).rsi == 9
    assert [event.mode for event in machine.trace.of(ModeChange)] == ["long", "real", "long"]


def test_registers_at_a_kernels_entry() -> None:
    """Linux's "64-bit Boot Protocol": long mode with paging, flat segments 0x10 and 0x18, interrupts off, RSI."""
    registers = entry_registers(0x1000200, 0x7000, 0x90000, 0x5000)
    assert (registers.mode, registers.cpl, registers.cs.long, registers.rflags) == ("long", 0, True, 2)
    assert (registers.rip, registers.rsp, registers.rsi, registers.cr3) == (0x1000200, 0x7000, 0x90000, 0x5000)
    assert registers.cs.selector == 0x10
    assert {registers.ds.selector, registers.es.selector, registers.ss.selector} == {0x18}
    machine = Machine(1, ram=RAM)
    machine.engine.set_registers(0, registers)
    assert machine.registers(0) == registers
    assert CODE
