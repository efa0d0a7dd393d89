"""What reading the files in ``/proc`` gives that RFC v1 adds or touches."""

from mklab.guest.abi import NR_CPUS
from mklab.kernel.instance import Kernel
from mklab.kernel.kexec import KEXEC_TYPE_CRASH, KEXEC_TYPE_DEFAULT, KEXEC_TYPE_MULTIKERNEL
from mklab.kernel.kimage import KimageList
from mklab.machine.layout import APIC_BASE, APIC_SIZE

__all__ = ["TYPE_NAMES", "proc_hostname", "proc_interrupts", "proc_iomem", "proc_multikernel"]

TYPE_NAMES = {KEXEC_TYPE_DEFAULT: "default", KEXEC_TYPE_CRASH: "crash", KEXEC_TYPE_MULTIKERNEL: "multikernel"}

_HEADER = "Type        Start Address   Segments\n----------  --------------  --------\n"

_NODENAME_SIZE = 65
"""struct new_utsname (include/uapi/linux/utsname.h)."""

_INTERRUPTS = (
    ("SPU", "spurious", "Spurious interrupts"),
    ("IWI", "irq_work", "IRQ work interrupts"),
    ("RES", "reschedule", "Rescheduling interrupts"),
    ("CAL", "call", "Function call interrupts"),
)
"""Rows of /proc/interrupts that the minikernel counts, in Linux's order (arch/x86/kernel/irq.c)."""


def proc_multikernel(kimages: KimageList) -> str:
    """/proc/multikernel, byte for byte (patch 7/7); "multikernel" overflows its column (defect 25).

    Raises:
        ListCorruptionError: the list is broken; the kernel would oops or never return.
    """
    rows = []
    for image in kimages:
        name = TYPE_NAMES.get(image.get("type"), "unknown")
        rows.append(f"{name:<10}  0x{image.get('start'):012x}  {image.get('nr_segments'):8d}\n")
    return _HEADER + ("".join(rows) or "No kimages loaded\n")


def proc_iomem(kernel: Kernel, crashk_res: tuple[int, int] | None = None) -> str:
    """/proc/iomem of a minikernel (kernel/resource.c): the trampoline has no line in it.

    Args:
        kernel: whose.
        crashk_res: its region for a crash kernel, ``[start, end)``, or None.
    """
    memory = kernel.machine.memory
    area = kernel.symbol("mk_shared_resource")
    resources = [(start, end - 1, "System RAM") for start, end in kernel.memory_map]
    resources.append((APIC_BASE, APIC_BASE + APIC_SIZE - 1, "Local APIC"))
    resources.append((memory.read_u64(area), memory.read_u64(area + 8), "Multikernel Shared Memory"))
    if crashk_res is not None:
        resources.append((crashk_res[0], crashk_res[1] - 1, "Crash kernel"))
    lines = []
    for first, last, name in sorted(resources, key=lambda one: (one[0], -one[1])):
        depth = sum(a <= first and last <= b and (a, b) != (first, last) for a, b, _ in resources)
        lines.append(f"{'  ' * depth}{first:08x}-{last:08x} : {name}\n")
    return "".join(lines)


def proc_hostname(kernel: Kernel) -> str:
    """/proc/sys/kernel/hostname of a minikernel: a variable in its .data, for a load to overwrite (defect 14)."""
    name = kernel.machine.memory.read(kernel.symbol("nodename"), _NODENAME_SIZE)
    return name.split(b"\0")[0].decode("ascii", "replace") + "\n"


def proc_interrupts(kernel: Kernel) -> str:
    """/proc/interrupts of a minikernel: vector 0xEA has no row of its own, it is counted as CAL (defect 40)."""
    cpus = [cpu for cpu in range(NR_CPUS) if kernel.cpu_online(cpu)]
    lines = ["     " + "".join(f"{f'CPU{cpu}':>10} " for cpu in cpus).rstrip() + "\n"]
    for label, field, text in _INTERRUPTS:
        counts = "".join(f"{kernel.irq_stat(cpu).get(field):10d} " for cpu in cpus)
        lines.append(f"{label:>3}: {counts}  {text}\n")
    return "".join(lines)
