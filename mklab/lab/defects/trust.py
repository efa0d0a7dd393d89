"""Whom a receiver trusts, and what any kernel can send (RFC v1, patches 3 to 5): defects 37 to 44."""

from mklab.guest.abi import MK_PFN_IPI_TYPE, MULTIKERNEL_VECTOR
from mklab.kernel import apicdef
from mklab.kernel.direct_map import PAGE_OFFSET
from mklab.kernel.host import Host
from mklab.kernel.layout import HOST_BASE
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import booted, outcome, spawn, words
from mklab.machine.cpu import CpuState
from mklab.trace import Accepted, Delivered, IpiSent

__all__ = ["DEFECTS"]

_FLOOD = 100


def _lines(host: Host, kernel: str, word: str) -> list[str]:
    return [line for line in host.machine.console(kernel).splitlines() if word in line]


def _any_pfn() -> list[Finding]:
    """The host sends kernel 1 the number of a page of its own text, and then a message of another size."""
    host = booted(2)
    spawn(host, 1, 1)
    kernel, pfn = host.kernel("kernel 1"), HOST_BASE >> 12
    host.mk_send_pfn(1, pfn)
    host.settle()
    received, linear = outcome(kernel.mk_receive_pfn), kernel.mk_receive_map_page()
    same = bool(linear) and kernel.direct_map.read(linear, 64) == host.machine.memory.read(HOST_BASE, 64)
    host.send_by_hand(MULTIKERNEL_VECTOR, 1, slot=1, type=MK_PFN_IPI_TYPE, size=7, data=bytes(7))
    host.settle()
    refused = outcome(kernel.mk_receive_pfn)
    return [
        Finding(
            f"kernel 1 is told PFN {pfn:#x}, the host's own text: mk_receive_pfn gives {received}, and the page is "
            f"mapped at {linear:#x}, {'as it is' if same else 'not as it is'}; another size gives "
            f"{refused}",
            received == "0" and same and refused == "-EINVAL",
        )
    ]


def _size_believed() -> list[Finding]:
    """Kernel 1 claims sizes of 3 and of 2^64 - 1 bytes for the same three bytes."""
    host = booted(2)
    spawn(host, 1, 1)
    host.multikernel_register_handler(1)
    for size in (3, (1 << 64) - 1):
        host.kernel("kernel 1").send_by_hand(MULTIKERNEL_VECTOR, 0, slot=0, sender=1, type=9, size=size, data=b"abc")
        host.settle()
    sizes = [record["data_size"] for record in host.handler_records()]
    return [Finding(f"the handler is handed the sizes {words(sizes)}", sizes == [3, (1 << 64) - 1])]


def _no_filter() -> list[Finding]:
    """Kernel 1 floods CPUs of the host and of kernel 2 with 0xEA, then sends an NMI and an INIT to the host's."""
    host = booted(4)
    for number in (1, 2):
        spawn(host, number, number)
    machine, kernel = host.machine, host.kernel("kernel 1")
    counts = {}
    for cpu in (0, 2):
        begin = machine.trace.count
        kernel.send_by_hand(MULTIKERNEL_VECTOR, cpu, times=_FLOOD)
        host.settle()
        events = [event for event in machine.trace if event.seq >= begin]
        sent = [e for e in events if isinstance(e, IpiSent) and e.vector == MULTIKERNEL_VECTOR and e.targets == [cpu]]
        merged = [e for e in events if isinstance(e, Accepted) and e.cpu == cpu and e.merged]
        entered = [e for e in events if isinstance(e, Delivered) and (e.cpu, e.vector) == (cpu, MULTIKERNEL_VECTOR)]
        counts[cpu] = len(sent), len(merged), len(entered)
    printed = {name: len(_lines(host, name, "Multikernel IPI received")) for name in ("host", "kernel 2")}
    kernel.send_by_hand(apicdef.APIC_DM_NMI, 0)
    host.settle()
    nmi = (_lines(host, "host", "Uhhuh") or ["nothing"])[-1]
    kernel.send_by_hand(apicdef.APIC_INT_ASSERT | apicdef.APIC_DM_INIT, 3)
    host.settle()
    state, online = machine.cpus[3].state, host.cpu_online(3)
    return [
        Finding(
            "of "
            + "; of ".join(
                f"{sent} IPIs to CPU {cpu} ({machine.cpus[cpu].owner}) {entered} interrupt it and {merged} are merged"
                for cpu, (sent, merged, entered) in counts.items()
            )
            + f"; each prints a line in hard-IRQ context, {printed['host']} of the host's and {printed['kernel 2']} of "
            "kernel 2's",
            all(sent == _FLOOD and entered for sent, _, entered in counts.values())
            and [entered for _, _, entered in counts.values()] == list(printed.values()),
        ),
        Finding(f"an NMI to CPU 0: '{nmi}'", nmi.endswith("on CPU 0.")),
        Finding(
            f"an INIT to CPU 3 of the host: {state}, and the host counts it as {'on' if online else 'off'}line",
            state is CpuState.WAIT_FOR_SIPI and online,
        ),
    ]


def _counted_as_calls() -> list[Finding]:
    """Three messages reach CPU 1 of the host; /proc/interrupts is read before and after."""
    host = booted(2)
    tables = [host.proc_interrupts()]
    for _ in range(3):
        host.multikernel_send_ipi_data(1, b"x", 7)
        host.settle()
    tables.append(host.proc_interrupts())
    rows = [{line.split(":")[0].strip(): line.split()[1:3] for line in table.splitlines()[1:]} for table in tables]
    changed = [name for name in rows[0] if name not in ("IWI", "RES") and rows[0][name] != rows[1][name]]
    before, after = rows[0]["CAL"][1], rows[1]["CAL"][1]
    return [
        Finding(
            f"after three messages the row CAL, 'Function call interrupts', goes from {before} to {after} for CPU 1; "
            f"rows that changed: {', '.join(changed)}; there is none for 0xEA among {', '.join(rows[1])}",
            changed == ["CAL"] and int(after) - int(before) == 3,
        )
    ]


def _unregister_twice() -> list[Finding]:
    """A handler is unregistered twice; once more when its memory is another's; and when a bit there is set."""
    host = booted(2)

    def records() -> int:
        host.send_by_hand(MULTIKERNEL_VECTOR, 0, slot=0, type=9)
        host.settle()
        return len(host.handler_records())

    old = host.multikernel_register_handler(1)
    seen = [records()]
    host.multikernel_unregister_handler(old)
    host.multikernel_unregister_handler(old)
    seen.append(records())
    new = host.multikernel_register_handler(2)
    seen.append(records())
    host.multikernel_unregister_handler(old)
    seen.append(records())
    return [
        Finding(
            f"unregistering twice in a row has no visible effect: {seen[0]} message was seen before, {seen[1]} in all "
            "afterwards",
            seen[:2] == [1, 1],
        ),
        Finding(
            f"the freed memory {old:#x} is given to the next handler, at {new:#x}, which sees its first message; "
            f"unregistering the old one again then takes the new one off the list: it sees {seen[3] - seen[2]} more",
            old == new and seen[2] == 2 and seen[3] == 2,
        ),
        _waits_for_freed_memory(host, old),
    ]


def _waits_for_freed_memory(host: Host, freed: int) -> Finding:
    # struct mk_ipi_handler: callback, context, next, saved_data; then irq_work: next, pending
    host.store(freed + 40, (1).to_bytes(4, "little"), via=1)
    result = outcome(host.multikernel_unregister_handler, freed)
    rip = host.machine.registers(0).rip
    symbols = host.machine.images["host"].symbols
    where = max((paddr, name) for name, paddr in symbols.items() if paddr <= rip)[1]
    return Finding(
        "where the memory's new owner has a 1 in the place of irq_work.pending, irq_work_sync waits for ever: "
        f"{result}, in {where}",
        "has not returned" in result and where in ("cpu_relax", "multikernel_unregister_handler"),
    )


def _raw_pointer() -> list[Finding]:
    """The host's log is read as any user can read it with dmesg."""
    host = booted(1)
    line = _lines(host, "host", "Allocated and mapped")[0]
    numbers = dict(part.split("=") for part in line.replace(",", "").split() if "=" in part)
    phys = int(numbers["phys"], 16)
    virt = int(numbers["virt"], 16) if set(numbers["virt"]) <= set("0123456789abcdef") else 0
    right = bool(virt) and host.direct_map.read(virt, 16) == host.machine.memory.read(phys, 16)
    return [
        Finding(
            f"'{line}': "
            + (f"virt less phys is {virt - phys:#x}, where all RAM is mapped" if virt else "no address is told"),
            right and virt - phys == PAGE_OFFSET,
        )
    ]


DEFECTS: tuple[Defect, ...] = (
    Defect(
        37,
        "Any page frame number",
        "patch 4, mk_receive_pfn: it checks the message's type and size, not whose page it is, nor does it pin it",
        _any_pfn,
    ),
    Defect(
        38,
        "The size is believed",
        "patch 4, the handler of 0xEA: data_size is handed on as it stands in the slot",
        _size_believed,
    ),
    Defect(
        39,
        "No filter, no limit",
        "patch 3: any CPU can send 0xEA, NMI or INIT to any other at any rate; each 0xEA prints in hard-IRQ context",
        _no_filter,
    ),
    Defect(
        40,
        "Counted as function calls",
        "patch 3, sysvec_multikernel: it counts irq_call_count, and has no row of its own",
        _counted_as_calls,
    ),
    Defect(
        41,
        "Unregistering twice",
        "patch 4, multikernel_unregister_handler: irq_work_sync and kfree on what it did not find in the list",
        _unregister_twice,
    ),
    Defect(
        42,
        "Built for x86 everywhere",
        "patch 4, kernel/multikernel.c: compiled unconditionally, with asm/apic.h and without a Kconfig option",
        None,
        "it is a failure to compile Linux for other architectures; this machine is an x86 and compiles no Linux",
    ),
    Defect(
        43,
        "Below the system vectors",
        "patch 3: 0xEA lies below FIRST_SYSTEM_VECTOR, so FRED would dispatch it as a device's interrupt",
        None,
        "FRED is a way to deliver events that the modelled CPU, a Nehalem, does not have; it goes through the IDT",
    ),
    Defect(
        44, "A raw pointer in the log", "patch 4, mk_shared_memory_init: it prints the address with %px", _raw_pointer
    ),
)
