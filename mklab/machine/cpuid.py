"""What CPUID reports on this machine (SDM vol. 2, "CPUID")."""

from dataclasses import dataclass

__all__ = ["Leaf", "Place", "answer", "signature"]

Leaf = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

_MONITOR, _X2APIC, _TSC_DEADLINE, _HYPERVISOR = 1 << 3, 1 << 21, 1 << 24, 1 << 31
_SMT, _CORE = 1 << 8, 2 << 8
_WIDEST_ID = 31
"""EAX of leaf 0xB has five bits for how many bits of an id lie within a package."""
_APIC, _HTT = 1 << 9, 1 << 28
_EXTENDED_LEAVES = 0x80000008


def signature(native: dict[tuple[int, int], Leaf]) -> int:
    """Family, model and stepping as INIT leaves them in EDX."""
    return native[1, 0][0]


@dataclass(frozen=True)
class Place:
    """A CPU's place among the others: all are cores of one thread each, in one package.

    Attributes:
        apic_id: its APIC id, up to 32 bits.
        cpus: how many CPUs there are.
        highest_id: the highest APIC id of them.
        apic: whether its local APIC is enabled in IA32_APIC_BASE.
    """

    apic_id: int
    cpus: int
    highest_id: int
    apic: bool = True


def answer(native: dict[tuple[int, int], Leaf], leaf: int, subleaf: int, place: Place) -> Leaf:
    """CPUID on the CPU at ``place``.

    The CPU model's own answers, but for topology and x2APIC, and without what the machine does not have: MONITOR, TSC
    deadline. A leaf beyond the last is answered as the last basic one (SDM: Intel CPUs do so).
    """
    if leaf > _EXTENDED_LEAVES or native[0, 0][0] < leaf < 0x80000000:
        leaf = native[0, 0][0]
    # Only these leaves have subleaves; beyond the last one there is nothing.
    key = (leaf, subleaf) if leaf in (4, 7, 0xB, 0xD) else (leaf, 0)
    eax, ebx, ecx, edx = native.get(key, (0, 0, 0, 0))
    if leaf == 1:
        ebx = ebx & 0xFF00 | (place.apic_id & 0xFF) << 24 | min(place.cpus, 255) << 16
        ecx = ecx & ~(_MONITOR | _TSC_DEADLINE | _HYPERVISOR) | _X2APIC
        edx = edx & ~_APIC | (_APIC if place.apic else 0) | (_HTT if place.cpus > 1 else 0)
    elif leaf == 4 and eax & 0x1F:
        eax = eax & 0x3FFF | (min(place.cpus, 64) - 1) << 26
    elif leaf == 0xB:
        # SDM: each subleaf is a level of the topology; EAX is how far to shift the id to get the next level's.
        width = min(place.highest_id.bit_length(), _WIDEST_ID)
        levels = {0: (0, 1, _SMT), 1: (width, min(place.cpus, 0xFFFF), _CORE)}
        eax, ebx, level = levels.get(subleaf, (0, 0, 0))
        ecx, edx = level | subleaf & 0xFF, place.apic_id
    return eax, ebx, ecx & 0xFFFFFFFF, edx
