"""``/proc/multikernel`` (RFC v1 patch 7/7), read from the list in guest RAM."""

from mklab.kernel.kexec import KEXEC_TYPE_CRASH, KEXEC_TYPE_DEFAULT, KEXEC_TYPE_MULTIKERNEL
from mklab.kernel.kimage import KimageList

__all__ = ["TYPE_NAMES", "proc_multikernel"]

TYPE_NAMES = {KEXEC_TYPE_DEFAULT: "default", KEXEC_TYPE_CRASH: "crash", KEXEC_TYPE_MULTIKERNEL: "multikernel"}

_HEADER = "Type        Start Address   Segments\n----------  --------------  --------\n"


def proc_multikernel(kimages: KimageList) -> str:
    """What reading /proc/multikernel gives, byte for byte; "multikernel" overflows its column (defect 25).

    Raises:
        ListCorruptionError: the list is broken; the kernel would oops or never return.
    """
    rows = []
    for image in kimages:
        name = TYPE_NAMES.get(image.get("type"), "unknown")
        rows.append(f"{name:<10}  0x{image.get('start'):012x}  {image.get('nr_segments'):8d}\n")
    return _HEADER + ("".join(rows) or "No kimages loaded\n")
