"""``kernel/kexec.c``: kexec_load(2) and do_kexec_load, with what RFC v1's patches 1 and 6 put in."""

import errno

from mklab.errors import KexecError
from mklab.kernel.kexec import (
    KEXEC_ARCH_DEFAULT,
    KEXEC_ARCH_MASK,
    KEXEC_ARCH_X86_64,
    KEXEC_CRASH_HOTPLUG_SUPPORT,
    KEXEC_MULTIKERNEL,
    KEXEC_ON_CRASH,
    KEXEC_PRESERVE_CONTEXT,
    KEXEC_SEGMENT_MAX,
    KEXEC_TYPE_CRASH,
    KEXEC_TYPE_DEFAULT,
    KEXEC_TYPE_MULTIKERNEL,
    KEXEC_UPDATE_ELFCOREHDR,
    PAGE_SIZE,
)
from mklab.kernel.kexec_core import crash_region, kimage_load_page, sanity_check_segment_list
from mklab.kernel.kimage_pages import (
    kimage_alloc_control_pages,
    kimage_free,
    kimage_set_destination,
    kimage_terminate,
)
from mklab.kernel.machine_kexec import machine_kexec_prepare
from mklab.kernel.steps import SteppedFunction
from mklab.machine.ownership import Image
from mklab.machine.process import Call
from mklab.structs import View

__all__ = ["KexecLoad"]

_FLAGS = KEXEC_ON_CRASH | KEXEC_UPDATE_ELFCOREHDR | KEXEC_CRASH_HOTPLUG_SUPPORT
_JUMP_FLAGS = KEXEC_PRESERVE_CONTEXT | KEXEC_MULTIKERNEL
"""Legal only with CONFIG_KEXEC_JUMP: v1 has put its flag there (defect 20)."""

_PAGES_A_STEP = 64
_UNLOADED_AT_ONCE = 10
"""The size of v1's array on the stack (defect 23)."""


class KexecLoad(SteppedFunction):
    """kexec_load(2).

    ``call.values``: ``entry``, ``segments`` (None: a bad pointer), ``flags``, ``privileged``, ``symbols`` (for
    observation only).
    """

    def step(self, call: Call) -> str:
        """Perform one step; a refusal frees the image and releases the lock, an oops does not."""
        try:
            return super().step(call)
        except KexecError:
            if call.values.get("locked"):
                if call.values.get("image"):
                    kimage_free(self.host.kimages, self._image(call))
                self.host.kexec_unlock()
            raise

    def check(self, call: Call) -> str:
        """kexec_load_check, the architecture, and the copy of the segments."""
        flags, segments, state = call.values["flags"], call.values["segments"], self.host.kimages.state
        if not call.values["privileged"] or state.get("kexec_load_disabled"):
            why = "it takes CAP_SYS_BOOT, and kexec_load_disabled must be 0"
            raise KexecError(errno.EPERM, "kexec_load_check", why)
        legal = _FLAGS | (_JUMP_FLAGS if state.get("config_kexec_jump") else 0)
        if unknown := flags & ~(legal | KEXEC_ARCH_MASK):
            built = "" if state.get("config_kexec_jump") else "; this host was built without CONFIG_KEXEC_JUMP"
            raise KexecError(errno.EINVAL, "kexec_load_check", f"unknown flags {unknown:#x}{built}")
        if segments is not None and len(segments) > KEXEC_SEGMENT_MAX:
            why = f"{len(segments)} segments; at most {KEXEC_SEGMENT_MAX} are allowed"
            raise KexecError(errno.EINVAL, "kexec_load_check", why)
        if flags & KEXEC_ARCH_MASK not in (KEXEC_ARCH_DEFAULT, KEXEC_ARCH_X86_64):
            why = f"the image is for architecture {flags >> 16}, this machine is x86-64 ({KEXEC_ARCH_X86_64 >> 16})"
            raise KexecError(errno.EINVAL, "kexec_load", why)
        if segments is None:
            raise KexecError(errno.EFAULT, "kexec_load", "the array of segments cannot be read")
        call.step = "lock"
        return f"{len(segments)} segments, flags {flags:#x}"

    def lock(self, call: Call) -> str:
        """kexec_trylock."""
        self.host.kexec_trylock("kexec_load")
        call.values["locked"] = True
        call.step = "allocate" if call.values["segments"] else "unload"
        return "kexec_lock taken"

    # Loading

    def allocate(self, call: Call) -> str:
        """kimage_alloc_init: a kimage, its segments checked; a multikernel image has no control pages."""
        kimages, flags, segments = self.host.kimages, call.values["flags"], call.values["segments"]
        kind = _type(flags)
        if flags & KEXEC_ON_CRASH:
            # The crash image that is there goes before anything is known of the new one.
            self._free_current(KEXEC_TYPE_CRASH)
            first, last = crash_region(self.host.crashk_res)
            if not first <= call.values["entry"] <= last:
                why = f"the entry {call.values['entry']:#x} lies outside the crashkernel region {first:#x}-{last:#x}"
                raise KexecError(errno.EADDRNOTAVAIL, "kimage_alloc_init", why)
        image = kimages.allocate()
        if image is None:
            raise KexecError(errno.ENOMEM, "do_kimage_alloc_init", "the host has no memory left for another kimage")
        call.values |= {"image": image.paddr, "segment": 0, "page": 0}
        image.set("start", call.values["entry"])
        image.set("nr_segments", len(segments))
        image.set("type", kind)
        image.set("preserve_context", int(bool(flags & KEXEC_PRESERVE_CONTEXT)))
        for index, segment in enumerate(segments):
            for part, name in enumerate(("bufsz", "mem", "memsz"), start=1):
                image.set("segment", segment[name], 4 * index + part)
        if flags & KEXEC_ON_CRASH:
            image.set("control_page", crash_region(self.host.crashk_res)[0])
        sanity_check_segment_list(segments, self.host.machine.memory.size, kind, self.host.crashk_res)
        kimages.state.set("kernels", kimages.state.get("kernels") + 1)
        image.set("id", kimages.state.get("kernels"))
        if kind != KEXEC_TYPE_MULTIKERNEL:
            self._allocate_control_pages(image)
        call.step = "copy" if kind == KEXEC_TYPE_MULTIKERNEL else "prepare"
        return f"kimage at {image.paddr:#x}"

    def _allocate_control_pages(self, image: View) -> None:
        for name, order, wanted in (
            ("control_code_page", 1, True),
            ("swap_page", 0, image.get("type") != KEXEC_TYPE_CRASH),
        ):
            if not wanted:
                continue
            page = kimage_alloc_control_pages(self.host.kimages, image, order, self.host.crashk_res)
            if page is None:
                what = "control_code_buffer" if order else "swap buffer"
                self.host.printk(f"kexec: Could not allocate {what}")
                raise KexecError(errno.ENOMEM, "kimage_alloc_init", f"there is no memory for the {what}")
            image.set(name, page)

    def prepare(self, call: Call) -> str:
        """machine_kexec_prepare."""
        image = self._image(call)
        machine_kexec_prepare(self.host, image)
        call.step = "copy"
        return f"page tables for the jump at {image.get('control_code_page'):#x}"

    def copy(self, call: Call) -> str:
        """kimage_load_segment. A multikernel or crash image goes straight to its destination, whoever uses it."""
        index, first = call.values["segment"], call.values["page"]
        segment, image = call.values["segments"][index], self._image(call)
        if first == 0:
            self._begin_segment(image, segment)
        pages = segment["memsz"] // PAGE_SIZE
        last = min(first + _PAGES_A_STEP, pages)
        for page in range(first, last):
            kimage_load_page(self.host, image, segment, page)
        call.values["page"] = last
        if last == pages:
            call.values |= {"segment": index + 1, "page": 0}
            call.step = "copy" if index + 1 < len(call.values["segments"]) else "install"
        return f"segment {index}: pages {first} to {last} of {pages} at {segment['mem']:#x}"

    def _begin_segment(self, image: View, segment: dict[str, int]) -> None:
        if image.get("type") == KEXEC_TYPE_MULTIKERNEL:
            self.host.printk(
                f"kexec_core: Loading multikernel segment: mem=0x{segment['mem']:x}, memsz=0x{segment['memsz']}, "
                f"buf=0x0000000000000000, bufsz=0x{segment['bufsz']}"
            )
        elif image.get("type") == KEXEC_TYPE_DEFAULT and not kimage_set_destination(
            self.host.kimages, image, segment["mem"]
        ):
            raise KexecError(errno.ENOMEM, "kimage_set_destination", "the host has no free page left for the list")

    def install(self, call: Call) -> str:
        """kimage_terminate, then kimage_add_to_list; an ordinary image takes the place of the one before."""
        kimages, image, flags = self.host.kimages, self._image(call), call.values["flags"]
        kimage_terminate(kimages, image)
        name = f"kernel {image.get('id')}"
        if flags & KEXEC_ON_CRASH or not flags & KEXEC_MULTIKERNEL:
            kind = KEXEC_TYPE_CRASH if flags & KEXEC_ON_CRASH else KEXEC_TYPE_DEFAULT
            self._free_current(kind)
            kimages.add_to_list(image)
            kimages.update_compat_pointers(image, kind)
        else:
            kimages.add_to_list(image)
            self.host.printk(f"kexec: Added multikernel image to list (entry: 0x{image.get('start'):x})")
        # An ordinary image is not in place before relocate_kernel has put it there.
        in_place = image.get("type") != KEXEC_TYPE_DEFAULT
        ranges = [[one["mem"], one["mem"] + one["memsz"]] for one in call.values["segments"] if in_place]
        self.host.machine.add_image(Image(name, ranges, image.get("start"), dict(call.values["symbols"])))
        call.step = "protect" if flags & KEXEC_ON_CRASH else "unlock"
        return f"{name} is in kexec_image_list"

    def protect(self, call: Call) -> str:
        """arch_kexec_protect_crashkres: all of the region but the control page, which v1's images do not have."""
        image = self._image(call)
        if image.get("control_code_page"):
            call.step = "unlock"
            return f"control page at {image.get('control_code_page'):#x}; the region stays writable here"
        self.host.printk("CPA: called for zero pte")
        oops = "the host oopsed write-protecting the crashkernel region around a control page at 0 (defect 24)"
        call.values |= {"oops": f"{oops}, and panicked", "reason": "Fatal exception"}
        call.function, call.step = "panic", "panic"
        return oops

    # Unloading

    def unload(self, call: Call) -> str:
        """nr_segments 0, by type; of multikernel images at most ten, and kernels that run go on (defect 23)."""
        kimages = self.host.kimages
        kind = KEXEC_TYPE_CRASH if call.values["flags"] & KEXEC_ON_CRASH else _type(call.values["flags"])
        call.step = "unlock"
        if kind != KEXEC_TYPE_MULTIKERNEL:
            return "one image left the list" if self._free_current(kind) else "none was loaded"
        images = kimages.get_all_by_type(KEXEC_TYPE_MULTIKERNEL, _UNLOADED_AT_ONCE)
        for image in images:
            kimage_free(kimages, image)
        self.host.printk(f"kexec: Unloaded {len(images)} multikernel images")
        return f"{len(images)} images left the list"

    def unlock(self, call: Call) -> str:
        """kexec_unlock, and back to user space."""
        self.host.kexec_unlock()
        call.step = ""
        return "kexec_lock released; returns 0"

    def _free_current(self, kind: int) -> bool:
        """The image that a compatibility pointer names goes, if it names one."""
        current = self.host.kimages.compat_pointer(kind)
        if current is None:
            return False
        kimage_free(self.host.kimages, current)
        return True

    def _image(self, call: Call) -> View:
        return self.host.kimages.at(call.values["image"])


def _type(flags: int) -> int:
    """``kimage.type``: v1 sets its own last, so it wins over a crash image's (defect 24)."""
    if flags & KEXEC_MULTIKERNEL:
        return KEXEC_TYPE_MULTIKERNEL
    return KEXEC_TYPE_CRASH if flags & KEXEC_ON_CRASH else KEXEC_TYPE_DEFAULT
