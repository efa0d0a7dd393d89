"""What the tests of kexec share: payloads, images of a page, and what the host has printed."""

from mklab.kernel.host import Host
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KexecSegment
from mklab.kernel.kimage import KIMAGE
from mklab.kernel.layout import FREE_PAGES, HOST_DATA
from mklab.trace import Printk

__all__ = ["COUNTER", "HALT", "A", "B", "count", "count_at", "load", "memory", "one", "printed", "sound", "tables"]

A, B = 0x2000000, 0x2100000
COUNTER = 0x800
HALT = b"\xfa\xf4\xeb\xfd"  # 1: cli; hlt; jmp 1b


def count(base: int, step: int = 1) -> bytes:
    """A payload at ``base`` that adds ``step`` to the word at its own beginning + COUNTER, for ever.

    It has page tables of its own, three pages behind its code: the trampoline's are wiped by the next kick (defect 6).
    """
    code = b"\xb8" + (base + 0x1000).to_bytes(4, "little") + b"\x0f\x22\xd8"  # mov $tables, %eax; mov %rax, %cr3
    code += b"\x48\x83\x05" + (COUNTER - len(code) - 8).to_bytes(4, "little") + bytes((step, 0xEB, 0xF6))
    tables = [(base + 0x2003).to_bytes(8, "little"), (base + 0x3003).to_bytes(8, "little")]
    tables.append(b"".join((i << 21 | 0x83).to_bytes(8, "little") for i in range(512)))
    return b"".join(page.ljust(0x1000, b"\0") for page in (code, *tables))


def count_at(host: Host, base: int) -> int:
    """What the payload of :func:`count` has counted."""
    return host.machine.memory.read_u64(base + COUNTER)


def one(mem: int = A, data: bytes = HALT, memsz: int = 0x1000) -> list[KexecSegment]:
    """A single segment."""
    return [KexecSegment(data, mem, memsz)]


def load(host: Host, base: int = A, data: bytes = HALT, flags: int = KEXEC_MULTIKERNEL) -> None:
    """kexec_load of ``data``, entered at its beginning."""
    host.kexec_load(base, one(base, data, -(-len(data) // 0x1000) * 0x1000), flags)


def printed(host: Host) -> list[str]:
    """The host's log."""
    return [event.text for event in host.machine.trace.of(Printk)]


def memory(host: Host) -> bytes:
    """All RAM but the host's own kimages and free pages."""
    (_, _, ram), *_ = host.machine.memory.buffers
    return ram[:HOST_DATA] + ram[FREE_PAGES[1] :]


def tables(host: Host) -> tuple[object, ...]:
    """What a refused call must leave as it is: the list, the pointers, locks, free pages, kernels that are known."""
    kimages = host.kimages
    names = ("kexec_image", "kexec_crash_image", "kexec_lock", "system_transition_mutex")
    images = [image.paddr for image in kimages], dict(host.machine.images)
    return (*images, *(kimages.state.get(name) for name in names), kimages.pages.free)


def sound(host: Host) -> None:
    """The invariants of kexec_image_list: forwards as backwards, types that exist, pointers into it, no lock held."""
    images = list(host.kimages)
    forwards = [image.address("list_next") for image in images]
    assert host.kimages.list.backwards() == forwards[::-1]
    assert len(set(forwards)) == len(forwards)
    assert all(image.get("type") in (0, 1, 2) and 1 <= image.get("nr_segments") <= 16 for image in images)
    for kind, name in enumerate(("kexec_image", "kexec_crash_image")):
        of_kind = [image.paddr for image in images if image.get("type") == kind]
        assert of_kind == ([pointer] if (pointer := host.kimages.state.get(name)) else [])
    assert all(node - KIMAGE.offsets["list_next"] < host.kimages.state.get("allocated") for node in forwards)
    assert host.kimages.state.get("kexec_lock") == 0
