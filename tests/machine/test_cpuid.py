"""CPUID against the SDM's description of its fields."""

import pytest

from mklab.machine import cpuid
from mklab.machine.engine import native_cpuid

NATIVE = native_cpuid()


def answer(leaf: int, subleaf: int = 0, apic_id: int = 0, cpus: int = 4, highest: int | None = None) -> cpuid.Leaf:
    place = cpuid.Place(apic_id, cpus, cpus - 1 if highest is None else highest)
    return cpuid.answer(NATIVE, leaf, subleaf, place)


@pytest.mark.parametrize(("apic_id", "cpus"), [(0, 1), (5, 8), (254, 64), (0x12345, 3)])
def test_the_apic_id_and_the_number_of_cpus(apic_id: int, cpus: int) -> None:
    """Leaf 1: EBX[31:24] initial APIC id, EBX[23:16] ids in the package; leaf 0xB: EDX x2APIC id."""
    _, ebx, _, edx = answer(1, 0, apic_id, cpus)
    assert (ebx >> 24, ebx >> 16 & 0xFF) == (apic_id & 0xFF, cpus)
    assert bool(edx & 1 << 28) is (cpus > 1), "HTT: more than one id in the package"
    assert {answer(0xB, subleaf, apic_id, cpus)[3] for subleaf in range(4)} == {apic_id}
    assert answer(1, 0, apic_id, 1000)[1] >> 16 & 0xFF == 255, "as many as fit"


@pytest.mark.parametrize(("cpus", "highest", "width"), [(1, 0, 0), (4, 3, 2), (3, 0x80, 8), (2, 0xFFFFFFFE, 31)])
def test_the_topology(cpus: int, highest: int, width: int) -> None:
    """Leaf 0xB: ECX[15:8] level type 1 SMT, 2 core; EAX[4:0] shift to the next level's id; EBX[15:0] CPUs here."""
    assert answer(0xB, 0, 7, cpus, highest)[:3] == (0, 1, 0x100)
    assert answer(0xB, 1, 7, cpus, highest)[:3] == (width, cpus, 0x201)
    assert answer(0xB, 2, 7, cpus, highest) == (0, 0, 2, 7), "no further level"
    assert width == 31 or highest >> width == 0, "one package"


def test_a_disabled_local_apic_is_not_offered() -> None:
    """SDM "Enabling or Disabling the Local APIC": the feature flag follows IA32_APIC_BASE."""
    assert answer(1)[3] >> 9 & 1
    assert not cpuid.answer(NATIVE, 1, 0, cpuid.Place(0, 1, 0, apic=False))[3] >> 9 & 1


def test_what_the_machine_has_and_has_not() -> None:
    _, _, ecx, edx = answer(1)
    absent = {"MONITOR": 3, "TSC-deadline": 24, "hypervisor": 31, "RDRAND": 30}
    assert [name for name, bit in absent.items() if ecx >> bit & 1] == []
    assert ecx >> 21 & 1, "x2APIC"
    present = {"FPU": 0, "TSC": 4, "MSR": 5, "PAE": 6, "APIC": 9, "PGE": 13, "SSE2": 26}
    assert [name for name, bit in present.items() if not edx >> bit & 1] == []
    extended = answer(0x80000001)
    assert extended[3] >> 29 & 1, "long mode"
    assert extended[3] >> 11 & 1, "SYSCALL"
    assert not extended[3] >> 27 & 1, "Nehalem of this model has no RDTSCP"


def test_who_made_it() -> None:
    _, ebx, ecx, edx = answer(0)
    assert b"".join(part.to_bytes(4, "little") for part in (ebx, edx, ecx)) == b"GenuineIntel"
    assert cpuid.signature(NATIVE) == answer(1)[0]


@pytest.mark.parametrize("leaf", [0x40000000, 0x7FFFFFFF, 0x80000009, 0xFFFFFFFF])
def test_beyond_the_last_leaf_comes_the_last_basic_one(leaf: int) -> None:
    """SDM, CPUID: "If a value ... is not supported ... the data for the highest basic information leaf is returned"."""
    last = answer(0)[0]
    assert answer(leaf, 0, 3) == answer(last, 0, 3)
    assert any(answer(0x80000008))


def test_caches_are_shared_by_no_more_cpus_than_there_are() -> None:
    """Leaf 4: EAX[31:26] is the number of core ids in the package, minus one."""
    for subleaf in range(3):
        assert answer(4, subleaf, 0, 8)[0] >> 26 == 7
