"""Names of Linux that the labs may cite: what the RFC's patches add or change, and what was there before.

The RFC is "kernel: Introduce multikernel architecture support", version 1, of September 2025, in seven patches.
"""

import re
from functools import cache
from pathlib import Path

__all__ = ["BEFORE", "PATCHES", "PATH", "is_known", "patches_of"]

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
            *(
                "do_multikernel_boot_cpu",
                "memblock_reserve",
                "pgtable",
                "tgdt",
                "trampoline_location",
                "startup_32",
                "startup_64",
            ),
        }
    ),
    3: frozenset({"MULTIKERNEL_VECTOR", "sysvec_multikernel", "asm_sysvec_multikernel", "irq_call_count", "apic_idts"}),
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

BEFORE = frozenset(
    {
        *("kimage_load_segment", "kimage_alloc_init", "do_kexec_load", "kexec_load", "reboot", "kexec_load_check"),
        *("kimage_is_destination_range", "sanity_check_segment_list", "x86_64_start_kernel", "setup_arch", "kimage"),
        *("memblock_reserve", "irq_call_count", "start_kernel", "smp_ops", "kimage_free", "kexec_trylock"),
        *(
            "kexec_unlock",
            "machine_kexec_prepare",
            "machine_kexec",
            "relocate_kernel",
            "kernel_kexec",
            "native_kick_ap",
        ),
        *("wakeup_secondary_cpu_via_init", "reserve_real_mode", "cpu_up", "cpu_down", "play_dead", "apic_idts"),
        *("idt_setup_apic_and_irq_gates", "idt_setup_traps", "setup_local_APIC", "apic_eoi", "native_apic_mem_write"),
        *("__default_send_IPI_dest_field", "default_send_IPI_dest_field", "native_apic_icr_write", "irq_work_queue"),
        *("irq_work_sync", "container_of", "list_add_tail", "list_del", "list_for_each_entry", "mutex_lock"),
        *("mutex_unlock", "FIRST_SYSTEM_VECTOR", "LOCAL_TIMER_VECTOR", "POSTED_MSI_NOTIFICATION_VECTOR"),
        *("FIRST_EXTERNAL_VECTOR", "RESCHEDULE_VECTOR", "CALL_FUNCTION_VECTOR", "memremap", "copy_from_user"),
        *("startup_64", "secondary_startup_64", "trampoline_64", "pa_tr_gdt", "bzImage64_probe", "bzImage64_load"),
        *("cpu_online", "cpus_read_lock", "system_transition_mutex", "seq_printf", "proc_create", "rest_init"),
        *("smp_call_function_single", "cmpxchg", "smp_store_release", "smp_load_acquire", "READ_ONCE", "WRITE_ONCE"),
    }
)
"""What Linux had before, some of which the patches change: a lab can cite it without a patch."""

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
    """Whether the project knows a name of Linux: from the patches, from what was before, or from its own model."""
    return bool(patches_of(name)) or name in BEFORE or name in _modelled()
