"""What CPUID reports on this machine (SDM vol. 2, "CPUID")."""

__all__ = ["Leaf", "answer", "signature"]

Leaf = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

_MONITOR, _X2APIC, _TSC_DEADLINE, _HYPERVISOR = 1 << 3, 1 << 21, 1 << 24, 1 << 31
_APIC, _HTT = 1 << 9, 1 << 28
_EXTENDED_LEAVES = 0x80000008


def signature(native: dict[tuple[int, int], Leaf]) -> int:
    """Family, model and stepping as INIT leaves them in EDX."""
    return native[1, 0][0]


def answer(native: dict[tuple[int, int], Leaf], leaf: int, subleaf: int, apic_id: int, cpus: int) -> Leaf:
    """CPUID on the CPU with ``apic_id``, on a machine of ``cpus`` CPUs.

    The CPU model's own answers, but for topology, and without what the machine does not have: MONITOR, x2APIC, TSC
    deadline. A leaf beyond the last is answered as the last basic one (SDM: Intel CPUs do so).
    """
    if leaf > _EXTENDED_LEAVES or native[0, 0][0] < leaf < 0x80000000:
        leaf = native[0, 0][0]
    # Only these leaves have subleaves; beyond the last one there is nothing.
    key = (leaf, subleaf) if leaf in (4, 7, 0xB, 0xD) else (leaf, 0)
    eax, ebx, ecx, edx = native.get(key, (0, 0, 0, 0))
    if leaf == 1:
        ebx = ebx & 0xFF00 | apic_id << 24 | min(cpus, 255) << 16
        ecx &= ~(_MONITOR | _X2APIC | _TSC_DEADLINE | _HYPERVISOR)
        edx = edx | _APIC | (_HTT if cpus > 1 else 0)
    elif leaf == 4 and eax & 0x1F:
        eax = eax & 0x3FFF | (min(cpus, 64) - 1) << 26
    elif leaf == 0xB:
        # Zero EBX: no topology leaf; the id of leaf 1 is all there is.
        eax, ebx, ecx, edx = 0, 0, subleaf & 0xFF, apic_id
    return eax, ebx, ecx & 0xFFFFFFFF, edx
