"""What lab 04 shows: runs on the bench, and what they print."""

from mklab.guest.abi import MULTIKERNEL_VECTOR
from mklab.kernel.host import Host
from mklab.lab.lab04.bench import bench, program
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.recording import Recording
from mklab.recording.bits import gate
from mklab.trace import Delivered, IpiSent

__all__ = ["fates", "flood", "gate_in_memory", "irr_words", "nested", "nesting", "one_ipi", "three_ipis"]

_SENT, _RUNS, _DEEPEST = 0x40000, 0x40008, 0x40018
_GATES = {"interrupt": 0xE, "trap": 0xF}


def one_ipi() -> Machine:
    """CPU 0 is about to send 0xEA to CPU 3, which waits in HLT with interrupts on."""
    entries = [("sender", 3), ("parked", 0), ("parked", 0), ("receiver_with_interrupts_on", 2)]
    machine = bench(program("ipis.S"), entries, {0xEA: ("handler", _GATES["interrupt"])})
    machine.poke(_SENT, (2).to_bytes(4, "little"))
    return machine


def three_ipis(*, interrupts_on: bool = False) -> Machine:
    """CPUs 0, 1 and 2 are about to send 0xEA to CPU 3, which has interrupts off until the last of them has sent."""
    receiver = "receiver_with_interrupts_on" if interrupts_on else "receiver"
    entries = [("sender", 3)] * 3 + [(receiver, 3)]
    return bench(program("ipis.S"), entries, {0xEA: ("handler", _GATES["interrupt"])})


def fates(machine: Machine) -> str:
    """What became of each IPI: when it was sent, what it did to IRR, when its handler began, when EOI was written."""
    recording = Recording([cpu.apic_id for cpu in machine.cpus])
    recording.extend(machine.trace.events)
    lines = [f"{'sent':>6}  {'from':<6}{'vector':<8}{'at the receiver':<36}{'handler':>8}{'EOI':>8}"]
    for ipi in recording.ipis:
        vector = f"{ipi.vector:#x}"
        arrived = f"lost: {ipi.why}" if ipi.lost else ""
        if ipi.accepted:
            arrived = "IRR bit was set already: merged" if ipi.merged else "IRR bit set"
        later = [f"{one.time:>8}" if one else f"{'-':>8}" for one in (ipi.delivered, ipi.eoi)]
        lines.append(f"{ipi.sent.time:>6}  CPU {ipi.sender:<2}{vector:<8}{arrived:<36}{''.join(later)}".rstrip())
    runs = int.from_bytes(machine.memory.read(_RUNS, 4), "little")
    return "\n".join([*lines, f"The handler has counted {runs} run{'s' * (runs != 1)}."])


def irr_words(machine: Machine, cpu: int) -> str:
    """The eight words of IRR in the APIC page of ``cpu``, as that CPU would read them."""
    apic = machine.apics[cpu]
    lines = []
    for number in range(8):
        offset = 0x200 + 0x10 * number
        vectors = f"vectors {32 * number:#04x} to {32 * number + 31:#04x}"
        lines.append(f"{APIC_BASE + offset:#x}  {apic.read(offset):#010x}  {vectors}")
    return "\n".join(lines)


def nested(gate: str, eoi: str) -> tuple[int, int]:
    """Four IPIs reach a CPU while its handler works: how deep handlers nest, and how often they run.

    Args:
        gate: ``interrupt`` or ``trap``.
        eoi: ``first`` or ``last`` in the handler.
    """
    handler = (f"handler_eoi_{eoi}", _GATES[gate])
    machine = bench(program("nest.S"), [("sender", 1), ("receiver", 0)], {0xEA: handler})
    machine.run(100_000)
    depth, runs = (int.from_bytes(machine.memory.read(at, 4), "little") for at in (_DEEPEST, _RUNS))
    return depth, runs


def nesting() -> str:
    """:func:`nested` for each gate and each place of EOI."""
    lines = [f"{'gate':<12}{'EOI':<8}{'handlers at once':>16}{'runs':>8}"]
    for kind in _GATES:
        for eoi in ("first", "last"):
            depth, runs = nested(kind, eoi)
            lines.append(f"{kind:<12}{eoi:<8}{depth:>16}{runs:>8}")
    return "\n".join(lines)


def gate_in_memory(host: Host, vector: int) -> str:
    """The gate of a vector in the host's IDT: its 16 bytes, and what they say."""
    paddr = host.symbol("idt") + 16 * vector
    data = host.machine.memory.read(paddr, 16)
    found = gate(data)
    names = {paddr: name for name, paddr in host.machine.images["host"].symbols.items()}
    fields = (
        (0, 2, "offset 15:0", ""),
        (2, 4, "selector", f"{found.selector:#x}: the 64-bit code segment"),
        (4, 5, "IST", f"{found.ist}: the stack that is in use"),
        (5, 6, "P, DPL, type", f"present, DPL {found.dpl}, {found.kind}"),
        (6, 8, "offset 31:16", ""),
        (8, 12, "offset 63:32", f"together {found.offset:#x}: {names[found.offset]}"),
        (12, 16, "reserved", ""),
    )
    lines = [f"entry {vector:#x} of the IDT, at {paddr:#x}"]
    for start, end, name, words in fields:
        place = f"byte {start}" if end == start + 1 else f"bytes {start} to {end - 1}"
        lines.append(f"  {place:<15}{data[start:end].hex(' '):<13} {name:<14}{words}".rstrip())
    return "\n".join(lines)


def flood(host: Host, times: int = 100) -> str:
    """CPU 0 of the host sends CPU 3 as many IPIs on 0xEA, as fast as it can: how many are counted."""
    host.send_by_hand(MULTIKERNEL_VECTOR, host.machine.cpus[3].apic_id, times=times)
    host.settle()
    trace = host.machine.trace
    sent = sum(event.vector == MULTIKERNEL_VECTOR for event in trace.of(IpiSent))
    entered = sum((event.cpu, event.vector) == (3, MULTIKERNEL_VECTOR) for event in trace.of(Delivered))
    counted = host.irq_stat(3).get("call")
    return f"sent: {sent}, handler entered: {entered}, counted in /proc/interrupts (CAL, CPU 3): {counted}"
