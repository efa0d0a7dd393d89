"""The machine as a whole: what ends a run, what a guest can do to it, and what it refuses."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mklab.errors import KexecError
from mklab.machine.cpu import CpuState
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine, Stop
from mklab.machine.ownership import Image
from mklab.machine.process import Call
from mklab.machine.registers import RFLAGS
from mklab.machine.schedule import RoundRobin
from mklab.trace import (
    AbsentAccess,
    Accepted,
    ApicWrite,
    Delivered,
    Input,
    IpiSent,
    Planned,
    PlatformReset,
    Shutdown,
    Slice,
    Step,
)
from tests.machine.guestcode import CODE, DATA, RAM, assemble, load, long_mode, long_mode_registers

# What ends a run


def test_idle_when_every_cpu_waits() -> None:
    machine, _ = long_mode("sti; hlt; cpu1: cli; hlt", cpus=3)
    assert machine.run() == Stop("idle", None, "every CPU waits and nothing can wake one")
    assert [cpu.state for cpu in machine.cpus] == [CpuState.HALTED, CpuState.HALTED, CpuState.WAIT_FOR_SIPI]
    assert machine.step() == machine.run(), "and it stays so"


def test_an_endless_loop_ends_with_its_budget() -> None:
    machine, _ = long_mode("1: jmp 1b")
    detail = f"12345 instructions executed; CPU 0 stands at {CODE:#x}"
    assert machine.run(12345) == Stop("budget", 0, detail)
    assert machine.time == 12345
    assert machine.run(5).reason == "budget"
    assert machine.time == 12350


def test_until_is_asked_between_slices() -> None:
    machine, _ = long_mode("1: incl 0xe000; jmp 1b", schedule=RoundRobin(10))
    stop = machine.run(until=lambda m: m.memory.read(DATA, 1)[0] >= 12)
    assert stop.reason == "until"
    assert machine.time == 30
    assert machine.run(until=lambda m: True).reason == "until"
    assert machine.time == 30


def test_the_last_cpu_to_shut_down_is_named() -> None:
    machine, _ = long_mode("ud2; cpu1: cli; hlt", cpus=2, on_shutdown="halt", handlers=False)
    stop = machine.run()
    assert stop == Stop("shutdown", 0, "CPU 0 is shut down, and no other CPU can run")
    assert [cpu.state for cpu in machine.cpus] == [CpuState.SHUTDOWN, CpuState.HALTED]
    assert machine.trace.of(PlatformReset) == []
    assert [event.stop for event in machine.trace.of(Slice)] == ["shutdown", "halt"]


def test_a_shutdown_of_one_cpu_may_leave_the_others_alone() -> None:
    machine, _ = long_mode("ud2; cpu1: incl 0xe000; jmp cpu1", cpus=2, on_shutdown="halt", handlers=False)
    assert machine.run(5000).reason == "budget"
    assert int.from_bytes(machine.memory.read(DATA, 4), "little") > 2000


def test_a_triple_fault_resets_the_platform_and_every_cpu() -> None:
    machine, _ = long_mode("1: jmp 1b; cpu1: ud2", cpus=2, handlers=False)
    stop = machine.run()
    assert (stop.reason, stop.cpu) == ("reset", 1)
    assert [event.cpu for event in machine.trace.of(Shutdown)] == [1]
    assert machine.trace.of(Slice)[-1].stop == "reset"
    assert [cpu.state for cpu in machine.cpus] == [CpuState.WAIT_FOR_SIPI] * 2
    assert machine.step() == stop


def test_a_guest_that_writes_its_own_code_runs_what_it_wrote() -> None:
    machine, _ = long_mode(
        """
        mov $3, %ecx
        again: mov $1, %eax
        add %eax, %edx
        incb again + 1
        loop again
        hlt
        """
    )
    machine.run()
    assert machine.registers(0).rdx == 1 + 2 + 3


# Slices and time


def test_slices_follow_the_schedule_and_add_up() -> None:
    machine, _ = long_mode("cpu0: jmp cpu0; cpu1: jmp cpu1", cpus=2, schedule=RoundRobin(100))
    machine.run(350)
    slices = machine.trace.of(Slice)
    assert [(event.cpu, event.budget, event.executed, event.time) for event in slices] == [
        (0, 100, 100, 100),
        (1, 100, 100, 200),
        (0, 100, 100, 300),
        (1, 50, 50, 350),
    ]
    assert {event.stop for event in slices} == {"budget"}
    assert slices[-1].registers == machine.registers(1).digest


def test_an_icr_store_acts_before_the_next_instruction() -> None:
    """CPU 0 sends, then spins; CPU 1 has its interrupt at the sender's next instruction, and the slice ends there."""
    machine, code = long_mode(
        "mov $0xfee00000, %ebx; movl $0x1000000, 0x310(%rbx); movl $0x41, 0x300(%rbx); next: jmp next\n"
        "cpu1: sti; hlt; jmp cpu1\nvector_41: incl 0xe000; movl $0, 0xfffffffffee000b0; iretq",
        cpus=2,
        schedule=RoundRobin(1000),
    )
    machine.patch_registers(1, machine.registers(1))
    machine.run(1, until=lambda m: bool(m.trace.of(IpiSent)))
    machine.run(10_000, until=lambda m: bool(m.trace.of(IpiSent)))
    (sent,) = machine.trace.of(IpiSent)
    slice_ = machine.trace.of(Slice)[-1]
    assert (slice_.stop, slice_.executed, slice_.time) == ("ipi", 2, sent.time)
    assert machine.registers(0).rip == code.symbols["next"]
    assert [event.time for event in machine.trace.of(Accepted)] == [sent.time]


def test_a_gap_in_which_nobody_can_run_is_skipped() -> None:
    machine, _ = long_mode("sti; hlt")
    machine.functions["sleeper"] = Sleeper()
    machine.submit(Call("sleeper", 0, "first"))
    assert machine.run().reason == "idle"
    assert [(event.step, event.time) for event in machine.trace.of(Step)] == [("first", 2), ("second", 5000)]


class Sleeper:
    """Two steps, at 0 and at 5000."""

    first = "first"

    def step(self, call: Call) -> str:
        if call.step == "first":
            call.step, call.wake = "second", 5000
            return "sleeps"
        call.step = ""
        return "woke"


class Refuser:
    """Refuses."""

    first = "check"

    def step(self, call: Call) -> str:
        raise KexecError(22, "sanity_check", "no")


def test_a_kernel_functions_refusal_ends_its_call() -> None:
    machine, _ = long_mode("sti; hlt")
    machine.functions["load"] = Refuser()
    call = machine.submit(Call("load", 0, "check"))
    machine.run()
    assert (call.done, call.errno, call.result, call.reason) == (True, 22, -22, "no")
    assert machine.calls == []
    (step,) = machine.trace.of(Step)
    assert (step.function, step.step, step.detail) == ("sanity_check", "check", "-EINVAL: no")
    (slice_,) = [event for event in machine.trace.of(Slice) if event.stop == "call"]
    assert (slice_.budget, slice_.executed) == (0, 0)


def test_a_call_waits_until_its_cpu_is_idle() -> None:
    machine, _ = long_mode("mov $100, %ecx; 1: loop 1b; hlt", schedule=RoundRobin(10))
    machine.functions["load"] = Refuser()
    machine.submit(Call("load", 0, "check"))
    machine.run()
    assert machine.trace.of(Step)[0].time == 102


# Acts from outside


def test_acts_from_outside_are_inputs() -> None:
    machine = Machine(2, ram=RAM)
    machine.poke(DATA, b"data")
    machine.add_image(Image("kernel 1", [[DATA, DATA + 4]], DATA))
    machine.console_input("kernel 1", b"\r")
    machine.plan(1, "kernel 1")
    machine.patch_registers(0, long_mode_registers())
    machine.memory.write(DATA, b"more")
    machine.schedule = RoundRobin(7)
    machine.printk("kernel 1", "hello")
    inputs = machine.trace.of(Input)
    names = ["power_on", "poke", "add_image", "console_input", "plan", "patch_registers", "poke", "schedule", "printk"]
    assert [event.name for event in inputs] == names
    assert inputs[0].args["cpus"] == 2
    assert inputs[1].args["size"] == 4
    assert machine.trace.blobs[inputs[1].args["sha256"]] == b"data"
    assert inputs[5].args["registers"] == long_mode_registers().to_dict()
    assert machine.trace.blobs[inputs[6].args["sha256"]] == b"more"
    assert machine.trace.of(Planned) == [Planned(5, 0, 1, "kernel 1")]


def test_registers_can_be_patched_without_letting_the_cpu_run() -> None:
    machine = Machine(1, ram=RAM)
    machine.patch_registers(0, long_mode_registers(), running=False)
    assert machine.cpus[0].state is CpuState.WAIT_FOR_SIPI
    assert machine.cpus[0].mode == "long"


def test_process_context_stores_as_its_cpu() -> None:
    """A kernel reaches the hardware only as a kernel can: its APIC or memory."""
    machine, _ = long_mode("sti; hlt; cpu1: sti; hlt; vector_41: hlt", cpus=2)
    machine.run()
    machine.store(1, DATA, 0x11223344)
    machine.store(1, APIC_BASE + 0x310, 0)
    machine.store(1, APIC_BASE + 0x300, 0x41)
    assert machine.memory.read(DATA, 4) == bytes.fromhex("44332211")
    assert [(event.cpu, event.offset) for event in machine.trace.of(ApicWrite)] == [(1, 0x310), (1, 0x300)]


def test_the_console_is_the_owners() -> None:
    machine, _ = long_mode("mov $0x3f8, %edx; mov $0x48, %al; outb %al, %dx; mov $0x69, %al; outb %al, %dx; hlt")
    machine.add_image(Image("kernel 1", [[CODE, CODE + 0x1000]], CODE))
    machine.run()
    assert machine.console("kernel 1") == "Hi"
    assert machine.console("host") == ""


def test_observers_are_told_of_ipis() -> None:
    machine, _ = long_mode(
        "mov $0xfee00000, %ebx; movl $0x40041, 0x300(%rbx); sti; nop; cli; hlt; vector_41: iretq",
    )
    told: list[tuple[Any, ...]] = []
    machine.observers["test"] = lambda *what: told.append(what)
    machine.run()
    assert told == [("sent", 0, 0x41, 0), ("delivered", 0, 0x41, None)]


def test_a_delivery_that_faults_names_the_handler_that_was_entered() -> None:
    """The vector's own gate is absent: it is #NP that is delivered, and no observer hears of the interrupt."""
    machine, code = long_mode(
        "mov $0xfee00000, %ebx; movl $0x40041, 0x300(%rbx); sti; nop; cli; hlt; vector_d: hlt",
    )
    told: list[tuple[Any, ...]] = []
    machine.observers["test"] = lambda *what: told.append(what)
    machine.run()
    (delivered,) = machine.trace.of(Delivered)
    assert (delivered.vector, delivered.source, delivered.handler) == (13, "exception", code.symbols["vector_d"])
    assert [what[0] for what in told] == ["sent"]


# Sizes


@pytest.mark.parametrize("cpus", [1, 64, 255])
def test_the_smallest_and_the_largest_machine(cpus: int) -> None:
    """Each CPU is started by INIT and SIPI to all, and counts itself."""
    machine, _ = long_mode(
        "mov $0xfee00000, %ebx; movl $0xc4500, 0x300(%rbx); movl $0xc4610, 0x300(%rbx); cli; hlt", cpus=cpus
    )
    load(machine, assemble(f".code16\nlock incw {DATA}; cli; hlt", 0x10000))
    assert machine.run().reason == "idle"
    assert int.from_bytes(machine.memory.read(DATA, 2), "little") == cpus - 1
    assert [cpu.mode for cpu in machine.cpus] == ["long"] + ["real"] * (cpus - 1)
    assert len({id(apic) for apic in machine.apics}) == cpus


# Ctrl-C

LOOPING = """
import sys, threading
from tests.machine.guestcode import long_mode
from mklab.machine.schedule import RoundRobin
from mklab.machine.ownership import Image
machine, _ = long_mode("1: incl 0xe000; jmp 1b", schedule=RoundRobin({quantum}))
machine.add_image(Image("host", [[0, 0x10000]], 0x8000))
print("ready", flush=True)
try:
    {run}
except KeyboardInterrupt:
    print("interrupted", machine.trace.events[-1].stop)
before = machine.time
print(machine.run(1000).reason, machine.time - before, machine.memory.read(0xe000, 1) != bytes(1))
"""


@pytest.mark.parametrize(
    ("run", "quantum"), [("machine.run(1 << 40)", 10**8), ("machine.run(1 << 40)", 10**4), ("machine.step()", 10**8)]
)
def test_ctrl_c_stops_a_guest_that_loops(run: str, quantum: int, repository: Path) -> None:
    """In a process of its own, with slices that would take minutes, and many in a row; afterwards it goes on."""
    child = subprocess.Popen(
        [sys.executable, "-c", LOOPING.format(run=run, quantum=quantum)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        pressed = threading.Timer(0.3, lambda: child.send_signal(signal.SIGINT))
        pressed.start()
        output, _ = child.communicate(timeout=60)
        pressed.join()
    finally:
        child.kill()
        child.wait()
    assert output.splitlines() == ["interrupted budget", "budget 1000 True"]


def test_ctrl_c_is_not_lost_where_the_run_ends_anyway() -> None:
    machine, _ = long_mode("1: jmp 1b")

    def press(_: Machine) -> bool:
        signal.raise_signal(signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt):
        machine.run(100, press)
    assert machine.run(100).reason == "budget"


def test_a_machine_runs_in_another_thread_too() -> None:
    """As a notebook's widget may do, after a cell has run it."""
    machine, _ = long_mode("1: jmp 1b")
    machine.run(100)
    reasons: list[object] = []

    def run() -> None:
        try:
            reasons.append(machine.run(100).reason)
        except ValueError as error:
            reasons.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert reasons == ["budget"]


# Misuse

ALL = " (the id 0xFF means all CPUs; x2apic=True allows more)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cpus": 0}, f"cpus must be 1 to 255{ALL}, not 0"),
        ({"cpus": 256}, f"cpus must be 1 to 255{ALL}, not 256"),
        ({"cpus": "4"}, f"cpus must be 1 to 255{ALL}, not '4'"),
        ({"cpus": 1025, "x2apic": True}, "cpus must be 1 to 1024, not 1025"),
        (
            {"cpus": 1, "x2apic": True, "apic_ids": [0xFFFFFFFF]},
            "each of apic_ids must be 0 to 4294967294, not 4294967295",
        ),
        ({"cpus": 2, "apic_ids": [1]}, "apic_ids must be 2 different numbers from 0 to 254, not [1]"),
        ({"cpus": 2, "apic_ids": [1, 1]}, "apic_ids must be 2 different numbers from 0 to 254, not [1, 1]"),
        ({"cpus": 2, "apic_ids": [0, 255]}, "each of apic_ids must be 0 to 254, not 255"),
        ({"cpus": 2, "apic_ids": [0, "1"]}, "each of apic_ids must be 0 to 254, not '1'"),
        ({"on_shutdown": "stop"}, "on_shutdown must be 'reset' or 'halt', not 'stop'"),
        ({"ram": 0}, "the size of a range of RAM must be 1 to 68719476736 bytes, not 0"),
        ({"ram": 5000}, "a range of RAM must be whole pages of 4096 bytes, not (0, 5000)"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Machine(**arguments)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: m.run(0), "budget must be 1 to 4611686018427387904 instructions, not 0"),
        (lambda m: m.run(1.5), "budget must be 1 to 4611686018427387904 instructions, not 1.5"),
        (lambda m: m.registers(2), "cpu must be 0 to 1, not 2"),
        (lambda m: m.patch_registers(-1, long_mode_registers()), "cpu must be 0 to 1, not -1"),
        (lambda m: m.plan(7, "host"), "cpu must be 0 to 1, not 7"),
        (lambda m: m.submit(Call("x", 9, "y")), "cpu must be 0 to 1, not 9"),
        (lambda m: m.store(2, DATA, 0), "cpu must be 0 to 1, not 2"),
        (lambda m: m.poke(RAM, b"x"), f"[paddr, paddr + size) must lie in RAM, not ('{RAM:#x}', 1)"),
    ],
)
def test_an_act_that_cannot_be_is_refused_and_leaves_no_trace(act: Callable[[Machine], object], message: str) -> None:
    machine = Machine(2, ram=RAM)
    before = machine.trace.sha256
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        act(machine)
    assert machine.trace.sha256 == before
    assert machine.calls == []


def test_flags_of_a_patched_cpu_are_its_own() -> None:
    machine, _ = long_mode("hlt", interrupts=True)
    assert machine.registers(0).rflags & RFLAGS.IF


# x2APIC machines


def test_an_x2apic_machine_starts_its_cpus_by_msr() -> None:
    """Ids of 32 bits; INIT and SIPI through MSR 0x830; a fixed IPI by id, ended by MSR 0x80B. There is no APIC page."""
    ids = [5, 0x12345678, 0xFFFFFFFE]
    machine = Machine(3, ram=RAM, apic_ids=ids, x2apic=True)
    template, _ = long_mode(
        """
        mov $0x830, %ecx
        mov $0x12345678, %edx
        mov $0xc500, %eax
        wrmsr
        mov $0x610, %eax
        wrmsr
        mov $0x802, %ecx
        rdmsr
        mov %eax, %esi
        mov $0xfee00000, %ebx
        mov 0x20(%rbx), %edi
        sti
        mov $0x83f, %ecx
        mov $0x41, %eax
        xor %edx, %edx
        wrmsr
        nop
        cli
        hlt
        vector_41: mov $0x80b, %ecx
        xor %eax, %eax
        wrmsr
        mov $9, %ebp
        iretq
        """
    )
    machine.poke(0, template.memory.read(0, 0x30000))
    for cpu in range(3):
        machine.apics[cpu].svr = 0x1FF
    load(machine, assemble(".code16\nmov $0x802, %ecx; rdmsr; cli; hlt", 0x10000))
    machine.patch_registers(0, template.registers(0))
    assert machine.run().reason == "idle"
    after = machine.registers(0)
    assert (after.rsi, after.rdi, after.rbp) == (5, 0, 9)
    assert [event.address for event in machine.trace.of(AbsentAccess)] == [APIC_BASE + 0x20]
    assert machine.registers(1).rax == 0x12345678
    assert [cpu.state for cpu in machine.cpus][1:] == [CpuState.HALTED, CpuState.WAIT_FOR_SIPI]
    assert [event.targets for event in machine.trace.of(IpiSent)] == [[1], [1], [0]]


def test_1024_cpus_in_x2apic_mode() -> None:
    machine = Machine(1024, ram=RAM, x2apic=True)
    assert {apic.mode for apic in machine.apics} == {"x2apic"}
    assert [apic.bsp for apic in machine.apics].count(True) == 1
    machine.out(3, 0xCF9, 6)
    assert {apic.mode for apic in machine.apics} == {"x2apic"}, "firmware hands them over so after a reset, too"


def test_init_restarts_whoever_has_the_bsp_flag() -> None:
    """IA32_APIC_BASE says who is the BSP, not the CPU's number."""
    machine, _ = long_mode("1: jmp 1b; cpu1: jmp cpu1", cpus=2)
    machine.apics[0].set_base(0xFEE00800)
    machine.apics[1].set_base(0xFEE00900)
    for target in (0, 1):
        machine.store(0, APIC_BASE + 0x310, target << 24)
        machine.store(0, APIC_BASE + 0x300, 0x4500)
    assert [cpu.state for cpu in machine.cpus] == [CpuState.WAIT_FOR_SIPI, CpuState.RUNNING]
    assert machine.registers(1).linear_rip == 0xFFFFFFF0


def test_an_apic_that_is_switched_off_leaves_its_page() -> None:
    machine, _ = long_mode(
        "mov $0x1b, %ecx; rdmsr; btr $11, %eax; wrmsr; mov $0xfee00000, %ebx; mov 0x30(%rbx), %esi; "
        "mov $1, %eax; cpuid; cli; hlt"
    )
    machine.run()
    assert machine.registers(0).rsi == 0
    assert not machine.registers(0).rdx >> 9 & 1
    assert len(machine.trace.of(AbsentAccess)) == 1
