"""Registers decoded: the bits of control registers, segment descriptors and gates.

SDM volume 3, "Control Registers", "Segment Descriptors", "System Descriptor Types", "IDT Descriptors" and "Error
Handling".
"""

from dataclasses import dataclass

__all__ = ["BITS", "Descriptor", "descriptor", "gate", "names"]

BITS = {
    "cr0": {0: "PE", 1: "MP", 2: "EM", 3: "TS", 4: "ET", 5: "NE", 16: "WP", 18: "AM", 29: "NW", 30: "CD", 31: "PG"},
    "cr4": {
        0: "VME",
        1: "PVI",
        2: "TSD",
        3: "DE",
        4: "PSE",
        5: "PAE",
        6: "MCE",
        7: "PGE",
        8: "PCE",
        9: "OSFXSR",
        10: "OSXMMEXCPT",
        11: "UMIP",
        13: "VMXE",
        16: "FSGSBASE",
        17: "PCIDE",
        18: "OSXSAVE",
        20: "SMEP",
        21: "SMAP",
    },
    "efer": {0: "SCE", 8: "LME", 10: "LMA", 11: "NXE"},
    "rflags": {
        0: "CF",
        2: "PF",
        4: "AF",
        6: "ZF",
        7: "SF",
        8: "TF",
        9: "IF",
        10: "DF",
        11: "OF",
        14: "NT",
        16: "RF",
        17: "VM",
        18: "AC",
        19: "VIF",
        20: "VIP",
        21: "ID",
    },
    "base": {8: "BSP", 10: "EXTD", 11: "EN"},
    "svr": {8: "enabled"},
    "esr": {
        0: "send checksum",
        1: "receive checksum",
        2: "send accept",
        3: "receive accept",
        5: "send illegal vector",
        6: "receive illegal vector",
        7: "illegal register address",
    },
}
"""The bits of a register by their number, as the manual names them; ``base`` is IA32_APIC_BASE, ``svr`` and ``esr`` are
the local APIC's."""

_CODE_AND_DATA = ("data", "data, expand-down", "code", "code, conforming")
_SYSTEM = {
    0x1: "16-bit TSS",
    0x2: "LDT",
    0x3: "16-bit TSS, busy",
    0x4: "16-bit call gate",
    0x5: "task gate",
    0x6: "16-bit interrupt gate",
    0x7: "16-bit trap gate",
    0x9: "TSS",
    0xB: "TSS, busy",
    0xC: "call gate",
    0xE: "interrupt gate",
    0xF: "trap gate",
}


def names(register: str, value: int) -> list[str]:
    """The names of the bits that are set, lowest first; none for a register without named bits."""
    return [name for bit, name in BITS.get(register, {}).items() if value >> bit & 1]


@dataclass(frozen=True)
class Descriptor:
    """An entry of a GDT or an IDT.

    Attributes:
        kind: ``null``, ``code``, ``data``, ``TSS``, ``interrupt gate``, ... ; ``reserved`` where the manual has none.
        present: the P bit.
        dpl: descriptor privilege level.
        base, limit: of a segment; the limit is the last offset, in bytes.
        bits: 16, 32 or 64 for code, 16 or 32 for data.
        access: ``R`` readable, ``W`` writable, ``X`` executable, ``A`` accessed.
        selector, offset, ist: of a gate.
    """

    kind: str
    present: bool = False
    dpl: int = 0
    base: int = 0
    limit: int = 0
    bits: int = 0
    access: str = ""
    selector: int = 0
    offset: int = 0
    ist: int = 0


def descriptor(data: bytes, *, long: bool) -> Descriptor:
    """A GDT entry from its 8 bytes; of a system segment in IA-32e mode (``long``) its 16 bytes."""
    value = int.from_bytes(data[:8], "little")
    if not value:
        return Descriptor("null")
    kind, flags = value >> 40 & 0xF, value >> 52 & 0xF
    base = value >> 16 & 0xFFFFFF | value >> 56 << 24
    limit = value & 0xFFFF | value >> 32 & 0xF0000
    limit = limit << 12 | 0xFFF if flags & 8 else limit
    present, dpl = bool(value >> 47 & 1), value >> 45 & 3
    if not value >> 44 & 1:
        if long:
            base |= int.from_bytes(data[8:12], "little") << 32
        return Descriptor(_SYSTEM.get(kind, "reserved"), present, dpl, base, limit)
    code = bool(kind & 8)
    bits = 64 if code and flags & 2 else 32 if flags & 4 else 16
    access = ("RX" if kind & 2 else "X") if code else "RW" if kind & 2 else "R"
    return Descriptor(_CODE_AND_DATA[kind >> 2], present, dpl, base, limit, bits, access + "A" * (kind & 1))


def gate(data: bytes) -> Descriptor:
    """An IDT entry: from its 8 bytes, or in IA-32e mode its 16."""
    value = int.from_bytes(data[:8], "little")
    if not any(data):
        return Descriptor("null")
    kind = _SYSTEM.get(value >> 40 & 0xF, "reserved") if not value >> 44 & 1 else "reserved"
    offset = value & 0xFFFF | value >> 48 << 16 | int.from_bytes(data[8:12], "little") << 32
    return Descriptor(
        kind,
        bool(value >> 47 & 1),
        value >> 45 & 3,
        selector=value >> 16 & 0xFFFF,
        offset=offset,
        ist=value >> 32 & 7 if len(data) == 16 else 0,
    )
