"""struct kimage and the list of kimages, as they lie in the host's memory (RFC v1 patch 6/7).

Nothing here is kept in Python: whoever writes into that memory, a rogue guest too, changes the list.
"""

import contextlib
from collections.abc import Iterator

from mklab.kernel.kexec import KEXEC_SEGMENT_MAX, KEXEC_TYPE_CRASH, KEXEC_TYPE_DEFAULT, KEXEC_TYPE_MULTIKERNEL
from mklab.kernel.layout import HOST_DATA, MEM_MAP
from mklab.kernel.list_head import ListCorruptionError, ListHead
from mklab.kernel.page_alloc import PageAllocator
from mklab.machine.memory import PhysicalMemory
from mklab.structs import Field, Struct, View

__all__ = ["HOST_STATE", "KIMAGE", "NO_CONTROL_PAGE", "KimageList", "ListCorruptionError"]

KIMAGE = Struct(
    "kimage",
    Field("head", "u64"),  # the first kimage_entry_t: an address and IND_ bits
    Field("entry", "u64"),  # where the next one goes ...
    Field("last_entry", "u64"),  # ... and the last place in that page
    Field("start", "u64"),
    Field("control_code_page", "u64"),  # physical address; Linux has the struct page's
    Field("swap_page", "u64"),
    Field("nr_segments", "u64"),
    Field("segment", "u64", 4 * KEXEC_SEGMENT_MAX),  # buf, bufsz, mem, memsz of each
    Field("control_pages", "u64", 2),  # list_heads of struct page
    Field("dest_pages", "u64", 2),
    Field("unusable_pages", "u64", 2),
    Field("control_page", "u64"),
    Field("type", "u32"),  # bit fields of one word in Linux
    Field("preserve_context", "u32"),
    Field("file_mode", "u32"),
    Field("id", "u32"),  # of the kernel, for people: v1 has no such field
    Field("list_next", "u64"),
    Field("list_prev", "u64"),
)
"""``struct kimage`` (include/linux/kexec.h), without what only kexec_file_load uses."""

NO_CONTROL_PAGE = (1 << 64) - 1
"""``kimage.control_page`` of an image that is not for a crash."""

HOST_STATE = Struct(
    "host_state",
    Field("list_next", "u64"),  # kexec_image_list
    Field("list_prev", "u64"),
    Field("kexec_image", "u64"),  # the two pointers that were there before the list
    Field("kexec_crash_image", "u64"),
    Field("kexec_lock", "u32"),
    Field("kexec_load_disabled", "u32"),
    Field("system_transition_mutex", "u32"),
    Field("config_kexec_jump", "u32"),  # CONFIG_KEXEC_JUMP: how the host was built (defect 20)
    Field("crashk_start", "u64"),  # crashk_res: the region of crashkernel=, [start, end); 0 and 0 without one
    Field("crashk_end", "u64"),
    Field("allocated", "u64"),  # end of what kzalloc() handed out
    Field("kernels", "u64"),  # how many images were ever loaded
)
"""The host's variables that process context works on."""

_NODE_SPACING = 0x300
_HEAP = HOST_DATA + 0x1000

_POINTERS = {KEXEC_TYPE_DEFAULT: "kexec_image", KEXEC_TYPE_CRASH: "kexec_crash_image"}


class KimageList:
    """kexec_image_list, what hangs in it, and the pages it is made of.

    Args:
        memory: the machine's RAM.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory
        self.state = HOST_STATE(memory, HOST_DATA)
        self.pages = PageAllocator(memory)
        self.list = ListHead(memory, HOST_DATA, "kexec_image_list", KIMAGE.offsets["list_next"], KIMAGE.size)

    @property
    def head(self) -> int:
        """Physical address of the list's head."""
        return self.list.paddr

    def initialise(self, crashk_res: tuple[int, int] | None = None) -> None:
        """LIST_HEAD(kexec_image_list), no lock held, nothing allocated.

        Args:
            crashk_res: the region of crashkernel=, ``[start, end)``, or None.
        """
        self.memory.write(HOST_DATA, bytes(HOST_STATE.size))
        self.list.initialise()
        self.state.set("config_kexec_jump", 1)
        start, end = crashk_res or (0, 0)
        self.state.set("crashk_start", start)
        self.state.set("crashk_end", end)
        self.state.set("allocated", _HEAP)
        self.pages.initialise()

    def allocate(self) -> View | None:
        """do_kimage_alloc_init; None where memory is used up.

        What was freed is not handed out again, so that a stale pointer shows.
        """
        paddr = self.state.get("allocated")
        if paddr + _NODE_SPACING > MEM_MAP:
            return None
        self.state.set("allocated", paddr + _NODE_SPACING)
        self.memory.write(paddr, bytes(_NODE_SPACING))
        image = KIMAGE(self.memory, paddr)
        image.set("entry", image.address("head"))
        image.set("last_entry", image.address("head"))
        image.set("control_page", NO_CONTROL_PAGE)
        for name in ("control_pages", "dest_pages", "unusable_pages", "list_next"):
            self.list.initialise_node(image.address(name))
        return image

    def at(self, paddr: int) -> View:
        """The kimage at ``paddr``."""
        return KIMAGE(self.memory, paddr)

    def add_to_list(self, image: View) -> None:
        """kimage_add_to_list.

        Raises:
            ListCorruptionError: the list's end is not one.
        """
        self.list.add_tail(image.address("list_next"))

    def remove_from_list(self, image: View) -> None:
        """kimage_remove_from_list; nothing happens to an image that is in no list.

        Raises:
            ListCorruptionError: the image's neighbours do not point to it.
        """
        self.list.remove(image.address("list_next"))

    def __iter__(self) -> Iterator[View]:
        """The images, oldest first.

        Raises:
            ListCorruptionError: the pointers lead nowhere, round and round, or not back.
        """
        for node in self.list:
            yield self.at(node - KIMAGE.offsets["list_next"])

    def contents(self) -> bytes:
        """The list's bytes in memory, for whoever wants to see them change: of its head and its nodes, with addresses.

        Where the pointers lead nowhere, so far as they do lead.
        """
        nodes = [self.head]
        with contextlib.suppress(ListCorruptionError):
            nodes.extend(self.list)
        return b"".join(node.to_bytes(8, "little") + self.memory.read(node, 16) for node in nodes)

    def find_by_type(self, kind: int) -> View | None:
        """kimage_find_by_type: the oldest image of that type."""
        return next((image for image in self if image.get("type") == kind), None)

    def get_all_by_type(self, kind: int, max_count: int) -> list[View]:
        """kimage_get_all_by_type: the oldest ``max_count`` images of that type."""
        return [image for image in self if image.get("type") == kind][:max_count]

    def find_multikernel_by_entry(self, entry: int) -> View | None:
        """kimage_find_multikernel_by_entry: the oldest one that is entered there (defect 22)."""
        return next((image for image in self._multikernel() if image.get("start") == entry), None)

    def get_multikernel_by_index(self, index: int) -> View | None:
        """kimage_get_multikernel_by_index: number ``index``, from 0, in the order of loading."""
        return next((image for number, image in enumerate(self._multikernel()) if number == index), None)

    def _multikernel(self) -> Iterator[View]:
        return (image for image in self if image.get("type") == KEXEC_TYPE_MULTIKERNEL)

    def compat_pointer(self, kind: int) -> View | None:
        """What kexec_image (``kind`` KEXEC_TYPE_DEFAULT) or kexec_crash_image points to."""
        paddr = self.state.get(_POINTERS[kind])
        return self.at(paddr) if paddr else None

    def update_compat_pointers(self, image: View | None, kind: int) -> None:
        """kimage_update_compat_pointers; a multikernel image has no such pointer."""
        if kind in _POINTERS:
            self.state.set(_POINTERS[kind], image.paddr if image else 0)
