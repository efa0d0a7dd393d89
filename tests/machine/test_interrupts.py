"""The interrupt bus: who is meant, what becomes of it, and when a CPU is due.

SDM "Issuing Interprocessor Interrupts", "Interrupt Acceptance for Fixed Interrupts", "Masking Interrupts".
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.machine.cpu import Cpu, CpuState
from mklab.machine.icr import DELIVERY_MODES, Icr
from mklab.machine.interrupts import InterruptBus
from mklab.machine.lapic import LocalApic
from mklab.machine.machine import Machine
from mklab.machine.registers import RFLAGS, Registers
from mklab.trace import Accepted, Delivered, Event, Halted, Ignored, IpiSent, Lost, Sipi, TimerExpired, Woken
from tests.machine.guestcode import DATA, Code, long_mode

IDS = (4, 0, 9, 2)
SVR = 0xF0
OFF, X2APIC = 0xFEE00000, 0xFEE00C00
FIXED, LOWEST, SMI, NMI, INIT, SIPI, EXTINT = 0x000, 0x100, 0x200, 0x400, 0x500, 0x600, 0x700
LOGICAL, ASSERT, LEVEL, SELF, ALL, OTHERS = 1 << 11, 1 << 14, 1 << 15, 1 << 18, 2 << 18, 3 << 18


class FakePower:
    """Notes what reaches a CPU."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def init(self, cpu: Cpu, sender: int | None) -> None:
        self.calls.append(("init", cpu.index, sender))

    def sipi(self, cpu: Cpu, vector: int) -> None:
        self.calls.append(("sipi", cpu.index, vector))


class FakeMachine:
    """Running CPUs whose local APICs are enabled."""

    def __init__(self, ids: Sequence[int] = IDS) -> None:
        self.now = 0
        self.cpus = [Cpu(index, apic_id, CpuState.RUNNING) for index, apic_id in enumerate(ids)]
        self.apics = [LocalApic(cpu.apic_id, lambda icr: None, lambda: self.now, cpu.bsp) for cpu in self.cpus]
        for apic in self.apics:
            apic.svr = 0x1FF
        self.flags = Registers(rflags=RFLAGS.ONE | RFLAGS.IF)
        self.power = FakePower()
        self.events: list[tuple[type[Event], int | None, dict[str, Any]]] = []
        self.observed: list[tuple[str, int, int, int | None]] = []

    def interrupt_flags(self, cpu: int) -> tuple[bool, bool]:
        return self.flags.shadow, bool(self.flags.rflags & RFLAGS.IF)

    def emit(self, kind: type[Event], cpu: int | None, **values: object) -> None:
        self.events.append((kind, cpu, values))

    def observe(self, what: str, cpu: int, vector: int, sender: int | None) -> None:
        self.observed.append((what, cpu, vector, sender))

    def of(self, kind: type[Event]) -> list[tuple[int | None, dict[str, Any]]]:
        return [(cpu, values) for one, cpu, values in self.events if one is kind]


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def bus(machine: FakeMachine) -> InterruptBus:
    return InterruptBus(machine)


@pytest.mark.parametrize(
    ("high", "low", "targets"),
    [
        (9, FIXED, [2]),
        (4, FIXED, [0]),
        (2, FIXED, [3]),
        (0xFF, FIXED, [0, 1, 2, 3]),
        (9, SELF, [1]),
        (9, ALL, [0, 1, 2, 3]),
        (9, OTHERS, [0, 2, 3]),
        (9, OTHERS | NMI, [0, 2, 3]),
    ],
)
def test_who_is_meant(machine: FakeMachine, bus: InterruptBus, high: int, low: int, targets: list[int]) -> None:
    """CPU 1 sends; ids are physical, shorthands come before them."""
    bus.send(1, Icr(high << 24, low | 0x41))
    ((sender, values),) = machine.of(IpiSent)
    assert (sender, values["targets"]) == (1, targets)
    assert [cpu for cpu, _ in machine.of(Accepted)] == targets
    if not low & NMI:
        assert [bool(apic.irr >> 0x41 & 1) for apic in machine.apics] == [cpu in targets for cpu in range(4)]
        assert machine.observed == [("sent", cpu, 0x41, 1) for cpu in targets]


@pytest.mark.parametrize(
    ("model", "ids", "destination", "targets"),
    [
        ("flat", (1, 2, 4, 8), 0b0101, [0, 2]),
        ("flat", (1, 2, 4, 8), 0xFF, [0, 1, 2, 3]),
        ("flat", (1, 1, 0, 8), 0b0001, [0, 1]),
        ("cluster", (0x11, 0x12, 0x21, 0x22), 0x13, [0, 1]),
        ("cluster", (0x11, 0x12, 0x21, 0x22), 0x22, [3]),
        ("cluster", (0x11, 0x12, 0x21, 0x22), 0x32, []),
    ],
)
def test_logical_destinations(
    machine: FakeMachine,
    bus: InterruptBus,
    model: str,
    ids: tuple[int, ...],
    destination: int,
    targets: list[int],
) -> None:
    for apic, logical_id in zip(machine.apics, ids, strict=True):
        apic.ldr = logical_id << 24
        apic.dfr = 0xFFFFFFFF if model == "flat" else 0x0FFFFFFF
    bus.send(0, Icr(destination << 24, LOGICAL | FIXED | 0x41))
    assert machine.of(IpiSent)[0][1]["targets"] == targets
    if not targets:
        assert machine.of(Lost)[0][1]["why"] == f"no local APIC has the logical destination {destination:#x}"


def test_lowest_priority_takes_one(machine: FakeMachine, bus: InterruptBus) -> None:
    """The one with the lowest processor priority (SDM "Lowest Priority Delivery Mode")."""
    for apic, tpr in zip(machine.apics, (0x50, 0x20, 0x10, 0x40), strict=True):
        apic.tpr = tpr
    bus.send(0, Icr(0xFF << 24, LOWEST | 0x41))
    assert [cpu for cpu, _ in machine.of(Accepted)] == [2]
    machine.apics[2].accept(0x61)
    machine.apics[2].acknowledge()
    bus.send(0, Icr(0xFF << 24, LOWEST | 0x42))
    assert [cpu for cpu, _ in machine.of(Accepted)] == [2, 1], "what is in service counts too"


def test_of_equal_priorities_the_lowest_id_takes_it(machine: FakeMachine, bus: InterruptBus) -> None:
    """The manual leaves it open; ids are 4, 0, 9, 2."""
    for sender, shorthand, target in ((2, 0, 1), (1, OTHERS, 3)):
        bus.send(sender, Icr(0xFF << 24, shorthand | LOWEST | 0x41))
        assert machine.of(Accepted)[-1][0] == target


def test_who_cannot_accept_is_left_out_of_the_arbitration(machine: FakeMachine, bus: InterruptBus) -> None:
    machine.apics[1].write(SVR, 0xFF)
    machine.apics[3].set_base(OFF)
    machine.cpus[0].state = CpuState.SHUTDOWN
    bus.send(0, Icr(0xFF << 24, LOWEST | 0x41))
    assert [cpu for cpu, _ in machine.of(Accepted)] == [2]
    machine.apics[2].write(SVR, 0xFF)
    bus.send(0, Icr(0xFF << 24, LOWEST | 0x41))
    assert [cpu for cpu, _ in machine.of(Lost)] == [1]


@pytest.mark.parametrize(("shorthand", "name"), [(SELF, "self"), (ALL, "all")])
@pytest.mark.parametrize("mode", [LOWEST, SMI, NMI, INIT, SIPI, EXTINT])
def test_a_combination_that_is_not_valid_sends_nothing(
    machine: FakeMachine, bus: InterruptBus, shorthand: int, name: str, mode: int
) -> None:
    """SDM, table "Valid Combinations ..."; what hardware does then is not said (docs/fidelity.md)."""
    bus.send(1, Icr(9 << 24, shorthand | mode | 0x41))
    why = f"the delivery mode {DELIVERY_MODES[mode >> 8]} does not go with the shorthand {name}: nothing is sent"
    assert machine.of(Lost) == [(None, {"from_cpu": 1, "vector": 0x41, "why": why})]
    assert machine.of(IpiSent)[0][1]["targets"] == []
    assert (machine.power.calls, machine.of(Accepted), machine.observed) == ([], [], [])


def test_an_id_that_nobody_has(machine: FakeMachine, bus: InterruptBus) -> None:
    bus.send(0, Icr(0x77 << 24, 0xEA))
    assert machine.of(Lost) == [(None, {"from_cpu": 0, "vector": 0xEA, "why": "no local APIC has the id 0x77"})]


def test_two_of_a_vector_merge(machine: FakeMachine, bus: InterruptBus) -> None:
    for _ in range(2):
        bus.send(0, Icr(9 << 24, 0xEA))
    assert [values["merged"] for _, values in machine.of(Accepted)] == [False, True]
    cpu = machine.cpus[2]
    assert bus.deliverable(cpu) == 0xEA
    assert bus.take(cpu) == "interrupt"
    assert bus.deliverable(cpu) is None, "it is delivered once"


@pytest.mark.parametrize(
    ("state", "svr", "why"),
    [
        (CpuState.RUNNING, 0xFF, "the local APIC of CPU 2 is software-disabled (SVR=0xff)"),
        (
            CpuState.WAIT_FOR_SIPI,
            0xFF,
            "the local APIC of CPU 2, which waits for a SIPI, is software-disabled (SVR=0xff)",
        ),
        (CpuState.SHUTDOWN, 0x1FF, "CPU 2 is shut down"),
    ],
)
def test_a_fixed_interrupt_is_lost(
    machine: FakeMachine, bus: InterruptBus, state: CpuState, svr: int, why: str
) -> None:
    machine.cpus[2].state, machine.apics[2].svr = state, svr
    bus.send(0, Icr(9 << 24, 0xEA))
    assert machine.of(Lost) == [(2, {"from_cpu": 0, "vector": 0xEA, "why": why})]
    assert machine.apics[2].irr == 0


@pytest.mark.parametrize("vector", [0, 15])
def test_an_illegal_vector_is_noted_by_the_receiver(machine: FakeMachine, bus: InterruptBus, vector: int) -> None:
    """ESR: Receive Illegal Vector; the sender's side is shown in test_lapic."""
    bus.send(0, Icr(9 << 24, vector))
    assert [cpu for cpu, _ in machine.of(Lost)] == [2]
    apic = machine.apics[2]
    apic.write(0x280, 0)
    assert (apic.read(0x280), apic.irr) == (1 << 6, 0)


def test_both_sides_note_an_illegal_vector_sent_to_oneself() -> None:
    machine, _ = sending("movl $0x40005, 0x300(%rbx)\nmovl $0, 0x280(%rbx)\nmov 0x280(%rbx), %ecx")
    machine.run()
    assert machine.registers(0).rcx == 1 << 5 | 1 << 6


@pytest.mark.parametrize("state", list(CpuState))
def test_nmi(machine: FakeMachine, bus: InterruptBus, state: CpuState) -> None:
    """Taken with IF clear and by a disabled APIC; a CPU in wait-for-SIPI loses it here (docs/fidelity.md)."""
    cpu = machine.cpus[2]
    cpu.state, machine.apics[2].svr = state, 0xFF
    machine.flags.rflags = RFLAGS.ONE
    bus.send(0, Icr(9 << 24, NMI))
    if state in (CpuState.RUNNING, CpuState.HALTED):
        assert bus.deliverable(cpu) == 2
        bus.send(0, Icr(9 << 24, NMI))
        assert [values["merged"] for _, values in machine.of(Accepted)] == [False, True]
        assert bus.take(cpu) == "nmi"
        assert bus.deliverable(cpu) is None
    else:
        assert machine.of(Lost) == [(2, {"from_cpu": 0, "vector": 2, "why": f"CPU 2 is in the state {state}"})]
        assert not cpu.nmi_pending


def test_an_nmi_waits_while_the_handler_of_another_runs(machine: FakeMachine, bus: InterruptBus) -> None:
    """SDM "Handling Multiple NMIs": one is held until IRET; more of them merge with it."""
    cpu = machine.cpus[2]
    cpu.nmi_blocked = True
    for _ in range(3):
        bus.send(0, Icr(9 << 24, NMI))
    assert [values["merged"] for _, values in machine.of(Accepted)] == [False, True, True]
    assert bus.deliverable(cpu) is None
    assert bus.blocked(cpu)
    bus.send(0, Icr(9 << 24, 0xEA))
    assert bus.deliverable(cpu) == 0xEA, "other interrupts are not blocked"
    assert (bus.take(cpu), machine.apics[2].isr, cpu.nmi_pending) == ("interrupt", 1 << 0xEA, True)
    cpu.nmi_blocked = False
    assert (bus.deliverable(cpu), bus.take(cpu)) == (2, "nmi")
    assert bus.deliverable(cpu) is None


def test_nmi_comes_before_an_interrupt(machine: FakeMachine, bus: InterruptBus) -> None:
    bus.send(0, Icr(9 << 24, 0xEA))
    bus.send(0, Icr(9 << 24, NMI))
    assert bus.deliverable(machine.cpus[2]) == 2
    bus.take(machine.cpus[2])
    assert bus.deliverable(machine.cpus[2]) == 0xEA


def test_init_and_its_deassert(machine: FakeMachine, bus: InterruptBus) -> None:
    """The RFC's kick writes 0xC500 and 0x8500; the second does nothing since the Pentium 4."""
    bus.send(0, Icr(9 << 24, LEVEL | ASSERT | INIT))
    assert machine.power.calls == [("init", 2, 0)]
    bus.send(0, Icr(9 << 24, LEVEL | INIT))
    assert machine.power.calls == [("init", 2, 0)]
    why = "CPUs since the Pentium 4 ignore it"
    assert machine.of(Ignored) == [(2, {"from_cpu": 0, "what": "INIT level de-assert", "why": why})]
    bus.send(0, Icr(9 << 24, INIT))
    assert machine.power.calls == [("init", 2, 0)] * 2, "edge-triggered, it is always asserted"


@pytest.mark.parametrize("state", list(CpuState))
def test_sipi_starts_only_who_waits(machine: FakeMachine, bus: InterruptBus, state: CpuState) -> None:
    machine.cpus[2].state = state
    bus.send(0, Icr(9 << 24, SIPI | 0x96))
    if state is CpuState.WAIT_FOR_SIPI:
        assert machine.power.calls == [("sipi", 2, 0x96)]
        assert machine.of(Sipi) == [(2, {"from_cpu": 0, "vector": 0x96})]
    else:
        assert machine.power.calls == []
        why = "CPU 2 is not in wait-for-SIPI"
        assert machine.of(Ignored) == [(2, {"from_cpu": 0, "what": "SIPI 0x96", "why": why})]


@pytest.mark.parametrize(("mode", "name"), [(SMI, "SMI"), (EXTINT, "EXTINT")])
def test_what_is_not_modelled_says_so(machine: FakeMachine, bus: InterruptBus, mode: int, name: str) -> None:
    bus.send(0, Icr(9 << 24, mode | 0x41))
    why = "this machine does not model it"
    assert machine.of(Ignored) == [(2, {"from_cpu": 0, "what": name, "why": why})]


@pytest.mark.parametrize(
    ("state", "interrupts", "shadow", "due"),
    [
        (CpuState.RUNNING, True, False, True),
        (CpuState.RUNNING, False, False, False),
        (CpuState.RUNNING, True, True, False),
        (CpuState.HALTED, True, True, True),
        (CpuState.HALTED, False, False, False),
    ],
)
def test_when_an_interrupt_is_due(
    machine: FakeMachine, bus: InterruptBus, state: CpuState, interrupts: bool, shadow: bool, due: bool
) -> None:
    cpu = machine.cpus[2]
    cpu.state = state
    machine.flags.rflags = RFLAGS.ONE | (RFLAGS.IF if interrupts else 0)
    machine.flags.shadow = shadow
    assert not bus.blocked(cpu), "nothing waits"
    bus.send(0, Icr(9 << 24, 0xEA))
    assert bus.deliverable(cpu) == (0xEA if due else None)
    assert bus.blocked(cpu) is not due


@pytest.mark.parametrize("state", [CpuState.RUNNING, CpuState.HALTED])
def test_an_nmi_waits_for_the_shadow_of_mov_ss_only_while_the_cpu_runs(
    machine: FakeMachine, bus: InterruptBus, state: CpuState
) -> None:
    """HLT is the instruction that the shadow covers; behind it there is none."""
    cpu = machine.cpus[2]
    cpu.state, machine.flags.shadow = state, True
    bus.send(0, Icr(9 << 24, NMI))
    assert bus.deliverable(cpu) == (2 if state is CpuState.HALTED else None)


# An APIC that is switched off


@pytest.mark.parametrize("mode", [FIXED, LOWEST, SMI, NMI, INIT, SIPI])
def test_nothing_reaches_a_cpu_whose_apic_is_switched_off(machine: FakeMachine, bus: InterruptBus, mode: int) -> None:
    """SDM "Enabling or Disabling the Local APIC": the CPU is like one without a local APIC."""
    machine.apics[2].set_base(OFF)
    machine.cpus[2].state = CpuState.WAIT_FOR_SIPI
    bus.send(0, Icr(9 << 24, mode | ASSERT | 0x41))
    why = "CPU 2 has switched its local APIC off (IA32_APIC_BASE bit 11 is 0): no IPI reaches it"
    assert machine.of(Lost) == [(2, {"from_cpu": 0, "vector": 2 if mode == NMI else 0x41, "why": why})]
    assert machine.power.calls == []
    assert not machine.cpus[2].nmi_pending


@pytest.mark.parametrize("mode", [NMI, INIT, SIPI])
def test_a_software_disabled_apic_takes_what_is_not_fixed(machine: FakeMachine, bus: InterruptBus, mode: int) -> None:
    machine.apics[2].write(SVR, 0xFF)
    machine.cpus[2].state = CpuState.WAIT_FOR_SIPI if mode == SIPI else CpuState.RUNNING
    bus.send(0, Icr(9 << 24, mode | ASSERT | 0x41))
    assert machine.cpus[2].nmi_pending is (mode == NMI)
    assert [call[:2] for call in machine.power.calls] == {NMI: [], INIT: [("init", 2)], SIPI: [("sipi", 2)]}[mode]


# Timers


def test_timers(machine: FakeMachine, bus: InterruptBus) -> None:
    assert [apic.deadline for apic in machine.apics] == [None] * 4
    for cpu, count in ((0, 30), (2, 20), (3, 20)):
        machine.apics[cpu].write(0x3E0, 0xB)
        machine.apics[cpu].write(0x320, 0x61 + cpu if cpu != 3 else 0x0F)
        machine.apics[cpu].write(0x380, count)
    machine.apics[2].accept(0x63)
    assert bus.deadline == 20
    machine.now = 19
    bus.tick()
    assert machine.events == []
    machine.now = 20
    bus.tick()
    assert machine.of(TimerExpired) == [(2, {"vector": 0x63, "merged": True})]
    assert [(cpu, values["vector"]) for cpu, values in machine.of(Lost)] == [(3, 0x0F)]
    assert bus.deliverable(machine.cpus[2]) == 0x63
    assert bus.deadline == 30


def test_no_timer_interrupts_a_cpu_that_is_shut_down(machine: FakeMachine, bus: InterruptBus) -> None:
    machine.apics[0].write(0x320, 0x61)
    machine.apics[0].write(0x380, 10)
    machine.cpus[0].state, machine.now = CpuState.SHUTDOWN, 20
    assert bus.deadline is None
    bus.tick()
    assert machine.events == []


# Any machine, any command


def members(value: int, cluster_shift: int) -> set[tuple[int, int]]:
    """A logical address as the set of (cluster, member) it stands for."""
    return {(value >> cluster_shift, bit) for bit in range(cluster_shift) if value & 1 << bit}


def is_addressed(apic: LocalApic, sender: LocalApic, logical: bool, destination: int) -> bool:
    """Whether hardware would say that ``destination``, written by ``sender``, means ``apic``: by sets of names."""
    everybody = {"xapic": 0xFF, "x2apic": 0xFFFFFFFF}[sender.mode]
    if destination == everybody:
        return True
    if not logical:
        return destination in ({apic.apic_id % 256} if apic.mode == "xapic" else {apic.apic_id})
    if apic.mode == "x2apic":
        cluster, member = divmod(apic.apic_id, 16)
        return (cluster % 0x10000, member) in members(destination, 16)
    if apic.mode == "disabled" or destination not in range(256):
        return False
    flat = apic.read(0xE0) >> 28 == 15
    own = apic.read(0xD0) >> 24
    return bool(members(own, 8 if flat else 4) & members(destination, 8 if flat else 4))


CPUS = st.fixed_dictionaries(
    {
        "base": st.sampled_from([0xFEE00800, 0xFEE00800, X2APIC, X2APIC, OFF]),
        "id": st.sampled_from([0, 1, 2, 3, 15, 16, 17, 0xFE, 0x100, 0x102, 0x10010]) | st.integers(0, 40),
        "ldr": st.sampled_from([0, 1, 2, 3, 4, 0x11, 0x12, 0x21]) | st.integers(0, 255),
        "dfr": st.sampled_from([0xFFFFFFFF, 0x0FFFFFFF]),
        "enabled": st.sampled_from([True, True, True, False]),
    }
)
DESTINATIONS = (
    st.sampled_from([0xFF, 0xFFFFFFFF, 0x10001, 0x1FFFF, 0x102, 0x13, 0x22])
    | st.integers(0, 32)
    | st.integers(0, 0x1FFFF)
)


@settings(max_examples=400, deadline=None)
@given(
    cpus=st.lists(CPUS, min_size=2, max_size=5, unique_by=lambda cpu: cpu["id"]),
    shorthand=st.sampled_from([0, 0, 0, SELF, ALL, OTHERS]),
    logical=st.booleans(),
    destination=DESTINATIONS,
)
def test_a_fixed_interrupt_reaches_whom_it_names(
    cpus: list[dict[str, int]], shorthand: int, logical: bool, destination: int
) -> None:
    """In any mixture of modes, ids and logical ids; CPU 0 sends."""
    machine = FakeMachine([cpu["id"] for cpu in cpus])
    for apic, cpu in zip(machine.apics, cpus, strict=True):
        for offset, value in ((SVR, 0xFF | cpu["enabled"] << 8), (0xD0, cpu["ldr"] << 24), (0xE0, cpu["dfr"])):
            apic.write(offset, value)
        if cpu["base"] != 0xFEE00800 and not (apic is machine.apics[0] and cpu["base"] == OFF):
            apic.set_base(cpu["base"])
    sender = machine.apics[0]
    destination &= 0xFFFFFFFF if sender.mode == "x2apic" else 0xFF
    high = destination if sender.mode == "x2apic" else destination << 24
    command = Icr(high, shorthand | (LOGICAL if logical else 0) | 0x41, sender.mode == "x2apic")
    InterruptBus(machine).send(0, command)
    everybody = set(range(len(cpus)))
    named = {
        0: {index for index in everybody if is_addressed(machine.apics[index], sender, logical, destination)},
        SELF: {0},
        ALL: everybody,
        OTHERS: everybody - {0},
    }[shorthand]
    able = {i for i, cpu in enumerate(cpus) if cpu["enabled"] and machine.apics[i].mode != "disabled"}
    assert set(machine.of(IpiSent)[0][1]["targets"]) == named
    assert {index for index, apic in enumerate(machine.apics) if apic.irr == 1 << 0x41} == named & able
    assert {cpu for cpu, _ in machine.of(Accepted)} == named & able
    lost = {cpu for cpu, _ in machine.of(Lost)}
    assert lost == (named - able if named else {None})


# The exact instruction, with guest code

HANDLER = "vector_41: movl $0, 0xb0(%rbx); iretq"


def sending(source: str) -> tuple[Machine, Code]:
    """CPU 0 runs ``source`` with RBX at its local APIC, then halts for good."""
    return long_mode(f"mov $0xfee00000, %ebx\n{source}\ncli; hlt\n{HANDLER}\nvector_2: iretq")


def delivered_at(machine: Machine) -> list[int]:
    """Where each interrupt came."""
    return [event.rip for event in machine.trace.of(Delivered)]


SEND = "movl $0x40041, 0x300(%rbx)"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(f"{SEND}; nop; nop; sti; nop; here: nop", id="sti"),
        pytest.param(f"{SEND}; nop; nop; sti; jmp here; ud2; here: nop", id="sti, jmp"),
        pytest.param(f"{SEND}; nop; pushq $0x202; nop; popfq; here: nop", id="popf"),
        pytest.param(
            f"{SEND}; mov %rsp, %rax; pushq $0x18; push %rax; pushq $0x202; pushq $0x10; pushq $here; iretq; here: nop",
            id="iret",
        ),
        pytest.param(f"sti; nop; {SEND}; here: nop; nop", id="to oneself, interrupts on"),
        pytest.param(f"sti; {SEND}; here: nop; nop", id="to oneself, in the shadow"),
        pytest.param(f"sti; movl $0x50, 0x80(%rbx); {SEND}; nop; movl $0, 0x80(%rbx); here: nop", id="TPR lowered"),
        pytest.param(f"{SEND}; sti; cli; sti; nop; here: nop", id="sti, cli: the shadow covers the cli"),
        pytest.param(f"{SEND}; mov %ss, %ecx; pushq $0x202; popfq; here: nop", id="mov ss before"),
    ],
)
def test_an_interrupt_comes_at_the_first_boundary_that_allows_it(source: str) -> None:
    machine, code = sending(source)
    assert machine.run().reason == "idle"
    assert delivered_at(machine) == [code.symbols["here"]]


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_the_boundary_does_not_depend_on_where_slices_end(budget: int) -> None:
    machine, code = sending(f"{SEND}; nop; nop; sti; nop; here: nop; nop")
    while machine.run(budget).reason == "budget":
        pass
    assert delivered_at(machine) == [code.symbols["here"]]


def test_mov_ss_holds_interrupts_off_for_one_instruction() -> None:
    """SDM vol. 2, MOV: a load of SS inhibits interrupts until after the next instruction."""
    machine, code = sending(f"{SEND}; mov %ss, %ecx; pushq $0x202; popfq; here: nop")
    machine.run()
    assert delivered_at(machine) == [code.symbols["here"]]
    machine, code = sending(
        f"mov %ss, %ecx; sti; nop; movl $0x50, 0x80(%rbx); {SEND}; mov %ecx, %ss; movl $0, 0x80(%rbx); here: nop"
    )
    machine.run()
    assert delivered_at(machine) == [code.symbols["here"]]


def test_sti_hlt_loses_no_interrupt() -> None:
    """The idle loop of every kernel: the interrupt comes behind HLT, which it ends at once."""
    machine, code = sending(f"{SEND}; sti; hlt; here: nop")
    machine.run()
    assert delivered_at(machine) == [code.symbols["here"]]
    assert [event.interruptible for event in machine.trace.of(Halted)] == [True, False]
    assert [event.vector for event in machine.trace.of(Woken)] == [0x41]


def test_priorities_nest() -> None:
    """A handler with interrupts on is interrupted by a higher class, and not by its own or a lower one."""
    machine, _ = long_mode(
        f"""
        mov $0xfee00000, %ebx
        sti
        movl $0x40051, 0x300(%rbx)
        nop
        cli
        hlt
        vector_41: call note; movl $0, 0xb0(%rbx); iretq
        vector_52: call note; movl $0, 0xb0(%rbx); iretq
        vector_61: call note; movl $0, 0xb0(%rbx); iretq
        vector_51: call note
        sti
        movl $0x40041, 0x300(%rbx)
        movl $0x40052, 0x300(%rbx)
        movl $0x40061, 0x300(%rbx)
        nop
        movl $0, 0xb0(%rbx)
        nop
        iretq
        note: incl {DATA}
        ret
        """
    )
    machine.run()
    assert [event.vector for event in machine.trace.of(Delivered)] == [0x51, 0x61, 0x52, 0x41]
    assert machine.apics[0].isr == machine.apics[0].irr == 0
