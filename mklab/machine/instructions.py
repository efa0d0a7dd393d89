"""Instructions that the engine gets wrong, executed here instead (SDM volume 2, under their names).

The engine stops before one of them; :func:`execute` does to the registers what the manual says, or raises the guest's
fault. What they reach besides general registers is handed in: the CPU's model-specific registers and its local APIC.
"""

from dataclasses import dataclass

from mklab.machine.delivery import GuestFaultError
from mklab.machine.lapic import ApicFaultError, LocalApic
from mklab.machine.msr import FMASK, LSTAR, STAR, SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP, ModelSpecificRegisters
from mklab.machine.registers import CR0, CR4, EFER, GPRS, RFLAGS, Registers, Segment

__all__ = ["OPCODES", "PREFIXES", "Instruction", "cr0_fault", "decode", "execute"]

DEBUG, INVALID_OPCODE, PROTECTION = 1, 6, 13
_MAP = {
    **dict.fromkeys((b"\x6c", b"\x6d", b"\x6e", b"\x6f"), "port in dx"),  # INS, OUTS
    **dict.fromkeys((b"\xe4", b"\xe5", b"\xe6", b"\xe7"), "port"),  # IN and OUT, this and the next line
    **dict.fromkeys((b"\xec", b"\xed", b"\xee", b"\xef"), "port in dx"),
    b"\xf1": "icebp",
    b"\xcf": "iret",
    b"\x0f\x05": "syscall",
    b"\x0f\x07": "sysret",
    b"\x0f\x20": "mov from cr",
    b"\x0f\x22": "mov to cr",
    b"\x0f\x30": "wrmsr",
    b"\x0f\x32": "rdmsr",
    b"\x0f\x34": "sysenter",
    b"\x0f\x35": "sysexit",
}
OPCODES = tuple(_MAP)
"""How the instructions begin, behind their prefixes."""
_LEGACY_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3))
_REX = frozenset(range(0x40, 0x50))
PREFIXES = _LEGACY_PREFIXES | _REX
"""Bytes that may stand before an opcode, in some mode; with LOCK it is none, and the engine raises #UD."""
_MASK_32 = 0xFFFFFFFF
_SYSRET_FLAGS = 0x3C7FD7
"""RFLAGS that SYSRET takes from R11: all but RF, VM and the reserved ones."""
_CODE_32, _CODE_64, _DATA = 0xC09B00, 0xA09B00, 0xC09300
_DPL_3 = 3 << 13


@dataclass(frozen=True)
class Instruction:
    """An instruction to be intercepted.

    Attributes:
        name: ``rdmsr``, ``wrmsr``, ``syscall``, ``sysret``, ``sysenter``, ``sysexit``, ``icebp``, ``iret``,
            ``mov from cr8``, ``mov to cr8``, ``mov to cr0`` (which faults), ``mode change`` (a MOV to CR0
            that does not, for the engine to execute), ``port`` or ``port in dx`` (IN, OUT, INS, OUTS).
        length: bytes, with the prefixes.
        wide: REX.W: 64-bit operands.
        operand: the general register of a MOV, by number; a port's number.
        size: bytes that go through a port at a time.
    """

    name: str
    length: int
    wide: bool = False
    operand: int = 0
    size: int = 0


def decode(code: bytes, long: bool, big: bool = True) -> Instruction | None:
    """The instruction that ``code`` begins with, in 64-bit code or not; None where it is none of ours.

    ``big`` is the D bit of a code segment that is not 64-bit code: 32-bit operands.
    """
    at = rex = 0
    while at < len(code) and (code[at] in _LEGACY_PREFIXES or (long and code[at] in _REX)):
        # A REX prefix counts only directly before the opcode.
        rex = code[at] if code[at] in _REX else 0
        at += 1
    rest = code[at:]
    size = 1 if rest[:1] in _MAP else 2
    name = _MAP.get(rest[:size])
    if name in ("mov from cr", "mov to cr"):
        if len(rest) < 3:
            return None
        # The register form is the only one, whatever the Mod field says.
        control = rest[2] >> 3 & 7 | (rex & 4) << 1
        name = f"{name}{control}"
        if name not in ("mov from cr8", "mov to cr8", "mov to cr0"):
            return None
        return Instruction(name, at + 3, bool(rex & 8), rest[2] & 7 | (rex & 1) << 3)
    if name in ("port", "port in dx"):
        if name == "port" and len(rest) < 2:
            return None
        wide = 2 if (0x66 in code[:at]) == (long or big) else 4
        moved = wide if rest[0] & 1 else 1
        return Instruction(name, at + 1 + (name == "port"), operand=rest[1] if name == "port" else 0, size=moved)
    return Instruction(name, at + size, bool(rex & 8)) if name else None


def execute(
    instruction: Instruction, registers: Registers, msrs: ModelSpecificRegisters, apic: LocalApic
) -> int | None:
    """Carry ``instruction`` out on ``registers``, in place.

    Returns:
        The vector of a trap that follows it at once (ICEBP), or None.

    Raises:
        GuestFaultError: the guest's exception; the registers may have changed and are not to be used.
    """
    # A shadow of STI or MOV SS lasts for one instruction, and this is it.
    registers.shadow = False
    following = registers.rip + instruction.length & ((1 << 64) - 1 if registers.cs.long else _MASK_32)
    name = instruction.name
    try:
        if name == "rdmsr":
            _at_cpl_0(registers, name)
            value = msrs.read(registers.rcx & _MASK_32, registers)
            registers.rax, registers.rdx = value & _MASK_32, value >> 32
        elif name == "wrmsr":
            _at_cpl_0(registers, name)
            value = (registers.rdx & _MASK_32) << 32 | registers.rax & _MASK_32
            msrs.write(registers.rcx & _MASK_32, value, registers)
        elif name == "mov from cr8":
            _at_cpl_0(registers, name)
            setattr(registers, GPRS[instruction.operand], apic.cr8)
        elif name == "mov to cr8":
            _at_cpl_0(registers, name)
            apic.set_cr8(getattr(registers, GPRS[instruction.operand]))
    except ApicFaultError as fault:
        raise GuestFaultError(PROTECTION, 0, str(fault)) from None
    # The engine carries these out, unless they fault.
    if name in ("port", "port in dx"):
        raise GuestFaultError(PROTECTION, 0, "an I/O port that is not permitted")
    if name == "mov to cr0":
        raise GuestFaultError(PROTECTION, 0, cr0_fault(instruction, registers))
    registers.rip = following
    if name in _CALLS:
        _CALLS[name](instruction, registers, msrs)
    return DEBUG if name == "icebp" else None


def cr0_fault(instruction: Instruction, registers: Registers) -> str:
    """Why MOV to CR0 at CPL 0 raises #GP(0); empty where it does not (SDM "MOV—Move to/from Control Registers")."""
    value: int = getattr(registers, GPRS[instruction.operand])
    if not registers.cs.long:
        value &= _MASK_32
    on = value & CR0.PG
    if value >> 32:
        return f"CR0 = {value:#x}: its upper half is reserved"
    if (on and not value & CR0.PE) or (value & CR0.NW and not value & CR0.CD):
        return f"CR0 = {value:#x}: PG needs PE, NW needs CD"
    if not on and registers.mode == "long" and registers.cs.long:
        return f"CR0 = {value:#x}: paging cannot be left in 64-bit code"
    if on and not registers.cr0 & CR0.PG and registers.efer & EFER.LME and not registers.cr4 & CR4.PAE:
        return f"CR0 = {value:#x}: IA-32e mode needs CR4.PAE"
    return ""


def _at_cpl_0(registers: Registers, name: str) -> None:
    if registers.cpl:
        raise GuestFaultError(PROTECTION, 0, f"{name.upper()} at CPL {registers.cpl}")


def _flat(selector: int, flags: int) -> Segment:
    """A segment as the fast system calls load it: from the selector alone, no descriptor is read."""
    return Segment(selector & 0xFFFF, 0, _MASK_32, flags | (_DPL_3 if selector & 3 else 0))


def _need_system_calls(registers: Registers, name: str) -> None:
    if not (registers.mode == "long" and registers.cs.long and registers.efer & EFER.SCE):
        raise GuestFaultError(INVALID_OPCODE, 0, f"{name} needs 64-bit code and EFER.SCE")


def _need_canonical(value: int, name: str) -> None:
    if value >> 47 not in (0, 0x1FFFF):
        raise GuestFaultError(PROTECTION, 0, f"{name} to {value:#x}, which is not canonical")


def _syscall(_: Instruction, registers: Registers, msrs: ModelSpecificRegisters) -> None:
    _need_system_calls(registers, "SYSCALL")
    selector = msrs.values[STAR] >> 32 & 0xFFFC
    registers.rcx, registers.r11 = registers.rip, registers.rflags
    registers.rip = msrs.values[LSTAR]
    registers.rflags = registers.rflags & ~msrs.values[FMASK] & ~RFLAGS.RF | RFLAGS.ONE
    registers.cs, registers.ss = _flat(selector, _CODE_64), _flat(selector + 8, _DATA)


def _sysret(instruction: Instruction, registers: Registers, msrs: ModelSpecificRegisters) -> None:
    _need_system_calls(registers, "SYSRET")
    _at_cpl_0(registers, "SYSRET")
    selector = msrs.values[STAR] >> 48
    if instruction.wide:
        _need_canonical(registers.rcx, "SYSRET")
        registers.rip, registers.cs = registers.rcx, _flat(selector + 16 | 3, _CODE_64)
    else:
        registers.rip, registers.cs = registers.rcx & _MASK_32, _flat(selector | 3, _CODE_32)
    registers.ss = _flat(selector + 8 | 3, _DATA)
    registers.rflags = registers.r11 & _SYSRET_FLAGS | RFLAGS.ONE


def _sysenter(_: Instruction, registers: Registers, msrs: ModelSpecificRegisters) -> None:
    selector = msrs.values[SYSENTER_CS] & 0xFFFC
    if not registers.cr0 & CR0.PE or not selector:
        raise GuestFaultError(PROTECTION, 0, "SYSENTER needs protected mode and a selector in IA32_SYSENTER_CS")
    long = registers.mode == "long"
    mask = (1 << 64) - 1 if long else _MASK_32
    registers.rflags &= ~(RFLAGS.VM | RFLAGS.IF | RFLAGS.RF)
    registers.rsp, registers.rip = msrs.values[SYSENTER_ESP] & mask, msrs.values[SYSENTER_EIP] & mask
    registers.cs, registers.ss = _flat(selector, _CODE_64 if long else _CODE_32), _flat(selector + 8, _DATA)


def _sysexit(instruction: Instruction, registers: Registers, msrs: ModelSpecificRegisters) -> None:
    selector = msrs.values[SYSENTER_CS] & 0xFFFC
    if not registers.cr0 & CR0.PE or not selector:
        raise GuestFaultError(PROTECTION, 0, "SYSEXIT needs protected mode and a selector in IA32_SYSENTER_CS")
    _at_cpl_0(registers, "SYSEXIT")
    if instruction.wide:
        _need_canonical(registers.rcx, "SYSEXIT with a stack")
        _need_canonical(registers.rdx, "SYSEXIT")
        registers.rsp, registers.rip = registers.rcx, registers.rdx
        registers.cs, registers.ss = _flat(selector + 32 | 3, _CODE_64), _flat(selector + 40 | 3, _DATA)
    else:
        registers.rsp, registers.rip = registers.rcx & _MASK_32, registers.rdx & _MASK_32
        registers.cs, registers.ss = _flat(selector + 16 | 3, _CODE_32), _flat(selector + 24 | 3, _DATA)


_CALLS = {"syscall": _syscall, "sysret": _sysret, "sysenter": _sysenter, "sysexit": _sysexit}
