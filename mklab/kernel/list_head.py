"""``include/linux/list.h``: doubly linked lists in guest RAM, and what is wrong with one that was written over.

A ``list_head`` is two pointers, ``next`` at 0 and ``prev`` at 8. Linux follows ``next`` wherever it leads; here every
step is checked, as CONFIG_DEBUG_LIST checks insertion and removal (docs/fidelity.md).
"""

from collections.abc import Iterator

from mklab.errors import MklabError
from mklab.machine.memory import PhysicalMemory

__all__ = ["ListCorruptionError", "ListHead"]

_SIZE = 16


class ListCorruptionError(MklabError):
    """A list in guest RAM is not one.

    Attributes:
        list: its name in Linux.
        node: physical address of the ``list_head`` at which it breaks.
        good: how many nodes before that one are in order.
    """

    def __init__(self, name: str, why: str, node: int, good: int) -> None:
        self.list = name
        self.node = node
        self.good = good
        super().__init__(f"{name} {why} ({good} good nodes before it)")


class ListHead:
    """A list's head, and operations on the list.

    Args:
        memory: the RAM that it lies in.
        paddr: physical address of the head.
        name: what Linux calls the list.
        offset, size: where in its struct a node lies, and the struct's size: all of that must be RAM.
    """

    def __init__(self, memory: PhysicalMemory, paddr: int, name: str, offset: int = 0, size: int = _SIZE) -> None:
        self.memory = memory
        self.paddr = paddr
        self.name = name
        self.offset = offset
        self.size = size

    def initialise(self) -> None:
        """INIT_LIST_HEAD."""
        self.initialise_node(self.paddr)

    def initialise_node(self, node: int) -> None:
        """INIT_LIST_HEAD of a node: it is in no list."""
        self.memory.write(node, node.to_bytes(8, "little") * 2)

    def add_tail(self, node: int) -> None:
        """list_add_tail.

        Raises:
            ListCorruptionError: the list's end is not one; nothing is written.
        """
        self._insert(node, self._prev(self.paddr), self.paddr)

    def add(self, node: int) -> None:
        """list_add: behind the head.

        Raises:
            ListCorruptionError: the list's beginning is not one; nothing is written.
        """
        self._insert(node, self.paddr, self._next(self.paddr))

    def remove(self, node: int) -> None:
        """list_del_init; nothing changes for a node that is in no list.

        Raises:
            ListCorruptionError: its neighbours do not point to it; nothing is written.
        """
        before, after = self._prev(node), self._next(node)
        self._check(before, 0)
        self._check(after, 0)
        if self._next(before) != node or self._prev(after) != node:
            why = f"has neighbours of {node:#x}, {before:#x} and {after:#x}, that do not both point back to it"
            raise ListCorruptionError(self.name, why, node, 0)
        self._link(before, after)
        self.initialise_node(node)

    def __iter__(self) -> Iterator[int]:
        """list_for_each: physical address of each node, from the head on.

        Raises:
            ListCorruptionError: a pointer leads to no memory, in a circle that misses the head, or to a node that does
                not point back.
        """
        seen = {self.paddr}
        before, node = self.paddr, self._next(self.paddr)
        while True:
            good = len(seen) - 1
            if node != self.paddr and node in seen:
                raise ListCorruptionError(
                    self.name, f"runs in a circle through {node:#x}, missing its head", node, good
                )
            self._check(node, good)
            if self._prev(node) != before:
                why = f"is half linked at {node:#x}: its prev is {self._prev(node):#x}, not {before:#x}"
                raise ListCorruptionError(self.name, why, node, good)
            if node == self.paddr:
                return
            seen.add(node)
            yield node
            before, node = node, self._next(node)

    def backwards(self) -> list[int]:
        """The nodes as ``prev`` links them, last one first; for checks of a list that a walk has found in order."""
        nodes, node = [], self._prev(self.paddr)
        while node != self.paddr:
            nodes.append(node)
            node = self._prev(node)
        return nodes

    def _insert(self, node: int, before: int, after: int) -> None:
        self._check(before, 0)
        self._check(after, 0)
        if self._next(before) != after or self._prev(after) != before:
            why = f"has an end that is not one: {before:#x} and {after:#x} do not point to each other"
            raise ListCorruptionError(self.name, why, before if before != self.paddr else after, 0)
        self._link(before, node)
        self._link(node, after)

    def _link(self, before: int, after: int) -> None:
        self.memory.write(before, after.to_bytes(8, "little"))
        self.memory.write(after + 8, before.to_bytes(8, "little"))

    def _check(self, node: int, good: int) -> None:
        start, size = (node, _SIZE) if node == self.paddr else (node - self.offset, self.size)
        if not self.memory.contains(start, size):
            raise ListCorruptionError(self.name, f"leads to {node:#x}, where there is no memory", node, good)

    def _next(self, node: int) -> int:
        return self.memory.read_u64(node)

    def _prev(self, node: int) -> int:
        return self.memory.read_u64(node + 8)
