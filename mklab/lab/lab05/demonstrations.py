"""What lab 05 shows: messages on a host whose APIC ids are chosen, and what becomes of the message area at a boot."""

import re
from collections.abc import Sequence

from mklab.guest import build
from mklab.guest.abi import MK_IPI_DATA
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import SHARED_MEMORY, WINDOW
from mklab.lab.defects.stage import Starving, booted, window
from mklab.recording import Recording
from mklab.trace import MessageTaken

__all__ = ["account", "area", "area_told", "booting", "boots_meanwhile", "host_with", "sources"]

_WINDOW = (window(1), window(1) + WINDOW)
_AREA = (SHARED_MEMORY, SHARED_MEMORY + 0x6000)
_AREAS: dict[str, tuple[int, list[tuple[int, int]]]] = {
    "the host's area, as RAM of its own": (SHARED_MEMORY, [_AREA, _WINDOW]),
    "the host's area, which is not its RAM": (SHARED_MEMORY, [_WINDOW]),
    "an area of its own": (0, [_WINDOW]),
}
"""How a kernel that boots may be told of its message area: mk_shared_memory=, and its memory map."""


def host_with(apic_ids: Sequence[int]) -> Host:
    """A host that has booted on CPUs with these APIC ids: its logical CPU 0 has the first, and so on."""
    return booted(len(apic_ids), apic_ids=apic_ids)


def area(host: Host, count: int = 8) -> str:
    """The first slots of the message area, with what their headers say."""
    lines = [f"{'slot':>4}  {'address':<11}{'sender_cpu':>10}{'type':>6}{'data_size':>11}  buffer"]
    for index in range(count):
        slot = MK_IPI_DATA(host.machine.memory, SHARED_MEMORY + index * MK_IPI_DATA.size)
        sender, kind, size = (slot.get(name) for name in ("sender_cpu", "type", "data_size"))
        text = slot.get_bytes("buffer", min(size, 40)).decode("ascii", "replace")
        lines.append(f"{index:>4}  {slot.paddr:#x}  {sender:>10}{kind:>6}{size:>11}  {text}".rstrip())
    return "\n".join(lines)


def area_told(host: Host) -> str:
    """What the host says of its message area: on its console, and in /proc/iomem."""
    lines = [line for line in host.machine.console("host").splitlines() if "bytes" in line]
    return "\n".join([*lines, *(line for line in host.proc_iomem().splitlines() if "Multikernel" in line)])


def account(host: Host) -> str:
    """Each message so far: where the interrupt went, and what the receiver found in the slot that it looked into."""
    recording = Recording([cpu.apic_id for cpu in host.machine.cpus])
    recording.extend(host.machine.trace.events)
    lines = []
    for ipi in recording.messages:
        if ipi.target is None or ipi.read is None:
            continue
        ids = recording.apic_ids
        index = (ipi.read.address - SHARED_MEMORY) // MK_IPI_DATA.size
        text = bytes.fromhex(ipi.read.payload).decode("ascii", "replace")
        lines.append(
            f"CPU {ipi.sender} interrupts CPU {ipi.target} (APIC id {ids[ipi.target]}), which looks into slot {index}:"
            f" type {ipi.read.type}, {text!r}"
        )
    return "\n".join(lines)


def sources(*functions: str) -> str:
    """These functions of the minikernel's multikernel.c, as they are built into host and spawned kernels.

    The number of a departure or defect, which ends some of its comments, is left out.
    """
    files, _ = build.sources("minikernel")
    text, found = files["multikernel.c"], []
    for name in functions:
        begin = text.index(next(line for line in text.splitlines() if f"{name}(" in line and line[:1].isalpha()))
        found.append(text[begin : text.index("\n}\n", begin) + 3])
    return re.sub(r" \(\d+\) \*/", " */", "\n".join(found))


def boots_meanwhile(how: str) -> MessageTaken:
    """What CPU 3 finds in its slot, if kernel 1 boots while a message of type 77, ``hello``, waits for it.

    Args:
        how: the booting kernel's message area, one of the keys of the table that :func:`booting` prints.
    """
    host = booted(4)
    host.cpu_down(2)
    shared, memory = _AREAS[how]
    host.load(minikernel_image(window(1), 1, [2], memory=memory, shared=shared, agreed=False))
    host.machine.schedule = Starving(3)
    host.multikernel_send_ipi_data(3, b"hello", 77)
    host.multikernel_kexec(2)
    host.settle()
    return [event for event in host.machine.trace.of(MessageTaken) if event.cpu == 3][-1]


def booting() -> str:
    """:func:`boots_meanwhile` for each way to be told of an area."""
    lines = [f"{'kernel 1 boots with':<38}CPU 3 finds"]
    for how in _AREAS:
        found = boots_meanwhile(how)
        text = bytes.fromhex(found.payload).decode("ascii")
        lines.append(f"{how:<38}type {found.type}, {text!r}")
    return "\n".join(lines)
