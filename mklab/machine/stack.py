"""Pushing a frame on a stack segment, outside 64-bit mode."""

from collections.abc import Sequence

from mklab.machine.fault import STACK_FAULT, GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.registers import Segment

__all__ = ["push"]


def push(
    linear: LinearMemory, ss: Segment, esp: int, values: Sequence[int], width: int, *, error: int, user: bool
) -> int:
    """Push ``values``, the first one first; a page fault leaves those before it in memory.

    Args:
        linear: where the stack lies.
        ss, esp: the stack; only SP counts where the segment's B bit is clear.
        values: numbers, of which the lowest ``width`` bytes are pushed.
        width: 2 or 4 bytes each.
        error: the error code of #SS.
        user: whether the stack belongs to CPL 3.

    Returns:
        ESP afterwards.

    Raises:
        GuestFaultError: #SS: there is no room within the segment's limit; #PF.
    """
    mask = 0xFFFFFFFF if ss.big else 0xFFFF
    stores = []
    for value in values:
        offset = esp - width & mask
        if not ss.present or not ss.holds(offset, width):
            raise GuestFaultError(STACK_FAULT, error, f"the stack {ss.selector:#x} has no room at {offset:#x}")
        stores.append((ss.base + offset, (value & (1 << 8 * width) - 1).to_bytes(width, "little")))
        esp = esp & ~mask | offset
    for at, data in stores:
        linear.write(at, data, user=user)
    return esp
