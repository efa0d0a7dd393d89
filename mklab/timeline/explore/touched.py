"""Which CPU has touched which memory: how it is found out what CPUs share."""

__all__ = ["Touched"]


class Touched:
    """Readers and writers of each word that is not known to be shared, as bits, one for each CPU.

    Attributes:
        words: ``(readers, writers)`` by word.
    """

    def __init__(self) -> None:
        self.words: dict[int, tuple[int, int]] = {}

    def add(self, word: int, readers: int, writers: int) -> None:
        """Note that these CPUs have touched ``word``."""
        before = self.words.get(word, (0, 0))
        self.words[word] = (before[0] | readers, before[1] | writers)

    def merge(self, other: "Touched") -> None:
        """Note what ``other`` has noted."""
        for word, (readers, writers) in other.words.items():
            self.add(word, readers, writers)

    def by_others(self, word: int, cpu: int, write: bool) -> bool:
        """Whether an access by ``cpu`` would meet one of another CPU, one of the two being a write."""
        readers, writers = self.words.get(word, (0, 0))
        others = ~(1 << cpu)
        return bool(writers & others) or (write and bool(readers & others))

    @property
    def shared(self) -> set[int]:
        """The words that two CPUs have touched, of which one wrote."""
        found = set()
        for word, (readers, writers) in self.words.items():
            everybody = readers | writers
            if writers and everybody & (everybody - 1):
                found.add(word)
        return found
