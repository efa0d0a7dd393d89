"""Names of Linux that the labs may cite: what the RFC's patches add or change, and what was there before.

The RFC is "kernel: Introduce multikernel architecture support", version 1, of September 2025, in seven patches.
"""

import re
from functools import cache
from pathlib import Path

__all__ = ["PATCHES", "PATH", "is_known", "patches_of"]

PATCHES: dict[int, frozenset[str]] = {
    1: frozenset(
        {
            *("KEXEC_TYPE_MULTIKERNEL", "KEXEC_MULTIKERNEL", "LINUX_REBOOT_CMD_MULTIKERNEL", "multikernel_boot_args"),
            *("multikernel_kick_ap", "do_multikernel_boot_cpu", "kimage_load_multikernel_segment"),
            *("multikernel_kexec", "kimage_load_segment", "kimage_alloc_init", "do_kexec_load", "kexec_load"),
            *("reboot", "kexec_load_check", "kimage_is_destination_range", "sanity_check_segment_list"),
        }
    ),
    2: frozenset(
        {
            *("trampoline_64_bsp", "x86_64_start_kernel", "orig_boot_params", "setup_trampolines_bsp", "setup_arch"),
            *("configure_trampolines_bsp", "x86_trampoline_bsp_base", "x86_trampoline_bsp_start"),
            *("x86_trampoline_bsp_end", "kernel_phys_addr", "boot_params_phys_addr", "trampoline_status_bsp"),
            *("do_multikernel_boot_cpu", "memblock_reserve", "pgtable", "tgdt", "trampoline_location"),
        }
    ),
    3: frozenset({"MULTIKERNEL_VECTOR", "sysvec_multikernel", "asm_sysvec_multikernel", "irq_call_count"}),
    4: frozenset(
        {
            *("MK_MAX_DATA_SIZE", "mk_ipi_data", "mk_shared_data", "MK_MEM_SIZE", "mk_ipi_handler"),
            *("multikernel_register_handler", "multikernel_unregister_handler", "multikernel_send_ipi_data"),
            *("mk_send_pfn", "mk_receive_pfn", "mk_receive_map_page", "MK_PFN_IPI_TYPE", "multikernel_init"),
            *("mk_shared_memory", "multikernel_interrupt_handler", "generic_multikernel_interrupt", "mk_handlers"),
            *("saved_data", "start_kernel", "sysvec_multikernel"),
        }
    ),
    5: frozenset({"arch_cpu_physical_id", "cpu_physical_id", "smp_ops", "multikernel_send_ipi_data"}),
    6: frozenset(
        {
            *("kexec_image_list", "kexec_image_mutex", "kimage_find_by_type", "kimage_get_all_by_type"),
            *("kimage_add_to_list", "kimage_remove_from_list", "kimage_find_multikernel_by_entry"),
            *("kimage_get_multikernel_by_index", "multikernel_kexec_by_entry", "multikernel_kexec", "kimage"),
            *("do_kexec_load", "kimage_list_lock", "kimage_free"),
        }
    ),
    7: frozenset({"multikernel_proc_show", "proc_multikernel", "multikernel_proc_init", "kimage_list"}),
}
"""What each patch adds or changes, by the names that a lab can cite."""

PATH = re.compile(r"\b(?:arch|kernel|include|init|mm|fs|drivers|lib|Documentation)/[\w./-]*\w")
"""A file or folder of Linux."""

_WORD = re.compile(r"[A-Za-z_]\w{2,}")


@cache
def _modelled() -> frozenset[str]:
    """The words of the kernel's model, its guest code and its defects: what they name after Linux, they have read."""
    package = Path(__file__).resolve().parent.parent.parent
    files = [
        one
        for part in ("kernel", "guest", "lab/defects", "machine")
        for one in sorted((package / part).rglob("*"))
        if one.suffix in (".py", ".S", ".c", ".h")
    ]
    return frozenset(word for one in files for word in _WORD.findall(one.read_text(encoding="utf-8")))


def patches_of(name: str) -> frozenset[int]:
    """The patches that add or change ``name``; none for what was there before, and for what nobody knows."""
    return frozenset(number for number, names in PATCHES.items() if name in names)


def is_known(name: str) -> bool:
    """Whether the project knows a name of Linux: the RFC's patches have it, or the model is written after it."""
    return bool(patches_of(name)) or name in _modelled()
