"""Memory in words of eight bytes, named by physical address / 8, as the exploration handles it."""

from collections.abc import Iterable

from mklab.machine.memory import PAGE, PhysicalMemory

__all__ = ["Words"]


class Words:
    """The words of a memory.

    Attributes:
        base: what words held before they were written for the first time; others are as they were at the beginning.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._ranges = [(start >> 3, end >> 3, memoryview(buffer).cast("Q")) for start, end, buffer in memory.buffers]
        self.base: dict[int, int] = {}

    def peek(self, word: int) -> int:
        """The word in RAM now."""
        for start, end, words in self._ranges:
            if start <= word < end:
                return words[word - start]
        return 0

    def poke(self, word: int, value: int) -> None:
        """Store a word; :meth:`dropped` must follow."""
        for start, end, words in self._ranges:
            if start <= word < end:
                words[word - start] = value

    def before_write(self, word: int) -> None:
        """Somebody is about to write this word, perhaps for the first time."""
        if word not in self.base:
            self.base[word] = self.peek(word)

    def dropped(self, words: Iterable[int]) -> None:
        """What was translated from the pages of these words is dropped."""
        for page in {(word << 3) // PAGE for word in words}:
            self._memory.on_write(page * PAGE, (page + 1) * PAGE)

    def release(self) -> None:
        """Nobody looks here any more."""
        for _, _, words in self._ranges:
            words.release()
