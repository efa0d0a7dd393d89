"""The saved context of a CPU as Unicorn keeps it: where the registers lie in it.

A saved context is a copy of the emulator's private ``CPUX86State``. Its layout belongs to one build, so nothing here
leaves the process: files hold registers by name. Only the order of the first fields is taken as known (it has not
changed since QEMU 0.9); where they begin, and where EFER and the exception fields lie, is found by a probe at start-up
(:func:`mklab.machine.engine.probe_context`), which asserts that registers set through the public interface are found.
"""

import struct
from dataclasses import dataclass
from typing import Any

from mklab.machine.registers import (
    CR0,
    CR4,
    EFER,
    GPRS,
    RFLAGS,
    SEGMENT,
    SEGMENTS,
    SHADOW_BIT,
    TABLES,
    Registers,
    Segment,
    digest_of,
)

__all__ = ["END", "VISIBLE", "ContextLayout", "mode_of"]

_IF_BYTE = 137
_RIP, _HFLAGS, _SEGMENTS, _CR = 128, 176, 184, 424
_BASE = struct.Struct("<16QQ")
_QUAD = struct.Struct("<Q")
_CRS = struct.Struct("<5Q")
_FLAGS = 0xF0FF00
"""Bits of a segment's flags that a program could see."""
VISIBLE = (
    bytes(40).join((b"\xff" * 136, struct.pack("<Q", 1 << SHADOW_BIT)))
    + SEGMENT.pack(0xFFFF, 2**64 - 1, 2**32 - 1, _FLAGS) * (len(SEGMENTS) + len(TABLES))
    + b"\xff" * 40
)
"""Bits, from the general registers to CR4, that a program could see."""
_VISIBLE_NUMBER, _VISIBLE_SIZE = int.from_bytes(VISIBLE, "little"), len(VISIBLE)
END = struct.Struct(f"<{_VISIBLE_SIZE}sQQ")
"""Those bits, EFER and RFLAGS at the end of a slice."""


class _Hidden:
    """Bits of ``hflags``, the emulator's digest of mode and segments (QEMU's ``target/i386/cpu.h``)."""

    CPL, INHIBIT, CS32, SS32, ADDSEG, PE = 3, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
    MP_EM_TS, LMA, CS64, OSFXSR = 7 << 9, 1 << 14, 1 << 15, 1 << 22
    KNOWN = CPL | INHIBIT | CS32 | SS32 | ADDSEG | PE | MP_EM_TS | LMA | CS64 | OSFXSR


def _hidden_flags(registers: Registers) -> int:
    """The known bits of ``hflags``, derived from the registers as ``cpu_x86_load_seg_cache`` does.

    TF, IOPL, RF, VM and AC have a place there too, but the emulator takes those from EFLAGS when it runs.
    """
    flags = registers.cpl | (_Hidden.INHIBIT if registers.shadow else 0)
    flags |= (registers.cr0 & (CR0.MP | CR0.EM | CR0.TS)) << 8
    flags |= _Hidden.PE if registers.cr0 & CR0.PE else 0
    flags |= _Hidden.OSFXSR if registers.cr4 & CR4.OSFXSR else 0
    flags |= _Hidden.SS32 if registers.ss.big else 0
    if registers.efer & EFER.LMA:
        flags |= _Hidden.LMA
        if registers.cs.long:
            return flags | _Hidden.CS64 | _Hidden.CS32
    if registers.cs.big:
        flags |= _Hidden.CS32
    flat = not registers.ds.base | registers.es.base | registers.ss.base
    if not registers.cr0 & CR0.PE or not registers.cs.big or not flat:
        flags |= _Hidden.ADDSEG
    return flags


def mode_of(registers: bytes, efer: int) -> str:
    """The mode that the ``registers`` of a digest are in, as :attr:`mklab.machine.registers.Registers.mode` has it."""
    return "real" if not registers[_CR] & CR0.PE else "long" if efer & EFER.LMA else "protected"


@dataclass(frozen=True)
class ContextLayout:
    """Offsets in a saved context, in bytes.

    Attributes:
        base: where the general registers begin.
        efer, error_code, old_exception: the fields of those names.
    """

    base: int
    efer: int
    error_code: int
    old_exception: int

    @property
    def by_int(self) -> int:
        """Where it lies whether INT n raised the last exception, a 32-bit number behind the error code."""
        return self.error_code + 4

    @property
    def hflags(self) -> int:
        """Where the digest of mode and segments lies, a 32-bit number."""
        return self.base + _HFLAGS

    @property
    def beyond(self) -> int:
        """Where the fields behind the control registers begin: x87, SSE, MSRs, debug registers, exceptions."""
        return self.base + _CR + _CRS.size

    def read(self, blob: Any, rflags: int) -> Registers:
        """The registers in ``blob`` (a writable buffer); ``rflags`` comes from the public interface.

        RF is left out: hardware clears it when an instruction has been executed, the emulator when a block has.
        """
        *general, rip = _BASE.unpack_from(blob, self.base)
        cr = _CRS.unpack_from(blob, self.base + _CR)
        values: dict[str, Any] = dict(zip(GPRS, general, strict=True))
        for i, name in enumerate((*SEGMENTS, *TABLES)):
            selector, base, limit, flags = SEGMENT.unpack_from(blob, self.base + _SEGMENTS + 24 * i)
            values[name] = Segment(selector & 0xFFFF, base, limit, flags & _FLAGS)
        hidden = struct.unpack_from("<I", blob, self.hflags)[0]
        efer = struct.unpack_from("<Q", blob, self.efer)[0]
        return Registers(
            **values,
            rip=rip,
            rflags=rflags & ~RFLAGS.RF,
            cr0=cr[0],
            cr2=cr[2],
            cr3=cr[3],
            cr4=cr[4],
            efer=efer,
            shadow=bool(hidden & _Hidden.INHIBIT),
        )

    def interrupt_flags(self, blob: Any) -> tuple[bool, bool]:
        """Whether the last instruction was STI or a load of SS, and RFLAGS.IF."""
        shadow = bool(blob[self.hflags] & _Hidden.INHIBIT)
        return shadow, bool(blob[self.base + _IF_BYTE] & RFLAGS.IF >> 8)

    def digest(self, blob: Any, rflags: int) -> tuple[str, str]:
        """Mode and digest of the registers in ``blob``, as :class:`Registers` has them, at a tenth of the cost."""
        seen = int.from_bytes(blob[self.base : self.base + _VISIBLE_SIZE], "little") & _VISIBLE_NUMBER
        (efer,) = _QUAD.unpack_from(blob, self.efer)
        registers = seen.to_bytes(_VISIBLE_SIZE, "little")
        return mode_of(registers, efer), digest_of(registers, efer, rflags & ~RFLAGS.RF)

    def write(self, blob: Any, registers: Registers) -> None:
        """Store ``registers`` in ``blob``; RFLAGS is left to the public interface.

        Raises:
            ValueError: a value does not fit its register; the blob may have changed.
        """
        try:
            self._write(blob, registers)
        except struct.error:
            raise ValueError(f"registers must hold numbers that fit them, not {registers!r}") from None

    def _write(self, blob: Any, registers: Registers) -> None:
        general = [getattr(registers, name) for name in GPRS]
        _BASE.pack_into(blob, self.base, *general, registers.rip)
        for i, name in enumerate((*SEGMENTS, *TABLES)):
            segment: Segment = getattr(registers, name)
            fields = (segment.selector, segment.base, segment.limit, segment.flags)
            SEGMENT.pack_into(blob, self.base + _SEGMENTS + 24 * i, *fields)
        _CRS.pack_into(blob, self.base + _CR, registers.cr0, 0, registers.cr2, registers.cr3, registers.cr4)
        struct.pack_into("<Q", blob, self.efer, registers.efer)
        struct.pack_into("<i", blob, self.old_exception, -1)
        at = self.hflags
        kept = struct.unpack_from("<I", blob, at)[0] & ~_Hidden.KNOWN
        struct.pack_into("<I", blob, at, kept | _hidden_flags(registers))

    def inhibit(self, blob: Any) -> None:
        """Let no interrupt come before the next instruction, as behind STI."""
        struct.pack_into("<I", blob, self.hflags, struct.unpack_from("<I", blob, self.hflags)[0] | _Hidden.INHIBIT)

    def exception(self, blob: Any) -> tuple[int, bool]:
        """``(error code, whether INT n raised it)`` of the last exception; and forget it.

        A second exception would be taken for a double fault if ``old_exception`` were left as it is.
        """
        code, software = struct.unpack_from("<ii", blob, self.error_code)
        struct.pack_into("<i", blob, self.old_exception, -1)
        return code, bool(software)
