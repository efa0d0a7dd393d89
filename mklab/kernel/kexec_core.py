"""``kernel/kexec_core.c``: checking and loading segments, and starting what was loaded, by kexec or by a kick."""

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mklab.errors import KexecError
from mklab.kernel.kexec import (
    KEXEC_DESTINATION_MEMORY_LIMIT,
    KEXEC_TYPE_CRASH,
    KEXEC_TYPE_DEFAULT,
    KEXEC_TYPE_MULTIKERNEL,
    PAGE_SIZE,
)
from mklab.kernel.kimage_pages import kimage_add_page, kimage_alloc_page
from mklab.kernel.machine_kexec import MachineKexec
from mklab.kernel.reboot import RebootCommand
from mklab.kernel.smpboot import KICK_STEPS
from mklab.machine.layout import PHYSICAL_ADDRESS_BITS
from mklab.machine.process import Call
from mklab.structs import View

if TYPE_CHECKING:
    from mklab.kernel.host import Host

__all__ = [
    "KernelKexec",
    "MultikernelKexec",
    "MultikernelKexecByEntry",
    "Segment",
    "crash_region",
    "kimage_load_page",
    "sanity_check_segment_list",
]

Segment = dict[str, Any]
"""``mem``, ``memsz``, ``bufsz`` in bytes, ``sha256`` of the bytes to load, which the trace holds, and ``readable``, how
many of them the caller has mapped (None: all)."""


def crash_region(crashk_res: tuple[int, int] | None) -> tuple[int, int]:
    """First and last address of ``crashk_res``, as Linux has them: 0 and 0 where there is no such region."""
    return (crashk_res[0], crashk_res[1] - 1) if crashk_res is not None else (0, 0)


def sanity_check_segment_list(
    segments: Sequence[Segment],
    ram_bytes: int,
    kind: int = KEXEC_TYPE_MULTIKERNEL,
    crashk_res: tuple[int, int] | None = None,
) -> None:
    """The checks of Linux's function of that name, in its order.

    Args:
        segments: what kexec_load was given.
        ram_bytes: all RAM of the machine.
        kind: the image's type.
        crashk_res: the region for crash images, ``[start, end)``, or None.

    Raises:
        KexecError: EADDRNOTAVAIL or EINVAL.
    """

    def refuse(code: int, why: str) -> None:
        raise KexecError(code, "sanity_check_segment_list", why)

    for index, segment in enumerate(segments):
        start, end = segment["mem"], segment["mem"] + segment["memsz"]
        if end >= 1 << 64:
            refuse(errno.EADDRNOTAVAIL, f"segment {index} at {start:#x} wraps round the end of the address space")
        if start % PAGE_SIZE or end % PAGE_SIZE:
            refuse(errno.EADDRNOTAVAIL, f"segment {index}, {start:#x} to {end:#x}, is not made of whole pages")
        if end >= KEXEC_DESTINATION_MEMORY_LIMIT:
            refuse(errno.EADDRNOTAVAIL, f"segment {index} ends at {end:#x}, beyond what kexec can reach")
    for index, segment in enumerate(segments):
        for other, before in enumerate(segments[:index]):
            if segment["mem"] < before["mem"] + before["memsz"] and before["mem"] < segment["mem"] + segment["memsz"]:
                refuse(errno.EINVAL, f"segments {other} and {index} overlap at {max(segment['mem'], before['mem']):#x}")
    for index, segment in enumerate(segments):
        if segment["bufsz"] > segment["memsz"]:
            refuse(errno.EINVAL, f"segment {index} has {segment['bufsz']} bytes for {segment['memsz']} of memory")
    half = ram_bytes // PAGE_SIZE // 2
    total = 0
    for index, segment in enumerate(segments):
        pages = segment["memsz"] // PAGE_SIZE
        total += pages
        if pages > half:
            refuse(errno.EINVAL, f"segment {index} takes {pages} pages, more than half of RAM ({half})")
    if total > half:
        refuse(errno.EINVAL, f"the segments take {total} pages, more than half of RAM ({half})")
    if kind == KEXEC_TYPE_CRASH:
        first, last = crash_region(crashk_res)
        for index, segment in enumerate(segments):
            # For an empty segment at 0 the last byte is the end of the address space, as in Linux.
            if segment["mem"] < first or (segment["mem"] + segment["memsz"] - 1) % (1 << 64) > last:
                why = (
                    f"segment {index} at {segment['mem']:#x} is not within the crashkernel region {first:#x}-{last:#x}"
                )
                refuse(errno.EADDRNOTAVAIL, why)


def kimage_load_page(host: "Host", image: View, segment: Segment, page: int) -> None:
    """One page of ``kimage_load_segment``: of an ordinary image into a source page, of others into its destination.

    Raises:
        KexecError: ENOMEM, no page is free, or the CPU has no such address; EFAULT, the caller's buffer is not mapped
            there: then the page holds what could be read, and zeros.
        OopsError: the host may not write there.
    """
    where = segment["mem"] + page * PAGE_SIZE
    data = host.machine.trace.blobs[segment["sha256"]] if segment["bufsz"] else b""
    wanted = data[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
    readable = len(data) if segment["readable"] is None else segment["readable"]
    copied = wanted[: max(0, readable - page * PAGE_SIZE)]
    # What copy_from_user cannot read it leaves zero, and so is the page behind the buffer.
    _store_page(host, image, where, copied.ljust(PAGE_SIZE, b"\0"))
    if len(copied) < len(wanted):
        why = f"the buffer cannot be read from byte {page * PAGE_SIZE + len(copied)} on; the pages before it are loaded"
        raise KexecError(errno.EFAULT, _LOADERS[image.get("type")], why)


_LOADERS = {
    KEXEC_TYPE_DEFAULT: "kimage_load_normal_segment",
    KEXEC_TYPE_CRASH: "kimage_load_crash_segment",
    KEXEC_TYPE_MULTIKERNEL: "kimage_load_multikernel_segment",
}


def _store_page(host: "Host", image: View, where: int, data: bytes) -> None:
    if image.get("type") == KEXEC_TYPE_DEFAULT:
        source = kimage_alloc_page(host.kimages, image, where)
        if source is None or not kimage_add_page(host.kimages, image, source):
            raise KexecError(errno.ENOMEM, "kimage_alloc_page", "the host has no free page left for the image")
        host.kernel_write(source, data)
        return
    if image.get("type") == KEXEC_TYPE_MULTIKERNEL and where >> PHYSICAL_ADDRESS_BITS:
        # memremap(MEMREMAP_WB), which is ioremap_cache where no RAM is known.
        host.printk(f"ioremap: invalid physical address {where:x}")
        host.printk(f"kexec_core: Failed to memremap memory at 0x{where:x}")
        why = f"{where:#x} lies beyond the CPU's {PHYSICAL_ADDRESS_BITS} physical address bits"
        raise KexecError(errno.ENOMEM, "kimage_load_multikernel_segment", why)
    host.kernel_write(where, data)


class KernelKexec(RebootCommand, MachineKexec):
    """reboot(LINUX_REBOOT_CMD_KEXEC): kernel_kexec leaves this kernel for the ordinary image. It does not return."""

    first = "lock"

    def lock(self, call: Call) -> str:
        """kexec_trylock."""
        self.host.kexec_trylock("kernel_kexec")
        call.step = "choose"
        return "kexec_lock taken"

    def choose(self, call: Call) -> str:
        """kexec_image, the compatibility pointer."""
        image = self.host.kimages.compat_pointer(KEXEC_TYPE_DEFAULT)
        if image is None:
            self.host.kexec_unlock()
            raise KexecError(errno.EINVAL, "kernel_kexec", "no ordinary image is loaded; call kexec_load with flags 0")
        call.values["image"] = image.paddr
        call.step = "migrate"
        return f"kernel {image.get('id')}, entry {image.get('start'):#x}"

    def migrate(self, call: Call) -> str:
        """migrate_to_reboot_cpu: CPU 0, if it is there."""
        if self.host.cpu_online(0):
            call.cpu = 0
        self.host.printk("kexec_core: Starting new kernel")
        call.values["then"] = "lapic_shutdown"
        call.step = "stop_other_cpus"
        return f"on CPU {call.cpu}"


class MultikernelKexec(RebootCommand):
    """reboot(LINUX_REBOOT_CMD_MULTIKERNEL): multikernel_kexec(cpu), then the kick. ``call.values``: ``cpu``."""

    def check(self, call: Call) -> str:
        """The CPU must be offline here; asked before any lock is taken (defect 18)."""
        cpu = call.values["cpu"]
        self.host.printk(self._announcement(call))
        # Whatever the number: CPU -1 is far outside the mask, CPU 64 the variable behind it (defect 17).
        if self.host.test_cpu_online(cpu):
            self.host.printk("kexec_core: The CPU is currently running with this kernel instance.")
            why = f"CPU {cpu} is online in the host; take it offline first: host.cpu_down({cpu})"
            raise KexecError(errno.EBUSY, "multikernel_kexec", why)
        call.step = "lock"
        return f"CPU {cpu} is offline"

    def lock(self, call: Call) -> str:
        """kexec_trylock."""
        self.host.kexec_trylock("multikernel_kexec")
        call.step = "choose"
        return "kexec_lock taken"

    def choose(self, call: Call) -> str:
        """The image, or -EINVAL."""
        image = self._find(call)
        call.values |= {"start": image.get("start"), "image": image.paddr}
        call.step = "kick"
        return f"kernel {image.get('id')}, entry {image.get('start'):#x}"

    def _announcement(self, call: Call) -> str:
        return f"kexec_core: multikernel kexec: cpu {call.values['cpu']}"

    def _find(self, _call: Call) -> View:
        """kimage_find_by_type: always the oldest multikernel image (defect 21)."""
        image = self.host.kimages.find_by_type(KEXEC_TYPE_MULTIKERNEL)
        if image is None:
            self._none(
                "kexec_core: No multikernel image loaded", "no multikernel image is loaded; call kexec_load first"
            )
        self.host.printk(f"kexec_core: Found multikernel image with entry point: 0x{image.get('start'):x}")
        return image

    def _none(self, line: str, why: str) -> NoReturn:
        self.host.printk(line)
        self.host.kexec_unlock()
        raise KexecError(errno.EINVAL, "multikernel_kexec", why)

    def perform(self, call: Call) -> str:
        """Perform one step, of the kick too."""
        if call.step in KICK_STEPS:
            return self.host.kick.step(call)
        return super().perform(call)

    def unlock(self, call: Call) -> str:
        """kexec_unlock. Whether the CPU came up, nobody has asked (defect 4)."""
        self.host.kexec_unlock()
        call.step = ""
        return "kexec_lock released; returns 0"


class MultikernelKexecByEntry(MultikernelKexec):
    """multikernel_kexec_by_entry(cpu, entry): v1 has it, and no system call that leads to it (defect 21).

    ``call.values``: ``cpu``, ``entry``.
    """

    def _announcement(self, call: Call) -> str:
        return f"{super()._announcement(call)}, entry 0x{call.values['entry']:x}"

    def _find(self, call: Call) -> View:
        """kimage_find_multikernel_by_entry: of two with the same entry the older one (defect 22)."""
        entry = call.values["entry"]
        image = self.host.kimages.find_multikernel_by_entry(entry)
        if image is None:
            line = f"kexec_core: No multikernel image found with entry point 0x{entry:x}"
            self._none(line, f"no multikernel image is entered at {entry:#x}")
        self.host.printk(f"kexec_core: Using multikernel image with entry point: 0x{entry:x}")
        return image
