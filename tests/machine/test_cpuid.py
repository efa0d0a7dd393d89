"""CPUID against the SDM's description of its fields."""

import pytest

from mklab.machine import cpuid
from mklab.machine.engine import native_cpuid

NATIVE = native_cpuid()


@pytest.mark.parametrize(("apic_id", "cpus"), [(0, 1), (5, 8), (254, 64)])
def test_the_apic_id_and_the_number_of_cpus(apic_id: int, cpus: int) -> None:
    """Leaf 1: EBX[31:24] initial APIC id, EBX[23:16] ids in the package; leaf 0xB: EDX x2APIC id."""
    _, ebx, _, edx = cpuid.answer(NATIVE, 1, 0, apic_id, cpus)
    assert (ebx >> 24, ebx >> 16 & 0xFF) == (apic_id, cpus)
    assert bool(edx & 1 << 28) is (cpus > 1), "HTT: more than one id in the package"
    assert cpuid.answer(NATIVE, 0xB, 0, apic_id, cpus) == (0, 0, 0, apic_id)


def test_what_the_machine_has_and_has_not() -> None:
    _, _, ecx, edx = cpuid.answer(NATIVE, 1, 0, 0, 4)
    absent = {"MONITOR": 3, "x2APIC": 21, "TSC-deadline": 24, "hypervisor": 31, "RDRAND": 30}
    assert [name for name, bit in absent.items() if ecx >> bit & 1] == []
    present = {"FPU": 0, "TSC": 4, "MSR": 5, "PAE": 6, "APIC": 9, "PGE": 13, "SSE2": 26}
    assert [name for name, bit in present.items() if not edx >> bit & 1] == []
    extended = cpuid.answer(NATIVE, 0x80000001, 0, 0, 4)
    assert extended[3] >> 29 & 1, "long mode"
    assert not extended[3] >> 27 & 1, "Nehalem of this model has no RDTSCP"


def test_who_made_it() -> None:
    _, ebx, ecx, edx = cpuid.answer(NATIVE, 0, 0, 0, 1)
    assert b"".join(part.to_bytes(4, "little") for part in (ebx, edx, ecx)) == b"GenuineIntel"
    assert cpuid.signature(NATIVE) == cpuid.answer(NATIVE, 1, 0, 0, 1)[0]


@pytest.mark.parametrize("leaf", [0x40000000, 0x7FFFFFFF, 0x80000009, 0xFFFFFFFF])
def test_beyond_the_last_leaf_comes_the_last_basic_one(leaf: int) -> None:
    """SDM, CPUID: "If a value ... is not supported ... the data for the highest basic information leaf is returned"."""
    last = cpuid.answer(NATIVE, 0, 0, 3, 4)[0]
    assert cpuid.answer(NATIVE, leaf, 0, 3, 4) == cpuid.answer(NATIVE, last, 0, 3, 4)
    assert any(cpuid.answer(NATIVE, 0x80000008, 0, 3, 4))


def test_caches_are_shared_by_no_more_cpus_than_there_are() -> None:
    """Leaf 4: EAX[31:26] is the number of core ids in the package, minus one."""
    for subleaf in range(3):
        assert cpuid.answer(NATIVE, 4, subleaf, 0, 8)[0] >> 26 == 7
