"""kimage.h: ``struct kimage`` as it lies in the host's memory, for the cells in C."""

from mklab.kernel.kimage import KIMAGE

__all__ = ["KIMAGE_H", "LIST_OFFSET"]

LIST_OFFSET = KIMAGE.offsets["list_next"]
"""Of ``kimage.list``, a ``struct list_head``."""


def _declared() -> str:
    """The struct with ``list`` in place of its two pointers."""
    lines = []
    for line in KIMAGE.c_declaration().splitlines():
        if "list_next" in line and not line.startswith("_Static_assert"):
            lines.append("\tstruct list_head list;")
        elif "list_" not in line:
            lines.append(line)
    return "\n".join(lines)


KIMAGE_H = f"""struct list_head {{
\tstruct list_head *next, *prev;
}};
{_declared()}
_Static_assert(__builtin_offsetof(struct kimage, list) == {LIST_OFFSET}, "kimage.list");
#define container_of(pointer, type, member) \\
\t((type *)((char *)(pointer) - __builtin_offsetof(type, member)))
#define NULL ((void *)0)
#define KEXEC_TYPE_DEFAULT 0
#define KEXEC_TYPE_CRASH 1
#define KEXEC_TYPE_MULTIKERNEL 2
"""
