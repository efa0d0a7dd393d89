"""The list of kimages, as it lies in the host's memory (RFC v1 patch 6/7; ``include/linux/list.h``).

Nothing here is kept in Python: whoever writes into that memory, a rogue guest too, changes the list.
"""

from collections.abc import Iterator

from mklab.errors import MklabError
from mklab.kernel.kexec import KEXEC_SEGMENT_MAX, KEXEC_TYPE_MULTIKERNEL
from mklab.kernel.layout import HOST_DATA
from mklab.machine.memory import PhysicalMemory
from mklab.structs import Field, Struct, View

__all__ = ["HOST_STATE", "KIMAGE", "KimageList", "ListCorruptionError"]

KIMAGE = Struct(
    "kimage",
    Field("head", "u64"),
    Field("start", "u64"),
    Field("nr_segments", "u64"),
    Field("segment", "u64", 4 * KEXEC_SEGMENT_MAX),  # buf, bufsz, mem, memsz of each
    Field("type", "u32"),
    Field("id", "u32"),  # of the kernel, for people: v1 has no such field
    Field("list_next", "u64"),
    Field("list_prev", "u64"),
)
"""``struct kimage``, the fields that a multikernel image uses."""

HOST_STATE = Struct(
    "host_state",
    Field("list_next", "u64"),  # kexec_image_list
    Field("list_prev", "u64"),
    Field("kexec_lock", "u32"),
    Field("kexec_load_disabled", "u32"),
    Field("allocated", "u64"),  # end of what kzalloc() handed out
    Field("kernels", "u64"),  # how many images were ever loaded
)
"""The host's variables that process context works on."""

_NODE_SPACING = 0x300
_HEAP = HOST_DATA + 0x1000


class ListCorruptionError(MklabError):
    """The list in guest RAM is not one: a cycle that misses the head, or a pointer to no memory."""


class KimageList:
    """kexec_image_list and what hangs in it.

    Args:
        memory: the machine's RAM.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory
        self.state = HOST_STATE(memory, HOST_DATA)

    @property
    def head(self) -> int:
        """Physical address of the list's head."""
        return HOST_DATA

    def initialise(self) -> None:
        """LIST_HEAD(kexec_image_list), no lock held, nothing allocated."""
        self.memory.write(HOST_DATA, bytes(HOST_STATE.size))
        self.state.set("list_next", self.head)
        self.state.set("list_prev", self.head)
        self.state.set("allocated", _HEAP)

    def allocate(self) -> View:
        """kzalloc() of a kimage; what was freed is not reused, so a stale pointer shows."""
        paddr = self.state.get("allocated")
        self.state.set("allocated", paddr + _NODE_SPACING)
        self.memory.write(paddr, bytes(_NODE_SPACING))
        return KIMAGE(self.memory, paddr)

    def add_tail(self, image: View) -> None:
        """kimage_add_to_list: list_add_tail."""
        node = self._node(image)
        last = self.state.get("list_prev")
        self._link(last, node)
        self._link(node, self.head)

    def remove(self, image: View) -> None:
        """kimage_remove_from_list: list_del_init."""
        self._link(image.get("list_prev"), image.get("list_next"))
        node = self._node(image)
        self._link(node, node)

    def __iter__(self) -> Iterator[View]:
        """The images, oldest first.

        Raises:
            ListCorruptionError: the pointers lead nowhere, or round and round.
        """
        seen = {self.head}
        node = self.state.get("list_next")
        while node != self.head:
            if node in seen:
                raise ListCorruptionError(f"kexec_image_list runs in a circle through {node:#x} and misses its head")
            seen.add(node)
            image = KIMAGE(self.memory, node - KIMAGE.offsets["list_next"])
            if not self.memory.contains(image.paddr, KIMAGE.size):
                raise ListCorruptionError(f"kexec_image_list leads to {node:#x}, where there is no memory")
            yield image
            node = image.get("list_next")

    def find_by_type(self, kind: int = KEXEC_TYPE_MULTIKERNEL) -> View | None:
        """kimage_find_by_type: the oldest image of that type."""
        return next((image for image in self if image.get("type") == kind), None)

    @staticmethod
    def _node(image: View) -> int:
        return image.address("list_next")

    def _link(self, before: int, after: int) -> None:
        """``before->next = after; after->prev = before``; a list_head is next, then prev."""
        for pointer in (before, after):
            if not self.memory.contains(pointer, 16):
                raise ListCorruptionError(f"kexec_image_list leads to {pointer:#x}, where there is no memory")
        self.memory.write(before, after.to_bytes(8, "little"))
        self.memory.write(after + 8, before.to_bytes(8, "little"))
