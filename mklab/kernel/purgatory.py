"""Purgatory from the loader's side (kernel/kexec_file.c: ``kexec_load_purgatory``, ``kexec_calculate_store_digests``).

What runs is guest code, ``mklab/guest/purgatory``; here it is placed, told where the other segments lie and what their
SHA-256 is, and which registers the kernel behind it wants.
"""

import errno
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mklab import guest
from mklab.errors import KexecError
from mklab.kernel import kexec_elf
from mklab.kernel.kexec import KEXEC_SEGMENT_MAX, KexecSegment, LoadedImage
from mklab.kernel.kexec_file import Room

__all__ = ["enter_through", "place", "with_purgatory"]

MIN_PURGATORY_ADDR = 0x3000

_ENTRY64_REGS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"),
)
_ENTRY32_REGS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip")
_ZEROS = bytes(1 << 20)


def place(room: Room, *, end: int = 1 << 64) -> LoadedImage:
    """``kexec_load_purgatory``: purgatory in the highest hole of ``room`` below ``end``, its variables still zero.

    Raises:
        KexecError: EADDRNOTAVAIL, there is no room for it.
    """
    segment = kexec_elf.load(guest.purgatory()).segments[0]
    mem, _ = room.place("purgatory", segment.memsz, 1, MIN_PURGATORY_ADDR, end=end)
    return kexec_elf.load(guest.purgatory(), base=mem)


def enter_through(
    purgatory: LoadedImage, image: LoadedImage, *, checks: bool = True, entry32_regs: Mapping[str, int] | None = None
) -> LoadedImage:
    """``image`` as it is entered through ``purgatory``, which :func:`place` has placed.

    In 64-bit mode: RSI = boot_params (0 if there are none), RBX = 0, a stack in purgatory, RIP = the image's entry; the
    other registers are 0. With ``entry32_regs``, in 32-bit protected mode without paging instead.

    Args:
        purgatory: what :func:`place` returned.
        image: the other segments, and where they are entered. They may not change any more.
        checks: whether purgatory verifies the SHA-256 of the other segments, as they lie in memory, before it jumps.
        entry32_regs: general registers of the 32-bit entry; those not named are 0, ESP a stack, EIP the image's entry.

    Raises:
        KexecError: EINVAL, there are more segments to verify than kexec_load takes.
    """
    stack = purgatory.symbols["stack_end"]
    if entry32_regs is None:
        registers = {"rsi": image.boot_params or 0, "rip": image.entry}
    else:
        values = {"esp": stack, "eip": image.entry, **entry32_regs}
        purgatory = purgatory.patched("entry32_regs", _packed("I", _ENTRY32_REGS, values))
        registers = {"rip": purgatory.symbols["entry32"]}
    purgatory = purgatory.patched("entry64_regs", _packed("Q", _ENTRY64_REGS, {"rsp": stack, **registers}))

    hashed = image.segments if checks else ()
    regions = [value for segment in hashed for value in (segment.mem, segment.memsz)]
    if len(hashed) > KEXEC_SEGMENT_MAX:
        why = f"{len(hashed)} segments to verify; purgatory has room for {KEXEC_SEGMENT_MAX}, as kexec_load has"
        raise KexecError(errno.EINVAL, "kexec_calculate_store_digests", why)
    table = struct.pack(f"<{2 * KEXEC_SEGMENT_MAX}Q", *regions, *[0] * (2 * KEXEC_SEGMENT_MAX - len(regions)))
    purgatory = purgatory.patched("purgatory_sha_regions", table).patched("purgatory_sha256_digest", _digest(hashed))
    (own,) = purgatory.segments
    return replace(
        image,
        entry=purgatory.entry,
        segments=(replace(own, name="purgatory"), *image.segments),
        symbols={**purgatory.symbols, **image.symbols},
    )


def with_purgatory(image: LoadedImage, room: Room, *, checks: bool = True) -> LoadedImage:
    """An image whose segments have their places already, entered through purgatory in a free place of ``room``.

    Raises:
        KexecError: EADDRNOTAVAIL, the segments are not all in ``room``, or purgatory finds none there.
    """
    for segment in image.segments:
        room.take(segment.mem, segment.memsz)
    return enter_through(place(room), image, checks=checks)


def _packed(code: str, names: Sequence[str], values: Mapping[str, int]) -> bytes:
    return struct.pack(f"<{len(names)}{code}", *(values.get(name, 0) for name in names))


def _digest(segments: Sequence[KexecSegment]) -> bytes:
    """SHA-256 over all of them, one behind the other; what ``buf`` does not fill is zero."""
    sha256 = hashlib.sha256()
    for segment in segments:
        sha256.update(segment.buf)
        left = segment.memsz - segment.bufsz
        while left > 0:
            sha256.update(_ZEROS[:left])
            left -= len(_ZEROS)
    return sha256.digest()
