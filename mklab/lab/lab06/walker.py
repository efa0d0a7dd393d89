"""Exercise 06.8: a walk that comes to an end on any list, in guest RAM."""

from collections.abc import Callable

from mklab.errors import MklabError
from mklab.kernel.kimage import KimageList
from mklab.kernel.layout import HOST_DATA, HOST_END
from mklab.kernel.list_head import ListCorruptionError
from mklab.lab.checking.answer import Answer, AnswerError, Offer
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.memory import PhysicalMemory

__all__ = ["LISTS", "walker"]


_MOST_READS = 3_000
_ROUND = f"the walk has read {_MOST_READS:,} words"
_CHECKS = "memory.contains(node, 16) and memory.read_u64(node + 8) == before"
_LATE = "memory.read_u64(node + 8) == before and memory.contains(node, 16)"


def _store(kimages: KimageList, address: int, value: int) -> None:
    kimages.memory.write(address, value.to_bytes(8, "little"))


def _whole(_kimages: KimageList, _nodes: list[int]) -> None:
    """Nothing is spoilt."""


def _back(kimages: KimageList, nodes: list[int]) -> None:
    _store(kimages, nodes[3], nodes[1])


def _self(kimages: KimageList, nodes: list[int]) -> None:
    _store(kimages, nodes[2], nodes[2])


def _outside(kimages: KimageList, nodes: list[int]) -> None:
    _store(kimages, nodes[1], 0xDEAD0000)


def _edge(kimages: KimageList, nodes: list[int]) -> None:
    """A pointer leads to where there is room for one pointer, and not quite for two."""
    _store(kimages, nodes[1], HOST_END - 15)


def _last_bytes(kimages: KimageList, nodes: list[int]) -> None:
    """One more node, in order: it ends where memory ends."""
    node = HOST_END - 16
    _store(kimages, node, HOST_DATA)
    _store(kimages, node + 8, nodes[-1])
    _store(kimages, nodes[-1], node)
    _store(kimages, HOST_DATA + 8, node)


def _null(kimages: KimageList, nodes: list[int]) -> None:
    _store(kimages, nodes[1], 0)


def _head(kimages: KimageList, _nodes: list[int]) -> None:
    _store(kimages, HOST_DATA, 0xDEAD0000)


def _neighbour(kimages: KimageList, nodes: list[int]) -> None:
    """Next leads past a node, which its neighbours still point to."""
    _store(kimages, nodes[0], nodes[2])


def _elsewhere(kimages: KimageList, nodes: list[int]) -> None:
    """Next leads to memory that is no node, and whose words lead back to the head."""
    _store(kimages, HOST_END - 0x1000, HOST_DATA)
    _store(kimages, nodes[2], HOST_END - 0x1000)


LISTS: tuple[tuple[str, int, Callable[[KimageList, list[int]], None]], ...] = (
    ("a whole list of three", 3, _whole),
    ("an empty list", 0, _whole),
    ("a whole list of 200, which is legal", 200, _whole),
    ("a whole list, whose last node is the last 16 bytes of memory", 2, _last_bytes),
    ("a list in which next of node 4 leads back to node 2", 5, _back),
    ("a list in which next of node 3 leads to node 3", 4, _self),
    ("a list in which next of node 2 leads to where no memory is", 3, _outside),
    ("a list in which next of node 2 leads to the last 15 bytes of memory", 3, _edge),
    ("a list in which next of node 2 is NULL", 3, _null),
    ("a list whose head leads to where no memory is", 2, _head),
    ("a list in which next of node 1 leads past node 2", 4, _neighbour),
    ("a list in which next of node 3 leads to a page that holds no node", 4, _elsewhere),
)
"""What is walked: in words, how many nodes there are, and what is done to them."""


def made(number: int, spoil: Callable[[KimageList, list[int]], None]) -> KimageList:
    """A list of so many kimages, spoilt."""
    kimages = KimageList(PhysicalMemory([(0, HOST_END)]))
    kimages.initialise()
    for _ in range(number):
        image = kimages.allocate()
        assert image is not None
        kimages.add_to_list(image)
    spoil(kimages, list(kimages.list))
    return kimages


def good_nodes(kimages: KimageList) -> list[int]:
    """The nodes up to the first that is not in order."""
    nodes = []
    try:
        for node in kimages.list:
            nodes.append(node)
    except ListCorruptionError:
        pass
    return nodes


class _Patient:
    """Memory that lets itself be read so often, and no more."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._left = _MOST_READS

    def contains(self, address: int, size: int) -> bool:
        """Whether all of it is memory."""
        return self._memory.contains(address, size)

    def read_u64(self, address: int) -> int:
        """A word.

        Raises:
            MklabError: it was read too often.
            ValueError: there is no memory.
        """
        self._left -= 1
        if self._left < 0:
            raise MklabError(_ROUND)
        return self._memory.read_u64(address)


def judge(answer: Answer, _seed: int) -> Verdict:
    """Let the student's function walk each list."""
    for name, number, spoil in LISTS:
        kimages = made(number, spoil)
        right = good_nodes(kimages)
        memory = Offer(_Patient(kimages.memory), ("read_u64", "contains"))
        try:
            found = answer.call("walk", HOST_DATA, memory=memory)
        except AnswerError as error:
            trouble = _trouble(error, name, answer.source)
            if trouble is None:
                raise
            return trouble
        if found is None or not isinstance(found, list):
            return not_yet("Your function did not return a list.", name, "Return the addresses of the good nodes.")
        if found != right:
            return not_yet(
                _why(found, right, number),
                name,
                "A node is good if it lies in memory and its prev leads back to where you come from.",
                expected=f"{len(right)} nodes",
                got=f"{len(found)} nodes",
            )
    return Verdict(
        Outcome.PASSED,
        f"Your walk came to an end on all {len(LISTS)} lists: whole ones, one of 200 nodes, and {len(LISTS) - 4} that"
        " were spoilt. It took every node that was in order, and none that was not.",
    )


def _trouble(error: AnswerError, name: str, source: str) -> Verdict | None:
    if error.kind == "endless" or _ROUND in str(error):
        return not_yet(
            "Your walk went round and round, and was ended.",
            name,
            "What is true of a node that follows the one before it, and of no other? Look at its prev.",
        )
    if error.kind == "raised" and error.type == "ValueError" and "must lie in RAM" in str(error):
        return not_yet(
            "Your walk read where no memory is. A kernel would oops there, with the mutex held.",
            f"{name}; {error.where(source)}".removesuffix("; "),
            "memory.contains(address, 16) says whether sixteen bytes lie in memory. Ask before you read.",
        )
    return None


def _why(found: list[int], right: list[int], number: int) -> str:
    if HOST_DATA in found:
        return "Your list of nodes holds the head itself."
    if found == right[: len(found)]:
        if len(right) > 50:
            return f"You gave up after {len(found)} of {len(right)} nodes. A list of 200 is legal: count nothing."
        return f"You left out good nodes: {len(right)} are in order, you found {len(found)}."
    if right == found[: len(right)]:
        return (
            f"After {len(right)} good node{'s' if len(right) != 1 else ''} your walk took another one,"
            f" {found[len(right)]:#x}, whose prev does not lead back to where you came from."
        )
    return f"Your nodes are not those of the list, which has {number}."


walker = Exercise(
    "06.8",
    "A walk that ends",
    "python",
    judge,
    (
        "What does a whole list promise you at every step, besides next?",
        "next of one and prev of the other lead to each other. Check it before you take a node, and check first that"
        " there is memory to read.",
        "Keep before and node; stop at the head; stop where not memory.contains(node, 16) or"
        " memory.read_u64(node + 8) != before.",
    ),
    (
        Mistake(
            "no check", ((" and memory.contains(node, 16) and memory.read_u64(node + 8) == before", ""),), "round and"
        ),
        Mistake(
            "a fixed number of steps",
            (("    while node != head and", "    while node != head and len(nodes) < 100 and"),),
            "A list of 200 is legal",
        ),
        Mistake("no memory there", ((" and memory.contains(node, 16)", ""),), "read where no memory is"),
        Mistake(
            "only circles",
            (("memory.read_u64(node + 8) == before", "node not in nodes"),),
            "does not lead back to where you came from",
        ),
        Mistake("the head is a node", (("nodes, before, node = [],", "nodes, before, node = [head],"),), "head itself"),
        Mistake(
            "before stays", (("before, node = node, memory.read", "node = memory.read"),), "You left out good nodes"
        ),
        Mistake(
            "asks for one byte too few",
            (("memory.contains(node, 16)", "memory.contains(node, 15)"),),
            "read where no memory is",
        ),
        Mistake(
            "asks for more than a node",
            (("memory.contains(node, 16)", "memory.contains(node, 24)"),),
            "You left out good nodes",
        ),
        Mistake(
            "asks too late",
            (("memory.contains(node, 16) and memory.read_u64(node + 8) == before", _LATE),),
            "read where no memory is",
        ),
    ),
    alternatives=(
        """
def walk(head, memory):
    good = []
    last = head
    while True:
        address = memory.read_u64(last)
        if address == head or not memory.contains(address, 16):
            return good
        if memory.read_u64(address + 8) != last:
            return good
        good.append(address)
        last = address
""",
    ),
)
