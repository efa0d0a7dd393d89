"""The local APIC against a second one (apic_reference.py): any sequence of accesses leaves both alike."""

import functools
import json
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mklab.machine.lapic import ApicFaultError, Icr, LocalApic
from tests.machine.apic_reference import ICR_FIELDS, ProtectionFault, ReferenceApic, word_of

VECTORS = st.sampled_from([0, 15, 16, 0x41, 0x42, 0x4F, 0x51, 0x5A, 0xEA, 0xEF]) | st.integers(0, 255)
HIGH = st.sampled_from([0x31, 0x41, 0x4F, 0x51, 0x5A, 0xEA])
PRIORITIES = st.sampled_from([0, 0x0F, 0x3F, 0x40, 0x41, 0x4F, 0x50, 0xE1, 0xF0]) | st.integers(0, 255)
WORDS = st.integers(0, 0xFFFFFFFF)
OFFSETS = st.integers(0, 0x40).map(lambda index: index * 16) | st.integers(0, 0xFFF)
MSRS = st.integers(0x800, 0x840) | st.integers(0x800, 0x8FF)
ENTRIES = st.sampled_from([0, 1 << 16, 1 << 17, 3 << 16])
COUNTS = st.sampled_from([0, 1, 2, 3, 10, 200, 0xFFFFFFFF]) | st.integers(0, 40)
BASES = st.sampled_from([0xFEE00800, 0xFEE00900, 0xFEE00C00, 0xFEE00D00, 0xFEE00000])
BOTH = sorted({0x30, 0x80, 0xA0, 0xF0, *range(0x100, 0x290, 16), 0x300, *range(0x320, 0x3A0, 16), 0x3E0})
"""The registers that either mode can read without changing a thing."""


class TwoApics(RuleBasedStateMachine):
    """Two of them, brought up alike; what each kind of test does to them is in the classes below."""

    @initialize(
        apic_id=st.integers(0, 255) | st.integers(0, 0xFFFFFFFE),
        bsp=st.booleans(),
        x2apic=st.booleans(),
        spurious=VECTORS,
    )
    def software_brings_it_up(self, apic_id: int, bsp: bool, x2apic: bool, spurious: int) -> None:
        self.now = 0
        self.sent: list[Icr] = []
        self.bsp = bsp
        self.apic = LocalApic(apic_id, self.sent.append, lambda: self.now, bsp)
        self.reference = ReferenceApic(apic_id, bsp)
        if x2apic:
            self.set_base(0xFEE00C00)
        self.store(0xF0, 0x100 | spurious)

    def same(self, one: Callable[[], object], other: Callable[[], object]) -> None:
        """Both do the same, be it that they refuse."""
        try:
            expected: object = other()
        except ProtectionFault:
            expected = "#GP"
        try:
            got: object = one()
        except ApicFaultError:
            got = "#GP"
        assert got == expected

    def store(self, offset: int, value: int) -> None:
        """Software writes a register in either mode: in the page, or as an MSR."""
        if self.reference.extended:
            msr = 0x800 + offset // 16
            self.same(lambda: self.apic.write_msr(msr, value), lambda: self.reference.wrmsr(msr, value))
        else:
            self.apic.write(offset, value)
            self.reference.page_write(offset, value)

    def set_base(self, value: int) -> None:
        self.same(lambda: self.apic.set_base(value), lambda: self.reference.set_base(value))

    @rule()
    def it_is_saved_and_put_back(self) -> None:
        other = LocalApic(self.apic.apic_id, self.sent.append, lambda: self.now, not self.bsp)
        other.restore(json.loads(json.dumps(self.apic.state())))
        self.apic = other

    @invariant()
    def registers_agree(self) -> None:
        assert self.apic.base == self.reference.base()
        assert self.apic.mode == ("x2apic" if self.reference.extended else "xapic" if self.reference.on else "disabled")
        assert self.apic.bsp == self.reference.bsp
        assert self.apic.pending == self.reference.dispatchable()
        for msr in (0x802, 0x80D, 0x830):
            self.same(lambda msr=msr: self.apic.read_msr(msr), lambda msr=msr: self.reference.rdmsr(msr))  # type: ignore[misc]
        for offset in (0x20, 0xD0, 0xE0, 0x310):
            assert self.apic.read(offset) == self.reference.page_read(offset)
        for offset in BOTH:
            expected = self.reference.get(offset)
            if self.reference.extended:
                assert self.apic.read_msr(0x800 + offset // 16) & 0xFFFFFFFF == expected
            elif self.reference.on:
                assert self.apic.read(offset) == expected, hex(offset)

    @invariant()
    def the_same_was_sent(self) -> None:
        sent = [(icr.low, icr.destination, icr.x2apic) for icr in self.sent]
        assert sent == [(word_of(icr, ICR_FIELDS), to, extended) for icr, to, extended in self.reference.outbox]


class Interrupts(TwoApics):
    """SDM "Handling Interrupts", "Spurious Interrupt", "Error Handling"."""

    @rule(vector=VECTORS)
    def an_interrupt_comes(self, vector: int) -> None:
        assert self.apic.accept(vector) is self.reference.arrive(vector)

    @rule(vectors=st.lists(HIGH, max_size=4, unique=True).map(sorted))
    def handlers_nest(self, vectors: list[int]) -> None:
        for vector in vectors:
            self.an_interrupt_comes(vector)
            self.the_cpu_takes_one()

    @rule()
    def the_cpu_takes_one(self) -> None:
        assert self.apic.acknowledge() == self.reference.inta()

    @rule()
    def the_handler_is_done(self) -> None:
        self.store(0xB0, 0)

    @rule(value=PRIORITIES)
    def the_cpu_sets_its_priority(self, value: int) -> None:
        self.store(0x80, value)

    @rule(value=st.integers(0, 15))
    def the_cpu_sets_cr8(self, value: int) -> None:
        self.apic.set_cr8(value)
        self.reference.task_priority = value * 16
        assert self.apic.cr8 == value

    @rule(vector=VECTORS, enabled=st.sampled_from([True, True, False]))
    def software_switches_it(self, vector: int, enabled: bool) -> None:
        self.store(0xF0, vector | enabled << 8)

    @rule(vector=VECTORS)
    def software_wants_to_hear_of_errors(self, vector: int) -> None:
        self.store(0x370, vector)

    @rule(vector=st.integers(0, 20), delivery=st.sampled_from([0, 0, 1, 4, 6]))
    def software_sends_a_low_vector(self, vector: int, delivery: int) -> None:
        self.store(0x300, delivery << 8 | vector)

    @rule(msr=st.just(0x83F), vector=VECTORS)
    @precondition(lambda self: self.reference.extended)
    def software_interrupts_itself(self, msr: int, vector: int) -> None:
        self.store(0x3F0, vector)

    @rule(write=st.booleans())
    @precondition(lambda self: not self.reference.extended)
    def software_reaches_for_nothing(self, write: bool) -> None:
        if write:
            self.store(0x40, 1)
        else:
            assert self.apic.read(0x40) == self.reference.page_read(0x40) == 0

    @rule()
    def software_asks_for_errors(self) -> None:
        self.store(0x280, 0)


class Timers(TwoApics):
    """SDM "APIC Timer"."""

    @rule(units=st.integers(1, 300))
    def time_passes(self, units: int) -> None:
        end = self.now + units
        self.reference.advance(units)
        while self.apic.deadline is not None and self.apic.deadline <= end:
            assert self.apic.deadline > self.now
            self.now = self.apic.deadline
            assert self.apic.tick() is not None
        self.now = end
        assert self.apic.tick() is None

    @rule(vector=VECTORS, bits=ENTRIES, count=COUNTS, divide=st.sampled_from([0xB, 0, 1, 8]))
    def software_starts_the_timer(self, vector: int, bits: int, count: int, divide: int) -> None:
        self.store(0x3E0, divide)
        self.store(0x320, vector | bits)
        self.store(0x380, count)

    @rule(vector=VECTORS, bits=ENTRIES)
    def software_changes_its_entry(self, vector: int, bits: int) -> None:
        self.store(0x320, vector | bits)

    @rule(count=COUNTS)
    def software_sets_the_count(self, count: int) -> None:
        self.store(0x380, count)

    @rule(divide=st.integers(0, 15))
    def software_sets_the_pace(self, divide: int) -> None:
        self.store(0x3E0, divide & 0b1011)

    @rule(enabled=st.booleans())
    def software_switches_it(self, enabled: bool) -> None:
        self.store(0xF0, 0xFF | enabled << 8)

    @rule()
    def the_cpu_handles_what_came(self) -> None:
        assert self.apic.acknowledge() == self.reference.inta()
        self.store(0xB0, 0)


class Accesses(TwoApics):
    """Any value, to any register, in the right mode and in the wrong one; all the ways from mode to mode."""

    @rule(offset=OFFSETS, value=WORDS | VECTORS)
    def software_writes_the_page(self, offset: int, value: int) -> None:
        self.apic.write(offset, value)
        self.reference.page_write(offset, value)

    @rule(offset=OFFSETS)
    def software_reads_the_page(self, offset: int) -> None:
        assert self.apic.read(offset) == self.reference.page_read(offset)

    @rule(msr=MSRS, value=WORDS | VECTORS | st.just(0) | st.integers(0, (1 << 64) - 1))
    def software_writes_an_msr(self, msr: int, value: int) -> None:
        self.same(lambda: self.apic.write_msr(msr, value), lambda: self.reference.wrmsr(msr, value))

    @rule(msr=MSRS)
    def software_reads_an_msr(self, msr: int) -> None:
        self.same(lambda: self.apic.read_msr(msr), lambda: self.reference.rdmsr(msr))

    @rule(low=WORDS, high=st.sampled_from([0x02000000, 0x7F000000, 0xFFFFFFFF]) | WORDS)
    def software_sends(self, low: int, high: int) -> None:
        self.store(0x310, high)
        self.store(0x300, low & 0xCDFFF | (high << 32 if self.reference.extended else 0))

    @rule(value=BASES)
    def software_sets_the_base(self, value: int) -> None:
        self.set_base(value)

    @rule()
    @precondition(lambda self: not self.reference.on)
    def software_switches_it_on(self) -> None:
        self.set_base(0xFEE00800)

    @rule(vector=VECTORS)
    def an_interrupt_comes(self, vector: int) -> None:
        assert self.apic.accept(vector) is self.reference.arrive(vector)

    @rule(units=st.integers(0, 100))
    def time_passes_with_the_timer_masked(self, units: int) -> None:
        self.store(0x320, 1 << 16)
        self.reference.advance(units)
        self.now += units

    @rule()
    def init_comes(self) -> None:
        self.apic.reset()
        self.reference.initialise()


SETTINGS = settings(max_examples=120, stateful_step_count=40, deadline=None)
Interrupts.TestCase.settings = Timers.TestCase.settings = Accesses.TestCase.settings = SETTINGS
TestInterrupts, TestTimers, TestAccesses = Interrupts.TestCase, Timers.TestCase, Accesses.TestCase


def pair(x2apic: bool) -> TwoApics:
    """Both enabled and idle."""
    both = TwoApics()
    both.software_brings_it_up(0x12345, False, x2apic, 0xFF)
    return both


@pytest.mark.parametrize("x2apic", [False, True])
def test_every_bit_of_every_register(x2apic: bool) -> None:
    """Written alone, to the page or to the MSR; then read."""
    for index in range(0x48):
        both = pair(x2apic)
        for bit in range(64 if x2apic else 32):
            both.store(index * 16, 1 << bit)
            if x2apic:
                both.same(
                    *(functools.partial(read, 0x800 + index) for read in (both.apic.read_msr, both.reference.rdmsr))
                )
            else:
                assert both.apic.read(index * 16) == both.reference.page_read(index * 16)
        both.store(0x280, 0)
        both.registers_agree()
        both.the_same_was_sent()


def test_every_way_from_mode_to_mode() -> None:
    """From each mode by each combination of the flags, and with each other bit."""
    flags = [0xFEE00000 | flags << 8 for flags in range(16)]
    for way in ([], [0xFEE00C00], [0xFEE00000]):
        for value in flags + [0xFEE00800 ^ 1 << bit for bit in range(64)]:
            both = pair(x2apic=False)
            for base in [*way, value]:
                both.set_base(base)
                both.registers_agree()
