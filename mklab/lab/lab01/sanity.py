"""Exercise 01.2: sanity_check_segment_list, the checks that v1 has kept."""

from mklab.lab import forms
from mklab.lab.exercise import Mistake
from mklab.lab.forms.python import Case

__all__ = ["CASES", "PRELUDE", "RAM_PAGES", "sanity"]

RAM_PAGES = 0x4000
"""64 MiB."""
_OK, _EINVAL, _EADDRNOTAVAIL = "0", "-EINVAL", "-EADDRNOTAVAIL"
_BASE = 0x2000000
_LIMIT = 1 << 46

PRELUDE = """from itertools import combinations
from mklab.kernel.kexec import KEXEC_DESTINATION_MEMORY_LIMIT as LIMIT
from mklab.kernel.kexec import PAGE_SIZE
"""
"""What the notebook has imported above the answer."""
_BY_BUFSZ = "combinations([(mem, mem + bufsz) for mem, _, bufsz in segments], 2)"


def _case(
    name: str,
    segments: list[tuple[int, int, int]],
    expected: str,
    look: str,
    wrong: tuple[tuple[str, str], ...] = (),
) -> Case:
    return Case(name, (segments, RAM_PAGES), expected, look, wrong=wrong)


CASES = (
    _case("one segment", [(_BASE, 0x2000, 0x1234)], _OK, "Nothing is wrong with it: bufsz need not be whole pages."),
    _case(
        "a segment that begins within a page",
        [(_BASE + 0x800, 0x800, 0x10)],
        _EADDRNOTAVAIL,
        "mem must be a multiple of PAGE_SIZE.",
        ((_OK, "You let a segment begin at 0x2000800: the copying goes page by page, and would begin at 0x2000000."),),
    ),
    _case(
        "a segment that ends within a page",
        [(_BASE, 0x1800, 0x10)],
        _EADDRNOTAVAIL,
        "Its end, mem + memsz, must be a multiple of PAGE_SIZE too.",
        ((_OK, "You let a segment end at 0x2001800: the last page would be half the image's and half nobody's."),),
    ),
    _case(
        "an end beyond 64 bits",
        [(0xFFFFFFFFFFFFF000, 0x2000, 0x10)],
        _EADDRNOTAVAIL,
        "In C the sum wraps round to 0x1000, and Linux asks whether the end lies below the beginning.",
        ((_OK, "0xFFFFFFFFFFFFF000 + 0x2000 needs 65 bits; cut to 64 it is 0x1000, which looks harmless."),),
    ),
    _case(
        "an end at the limit",
        [(_LIMIT - 0x1000, 0x1000, 0x10)],
        _EADDRNOTAVAIL,
        "Linux compares with >=.",
        ((_OK, "You accepted a segment whose end is the limit itself. Linux refuses it: its comparison is >=."),),
    ),
    _case(
        "two segments that touch",
        [(_BASE, 0x1000, 0x10), (_BASE + 0x1000, 0x1000, 0x10)],
        _OK,
        "Ends are exclusive.",
        ((_EINVAL, "0x2000000 to 0x2001000 and 0x2001000 to 0x2002000 share no byte: ends are exclusive."),),
    ),
    _case(
        "two segments that touch, the higher one first",
        [(_BASE + 0x1000, 0x1000, 0x10), (_BASE, 0x1000, 0x10)],
        _OK,
        "Ends are exclusive, whichever comes first.",
        ((_EINVAL, "The second one ends where the first one begins, and they share no byte: ends are exclusive."),),
    ),
    _case(
        "an overlap where the buffer does not reach",
        [(_BASE, 0x3000, 0x10), (_BASE + 0x2000, 0x1000, 0x10)],
        _EINVAL,
        "How many bytes does segment 0 occupy: bufsz or memsz?",
        ((_OK, "Segment 0 occupies memsz bytes, 0x3000: what its buffer does not fill is cleared."),),
    ),
    _case(
        "an overlap, the higher one first",
        [(_BASE + 0x1000, 0x2000, 0x10), (_BASE, 0x2000, 0x10)],
        _EINVAL,
        "Two ranges overlap when each begins before the other ends, whichever comes first in the list.",
        ((_OK, "Segment 1 begins below segment 0 and reaches into it: the page at 0x2001000 is in both."),),
    ),
    _case(
        "an overlap with an earlier segment that is no neighbour in the list",
        [(_BASE, 0x1000, 0x10), (_BASE + 0x8000, 0x1000, 0x10), (_BASE, 0x1000, 0x10)],
        _EINVAL,
        "Each segment is compared with all those before it.",
        ((_OK, "Segments 0 and 2 lie at the same address. Comparing neighbours in the list is not enough."),),
    ),
    _case(
        "a buffer that is larger than its memory",
        [(_BASE, 0x1000, 0x1001)],
        _EINVAL,
        "bufsz may be memsz at most.",
    ),
    _case(
        "a buffer that fills its memory",
        [(_BASE, 0x1000, 0x1000)],
        _OK,
        "bufsz may be as large as memsz.",
    ),
    _case("half of RAM", [(_BASE, 0x2000000, 0x10)], _OK, "Half of RAM is allowed; one page more is not."),
    _case(
        "more than half of RAM in two segments",
        [(_BASE, 0x1000000, 0x10), (0x4000000, 0x1001000, 0x10)],
        _EINVAL,
        "The pages of all segments are added up.",
        ((_OK, "Each segment takes less than half of the RAM, but together they take 0x2001 of 0x4000 pages."),),
    ),
    _case(
        "an overlap, and behind it a segment that begins within a page",
        [(_BASE, 0x1000, 0x10), (_BASE, 0x1000, 0x10), (_BASE + 0x8800, 0x1000, 0x10)],
        _EADDRNOTAVAIL,
        "There are two faults here. The addresses of all segments are checked before any two are compared.",
        ((_EINVAL, "Two faults: Linux tests all addresses before it looks for overlaps, so -EADDRNOTAVAIL wins."),),
    ),
)
"""What the host of this machine, and a real kernel with the RFC's patches, says to each."""

_ADDRESSES = """    if any(start % PAGE_SIZE or end % PAGE_SIZE or end >= LIMIT for start, end in places):
        return "-EADDRNOTAVAIL"
"""
_OVERLAPS = """    if any(a < d and c < b for (a, b), (c, d) in combinations(places, 2)):
        return "-EINVAL"
"""

sanity = forms.python(
    "01.2",
    "What the checks refuse",
    "sanity_check_segment_list",
    CASES,
    (
        "Write down first what one segment can do wrong by itself, and what takes two of them.",
        "The order is: addresses of all segments, overlaps, bufsz against memsz, pages. The first fault found decides.",
        "[a, b) and [c, d) overlap where a < d and c < b. More than ram_pages // 2 pages in all are too many.",
    ),
    (
        Mistake("overlap by bufsz", (("combinations(places, 2)", _BY_BUFSZ),), "occupies memsz bytes"),
        Mistake("only beginnings inside", (("a < d and c < b", "a <= c < b"),), "begins below segment 0 and reaches"),
        Mistake("touching is refused", (("c < b", "c <= b"),), "share no byte: ends are exclusive"),
        Mistake("touching from below is refused", (("a < d", "a <= d"),), "ends where the first one begins"),
        Mistake("the beginning need not be a page's", (("start % PAGE_SIZE or ", ""),), "begin at 0x2000800"),
        Mistake("overlaps first", ((_ADDRESSES, ""), (_OVERLAPS, _OVERLAPS + _ADDRESSES)), "Two faults"),
        Mistake("the limit itself is accepted", (("end >= LIMIT", "end > LIMIT"),), "is the limit itself"),
        Mistake("the end need not be a page's", ((" or end % PAGE_SIZE", ""),), "half the image's and half nobody's"),
        Mistake("an end cut to 64 bits", (("mem + memsz)", "(mem + memsz) % 2**64)"),), "needs 65 bits"),
        Mistake(
            "neighbours only",
            (("combinations(places, 2)", "zip(places, places[1:])"),),
            "Comparing neighbours in the list is not enough",
        ),
        Mistake("each for itself", (("sum(", "max("),), "together they take 0x2001 of 0x4000 pages"),
        Mistake("half is too much", (("pages > ram_pages", "pages >= ram_pages"),), "Half of RAM is allowed"),
        Mistake("bufsz is not compared", (("bufsz > memsz", "False"),), "larger than its memory"),
    ),
    alternatives=(
        """
def sanity_check_segment_list(segments, ram_pages):
    for mem, memsz, bufsz in segments:
        end = (mem + memsz) % 2**64
        if end < mem or mem & 0xFFF or end & 0xFFF or end >= LIMIT:
            return "-EADDRNOTAVAIL"
    for i, (mem, memsz, _) in enumerate(segments):
        for other, size, _ in segments[:i]:
            if not (mem + memsz <= other or other + size <= mem):
                return "-EINVAL"
    total = 0
    for _, memsz, bufsz in segments:
        total += memsz // PAGE_SIZE
        if bufsz > memsz or total > ram_pages // 2:
            return "-EINVAL"
    return "0"
""",
    ),
    prelude=PRELUDE,
)
