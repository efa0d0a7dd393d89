"""The local APIC against a second one (apic_reference.py): any sequence of accesses leaves both alike."""

import json
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mklab.machine.lapic import ApicFaultError, Icr, LocalApic
from tests.machine.apic_reference import ICR_FIELDS, ProtectionFault, ReferenceApic, word_of

VECTORS = st.sampled_from([0, 15, 16, 31, 32, 0x41, 0x42, 0x51, 0xE0, 0xEA, 0xEF, 0xFF]) | st.integers(0, 255)
WORDS = st.integers(0, 0xFFFFFFFF)
OFFSETS = st.integers(0, 0x40).map(lambda index: index * 16) | st.integers(0, 0xFFF)
MSRS = st.integers(0x800, 0x840) | st.integers(0x800, 0x8FF)
LVT = st.sampled_from([0x320, 0x330, 0x340, 0x350, 0x360, 0x370])
ENTRIES = st.builds(lambda vector, bits: vector | bits, VECTORS, st.sampled_from([0, 1 << 16, 1 << 17, 3 << 16]))
COUNTS = st.sampled_from([0, 1, 2, 3, 10, 200, 0xFFFFFFFF]) | st.integers(0, 40)
BASES = st.sampled_from([0xFEE00000 | flags << 8 for flags in range(16)]) | st.integers(0, 1 << 64)
BOTH = sorted({0x30, 0x80, 0xA0, 0xF0, *range(0x100, 0x290, 16), 0x300, *range(0x320, 0x3A0, 16), 0x3E0})
"""The registers that either mode can read without changing a thing."""


class TwoApics(RuleBasedStateMachine):
    """One step is one access by software, one interrupt, or some time."""

    @initialize(apic_id=st.integers(0, 0xFFFFFFFE), bsp=st.booleans())
    def power_up(self, apic_id: int, bsp: bool) -> None:
        self.now = 0
        self.sent: list[Icr] = []
        self.bsp = bsp
        self.apic = LocalApic(apic_id, self.sent.append, lambda: self.now, bsp)
        self.reference = ReferenceApic(apic_id, bsp)

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

    # Interrupts and time

    @rule(vector=VECTORS)
    def an_interrupt_comes(self, vector: int) -> None:
        assert self.apic.accept(vector) is self.reference.arrive(vector)

    @rule()
    def the_cpu_takes_one(self) -> None:
        assert self.apic.acknowledge() == self.reference.inta()

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

    @rule()
    def init_comes(self) -> None:
        self.apic.reset()
        self.reference.initialise()

    # Software in either mode: a register by its offset, in the page or as an MSR

    def store(self, offset: int, value: int) -> None:
        if self.reference.extended:
            msr = 0x800 + offset // 16
            self.same(lambda: self.apic.write_msr(msr, value), lambda: self.reference.wrmsr(msr, value))
        else:
            self.apic.write(offset, value)
            self.reference.page_write(offset, value)

    @rule()
    def the_handler_is_done(self) -> None:
        self.store(0xB0, 0)

    @rule(value=st.integers(0, 255))
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

    @rule(offset=LVT, value=ENTRIES)
    def software_sets_a_local_vector(self, offset: int, value: int) -> None:
        self.store(offset, value & ~(1 << 17) if offset != 0x320 else value)

    @rule(vector=VECTORS, periodic=st.booleans(), count=COUNTS, divide=st.sampled_from([0xB, 0, 1, 8]))
    def software_starts_the_timer(self, vector: int, periodic: bool, count: int, divide: int) -> None:
        self.store(0x3E0, divide)
        self.store(0x320, vector | periodic << 17)
        self.store(0x380, count)

    @rule(count=COUNTS)
    def software_sets_the_count(self, count: int) -> None:
        self.store(0x380, count)

    @rule(divide=st.integers(0, 15))
    def software_sets_the_pace(self, divide: int) -> None:
        self.store(0x3E0, divide & 0b1011)

    @rule()
    def software_asks_for_errors(self) -> None:
        self.store(0x280, 0)

    # Software in the right mode and in the wrong one, with any value

    @rule(offset=OFFSETS, value=WORDS)
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

    @rule(msr=st.just(0x830), low=WORDS.map(lambda word: word & 0xCDFFF), high=WORDS)
    @precondition(lambda self: self.reference.extended)
    def software_sends(self, msr: int, low: int, high: int) -> None:
        self.same(
            lambda: self.apic.write_msr(msr, high << 32 | low), lambda: self.reference.wrmsr(msr, high << 32 | low)
        )

    @rule(value=BASES)
    def software_sets_the_base(self, value: int) -> None:
        self.same(lambda: self.apic.set_base(value), lambda: self.reference.set_base(value))

    @rule()
    def software_goes_to_x2apic(self) -> None:
        self.software_sets_the_base(0xFEE00C00)

    @rule()
    @precondition(lambda self: not self.reference.on)
    def software_switches_it_on(self) -> None:
        self.software_sets_the_base(0xFEE00800)

    # From outside

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


TwoApics.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestTwoApics = TwoApics.TestCase
