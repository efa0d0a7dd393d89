"""What the kernels of this lab keep where in memory, for pictures."""

import functools

from mklab.guest import listing, source_texts, trampoline
from mklab.guest.abi import BOOT_INFO, CPU_WORK, HANDLER_RECORD, HANDLER_RECORDS, IRQ_STAT, MK_IPI_DATA, NR_CPUS
from mklab.kernel.kimage import HOST_STATE, KIMAGE
from mklab.kernel.layout import (
    BOOT_PAGE_TABLES,
    BOOT_PARAMS,
    COMMAND_LINE,
    FREE_PAGES,
    HOST_DATA,
    MEM_MAP,
    WARM_RESET_VECTOR,
)
from mklab.machine.layout import APIC_BASE, APIC_SIZE
from mklab.recording import Description, Place, Source
from mklab.structs import Field, Struct

__all__ = ["PROC_MULTIKERNEL", "description"]

PROC_MULTIKERNEL = "/proc/multikernel"
_PAGE = 4096
_U64 = Struct("u64", Field("value", "u64"))
_U32 = Struct("u32", Field("value", "u32"))
_RESOURCE = Struct("resource", Field("start", "u64"), Field("end", "u64"))
_TEXT, _STACKS, _PAGE_TABLES = 4 * _PAGE, 256 * 2048, 48 * _PAGE
"""The minikernel's ``.text``, ``stacks`` of entry.S, one for each physical id, and ``page_tables`` of mm.c."""
_BASE = "x86_trampoline_bsp_base"
"""The host's variable that points to its copy of the trampoline."""


@functools.cache
def description() -> Description:
    """The structs, the places of the host and of every minikernel, and the sources of their code."""
    structs = (KIMAGE, HOST_STATE, MK_IPI_DATA, BOOT_INFO, CPU_WORK, IRQ_STAT, HANDLER_RECORD, _U64, _U32, _RESOURCE)
    sources = (
        Source("trampoline", listing("trampoline_64_bsp"), source_texts("trampoline_64_bsp.S")),
        Source("text", listing("minikernel"), source_texts("minikernel/*.[chS]")),
    )
    return Description(structs, (*_host(), *_trampoline(), *_every_kernel()), sources)


def _host() -> list[Place]:
    return [
        Place("warm reset vector", "trampoline", WARM_RESET_VECTOR, kernel="host", struct="u32"),
        Place("boot_params", "boot parameters", BOOT_PARAMS, kernel="host", size=_PAGE),
        Place("command line", "boot parameters", COMMAND_LINE, kernel="host", size=_PAGE),
        Place("boot page tables", "page tables", BOOT_PAGE_TABLES, kernel="host", size=6 * _PAGE),
        Place("host_state", "kimages", HOST_DATA, kernel="host", struct="host_state"),
        Place("kexec_image_list", "kimages", HOST_DATA, kernel="host", struct="kimage", link="list_next"),
        Place("kimages", "kimages", HOST_DATA, kernel="host", size=MEM_MAP - HOST_DATA, text=PROC_MULTIKERNEL),
        Place("mem_map", "kimages", MEM_MAP, kernel="host", size=FREE_PAGES[0] - MEM_MAP),
        Place("control and source pages", "kimages", FREE_PAGES[0], kernel="host", size=FREE_PAGES[1] - FREE_PAGES[0]),
        Place("local APIC", "APIC page", APIC_BASE, size=APIC_SIZE),
    ]


def _trampoline() -> list[Place]:
    """The trampoline as the host has set it up; a minikernel that sets up one of its own has its own."""
    symbols = trampoline().symbols
    start, tables, end = (symbols[name] for name in ("x86_trampoline_bsp_start", "pgtable", "x86_trampoline_bsp_end"))
    places = [
        Place("trampoline", "trampoline", symbol=_BASE, pointer=True, size=end - start),
        Place("trampoline page tables", "page tables", tables, _BASE, pointer=True, size=end - tables),
    ]
    for name, struct in (
        ("boot_params_phys_addr", "u64"),
        ("kernel_phys_addr", "u64"),
        ("trampoline_status_bsp", "u32"),
    ):
        places.append(Place(name, "trampoline", symbols[name], _BASE, pointer=True, struct=struct))
    return places


def _every_kernel() -> list[Place]:
    return [
        Place("text", "code", symbol="_text", size=_TEXT),
        Place("mk_boot_info", "boot parameters", symbol="mk_boot_info", struct=BOOT_INFO.name),
        Place(
            "mk_shared_data", "messages", symbol="mk_shared_phys", pointer=True, struct=MK_IPI_DATA.name, count=NR_CPUS
        ),
        Place("mk_shared_resource", "messages", symbol="mk_shared_resource", struct=_RESOURCE.name),
        Place(
            "handler_records", "messages", symbol="handler_records", struct=HANDLER_RECORD.name, count=HANDLER_RECORDS
        ),
        Place("cpu_work", "process context", symbol="cpu_work", struct=CPU_WORK.name, count=256),
        Place("irq_stat", "interrupts", symbol="irq_stat", struct=IRQ_STAT.name, count=256),
        Place("idt", "interrupts", symbol="idt", size=256 * 16),
        Place("cpu_online", "CPUs", symbol="cpu_online", size=256),
        Place("stacks", "stacks", symbol="stacks", size=_STACKS),
        Place("page_tables", "page tables", symbol="page_tables", size=_PAGE_TABLES),
        Place("nodename", "data", symbol="nodename", size=65),
    ]
