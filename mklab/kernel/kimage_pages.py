"""``kernel/kexec_core.c``: the pages of a kimage: control pages, source pages, and the list of entries that names them.

An entry (``kimage_entry_t``) is an address with one of four bits: where the next source pages go (IND_DESTINATION),
where the list goes on (IND_INDIRECTION), a page to be copied (IND_SOURCE), or the end (IND_DONE). ``relocate_kernel``
reads the list when the image is started. A multikernel image has none: its segments are at their destinations already.
"""

from collections.abc import Iterator

from mklab.errors import OopsError
from mklab.kernel.kexec import KEXEC_SEGMENT_MAX, KEXEC_TYPE_CRASH, KEXEC_TYPE_DEFAULT, PAGE_SIZE
from mklab.kernel.kimage import KimageList
from mklab.kernel.list_head import ListCorruptionError, ListHead
from mklab.structs import View

__all__ = [
    "IND_DESTINATION",
    "IND_DONE",
    "IND_INDIRECTION",
    "IND_SOURCE",
    "destinations",
    "entries",
    "kimage_add_page",
    "kimage_alloc_control_pages",
    "kimage_alloc_page",
    "kimage_free",
    "kimage_set_destination",
    "kimage_terminate",
]

IND_DESTINATION, IND_INDIRECTION, IND_DONE, IND_SOURCE = 1, 2, 4, 8

_ADDRESS = -PAGE_SIZE
_NO_DEST = -1
"""KIMAGE_NO_DEST: whatever is allocated so is nobody's destination."""


def destinations(image: View) -> list[tuple[int, int]]:
    """First address and first address after it of each segment.

    Raises:
        OopsError: somebody has written over their number.
    """
    found, count = [], image.get("nr_segments")
    if count > KEXEC_SEGMENT_MAX:
        raise OopsError(f"kimage.nr_segments at {image.address('nr_segments'):#x} is {count}, over {KEXEC_SEGMENT_MAX}")
    for index in range(count):
        mem, memsz = image.get("segment", 4 * index + 2), image.get("segment", 4 * index + 3)
        found.append((mem, mem + memsz))
    return found


def _is_destination(image: View, start: int, end: int) -> bool:
    """kimage_is_destination_range, for ``[start, end)``."""
    return any(start < last and first < end for first, last in destinations(image))


def entries(kimages: KimageList, image: View) -> Iterator[tuple[int, int]]:
    """for_each_kimage_entry: where each entry lies, and its value, without the IND_DONE at the end.

    Raises:
        ListCorruptionError: an indirection leads to no memory, or back to where the list has been.
    """
    at, seen, good = image.address("head"), set[int](), 0
    while True:
        if not kimages.memory.contains(at, 8):
            raise ListCorruptionError("kimage.head", f"leads to {at:#x}, where there is no memory", at, good)
        entry = kimages.memory.read_u64(at)
        if not entry or entry & IND_DONE:
            return
        yield at, entry
        good += 1
        at = entry & _ADDRESS if entry & IND_INDIRECTION else at + 8
        if entry & IND_INDIRECTION:
            if at in seen:
                raise ListCorruptionError("kimage.head", f"runs in a circle through {at:#x}", at, good)
            seen.add(at)


# Control pages


def kimage_alloc_control_pages(
    kimages: KimageList, image: View, order: int, crashk_res: tuple[int, int] | None
) -> int | None:
    """``1 << order`` pages that no copying touches: their address, or None where there are none.

    A crash image has them within ``crashk_res``, the first hole between its segments.
    """
    if image.get("type") == KEXEC_TYPE_DEFAULT:
        return _alloc_normal_control_pages(kimages, image, order)
    if image.get("type") == KEXEC_TYPE_CRASH and crashk_res is not None:
        return _alloc_crash_control_pages(image, order, crashk_res[1])
    return None


def _alloc_normal_control_pages(kimages: KimageList, image: View, order: int) -> int | None:
    unsuitable: list[int] = []
    while (paddr := kimages.pages.alloc_pages(order)) is not None:
        if not _is_destination(image, paddr, paddr + (PAGE_SIZE << order)):
            _pages(kimages, image, "control_pages").add(kimages.pages.page(paddr).address("lru_next"))
            break
        unsuitable.append(paddr)
    for one in unsuitable:
        kimages.pages.free_pages(one)
    return paddr


def _alloc_crash_control_pages(image: View, order: int, end: int) -> int | None:
    size = PAGE_SIZE << order
    hole = -(-image.get("control_page") // size) * size
    while hole + size <= end:
        blocking = [last for first, last in destinations(image) if first < hole + size and hole < last]
        if not blocking:
            image.set("control_page", hole + size)
            return hole
        hole = -(-blocking[0] // size) * size
    return None


# The list of entries


def kimage_set_destination(kimages: KimageList, image: View, destination: int) -> bool:
    """The next source pages go to ``destination`` and behind; False where memory is used up."""
    return _add_entry(kimages, image, destination & _ADDRESS | IND_DESTINATION)


def kimage_add_page(kimages: KimageList, image: View, page: int) -> bool:
    """``page`` is the next source page; False where memory is used up."""
    return _add_entry(kimages, image, page & _ADDRESS | IND_SOURCE)


def _add_entry(kimages: KimageList, image: View, value: int) -> bool:
    if kimages.memory.read_u64(image.get("entry")):
        image.set("entry", image.get("entry") + 8)
    if image.get("entry") == image.get("last_entry"):
        page = kimage_alloc_page(kimages, image, _NO_DEST)
        if page is None:
            return False
        _store(kimages, image.get("entry"), page | IND_INDIRECTION)
        image.set("entry", page)
        image.set("last_entry", page + PAGE_SIZE - 8)
    _store(kimages, image.get("entry"), value)
    image.set("entry", image.get("entry") + 8)
    _store(kimages, image.get("entry"), 0)
    return True


def kimage_terminate(kimages: KimageList, image: View) -> None:
    """Close the list with IND_DONE."""
    if kimages.memory.read_u64(image.get("entry")):
        image.set("entry", image.get("entry") + 8)
    _store(kimages, image.get("entry"), IND_DONE)


def _store(kimages: KimageList, paddr: int, value: int) -> None:
    kimages.memory.write(paddr, value.to_bytes(8, "little"))


# Source pages


def kimage_alloc_page(kimages: KimageList, image: View, destination: int) -> int | None:
    """A page that is its own destination, or nobody's; None where memory is used up.

    So copying in the order of the list never overwrites a page that is still to be copied.
    """
    waiting = _pages(kimages, image, "dest_pages")
    for node in waiting:
        if kimages.pages.paddr_of(node) == destination:
            waiting.remove(node)
            return destination
    while (paddr := kimages.pages.alloc_pages()) is not None:
        if paddr == destination or not _is_destination(image, paddr, paddr + PAGE_SIZE):
            return paddr
        # It is the destination of another page. If that one has its source already, the source moves in here.
        used = _destination_used(kimages, image, paddr)
        if used is not None:
            old = kimages.memory.read_u64(used)
            kimages.memory.write(paddr, kimages.memory.read(old & _ADDRESS, PAGE_SIZE))
            _store(kimages, used, paddr | old & ~_ADDRESS)
            return old & _ADDRESS
        waiting.add(kimages.pages.page(paddr).address("lru_next"))
    return None


def _destination_used(kimages: KimageList, image: View, page: int) -> int | None:
    """kimage_dst_used: where the entry of the source page lies that is to be copied to ``page``."""
    destination = 0
    for at, entry in entries(kimages, image):
        if entry & IND_DESTINATION:
            destination = entry & _ADDRESS
        elif entry & IND_SOURCE:
            if destination == page:
                return at
            destination += PAGE_SIZE
    return None


# The end


def kimage_free(kimages: KimageList, image: View) -> None:
    """Out of the list and of the compatibility pointers; its pages are free again. What was loaded stays in memory."""
    kimages.remove_from_list(image)
    for kind in (KEXEC_TYPE_DEFAULT, KEXEC_TYPE_CRASH):
        current = kimages.compat_pointer(kind)
        if current is not None and current.paddr == image.paddr:
            kimages.update_compat_pointers(None, kind)
    _free_list(kimages, image, "dest_pages")
    _free_list(kimages, image, "unusable_pages")
    for _, entry in list(entries(kimages, image)):
        if entry & (IND_INDIRECTION | IND_SOURCE):
            kimages.pages.free_pages(entry & _ADDRESS)
    _free_list(kimages, image, "control_pages")


def _free_list(kimages: KimageList, image: View, name: str) -> None:
    pages = _pages(kimages, image, name)
    for node in list(pages):
        pages.remove(node)
        kimages.pages.free_pages(kimages.pages.paddr_of(node))


def _pages(kimages: KimageList, image: View, name: str) -> ListHead:
    return kimages.pages.lru(image.address(name), f"kimage.{name}")
