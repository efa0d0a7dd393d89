"""The named steps of kernel functions: where they are in Linux with the RFC's v1, and what each is good for."""

__all__ = ["source_of", "why_of"]

_KICK = "do_multikernel_boot_cpu, arch/x86/kernel/smpboot.c"
_SOURCES = {
    "cpu_up": "kernel/cpu.c; native_kick_ap, arch/x86/kernel/smpboot.c",
    "cpu_down": "kernel/cpu.c; native_play_dead, arch/x86/kernel/smpboot.c",
    "kexec_load": "kernel/kexec.c and kernel/kexec_core.c",
    "multikernel_kexec": "kernel/kexec_core.c (v1, patch 1/7)",
    "multikernel_kexec_by_entry": "kernel/kexec_core.c (v1, patch 6/7)",
    "multikernel_send_ipi_data": "kernel/multikernel.c (v1, patch 4/7)",
    "kernel_kexec": "kernel/kexec_core.c",
    "reboot": "kernel/reboot.c",
    "panic": "kernel/panic.c",
    "work": "the lab's minikernel: guest code called from process context",
}
_WHY = {
    "mailbox": "The trampoline reads entry and boot_params from its own page. All kicks share this one place: a slow "
    "CPU reads the next one's values.",
    "warm_reset": "Old firmware looks here after an INIT: the BIOS would jump to the trampoline.",
    "init_assert": "INIT resets the CPU: it stops whatever it did and waits for a SIPI.",
    "init_deassert": "CPUs since the Pentium 4 ignore the de-assert; Linux sends it all the same.",
    "sipi_1": "The SIPI's vector is a page number: the CPU starts there in real mode.",
    "sipi_2": "The manual asks for two SIPIs. A CPU that runs already ignores the second.",
    "kick": "multikernel_kick_ap turns the logical CPU number into an APIC id.",
    ("multikernel_kexec", "check"): "The CPU must be offline in the host. v1 asks before it takes any lock.",
    ("multikernel_kexec", "choose"): "kimage_find_by_type finds the oldest multikernel image, always.",
    ("multikernel_kexec", "clear_status"): "v1 clears the trampoline's marker without reading it: a CPU that never "
    "came up is not noticed.",
    ("multikernel_kexec", "unlock"): "It returns 0. Whether the CPU came up, nobody has asked.",
    ("kexec_load", "check"): "kexec_load_check: rights, flags and the segments' number.",
    ("kexec_load", "allocate"): "kimage_alloc_init: a struct kimage for the image, its segments checked.",
    ("kexec_load", "copy"): "v1 copies a multikernel segment straight to its place, whoever uses that memory now.",
    ("kexec_load", "install"): "kimage_add_to_list: the image joins kexec_image_list, and /proc/multikernel shows it.",
    ("kexec_load", "unload"): "v1 takes at most ten multikernel images off the list; kernels that run go on.",
    ("cpu_down", "ask"): "The CPU itself takes itself offline: it finds word that it is to play dead.",
    ("cpu_up", "clear_status"): "Here Linux waits until the CPU calls in.",
    ("multikernel_send_ipi_data", "request"): "Guest code on the sending CPU fills the slot and writes the ICR; this "
    "leaves the arguments where it looks for work.",
    "unlock": "The lock is free again; the next caller gets it.",
    "lock": "A trylock: who does not get it returns -EBUSY.",
    "wake": "The CPU idles in HLT; an IPI to itself ends that.",
    "wait": "It looks again and again until it is so.",
}


def source_of(function: str, step: str) -> str:
    """The file in which Linux has ``step`` of ``function``."""
    if function.startswith("multikernel_kexec") and step in (
        "mailbox",
        "warm_reset",
        "init_assert",
        "init_deassert",
        "sipi_1",
        "sipi_2",
        "clear_status",
    ):
        return _KICK
    return _SOURCES.get(function, "the lab's own")


def why_of(function: str, step: str) -> str:
    """What the step is good for, in a sentence or two; empty where its detail says all."""
    return _WHY.get((function, step)) or _WHY.get(step, "")
