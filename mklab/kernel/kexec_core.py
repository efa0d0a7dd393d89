"""``kernel/kexec_core.c`` and ``kernel/kexec.c``: kexec_load with KEXEC_MULTIKERNEL, and multikernel_kexec (RFC v1)."""

import errno
from collections.abc import Sequence
from typing import Any

from mklab.errors import KexecError
from mklab.kernel.kexec import (
    KEXEC_ARCH_DEFAULT,
    KEXEC_ARCH_MASK,
    KEXEC_ARCH_X86_64,
    KEXEC_CRASH_HOTPLUG_SUPPORT,
    KEXEC_DESTINATION_MEMORY_LIMIT,
    KEXEC_MULTIKERNEL,
    KEXEC_ON_CRASH,
    KEXEC_PRESERVE_CONTEXT,
    KEXEC_SEGMENT_MAX,
    KEXEC_TYPE_MULTIKERNEL,
    KEXEC_UPDATE_ELFCOREHDR,
    PAGE_SIZE,
)
from mklab.kernel.kimage import KIMAGE
from mklab.kernel.smpboot import KICK_STEPS
from mklab.kernel.steps import SteppedFunction
from mklab.machine.layout import PHYSICAL_ADDRESS_BITS
from mklab.machine.ownership import Image
from mklab.machine.process import Call

__all__ = ["KexecLoad", "MultikernelKexec", "sanity_check_segment_list"]

_FLAGS = (
    KEXEC_ON_CRASH
    | KEXEC_PRESERVE_CONTEXT
    | KEXEC_UPDATE_ELFCOREHDR
    | KEXEC_CRASH_HOTPLUG_SUPPORT
    | KEXEC_MULTIKERNEL
    | KEXEC_ARCH_MASK
)
_PAGES_A_STEP = 64
_UNLOADED_AT_ONCE = 10

Segment = dict[str, Any]
"""``mem``, ``memsz``, ``bufsz`` in bytes, and ``sha256`` of the bytes to load, which the trace holds."""


def sanity_check_segment_list(segments: Sequence[Segment], ram_bytes: int) -> None:
    """The checks of Linux's function of that name, in its order.

    Args:
        segments: what kexec_load was given.
        ram_bytes: all RAM of the machine.

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
        pages = -(-segment["memsz"] // PAGE_SIZE)
        total += pages
        if pages > half:
            refuse(errno.EINVAL, f"segment {index} takes {pages} pages, more than half of RAM ({half})")
    if total > half:
        refuse(errno.EINVAL, f"the segments take {total} pages, more than half of RAM ({half})")


class KexecLoad(SteppedFunction):
    """kexec_load(2): each segment goes to its destination at load time, a page at a time (v1).

    ``call.values``: ``entry``, ``segments``, ``flags``, ``privileged``, ``symbols`` (for observation only).
    """

    def check(self, call: Call) -> str:
        """kexec_load_check."""
        flags, segments = call.values["flags"], call.values["segments"]
        if not call.values["privileged"] or self.host.kimages.state.get("kexec_load_disabled"):
            raise KexecError(
                errno.EPERM, "kexec_load_check", "it takes CAP_SYS_BOOT, and kexec_load_disabled must be 0"
            )
        if flags & ~_FLAGS:
            raise KexecError(errno.EINVAL, "kexec_load_check", f"unknown flags {flags & ~_FLAGS:#x}")
        if len(segments) > KEXEC_SEGMENT_MAX:
            why = f"{len(segments)} segments; at most {KEXEC_SEGMENT_MAX} are allowed"
            raise KexecError(errno.EINVAL, "kexec_load_check", why)
        if flags & KEXEC_ARCH_MASK not in (KEXEC_ARCH_DEFAULT, KEXEC_ARCH_X86_64):
            why = f"the image is for architecture {flags >> 16}, this machine is x86-64 ({KEXEC_ARCH_X86_64 >> 16})"
            raise KexecError(errno.EINVAL, "kexec_load", why)
        if flags & KEXEC_ON_CRASH:
            why = f"the entry {call.values['entry']:#x} lies outside the crash kernel's region, and this host has none"
            raise KexecError(errno.EADDRNOTAVAIL, "kimage_alloc_init", why)
        call.step = "lock"
        return f"{len(segments)} segments, flags {flags:#x}"

    def lock(self, call: Call) -> str:
        """kexec_trylock."""
        self.host.kexec_trylock("kexec_load")
        call.step = "allocate" if call.values["segments"] else "unload"
        return "kexec_lock taken"

    def allocate(self, call: Call) -> str:
        """kimage_alloc_init: a kimage, once the segments have passed their checks."""
        segments = call.values["segments"]
        try:
            sanity_check_segment_list(segments, self.host.machine.memory.size)
        except KexecError:
            self.host.kexec_unlock()
            raise
        state = self.host.kimages.state
        state.set("kernels", state.get("kernels") + 1)
        image = self.host.kimages.allocate()
        image.set("start", call.values["entry"])
        image.set("nr_segments", len(segments))
        image.set("type", KEXEC_TYPE_MULTIKERNEL)
        image.set("id", state.get("kernels"))
        for index, segment in enumerate(segments):
            for part, name in enumerate(("bufsz", "mem", "memsz"), start=1):
                image.set("segment", segment[name], 4 * index + part)
        call.values |= {"image": image.paddr, "segment": 0, "page": 0}
        call.step = "copy"
        return f"kimage at {image.paddr:#x}"

    def copy(self, call: Call) -> str:
        """kimage_load_multikernel_segment: straight to the destination, whoever uses it."""
        index, first = call.values["segment"], call.values["page"]
        segment = call.values["segments"][index]
        machine = self.host.machine
        if first == 0:
            self.host.printk(
                f"kexec_core: Loading multikernel segment: mem=0x{segment['mem']:x}, memsz=0x{segment['memsz']}, "
                f"buf=0x0000000000000000, bufsz=0x{segment['bufsz']}"
            )
        pages = segment["memsz"] // PAGE_SIZE
        last = min(first + _PAGES_A_STEP, pages)
        if segment["mem"] + segment["memsz"] > 1 << PHYSICAL_ADDRESS_BITS:
            self.host.kexec_unlock()
            why = f"segment {index} lies beyond the CPU's {PHYSICAL_ADDRESS_BITS} physical address bits"
            raise KexecError(errno.ENOMEM, "kimage_load_multikernel_segment", why)
        data = machine.trace.blobs[segment["sha256"]] if segment["bufsz"] else b""
        for page in range(first, last):
            where = segment["mem"] + page * PAGE_SIZE
            # Memory beyond the end of RAM is accepted, as Linux does; the stores go nowhere.
            if machine.memory.contains(where, PAGE_SIZE):
                machine.memory.write(where, data[page * PAGE_SIZE : (page + 1) * PAGE_SIZE].ljust(PAGE_SIZE, b"\0"))
        call.values["page"] = last
        if last == pages:
            call.values |= {"segment": index + 1, "page": 0}
            call.step = "copy" if index + 1 < len(call.values["segments"]) else "add"
        return f"segment {index}: pages {first} to {last} of {pages} at {segment['mem']:#x}"

    def add(self, call: Call) -> str:
        """kimage_add_to_list."""
        image = KIMAGE(self.host.machine.memory, call.values["image"])
        self.host.kimages.add_tail(image)
        entry = image.get("start")
        self.host.printk(f"kexec: Added multikernel image to list (entry: 0x{entry:x})")
        ranges = [[segment["mem"], segment["mem"] + segment["memsz"]] for segment in call.values["segments"]]
        name = f"kernel {image.get('id')}"
        self.host.machine.add_image(Image(name, ranges, entry, dict(call.values["symbols"])))
        call.step = "unlock"
        return f"{name} is in kexec_image_list"

    def unload(self, call: Call) -> str:
        """nr_segments 0: at most ten images go; kernels that run go on (defect 23)."""
        images = [image for image, _ in zip(self.host.kimages, range(_UNLOADED_AT_ONCE), strict=False)]
        for image in images:
            self.host.kimages.remove(image)
        self.host.printk(f"kexec: Unloaded {len(images)} multikernel images")
        call.step = "unlock"
        return f"{len(images)} images left the list"

    def unlock(self, call: Call) -> str:
        """kexec_unlock, and back to user space."""
        self.host.kexec_unlock()
        call.step = ""
        return "kexec_lock released; returns 0"


class MultikernelKexec(SteppedFunction):
    """reboot(LINUX_REBOOT_CMD_MULTIKERNEL): multikernel_kexec(cpu), then the kick. ``call.values``: ``cpu``."""

    def check(self, call: Call) -> str:
        """The CPU must be offline here; asked before any lock is taken (defect 18)."""
        cpu = call.values["cpu"]
        self.host.printk(f"kexec_core: multikernel kexec: cpu {cpu}")
        if cpu < 0:
            # Linux passes the number to cpu_online() unchecked and oopses (defect 17): docs/fidelity.md.
            raise KexecError(errno.EINVAL, "multikernel_kexec", f"there is no CPU {cpu}")
        if self.host.cpu_online(cpu):
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
        """kimage_find_by_type: always the oldest multikernel image (defect 21)."""
        image = self.host.kimages.find_by_type()
        if image is None:
            self.host.printk("kexec_core: No multikernel image loaded")
            self.host.kexec_unlock()
            raise KexecError(errno.EINVAL, "multikernel_kexec", "no multikernel image is loaded; call kexec_load first")
        call.values |= {"start": image.get("start"), "image": image.paddr}
        self.host.printk(f"kexec_core: Found multikernel image with entry point: 0x{image.get('start'):x}")
        call.step = "kick"
        return f"kernel {image.get('id')}, entry {image.get('start'):#x}"

    def step(self, call: Call) -> str:
        """Perform one step, of the kick too."""
        if call.step in KICK_STEPS:
            return self.host.kick.step(call)
        return super().step(call)

    def unlock(self, call: Call) -> str:
        """kexec_unlock. Whether the CPU came up, nobody has asked (defect 4)."""
        self.host.kexec_unlock()
        call.step = ""
        return "kexec_lock released; returns 0"
