"""Words for numbers: registers of the local APIC, the ICR's two words, exceptions and their error codes.

SDM volume 3, "Local APIC Register Address Map", "Interrupt Command Register (ICR)", "Exceptions and Interrupts",
"Error Code", "Page-Fault Exception (#PF)".
"""

from mklab.recording.bits import names

__all__ = ["EXCEPTIONS", "apic_write", "error_code", "icr_low"]

EXCEPTIONS = {
    0: "divide error, #DE",
    1: "debug exception, #DB",
    2: "NMI",
    3: "breakpoint, #BP",
    4: "overflow, #OF",
    5: "BOUND range exceeded, #BR",
    6: "invalid opcode, #UD",
    7: "device not available, #NM",
    8: "double fault, #DF",
    10: "invalid TSS, #TS",
    11: "segment not present, #NP",
    12: "stack fault, #SS",
    13: "general protection, #GP",
    14: "page fault, #PF",
    16: "x87 error, #MF",
    17: "alignment check, #AC",
    18: "machine check, #MC",
    19: "SIMD exception, #XM",
}
"""The exceptions by vector."""

_REGISTERS = {
    0x20: "local APIC ID",
    0x80: "TPR",
    0xB0: "EOI",
    0xD0: "LDR",
    0xE0: "DFR",
    0xF0: "SVR",
    0x280: "ESR",
    0x2F0: "LVT CMCI",
    0x300: "ICR, low word",
    0x310: "ICR, high word",
    0x320: "LVT timer",
    0x330: "LVT thermal",
    0x340: "LVT performance",
    0x350: "LVT LINT0",
    0x360: "LVT LINT1",
    0x370: "LVT error",
    0x380: "initial count",
    0x3E0: "divide configuration",
    0x3F0: "SELF IPI",
}
_DELIVERY = ("fixed", "lowest priority", "SMI", "reserved", "NMI", "INIT", "start-up (SIPI)", "ExtINT")
_SHORTHAND = ("", "to itself", "to all", "to all but itself")
_PAGE_FAULT = {0: ("no page is mapped there", "the page forbids it"), 1: ("a read", "a write")}


def apic_write(offset: int, value: int) -> tuple[str, str]:
    """The register at ``offset`` of the APIC page, and ``value`` in words (empty: it is just a number)."""
    name = _REGISTERS.get(offset, "a register without a name")
    match offset:
        case 0x300:
            # In x2APIC mode one write has both words.
            high = f"; destination {value >> 32:#x}" if value >> 32 else ""
            return ("ICR" if high else name), icr_low(value & 0xFFFFFFFF) + high
        case 0x310:
            return name, f"destination: APIC id {value >> 24}"
        case 0xF0:
            state = "enabled" if value & 0x100 else "software-disabled: it loses what it is sent"
            return name, f"APIC {state}; spurious vector {value & 0xFF:#x}"
        case 0x80:
            return name, f"class {value >> 4 & 0xF}: interrupts of this class and below wait"
        case 0x280:
            return name, f"{', '.join(names('esr', value)) or 'cleared; the errors since then are there to be read'}"
        case 0x320 | 0x350 | 0x360 | 0x370:
            mode = " periodic," if offset == 0x320 and value >> 17 & 1 else ""
            return name, f"vector {value & 0xFF:#x},{mode} {'masked' if value >> 16 & 1 else 'not masked'}"
        case 0x3F0:
            return name, f"vector {value & 0xFF:#x} to itself"
        case _:
            return name, ""


def icr_low(value: int) -> str:
    """The low word of the ICR in words."""
    delivery, vector = value >> 8 & 7, value & 0xFF
    words = [_DELIVERY[delivery]]
    if delivery == 6:
        words.append(f"vector {vector:#x}: start at {vector << 12:#x}")
    elif delivery < 2:
        words.append(f"vector {vector:#x}")
    words.append("logical destination" if value >> 11 & 1 else "physical destination")
    if value >> 15 & 1:
        words.append("level, assert" if value >> 14 & 1 else "level, de-assert")
    if shorthand := _SHORTHAND[value >> 18 & 3]:
        words.append(f"{shorthand} (shorthand)")
    return ", ".join(words)


def error_code(vector: int, error: int) -> str:
    """The error code of an exception in words."""
    if vector != 14:
        table = ("the GDT", "the IDT", "the LDT", "the IDT")[error >> 1 & 3]
        return f"selector {error & 0xFFF8:#x} in {table}" if error else "no selector is to blame"
    words = [_PAGE_FAULT[0][error & 1], _PAGE_FAULT[1][error >> 1 & 1], "user mode" if error & 4 else "supervisor mode"]
    words += ["a reserved bit is set in a table"] if error & 8 else []
    words += ["fetching an instruction"] if error & 16 else []
    return ", ".join(words)
