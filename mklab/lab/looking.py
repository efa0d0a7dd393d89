"""A machine as text: registers, memory, code, a local APIC, the kimage list. What ``%mk`` shows."""

import math
from collections.abc import Mapping

from mklab.kernel.host import Host
from mklab.machine.machine import Machine
from mklab.machine.registers import GPRS, RFLAGS
from mklab.paging import walk
from mklab.timeline.disassembly import code_bits, disassembled

__all__ = ["apic", "code", "kimages", "memory", "registers", "symbols"]

_LONGEST = 16
"""Bytes of an instruction, and one to spare."""
_FLAGS = {"TF": RFLAGS.TF, "IF": RFLAGS.IF, "DF": RFLAGS.DF, "NT": RFLAGS.NT, "ZF": 1 << 6, "CF": 1, "SF": 1 << 7}


def registers(machine: Machine, number: int) -> str:
    """The registers of CPU ``number``."""
    cpu, r = machine.cpus[number], machine.registers(number)
    rows = [f"CPU {number}: {cpu.owner or 'nobody'}, {cpu.mode}, {cpu.state}; APIC id {cpu.apic_id}"]
    general = [f"{name:>3} {getattr(r, name):016x}" for name in GPRS]
    rows += ["  ".join(general[first : first + 4]) for first in range(0, 16, 4)]
    flags = [name for name, bit in _FLAGS.items() if r.rflags & bit]
    rows.append(f"rip {r.rip:016x}  rflags {r.rflags:08x} ({' '.join(flags) or 'none set'})")
    rows.append(f"cr0 {r.cr0:08x}  cr2 {r.cr2:x}  cr3 {r.cr3:x}  cr4 {r.cr4:x}  efer {r.efer:x}")
    for name in ("cs", "ss", "ds", "es", "gdtr", "idtr"):
        one = getattr(r, name)
        rows.append(f"{name:<4} {one.selector:04x}  base {one.base:x}  limit {one.limit:x}")
    return "\n".join(rows)


def memory(machine: Machine, address: int, size: int) -> str:
    """``size`` bytes of physical memory, 16 a row, as numbers and as text.

    Raises:
        ValueError: some of it lies outside RAM.
    """
    data, rows = machine.memory.read(address, size), []
    for offset in range(0, size, 16):
        row = data[offset : offset + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        rows.append(f"{address + offset:#010x}  {row.hex(' '):<47}  {text}")
    return "\n".join(rows)


def code(machine: Machine, address: int, count: int) -> list[str]:
    """At most ``count`` instructions at a linear address, as the current CPU sees it; a line for each symbol too."""
    seen_by = machine.registers(machine.current)
    found = b""
    for page in range(math.ceil(count * _LONGEST / 4096) + 1):
        start = address if not page else (address & -4096) + page * 4096
        paddr = walk(machine.memory, seen_by, start).paddr
        size = 4096 - start % 4096
        if paddr is None or not machine.memory.contains(paddr, size):
            break
        found += machine.memory.read(paddr, size)
    names = {paddr: name for name, paddr in symbols(machine).items()}
    lines = []
    for one in disassembled(address, found[: count * _LONGEST], code_bits(seen_by), count):
        if one.linear in names:
            lines.append(f"{names[one.linear]}:")
        lines.append(f"{one.linear:#10x}  {one.code:<20}  {one.text}")
    return lines


def symbols(machine: Machine) -> Mapping[str, int]:
    """Symbols of the kernels in memory; a name that two have is the first one's."""
    found: dict[str, int] = {}
    for image in machine.images.values():
        for name, paddr in image.symbols.items():
            found.setdefault(name, paddr)
    return found


def apic(machine: Machine, number: int) -> str:
    """The local APIC of CPU ``number``."""
    one = machine.apics[number]
    state = "enabled" if one.enabled else "software-disabled: it takes INIT, SIPI and NMI only"
    rows = [f"CPU {number}: APIC id {one.apic_id}, {one.mode}, {state}"]
    rows.append(f"SVR {one.svr:#x}  TPR {one.tpr:#x}  PPR {one.ppr:#x}  ICR {one.icr_high:08x}:{one.icr_low:08x}")
    rows += [f"IRR {_vectors(one.irr)}", f"ISR {_vectors(one.isr)}"]
    waits = f"vector {one.pending:#x} would be delivered" if one.pending is not None else "nothing to deliver"
    due = machine.interrupt_due(number)
    return "\n".join([*rows, f"{waits}; the CPU {'takes it next' if due else 'takes no interrupt now'}"])


def _vectors(bits: int) -> str:
    return " ".join(f"{vector:#x}" for vector in range(256) if bits >> vector & 1) or "empty"


def kimages(host: Host) -> str:
    """kexec_image_list as it lies in the host's memory, and /proc/multikernel."""
    rows = [f"kexec_image_list at {host.kimages.head:#x}"]
    for image in host.kimages:
        kind, entry, segments = (image.get(name) for name in ("type", "start", "nr_segments"))
        rows.append(f"  kimage at {image.paddr:#x}: type {kind}, entry {entry:#x}, {segments} segments")
    return "\n".join([*rows, "/proc/multikernel:", host.proc_multikernel().rstrip("\n")])
