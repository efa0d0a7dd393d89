"""The local APIC, rule by rule (SDM "Advanced Programmable Interrupt Controller (APIC)").

Sequences of accesses are compared with a second APIC in test_apic_reference; what the bus makes of a command is in
test_interrupts.
"""

import json

import pytest

from mklab.machine.lapic import ApicFaultError, Expiry, Icr, LocalApic

ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370
INITIAL, CURRENT, DIVIDE = 0x380, 0x390, 0x3E0
MASKED, PERIODIC = 1 << 16, 1 << 17
XAPIC, X2APIC, OFF = 0xFEE00800, 0xFEE00C00, 0xFEE00000


class Clock:
    """Virtual time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sent() -> list[Icr]:
    return []


@pytest.fixture
def fresh(sent: list[Icr], clock: Clock) -> LocalApic:
    """As after power-up."""
    return LocalApic(0x21, sent.append, clock, bsp=False)


@pytest.fixture
def apic(fresh: LocalApic) -> LocalApic:
    """Enabled by software; its spurious vector is 0xFE."""
    fresh.write(SVR, 0x1FE)
    return fresh


@pytest.fixture
def x2apic(apic: LocalApic) -> LocalApic:
    """In x2APIC mode."""
    apic.set_base(X2APIC)
    return apic


def errors(apic: LocalApic) -> int:
    """What ESR shows after a write."""
    apic.write(ESR, 0)
    return apic.read(ESR)


def bits(apic: LocalApic, base: int) -> set[int]:
    """A 256-bit register, read as a CPU reads it: eight doublewords, 16 bytes apart."""
    words = [apic.read(base + 16 * i) for i in range(8)]
    return {32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1}


# After power-up and INIT

RESET = {TPR: 0, PPR: 0, LDR: 0, DFR: 0xFFFFFFFF, SVR: 0xFF, ESR: 0, ICR_LOW: 0, ICR_HIGH: 0, ID: 0x21000000} | {
    **dict.fromkeys((TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR), MASKED),
    **dict.fromkeys((INITIAL, CURRENT, DIVIDE, *range(0x100, 0x280, 16)), 0),
}
"""SDM "Local APIC State After Power-Up or Reset"; SVR and DFR as a Linux with the RFC's patches saw them too."""


def disturb(apic: LocalApic) -> None:
    """Let every register have another value."""
    apic.write(SVR, 0x1EE)
    for vector in (0x41, 0x51):
        apic.accept(vector)
    apic.acknowledge()
    for entry in (TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR):
        apic.write(entry, 0x61)
    for offset, value in ((TPR, 0x23), (LDR, 0x5 << 24), (DFR, 0), (DIVIDE, 0xB), (INITIAL, 1000), (ICR_HIGH, 7 << 24)):
        apic.write(offset, value)
    apic.write(ICR_LOW, 0x05)
    errors(apic)
    apic.read(0)


def test_after_power_up(fresh: LocalApic) -> None:
    assert {offset: fresh.read(offset) for offset in RESET} == RESET
    assert fresh.read(VERSION) & 0xFF in range(0x10, 0x16), "an integrated APIC"
    assert fresh.read(VERSION) >> 16 == 5, "the highest LVT entry: six there are"
    assert (fresh.base, fresh.mode, fresh.bsp) == (XAPIC, "xapic", False)
    bsp = LocalApic(0, lambda icr: None, Clock(), bsp=True)
    assert (bsp.base, bsp.bsp) == (XAPIC | 1 << 8, True)


def test_init_is_like_power_up_but_for_id_and_base(fresh: LocalApic) -> None:
    """SDM "Local APIC State After It Receives an INIT-Deassert or INIT IPI"."""
    disturb(fresh)
    fresh.set_base(XAPIC | 1 << 8)
    assert all(fresh.read(offset) != RESET[offset] for offset in (TPR, LDR, DFR, SVR, ESR, ICR_LOW, TIMER, INITIAL))
    fresh.reset()
    assert {offset: fresh.read(offset) for offset in RESET} == RESET
    assert errors(fresh) == 0, "nor is an error remembered"
    assert (fresh.base, fresh.deadline, fresh.pending) == (XAPIC | 1 << 8, None, None)


def test_x2apic_mode_survives_init_but_not_a_reset(x2apic: LocalApic) -> None:
    """SDM "x2APIC Transitions From x2APIC Mode"."""
    x2apic.write_msr(0x808, 0x20)
    x2apic.reset()
    assert (x2apic.mode, x2apic.read_msr(0x802), x2apic.read_msr(0x808)) == ("x2apic", 0x21, 0)
    assert (x2apic.read_msr(0x80D), x2apic.read_msr(0x80F)) == (2 << 16 | 1 << 1, 0xFF)
    x2apic.power_on()
    assert x2apic.mode == "xapic"


# Priorities


def test_equal_vectors_merge_and_the_highest_comes_first(apic: LocalApic) -> None:
    assert [apic.accept(vector) for vector in (0x41, 0xEA, 0x41)] == [False, False, True]
    assert bits(apic, IRR) == {0x41, 0xEA}
    assert [apic.acknowledge(), apic.end_of_interrupt(), apic.acknowledge()] == [0xEA, 0xEA, 0x41]
    assert (bits(apic, IRR), bits(apic, ISR)) == (set(), {0x41})
    assert apic.accept(0x41) is False, "in service, it can be requested once more"


@pytest.mark.parametrize(
    ("in_service", "comes", "interrupts"), [(0x41, 0x51, True), (0x41, 0x4F, False), (0x4F, 0x41, False)]
)
def test_only_a_higher_class_interrupts_a_handler(
    apic: LocalApic, in_service: int, comes: int, interrupts: bool
) -> None:
    apic.accept(in_service)
    apic.acknowledge()
    apic.accept(comes)
    assert apic.pending == (comes if interrupts else None)
    if not interrupts:
        apic.write(EOI, 0)
        assert apic.pending == comes


def test_eoi_ends_the_highest_in_service(apic: LocalApic) -> None:
    for vector in (0x31, 0x51):
        apic.accept(vector)
        apic.acknowledge()
    assert bits(apic, ISR) == {0x31, 0x51}
    assert [apic.end_of_interrupt() for _ in range(3)] == [0x51, 0x31, None]


@pytest.mark.parametrize(
    ("tpr", "in_service", "ppr"),
    [(0x00, None, 0x00), (0x23, None, 0x23), (0x23, 0x41, 0x40), (0x43, 0x41, 0x43), (0x53, 0x41, 0x53)],
)
def test_ppr(apic: LocalApic, tpr: int, in_service: int | None, ppr: int) -> None:
    """SDM "Task and Processor Priorities"."""
    if in_service is not None:
        apic.accept(in_service)
        apic.acknowledge()
    apic.write(TPR, tpr)
    assert apic.read(PPR) == ppr


@pytest.mark.parametrize(("tpr", "pending"), [(0x3F, 0x41), (0x40, None), (0x4F, None), (0xFF, None)])
def test_tpr_keeps_off_its_class_and_those_below(apic: LocalApic, tpr: int, pending: int | None) -> None:
    apic.accept(0x41)
    apic.write(TPR, tpr)
    assert apic.pending == pending


def test_cr8_is_the_class_of_tpr(apic: LocalApic) -> None:
    """SDM "Interaction of Task Priorities between CR8 and APIC"."""
    apic.write(TPR, 0x5A)
    assert apic.cr8 == 5
    apic.set_cr8(7)
    assert (apic.read(TPR), apic.cr8) == (0x70, 7)
    with pytest.raises(ApicFaultError, match=r"^CR8 = 0x10: only bits 0 to 3 may be set$"):
        apic.set_cr8(0x10)
    assert apic.cr8 == 7


def test_spurious(apic: LocalApic) -> None:
    """INTR was raised, then software raised TPR: the CPU's acknowledgement finds nothing (SDM "Spurious Interrupt")."""
    apic.accept(0x41)
    apic.write(TPR, 0x50)
    assert apic.acknowledge() == 0xFE
    assert (bits(apic, IRR), bits(apic, ISR)) == ({0x41}, set())
    apic.write(TPR, 0)
    assert apic.acknowledge() == 0x41


# The command register


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
    assert icr.broadcast is (destination == 0xFF)
    assert (apic.read(ICR_HIGH), apic.read(ICR_LOW)) == (high, low)


def test_the_delivery_status_is_always_idle(apic: LocalApic) -> None:
    """ICR bit 12: Linux waits for it to clear before it sends."""
    apic.write(ICR_LOW, 0x10EA)
    assert apic.read(ICR_LOW) == 0xEA


@pytest.mark.parametrize("shorthand", range(4))
@pytest.mark.parametrize("delivery", range(8))
def test_which_shorthand_goes_with_which_delivery_mode(shorthand: int, delivery: int) -> None:
    """SDM, table "Valid Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC ICR"."""
    fixed_only = shorthand in (0b01, 0b10)
    assert Icr(0, shorthand << 18 | delivery << 8 | 0x41).valid is (delivery == 0 or not fixed_only)


# Errors


@pytest.mark.parametrize(("low", "seen"), [(0x0F, 1 << 5), (0x10, 0), (0x10F, 1 << 5), (0x400, 0), (0x600, 0)])
def test_an_illegal_vector_sent_is_noted(apic: LocalApic, low: int, seen: int) -> None:
    """SDM "Error Handling": Send Illegal Vector; NMI and SIPI have none of the kind."""
    apic.write(ICR_LOW, low)
    assert apic.read(ESR) == 0, "ESR shows it only after a write"
    assert errors(apic) == seen
    assert apic.read(ESR) == seen, "and goes on showing it"
    assert errors(apic) == 0, "until the next write"


def test_an_illegal_vector_received_is_noted(apic: LocalApic) -> None:
    assert apic.accept(15) is None
    assert bits(apic, IRR) == set()
    assert errors(apic) == 1 << 6


@pytest.mark.parametrize("offset", [0x00, 0x10, 0x40, 0x84, 0x104, 0x290, 0x2F0, 0x3F0, 0x400, 0xFF0])
def test_a_register_that_does_not_exist_is_noted(apic: LocalApic, offset: int) -> None:
    assert apic.read(offset) == 0
    assert errors(apic) == 1 << 7
    apic.write(offset, 1)
    assert errors(apic) == 1 << 7


@pytest.mark.parametrize("offset", [0x90, 0xC0, ID, VERSION, PPR, CURRENT, *range(ISR, ESR, 16)])
def test_a_register_that_cannot_be_written_stays_without_an_error(apic: LocalApic, offset: int) -> None:
    """APR and RRD are gone since the Pentium 4; "the Illegal Register Access bit will not be set"."""
    before = apic.read(offset)
    apic.write(offset, 0xFFFFFFFF)
    assert apic.read(offset) == before
    assert errors(apic) == 0


def test_an_error_interrupts_once_until_esr_is_written(apic: LocalApic) -> None:
    apic.write(ERROR, 0xE1)
    apic.write(ICR_LOW, 0x05)
    assert apic.acknowledge() == 0xE1
    apic.write(EOI, 0)
    apic.restore(json.loads(json.dumps(apic.state())))
    apic.read(0)
    assert apic.pending is None, "one interrupt until ESR is written"
    assert errors(apic) == 1 << 5 | 1 << 7
    apic.read(0)
    assert apic.pending == 0xE1


def test_a_masked_error_entry_interrupts_nobody(apic: LocalApic) -> None:
    apic.write(ERROR, MASKED | 0xE1)
    apic.read(0)
    assert apic.pending is None
    apic.write(ERROR, 0xE1)
    assert apic.pending is None, "it was masked then"
    apic.accept(3)
    assert apic.pending == 0xE1


def test_an_illegal_vector_in_the_error_entry_is_an_error_too(apic: LocalApic) -> None:
    apic.write(ERROR, 3)
    apic.read(0)
    assert apic.pending is None
    assert errors(apic) == 1 << 7 | 1 << 6


# Local vector table


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        (TIMER, 0x300FF),
        (THERMAL, 0x107FF),
        (PERFORMANCE, 0x107FF),
        (LINT0, 0x1A7FF),
        (LINT1, 0x1A7FF),
        (ERROR, 0x100FF),
    ],
)
def test_lvt_entries_keep_what_software_may_write(apic: LocalApic, entry: int, kept: int) -> None:
    """SDM, figure "Local Vector Table (LVT)"; no TSC deadline (bit 18 of the timer's)."""
    apic.write(entry, 0xFFFFFFFF)
    assert apic.read(entry) == kept
    apic.write(entry, 0x00E1)
    assert apic.read(entry) == 0xE1


def test_software_disabled(apic: LocalApic) -> None:
    """SDM "Local APIC State After It Has Been Software Disabled"."""
    for entry in (TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR):
        apic.write(entry, 0xE1)
    for vector in (0x41, 0x51):
        apic.accept(vector)
    apic.acknowledge()
    apic.write(SVR, 0xFF)
    assert apic.pending is None
    assert (bits(apic, IRR), bits(apic, ISR)) == ({0x41}, {0x51}), "pending ones are held"
    for entry in (TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR):
        assert apic.read(entry) == MASKED | 0xE1
        apic.write(entry, 0xE2)
        assert apic.read(entry) == MASKED | 0xE2, "the mask cannot be taken off"
    apic.write(EOI, 0)
    assert apic.pending is None
    apic.write(SVR, 0x1FF)
    assert apic.read(TIMER) == MASKED | 0xE2, "nor does it go by itself"
    assert apic.pending == 0x41


def test_a_software_disabled_apic_still_sends(fresh: LocalApic, sent: list[Icr]) -> None:
    fresh.write(ICR_LOW, 0xEA)
    assert len(sent) == 1


# The timer


@pytest.mark.parametrize(
    ("divide", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (0xA, 128), (0xB, 1), (0xF4, 2)]
)
def test_one_shot(apic: LocalApic, clock: Clock, divide: int, divisor: int) -> None:
    """SDM "APIC Timer", figure "Divide Configuration Register"; bits 2 and 4 on are reserved."""
    apic.write(DIVIDE, divide)
    apic.write(TIMER, 0x61)
    assert (apic.deadline, apic.read(CURRENT)) == (None, 0)
    apic.write(INITIAL, 10)
    assert (apic.deadline, apic.read(CURRENT)) == (1000 + 10 * divisor, 10)
    clock.now += 3 * divisor
    assert [apic.read(CURRENT), apic.read(CURRENT)] == [7, 7]
    clock.now += 7 * divisor - 1
    assert (apic.read(CURRENT), apic.tick(), apic.pending) == (1, None, None)
    clock.now += 1
    assert (apic.tick(), apic.pending) == (Expiry(0x61, False), 0x61)
    assert (apic.read(INITIAL), apic.read(CURRENT), apic.deadline) == (10, 0, None), "it stops"
    assert apic.tick() is None


def test_periodic(apic: LocalApic, clock: Clock) -> None:
    apic.write(DIVIDE, 0xB)
    apic.write(TIMER, PERIODIC | 0x61)
    apic.write(INITIAL, 10)
    for merged in (False, True):
        clock.now = apic.deadline or 0
        assert apic.tick() == Expiry(0x61, merged)
        assert apic.read(CURRENT) == 10, "reloaded"
    assert (clock.now, apic.deadline) == (1020, 1030)
    clock.now = 1057
    assert apic.tick() == Expiry(0x61, True), "late: one of several"
    assert (apic.read(CURRENT), apic.deadline) == (3, 1060), "and in step all the same"


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_a_write_of_zero_disarms(apic: LocalApic, clock: Clock, mode: int) -> None:
    apic.write(TIMER, mode | 0x61)
    apic.write(INITIAL, 10)
    apic.write(INITIAL, 0)
    assert (apic.deadline, apic.read(CURRENT)) == (None, 0)
    clock.now += 100
    assert (apic.tick(), apic.read(CURRENT)) == (None, 0)


def test_a_write_of_the_initial_count_starts_anew(apic: LocalApic, clock: Clock) -> None:
    apic.write(DIVIDE, 0xB)
    apic.write(TIMER, 0x61)
    apic.write(INITIAL, 10)
    clock.now += 9
    apic.write(INITIAL, 20)
    assert (apic.deadline, apic.read(CURRENT)) == (1029, 20)


def test_another_pace_takes_effect_at_once(apic: LocalApic, clock: Clock) -> None:
    apic.write(DIVIDE, 0xB)
    apic.write(TIMER, 0x61)
    apic.write(INITIAL, 10)
    clock.now += 4
    apic.write(DIVIDE, 0)
    assert (apic.read(CURRENT), apic.deadline) == (6, 1004 + 12)


def test_a_masked_timer_counts_but_does_not_interrupt(apic: LocalApic, clock: Clock) -> None:
    """Linux calibrates so."""
    apic.write(DIVIDE, 0xB)
    apic.write(TIMER, MASKED | PERIODIC | 0x61)
    apic.write(INITIAL, 10)
    clock.now += 13
    assert (apic.deadline, apic.tick(), apic.read(CURRENT)) == (None, None, 7)
    apic.write(TIMER, PERIODIC | 0x61)
    assert (apic.tick(), apic.deadline) == (None, 1020), "what came while it was masked is gone"


def test_a_one_shot_that_ends_masked_is_over(apic: LocalApic, clock: Clock) -> None:
    apic.write(TIMER, MASKED | 0x61)
    apic.write(INITIAL, 10)
    clock.now += 100
    apic.write(TIMER, 0x61)
    assert (apic.deadline, apic.tick(), apic.read(CURRENT)) == (None, None, 0)


def test_the_timer_of_a_software_disabled_apic_counts_in_silence(apic: LocalApic, clock: Clock) -> None:
    apic.write(DIVIDE, 0xB)
    apic.write(TIMER, PERIODIC | 0x61)
    apic.write(INITIAL, 10)
    apic.write(SVR, 0xFF)
    clock.now += 25
    assert (apic.deadline, apic.tick(), apic.read(CURRENT), bits(apic, IRR)) == (None, None, 5, set())
    apic.write(SVR, 0x1FF)
    assert apic.deadline is None, "its entry stays masked"
    apic.write(TIMER, PERIODIC | 0x61)
    assert apic.deadline == 1030


def test_an_illegal_vector_of_the_timer(apic: LocalApic, clock: Clock) -> None:
    apic.write(TIMER, 0x0F)
    apic.write(INITIAL, 1)
    clock.now += 2
    assert apic.tick() == Expiry(0x0F, None)
    assert errors(apic) == 1 << 6


def test_saved_in_mid_count(apic: LocalApic, clock: Clock) -> None:
    apic.write(DIVIDE, 1)
    apic.write(TIMER, PERIODIC | 0x61)
    apic.write(INITIAL, 10)
    clock.now += 23
    state = json.loads(json.dumps(apic.state()))
    later = Clock()
    later.now = clock.now
    other = LocalApic(0x21, lambda icr: None, later, bsp=True)
    other.restore(state)
    assert other.state() == apic.state()
    for _ in range(100):
        clock.now += 1
        later.now += 1
        assert (other.tick(), other.read(CURRENT)) == (apic.tick(), apic.read(CURRENT))
    assert other.state() == apic.state()
    assert other.bsp is False, "the BSP flag is in the state"


def test_all_that_software_sets_is_in_the_state(apic: LocalApic) -> None:
    disturb(apic)
    apic.write(ERROR, 0xE1)
    apic.read(0)
    other = LocalApic(0x21, lambda icr: None, Clock(), bsp=True)
    other.restore(json.loads(json.dumps(apic.state())))
    assert (other.state(), other.error_armed) == (apic.state(), False)
    assert {offset: other.read(offset) for offset in RESET} == {offset: apic.read(offset) for offset in RESET}


# IA32_APIC_BASE and x2APIC


@pytest.mark.parametrize(
    ("way", "fault"),
    [
        ([X2APIC], None),
        ([OFF], None),
        ([OFF, XAPIC], None),
        ([X2APIC, OFF, XAPIC, X2APIC], None),
        ([X2APIC, XAPIC], "x2APIC mode is left by disabling the APIC only"),
        ([OFF, X2APIC], "x2APIC mode is entered from xAPIC mode only"),
        ([OFF | 1 << 10], "x2APIC mode is entered from xAPIC mode only"),
        ([X2APIC, OFF | 1 << 10], "x2APIC mode is entered from xAPIC mode only"),
        ([XAPIC | 1 << 9], "a reserved bit is set, or the APIC page would leave 0xfee00000"),
        ([XAPIC | 1], "a reserved bit is set, or the APIC page would leave 0xfee00000"),
        ([XAPIC | 1 << 52], "a reserved bit is set, or the APIC page would leave 0xfee00000"),
        ([XAPIC + 0x1000], "a reserved bit is set, or the APIC page would leave 0xfee00000"),
    ],
)
def test_ways_from_mode_to_mode(fresh: LocalApic, way: list[int], fault: str | None) -> None:
    """SDM, figure "Local x2APIC State Transitions with IA32_APIC_BASE, INIT, and Reset"."""
    for value in way[:-1]:
        fresh.set_base(value)
    before = fresh.base
    if fault is None:
        fresh.set_base(way[-1])
        assert fresh.base == way[-1]
        assert fresh.mode == {XAPIC: "xapic", X2APIC: "x2apic", OFF: "disabled"}[way[-1]]
    else:
        with pytest.raises(ApicFaultError, match=f"^IA32_APIC_BASE = {way[-1]:#x}: {fault}$"):
            fresh.set_base(way[-1])
        assert fresh.base == before


def test_switched_off_it_has_no_page_and_forgets(fresh: LocalApic, sent: list[Icr]) -> None:
    """SDM "Enabling or Disabling the Local APIC"."""
    disturb(fresh)
    sent.clear()
    fresh.set_base(OFF)
    assert (fresh.pending, fresh.deadline) == (None, None)
    assert [fresh.read(offset) for offset in (ID, VERSION, SVR)] == [0, 0, 0]
    fresh.write(ICR_LOW, 0xEA)
    assert sent == []
    fresh.set_base(XAPIC)
    assert {offset: fresh.read(offset) for offset in RESET} == RESET


def test_x2apic_keeps_most_of_xapic(fresh: LocalApic) -> None:
    """SDM "State Changes From xAPIC Mode to x2APIC Mode": LDR and the high half of ICR are not preserved."""
    disturb(fresh)
    kept = (TPR, SVR, ESR, ICR_LOW, TIMER, THERMAL, LINT1, INITIAL, CURRENT, DIVIDE, 0x120, 0x220)
    before = {offset: fresh.read(offset) for offset in kept}
    fresh.set_base(X2APIC)
    assert {offset: fresh.read_msr(0x800 + offset // 16) for offset in kept} == before
    assert fresh.read_msr(0x80D) == 2 << 16 | 1 << 1
    assert fresh.read_msr(0x830) >> 32 == 0
    assert (fresh.read(ID), fresh.read(SVR)) == (0, 0), "the page is gone"


@pytest.mark.parametrize(
    ("apic_id", "ldr"),
    [(0, 1), (0xF, 0x8000), (0x10, 0x10001), (0x1234, 0x123 << 16 | 1 << 4), (0xFFFFFFFE, 0xFFFF4000)],
)
def test_x2apic_ids(apic_id: int, ldr: int) -> None:
    """SDM "Deriving Logical x2APIC ID from the Local x2APIC ID"."""
    apic = LocalApic(apic_id, lambda icr: None, Clock(), bsp=False)
    assert apic.read(ID) == (apic_id & 0xFF) << 24
    apic.set_base(X2APIC)
    assert (apic.read_msr(0x802), apic.read_msr(0x80D)) == (apic_id, ldr)


READABLE = {0x802, 0x803, 0x808, 0x80A, 0x80D, 0x80F, *range(0x810, 0x829), 0x830, *range(0x832, 0x83A), 0x83E}
WRITABLE = {0x808, 0x80B, 0x80F, 0x828, 0x830, *range(0x832, 0x839), 0x83E, 0x83F}
"""SDM, table "Local APIC Register Address Map Supported by x2APIC", without the CMCI entry (0x82F)."""


def test_which_msrs_there_are(x2apic: LocalApic) -> None:
    for msr in range(0x800, 0x900):
        if msr in READABLE:
            x2apic.read_msr(msr)
        else:
            with pytest.raises(ApicFaultError, match=f"^RDMSR of {msr:#x}: x2APIC has no register there that can be "):
                x2apic.read_msr(msr)
        if msr in WRITABLE:
            x2apic.write_msr(msr, 0)
        else:
            with pytest.raises(ApicFaultError, match=f"^WRMSR to {msr:#x}: x2APIC has no register there that can be "):
                x2apic.write_msr(msr, 0)


@pytest.mark.parametrize(
    ("msr", "allowed"),
    [
        (0x808, 0xFF),
        (0x80B, 0),
        (0x80F, 0x1FF),
        (0x828, 0),
        (0x830, 0xFFFFFFFF000CDFFF),
        (0x832, 0x310FF),
        (0x833, 0x117FF),
        (0x834, 0x117FF),
        (0x835, 0x1F7FF),
        (0x836, 0x1F7FF),
        (0x837, 0x110FF),
        (0x838, 0xFFFFFFFF),
        (0x83E, 0b1011),
        (0x83F, 0xFF),
    ],
)
def test_reserved_bits_fault_in_x2apic_mode(x2apic: LocalApic, msr: int, allowed: int) -> None:
    """Bit 12 of ICR, once the delivery status, is ignored, as by Intel's CPUs."""
    before = x2apic.state()
    for bit in range(64):
        if allowed >> bit & 1:
            x2apic.write_msr(msr, 1 << bit)
            x2apic.restore(before)
        else:
            with pytest.raises(ApicFaultError, match=f"^WRMSR of {1 << bit:#x} to {msr:#x}: the bits {1 << bit:#x} "):
                x2apic.write_msr(msr, 1 << bit)
            assert x2apic.state() == before


@pytest.mark.parametrize("base", [XAPIC, OFF])
def test_the_msrs_fault_in_other_modes(fresh: LocalApic, base: int) -> None:
    fresh.set_base(base)
    for access in (lambda: fresh.read_msr(0x802), lambda: fresh.write_msr(0x80B, 0)):
        with pytest.raises(ApicFaultError, match=r"^MSR 0x80[2b]: the local APIC is not in x2APIC mode$"):
            access()


def test_icr_of_x2apic(x2apic: LocalApic, sent: list[Icr]) -> None:
    """One write of 64 bits sends; the destination has 32."""
    x2apic.write_msr(0x830, 0x12345678_000040EA)
    assert sent == [Icr(0x12345678, 0x40EA, x2apic=True)]
    assert (sent[0].destination, sent[0].broadcast) == (0x12345678, False)
    assert x2apic.read_msr(0x830) == 0x12345678_000040EA
    assert Icr(0xFFFFFFFF, 0xEA, x2apic=True).broadcast
    assert not Icr(0xFF, 0xEA, x2apic=True).broadcast


def test_self_ipi(x2apic: LocalApic, sent: list[Icr]) -> None:
    """SDM "SELF IPI Register": edge-triggered and fixed; ICR stays as it is."""
    x2apic.write_msr(0x830, 0x5_000000EA)
    x2apic.write_msr(0x83F, 0x41)
    assert (sent[1].shorthand, sent[1].delivery, sent[1].vector) == ("self", "fixed", 0x41)
    assert x2apic.read_msr(0x830) == 0x5_000000EA
    x2apic.write_msr(0x83F, 3)
    x2apic.write_msr(0x828, 0)
    assert x2apic.read_msr(0x828) == 1 << 5


# Who is named


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
    assert apic.is_named_by(Icr(destination << 24, 1 << 11 | 0x41)) is named


@pytest.mark.parametrize(
    ("destination", "named"),
    [(2 << 16 | 1 << 1, True), (2 << 16 | 0xFFFF, True), (2 << 16 | 1, False), (3 << 16 | 2, False), (2, False)],
)
def test_logical_x2apic_destinations(x2apic: LocalApic, destination: int, named: bool) -> None:
    """SDM "Logical Destination Mode in x2APIC Mode": the id 0x21 is bit 1 of cluster 2."""
    assert x2apic.is_named_by(Icr(destination, 1 << 11 | 0x41, x2apic=True)) is named


def test_physical_destinations(apic: LocalApic) -> None:
    assert apic.is_named_by(Icr(0x21 << 24, 0x41))
    assert not apic.is_named_by(Icr(0x20 << 24, 0x41))
    assert apic.is_named_by(Icr(0xFF << 24, 0x41))
    apic.set_base(X2APIC)
    assert apic.is_named_by(Icr(0x21, 0x41, x2apic=True))
    assert not apic.is_named_by(Icr(0x121, 0x41, x2apic=True))
    assert not apic.is_named_by(Icr(0xFF, 0x41, x2apic=True)), "an id like others"
    assert apic.is_named_by(Icr(0xFFFFFFFF, 0x41, x2apic=True))


@pytest.mark.parametrize("base", [XAPIC, X2APIC, OFF])
def test_a_wide_id_has_eight_bits_in_xapic_mode(base: int) -> None:
    apic = LocalApic(0x134, lambda icr: None, Clock(), bsp=False)
    apic.set_base(base)
    assert apic.is_named_by(Icr(0x34, 0x41, x2apic=True)) is (base == XAPIC)
    assert apic.is_named_by(Icr(0x134, 0x41, x2apic=True)) is (base != XAPIC)
