"""Below a CPU's stack pointer lies what nobody will read again; states that differ in nothing else are one state.

Such words are forgotten: they count as what they were at the beginning. That this changes nothing is not assumed but
watched: where a CPU reads a byte that was forgotten and not written since, the exploration begins anew without
forgetting anything.
"""

from dataclasses import dataclass

__all__ = ["WHOLE", "Dead", "mask_of"]

BLOCK = 2048
"""Bytes, and alignment, of the memory in which a stack is taken to lie."""
WHOLE = 0xFF
"""All bytes of a word."""


def mask_of(word: int, paddr: int, size: int) -> int:
    """The bytes of ``word`` that an access touches, as bits."""
    first = max(paddr - (word << 3), 0)
    last = min(paddr + size - (word << 3), 8)
    return (1 << last) - (1 << first)


@dataclass(frozen=True, slots=True)
class Dead:
    """What of a CPU's memory was forgotten and not written since.

    Attributes:
        regions: ``(start, end)`` in words of each block below a stack pointer; ascending.
        holes: words above a stack pointer that were forgotten before, with the bytes not written since, as bits.
    """

    regions: tuple[tuple[int, int], ...] = ()
    holes: tuple[tuple[int, int], ...] = ()

    def bytes_of(self, word: int) -> int:
        """The bytes of ``word`` that were forgotten, as bits."""
        for start, end in self.regions:
            if start <= word < end:
                return WHOLE
        for hole, mask in self.holes:
            if hole == word:
                return mask
        return 0

    def after(self, stack: int, written: dict[int, int]) -> "Dead":
        """What is dead once the CPU has written ``written`` and its stack pointer is ``stack``.

        Args:
            stack: the address, in bytes.
            written: since ``self`` was right, by word: its bytes, as bits.
        """
        end = stack >> 3
        start = (stack - 1 & ~(BLOCK - 1)) >> 3
        regions = dict(self.regions)
        holes = {}
        for hole, mask in self.holes:
            left = mask & ~written.get(hole, 0)
            if left:
                holes[hole] = left
        for word in range(max(end, start), regions.get(start, start)):
            left = WHOLE & ~written.get(word, 0)
            if left:
                holes[word] = left
        for other, old_end in self.regions:
            if other != start:
                # Another stack, not in use now: what was written there is alive.
                for word in range(other, old_end):
                    if word in written:
                        return self._spread(stack, written)
        regions[start] = end
        kept = tuple(sorted((word, mask) for word, mask in holes.items() if not start <= word < end))
        return Dead(tuple(sorted(one for one in regions.items() if one[0] < one[1])), kept)

    def _spread(self, stack: int, written: dict[int, int]) -> "Dead":
        """The same where a block that is not in use was written to: it is told word by word from now on."""
        holes = dict(self.holes)
        regions = []
        for start, end in self.regions:
            if any(start <= word < end for word in written) and not start <= (stack - 1 >> 3) < start + BLOCK // 8:
                holes |= dict.fromkeys(range(start, end), WHOLE)
            else:
                regions.append((start, end))
        return Dead(tuple(regions), tuple(sorted(holes.items()))).after(stack, written)
