"""The local APIC against a short reference: IRR and ISR as sets of vectors, priorities as the SDM puts them."""

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mklab.machine.lapic import Icr, LocalApic

ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
VECTORS = st.sampled_from([0, 15, 16, 31, 32, 0x41, 0x42, 0x51, 0xE0, 0xEA, 0xEF, 0xFF]) | st.integers(0, 255)


def vectors(apic: LocalApic, base: int) -> set[int]:
    """A 256-bit register, read as a CPU reads it: eight doublewords, 16 bytes apart."""
    words = [apic.read(base + 16 * i) for i in range(8)]
    return {32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1}


class AgainstTheManual(RuleBasedStateMachine):
    """SDM "Interrupt, Task, and Processor Priority", "Interrupt Acceptance for Fixed Interrupts"."""

    def __init__(self) -> None:
        super().__init__()
        self.apic = LocalApic(7, lambda icr: None)
        self.irr: set[int] = set()
        self.isr: set[int] = set()
        self.tpr, self.enabled, self.errors = 0, False, 0

    def deliverable(self) -> int | None:
        """The highest vector requested, if its class is above the class of TPR and of what is in service."""
        if not self.enabled or not self.irr:
            return None
        highest = max(self.irr)
        return highest if highest // 16 > max([self.tpr // 16, *(vector // 16 for vector in self.isr)]) else None

    @rule(vector=VECTORS)
    def an_interrupt_comes(self, vector: int) -> None:
        if vector < 16:
            assert self.apic.accept(vector) is None
            self.errors |= 1 << 6
        else:
            assert self.apic.accept(vector) is (vector in self.irr)
            self.irr.add(vector)

    @rule()
    def the_cpu_takes_one(self) -> None:
        vector = self.deliverable()
        if vector is None:
            with pytest.raises(ValueError, match=r"^acknowledge needs a pending vector, not None$"):
                self.apic.acknowledge()
        else:
            assert self.apic.acknowledge() == vector
            self.irr.remove(vector)
            self.isr.add(vector)

    @rule(value=st.integers(0, 0xFFFFFFFF))
    def the_handler_is_done(self, value: int) -> None:
        self.apic.write(EOI, value)
        if self.isr:
            self.isr.remove(max(self.isr))

    @rule(value=st.integers(0, 255))
    def the_cpu_sets_its_priority(self, value: int) -> None:
        self.apic.write(TPR, 0xABCDEF00 | value)
        self.tpr = value

    @rule(enabled=st.booleans())
    def software_switches_it(self, enabled: bool) -> None:
        self.apic.write(SVR, 0x1FF if enabled else 0xFF)
        self.enabled = enabled

    @rule()
    def software_asks_for_errors(self) -> None:
        """SDM "Error Handling": a write to ESR moves what was seen since the last one into it."""
        self.apic.write(ESR, 0)
        assert self.apic.read(ESR) == self.errors
        self.errors = 0

    @rule(offset=st.sampled_from([ID, VERSION, PPR, *range(ISR, ESR, 16)]), value=st.integers(0, 0xFFFFFFFF))
    def software_writes_what_is_read_only(self, offset: int, value: int) -> None:
        before = self.apic.read(offset)
        self.apic.write(offset, value)
        assert self.apic.read(offset) == before
        if offset not in (ID, VERSION, PPR):
            self.errors |= 1 << 7

    @rule()
    def it_is_saved_and_put_back(self) -> None:
        other = LocalApic(7, lambda icr: None)
        other.restore(json.loads(json.dumps(self.apic.state())))
        self.apic = other

    @rule()
    def it_is_reset(self) -> None:
        self.apic.reset()
        self.__init__()  # type: ignore[misc]

    @invariant()
    def registers_agree(self) -> None:
        assert vectors(self.apic, IRR) == self.irr
        assert vectors(self.apic, ISR) == self.isr
        assert vectors(self.apic, TMR) == set()
        in_service = max(self.isr, default=0) // 16
        ppr = self.apic.read(PPR)
        assert ppr // 16 == max(self.tpr // 16, in_service)
        if self.tpr // 16 > in_service:
            assert ppr == self.tpr
        assert self.apic.pending == self.deliverable()


AgainstTheManual.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstTheManual = AgainstTheManual.TestCase


@pytest.fixture
def sent() -> list[Icr]:
    return []


@pytest.fixture
def apic(sent: list[Icr]) -> LocalApic:
    return LocalApic(0x21, sent.append)


def test_after_reset(apic: LocalApic) -> None:
    """SDM "Local APIC State After Power-Up or Reset"; SVR and DFR as rfc-observed has them too."""
    names = {TPR: 0, PPR: 0, LDR: 0, DFR: 0xFFFFFFFF, SVR: 0xFF, ESR: 0, ICR_LOW: 0, ICR_HIGH: 0, ID: 0x21000000}
    assert {offset: apic.read(offset) for offset in names} == names
    assert [apic.read(offset) for offset in range(0x320, 0x380, 16)] == [0x10000] * 6, "every LVT entry is masked"
    assert apic.read(VERSION) & 0xFF in range(0x10, 0x16), "an integrated APIC"
    assert apic.read(VERSION) >> 16 == 5, "the highest LVT entry: six there are"


@pytest.mark.parametrize(
    ("high", "low", "delivery", "shorthand", "destination", "logical", "level"),
    [
        (0x02000000, 0x000000EA, "fixed", "none", 2, False, True),
        (0x02000000, 0x000040EA, "fixed", "none", 2, False, True),
        (0xFF000000, 0x000009EA, "lowest", "none", 0xFF, True, True),
        (0x03000000, 0x00000400, "nmi", "none", 3, False, True),
        (0x03000000, 0x0000C500, "init", "none", 3, False, True),
        (0x03000000, 0x00008500, "init", "none", 3, False, False),
        (0x03000000, 0x00000696, "sipi", "none", 3, False, True),
        (0, 0x00040041, "fixed", "self", 0, False, True),
        (0, 0x00080041, "fixed", "all", 0, False, True),
        (0, 0x000C4500, "init", "all-but-self", 0, False, True),
    ],
)
def test_icr(
    apic: LocalApic,
    sent: list[Icr],
    high: int,
    low: int,
    delivery: str,
    shorthand: str,
    destination: int,
    logical: bool,
    level: bool,
) -> None:
    """SDM, figure "Interrupt Command Register (ICR)"; the values with 0xC500, 0x8500 and 0x696 are the RFC's kick."""
    apic.write(ICR_HIGH, high)
    assert sent == [], "only the low half sends"
    apic.write(ICR_LOW, low)
    (icr,) = sent
    assert (icr.delivery, icr.shorthand, icr.destination) == (delivery, shorthand, destination)
    assert (icr.vector, icr.logical, icr.level_assert) == (low & 0xFF, logical, level)
    assert (apic.read(ICR_HIGH), apic.read(ICR_LOW)) == (high, low)


def test_the_delivery_status_is_always_idle(apic: LocalApic, sent: list[Icr]) -> None:
    """ICR bit 12: Linux waits for it to clear before it sends."""
    apic.write(ICR_LOW, 0x10EA)
    assert apic.read(ICR_LOW) == 0xEA


@pytest.mark.parametrize(("low", "seen"), [(0x0F, 1 << 5), (0x10, 0), (0x10F, 1 << 5), (0x400, 0), (0x600, 0)])
def test_an_illegal_vector_sent_is_noted(apic: LocalApic, sent: list[Icr], low: int, seen: int) -> None:
    """SDM "Error Handling": Send Illegal Vector; NMI and SIPI have none of the kind."""
    apic.write(ICR_LOW, low)
    assert apic.read(ESR) == 0, "ESR shows it only after a write"
    apic.write(ESR, 0)
    assert apic.read(ESR) == seen
    apic.write(ESR, 0)
    assert apic.read(ESR) == 0


@pytest.mark.parametrize("offset", [0x00, 0x10, 0x40, 0x290, 0x2F0, 0x3F0])
def test_a_register_that_does_not_exist_is_noted(apic: LocalApic, offset: int) -> None:
    for access in (lambda: apic.read(offset), lambda: apic.write(offset, 1)):
        access()
        apic.write(ESR, 0)
        assert apic.read(ESR) == 1 << 7


@pytest.mark.parametrize(
    ("dfr", "ldr", "destination", "named"),
    [
        # Flat model: one bit of eight each.
        (0xFFFFFFFF, 0x04, 0x04, True),
        (0xFFFFFFFF, 0x04, 0x86, True),
        (0xFFFFFFFF, 0x04, 0x08, False),
        (0xFFFFFFFF, 0x00, 0xFE, False),
        (0xFFFFFFFF, 0x00, 0xFF, True),
        # Cluster model: the upper half is equal, and of the lower half a bit is common.
        (0x0FFFFFFF, 0x24, 0x24, True),
        (0x0FFFFFFF, 0x24, 0x2F, True),
        (0x0FFFFFFF, 0x24, 0x14, False),
        (0x0FFFFFFF, 0x24, 0x28, False),
        (0x0FFFFFFF, 0x24, 0xFF, True),
    ],
)
def test_logical_destinations(apic: LocalApic, dfr: int, ldr: int, destination: int, named: bool) -> None:
    """SDM "Logical Destination Mode"."""
    apic.write(DFR, dfr)
    apic.write(LDR, ldr << 24 | 0x123)
    assert apic.read(LDR) == ldr << 24
    assert apic.matches_logical(destination) is named


def test_timer_registers_are_kept_but_nothing_counts(apic: LocalApic) -> None:
    """A row in docs/fidelity.md."""
    for offset, value in ((0x320, 0x000100EF), (0x380, 1000), (0x3E0, 0xB)):
        apic.write(offset, value)
        assert apic.read(offset) == value
    assert apic.read(0x390) == 0
    assert apic.pending is None


def test_lvt_entries_keep_what_software_may_write() -> None:
    """SDM "Local Vector Table"; "Local APIC State After It Has Been Software Disabled": the mask bits are set."""
    apic = LocalApic(0, lambda icr: None)
    apic.write(0x320, 0xFFFFFFFF)
    assert apic.read(0x320) == 0x3A7FF
    apic.write(0x320, 0x200EA)
    assert apic.read(0x320) == 0x300EA  # still disabled: masked
    apic.write(0xF0, 0x1FF)
    apic.write(0x320, 0x200EA)
    assert apic.read(0x320) == 0x200EA
    apic.write(0xF0, 0xFF)
    assert apic.read(0x320) == 0x300EA
