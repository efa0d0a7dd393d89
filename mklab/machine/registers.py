"""The registers of a CPU as plain data, and what INIT makes of them."""

import hashlib
import struct
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "CR0",
    "CR4",
    "EFER",
    "GPRS",
    "RFLAGS",
    "SEGMENT",
    "SEGMENTS",
    "SHADOW_BIT",
    "TABLES",
    "Registers",
    "Segment",
    "digest_of",
    "reset_registers",
]

GPRS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
"""General registers in the order of their encoding (SDM vol. 2, "ModR/M and SIB Bytes")."""

SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
"""Segment registers in the order of their encoding."""

TABLES = ("ldtr", "tr", "gdtr", "idtr")
"""System segments and table registers, in the order of a digest."""
SEGMENT = struct.Struct("<I4xQII")
"""Selector, base, limit and flags of a segment, as a digest takes them (and as the engine keeps them)."""
SHADOW_BIT = 3
"""Where the engine keeps the shadow of STI and MOV SS."""
_GENERAL, _CONTROL = struct.Struct("<17Q40xQ"), struct.Struct("<5Q")


def digest_of(registers: bytes, efer: int, rflags: int) -> str:
    """The digest of registers from bytes, in the order in which the engine keeps them.

    Those are the general registers and RIP, 40 bytes of 0, the shadow, segments and tables, CR0 to CR4.
    """
    return hashlib.sha256(registers + b"%x %x" % (efer, rflags)).hexdigest()[:16]


class CR0:
    """Bits of CR0 (SDM "Control Registers")."""

    PE, MP, EM, TS, ET = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
    WP, NW, CD, PG = 1 << 16, 1 << 29, 1 << 30, 1 << 31


class CR4:
    """Bits of CR4."""

    TSD, PSE, PAE, PGE, OSFXSR = 1 << 2, 1 << 4, 1 << 5, 1 << 7, 1 << 9


class EFER:
    """Bits of IA32_EFER."""

    SCE, LME, LMA, NXE = 1 << 0, 1 << 8, 1 << 10, 1 << 11


class RFLAGS:
    """Bits of RFLAGS."""

    ONE, TF, IF, DF, NT, RF, VM, AC = 1 << 1, 1 << 8, 1 << 9, 1 << 10, 1 << 14, 1 << 16, 1 << 17, 1 << 18
    IOPL = 3 << 12
    DEFINED = 0x3F7FD7
    """All that are not reserved, and bit 1, which is always set."""


@dataclass(slots=True)
class Segment:
    """A segment register with its hidden part, or a system segment or table register.

    Attributes:
        selector: the visible part (0 for GDTR and IDTR).
        base: linear address.
        limit: last valid offset, in bytes.
        flags: the descriptor's second doubleword, bits 8-15 and 20-23 (type, S, DPL, P, AVL, L, D, G).
    """

    selector: int = 0
    base: int = 0
    limit: int = 0xFFFF
    flags: int = 0

    @property
    def long(self) -> bool:
        """The L bit: 64-bit code."""
        return bool(self.flags & 1 << 21)

    @property
    def big(self) -> bool:
        """The D/B bit: 32-bit operands or stack."""
        return bool(self.flags & 1 << 22)

    @property
    def dpl(self) -> int:
        """Descriptor privilege level."""
        return self.flags >> 13 & 3

    @property
    def rpl(self) -> int:
        """Requested privilege level, in the selector."""
        return self.selector & 3

    @property
    def present(self) -> bool:
        """The P bit."""
        return bool(self.flags & 1 << 15)

    @property
    def system(self) -> int | None:
        """The type of a system segment or gate, 0 to 15; None for code and data (SDM "System Descriptor Types")."""
        return None if self.flags & 1 << 12 else self.flags >> 8 & 0xF

    @property
    def code(self) -> bool:
        """Whether it is a code segment."""
        return self.flags & 0x1800 == 0x1800

    @property
    def conforming(self) -> bool:
        """Whether it is a conforming code segment: code there runs at its caller's privilege."""
        return self.code and bool(self.flags & 1 << 10)

    @property
    def readable(self) -> bool:
        """Whether it is a data segment, or a code segment that may be read."""
        return self.system is None and (not self.code or bool(self.flags & 1 << 9))

    @property
    def writable(self) -> bool:
        """Whether it is a writable data segment."""
        return self.flags & 0x1A00 == 0x1200

    def holds(self, offset: int, size: int) -> bool:
        """Whether ``[offset, offset + size)`` lies within the limit (SDM "Limit Checking")."""
        if self.system is None and not self.code and self.flags & 1 << 10:  # expand-down
            return offset > self.limit and offset + size - 1 <= (0xFFFFFFFF if self.big else 0xFFFF)
        return offset + size - 1 <= self.limit


@dataclass(slots=True)
class Registers:
    """What a program sees of a CPU, plus hidden segment parts; values are unsigned 64-bit numbers.

    Attributes:
        shadow: True where the last instruction was STI or a load of SS, so that no interrupt comes before the next one.
    """

    rax: int = 0
    rcx: int = 0
    rdx: int = 0
    rbx: int = 0
    rsp: int = 0
    rbp: int = 0
    rsi: int = 0
    rdi: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = RFLAGS.ONE
    cr0: int = 0
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
    es: Segment = field(default_factory=Segment)
    cs: Segment = field(default_factory=Segment)
    ss: Segment = field(default_factory=Segment)
    ds: Segment = field(default_factory=Segment)
    fs: Segment = field(default_factory=Segment)
    gs: Segment = field(default_factory=Segment)
    ldtr: Segment = field(default_factory=Segment)
    tr: Segment = field(default_factory=Segment)
    gdtr: Segment = field(default_factory=Segment)
    idtr: Segment = field(default_factory=Segment)
    shadow: bool = False

    @property
    def cpl(self) -> int:
        """Current privilege level, 0 to 3 (SDM: the DPL of SS; 0 in real mode)."""
        return self.ss.dpl if self.cr0 & CR0.PE else 0

    @property
    def virtual_8086(self) -> bool:
        """Whether it is in virtual-8086 mode (SDM "8086 Emulation")."""
        return bool(self.rflags & RFLAGS.VM and self.cr0 & CR0.PE and not self.efer & EFER.LMA)

    @property
    def mode(self) -> str:
        """``real``, ``protected`` or ``long`` (IA-32e mode with its compatibility sub-mode)."""
        if not self.cr0 & CR0.PE:
            return "real"
        return "long" if self.efer & EFER.LMA else "protected"

    @property
    def linear_rip(self) -> int:
        """Linear address of the next instruction."""
        return self.rip if self.mode == "long" and self.cs.long else (self.cs.base + self.rip) & 0xFFFFFFFF

    @property
    def digest(self) -> str:
        """A short hash over all of them (16 hex digits), for traces."""
        segments = (getattr(self, name) for name in (*SEGMENTS, *TABLES))
        return digest_of(
            _GENERAL.pack(*(getattr(self, name) for name in GPRS), self.rip, self.shadow << SHADOW_BIT)
            + b"".join(SEGMENT.pack(one.selector, one.base, one.limit, one.flags) for one in segments)
            + _CONTROL.pack(self.cr0, 0, self.cr2, self.cr3, self.cr4),
            self.efer,
            self.rflags,
        )

    def to_dict(self) -> dict[str, Any]:
        """The registers as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Registers":
        """The inverse of :meth:`to_dict`."""
        values: dict[str, Any] = {
            name: Segment(**value) if isinstance(value, dict) else value for name, value in data.items()
        }
        return cls(**values)


def reset_registers(signature: int, cr0: int = CR0.CD | CR0.NW) -> Registers:
    """Registers after INIT (SDM "Processor State After Reset", its table's column for INIT).

    Args:
        signature: CPUID.1 EAX, which INIT leaves in EDX.
        cr0: CR0 before the INIT: CD and NW are kept, ET is set, the rest is cleared.
    """
    registers = Registers(
        rdx=signature,
        rip=0xFFF0,
        cr0=CR0.ET | cr0 & (CR0.CD | CR0.NW),
        ldtr=Segment(flags=0x8200),
        tr=Segment(flags=0x8B00),
    )
    for name in SEGMENTS:
        setattr(registers, name, Segment(flags=0x9300))
    registers.cs = Segment(selector=0xF000, base=0xFFFF0000, flags=0x9B00)
    return registers
