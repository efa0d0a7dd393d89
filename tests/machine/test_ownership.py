"""Owners and modes are observed while a CPU runs."""

import struct
from dataclasses import replace

import pytest

from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.ownership import Image, Observation
from mklab.machine.schedule import RoundRobin
from mklab.trace import Init, ModeChange, OwnerChange, Sipi
from tests.machine.guestcode import (
    CODE,
    PAGE_TABLE,
    PML4,
    assemble,
    load,
    long_mode,
    protected_registers,
    real_mode_registers,
)


def test_an_image_is_its_segments() -> None:
    image = Image("kernel 1", [[0x1000, 0x2000], [0x5000, 0x5001]], 0x1000, {"start": 0x1000})
    inside = [address for address in (0xFFF, 0x1000, 0x1FFF, 0x2000, 0x5000, 0x5001) if image.contains(address)]
    assert inside == [0x1000, 0x1FFF, 0x5000]
    assert Image(**image.to_dict()) == image


def owners(machine: Machine) -> list[tuple[int | None, str | None, int]]:
    return [(event.cpu, event.owner, event.address) for event in machine.trace.of(OwnerChange)]


def test_the_owner_is_whose_memory_is_entered() -> None:
    machine, _ = long_mode("nop; jmp 0x30000")
    load(machine, assemble("nop; hlt", 0x30000))
    machine.add_image(Image("kernel 1", [[0x30000, 0x31000]], 0x30000))
    machine.run(2)
    assert owners(machine) == []
    machine.run(1)
    assert owners(machine) == [(0, "kernel 1", 0x30000)]
    assert machine.trace.of(OwnerChange)[0].time == 2, "before its first instruction there"


def test_entered_from_code_that_changes() -> None:
    """Instructions then run one by one, and each one's page is looked at."""
    machine, _ = long_mode("mov $1f, %eax; .rept 8; add %cl, (%rax); .endr; 1: jmp 0x30000")
    machine.poke(0x30000, b"\x90" * 40 + b"\xf4")
    machine.add_image(Image("kernel 1", [[0x30000, 0x31000]], 0x30000))
    machine.run()
    (change,) = machine.trace.of(OwnerChange)
    assert (change.time, change.address) == (10, 0x30000)


@pytest.mark.parametrize("begin", [0x8F00, 0x8F01, 0x8FFF, 0x8001, 0x8C41])
@pytest.mark.parametrize("target", [0xE000, 0x8FFE])
def test_entered_from_the_page_before(begin: int, target: int) -> None:
    """A block of zeros reaches from one page into the next; they add AL = 0 to a byte behind them, or among them."""
    machine, _ = long_mode("hlt", schedule=RoundRobin(700))
    machine.poke(CODE, bytes(0x2000))
    machine.patch_registers(0, replace(machine.registers(0), rip=begin, rax=target, rcx=0))
    machine.poke(begin, bytes((0, 0x08)) * 0x1000)  # add %cl, (%rax)
    machine.add_image(Image("kernel 1", [[0x9000, 0xA000]], 0x9000))
    machine.run(5000)
    (change,) = machine.trace.of(OwnerChange)
    # The last instruction of the page may reach into the next one.
    assert (change.time, change.address) == ((0x9001 - begin) // 2, 0x9000 + begin % 2)


def test_it_is_a_matter_of_physical_memory() -> None:
    machine, _ = long_mode("jmp 0x30000")
    machine.poke(PAGE_TABLE + 0x30 * 8, struct.pack("<Q", 0x50007))
    machine.poke(0x50000, b"\xf4")
    machine.add_image(Image("decoy", [[0x30000, 0x31000]], 0x30000))
    machine.add_image(Image("kernel 1", [[0x50000, 0x51000]], 0x50000))
    machine.run()
    assert owners(machine) == [(0, "kernel 1", 0x50000)]


@pytest.mark.parametrize(("planned", "against"), [("kernel 1", False), ("host", True), (None, False)])
def test_the_plan_is_kept_apart(planned: str | None, against: bool) -> None:
    machine, _ = long_mode("hlt")
    machine.add_image(Image("kernel 1", [[CODE, CODE + 0x1000]], CODE))
    machine.plan(0, planned)
    assert (machine.cpus[0].owner, machine.cpus[0].planned) == (None, planned)
    machine.run()
    (change,) = machine.trace.of(OwnerChange)
    assert (change.owner, change.planned, change.against_plan) == ("kernel 1", planned, against)


def test_an_owner_stays_when_it_calls_elsewhere() -> None:
    """A CPU is its kernel's until INIT, wherever it goes."""
    machine, _ = long_mode("call 0x30000; hlt")
    machine.poke(0x30000, b"\xc3")
    machine.add_image(Image("host", [[CODE, CODE + 0x1000]], CODE))
    machine.add_image(Image("kernel 1", [[0x30000, 0x31000]], 0x30000))
    machine.run()
    assert owners(machine) == [(0, "host", CODE)]


def test_nobodys_from_init_to_the_jump() -> None:
    """CPU 1 is the host's, gets INIT and a SIPI, and is nobody's until its real-mode code jumps into a kernel."""
    machine, _ = long_mode("hlt; cpu1: cli; hlt", cpus=2, schedule=RoundRobin(1))
    load(machine, assemble(".code16\nnop; nop; ljmp $0x3000, $0", 0x10000))
    machine.poke(0x30000, b"\x90\xfa\xf4")
    machine.add_image(Image("host", [[CODE, CODE + 0x1000]], CODE))
    machine.add_image(Image("kernel 1", [[0x30000, 0x31000]], 0x30000))
    machine.run()
    assert machine.cpus[1].owner == "host"
    for low in (0xC500, 0x8500, 0x610):
        machine.store(0, APIC_BASE + 0x310, 1 << 24)
        machine.store(0, APIC_BASE + 0x300, low)
    seen = []
    while machine.step() is None:
        seen.append(machine.cpus[1].owner)
    kinds = [type(event) for event in machine.trace if event.cpu == 1 and isinstance(event, Init | Sipi | OwnerChange)]
    assert kinds == [OwnerChange, Init, OwnerChange, Sipi, OwnerChange]
    assert owners(machine)[-2:] == [(1, None, 0), (1, "kernel 1", 0x30000)]
    assert None in seen


def test_modes_are_noted_in_order_and_once() -> None:
    machine = Machine(1, ram=1 << 20)
    load(
        machine,
        assemble(
            """
            .code16
            nop
            mov %cr0, %eax
            or $1, %al
            mov %eax, %cr0
            nop
            and $0xfe, %al
            mov %eax, %cr0
            cli
            hlt
            """
        ),
    )
    machine.patch_registers(0, real_mode_registers())
    machine.run()
    assert [(event.mode, event.time) for event in machine.trace.of(ModeChange)] == [("protected", 4), ("real", 7)]
    assert machine.cpus[0].mode == "real"


def test_a_kernel_in_protected_mode_is_not_watched_and_its_modes_are_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has an owner runs unwatched, up to a MOV to CR0; in a loop of 1000, too."""
    machine, _ = long_mode("hlt")
    code = assemble(
        f"""
        .code32
        mov $1000, %ecx
        1: dec %ecx
        jnz 1b
        mov ${PML4}, %eax
        mov %eax, %cr3
        mov %cr4, %eax
        or $0x20, %eax
        mov %eax, %cr4
        mov $0xc0000080, %ecx
        rdmsr
        bts $8, %eax
        wrmsr
        mov %cr0, %eax
        bts $31, %eax
        mov %eax, %cr0
        nop
        btr $31, %eax
        mov %eax, %cr0
        hlt
        """,
        0x30000,
    )
    load(machine, code)
    machine.add_image(Image("kernel 1", [[0x30000, 0x31000]], 0x30000))
    machine.patch_registers(0, protected_registers(0x30000))
    machine.trace.events.clear()
    looks = []
    look = Observation._look

    def counted(observation: Observation, address: int) -> bool:
        looks.append(address)
        return look(observation, address)

    monkeypatch.setattr(Observation, "_look", counted)
    machine.run()
    assert [(event.mode, event.time) for event in machine.trace.of(ModeChange)] == [("long", 2013), ("protected", 2016)]
    assert machine.cpus[0].owner == "kernel 1"
    assert len(looks) < 10
