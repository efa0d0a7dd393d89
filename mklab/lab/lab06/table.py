"""Exercise 06.5: what reading /proc/multikernel gives, column for column."""

from mklab.lab import forms
from mklab.lab.exercise import Mistake
from mklab.lab.forms.python import Case

__all__ = ["CASES", "HEADER", "table"]

HEADER = "Type        Start Address   Segments\n----------  --------------  --------\n"
_HOW = "%-10s, two spaces, 0x and twelve hexadecimal digits, two spaces, %8lu."

CASES = (
    Case(
        "one ordinary image",
        ([(0, 0x2000000, 3)],),
        HEADER + "default     0x000002000000         3\n",
        _HOW,
        wrong=((HEADER + "default     0x2000000         3\n", "The address has twelve digits, zeros in front."),),
    ),
    Case(
        "a multikernel image",
        ([(2, 0x2000000, 1)],),
        HEADER + "multikernel  0x000002000000         1\n",
        "What does %-10s do to a text of eleven characters?",
        wrong=(
            (
                HEADER + "multikerne  0x000002000000         1\n",
                "You cut the name to its column. A width in printf pads, it never cuts: v1's column overflows by one.",
            ),
        ),
    ),
    Case(
        "three images, oldest first",
        ([(2, 0x3000000, 16), (0, 0x12345F000, 2), (1, 0x1000, 5)],),
        HEADER
        + "multikernel  0x000003000000        16\n"
        + "default     0x00012345f000         2\n"
        + "crash       0x000000001000         5\n",
        "A row for each image, in the list's order.",
    ),
    Case(
        "a type that nobody knows",
        ([(3, 0x2000000, 1)],),
        HEADER + "unknown     0x000002000000         1\n",
        "kimage.type has two bits since patch 1, and three types. The fourth value is called unknown.",
    ),
    Case(
        "an empty list",
        ([],),
        HEADER + "No kimages loaded\n",
        "An empty list has a line of its own.",
        wrong=(
            (HEADER, "You printed the heading and nothing else; v1 adds a line: No kimages loaded."),
            ("No kimages loaded\n", "The heading is printed in any case."),
            ("", "You gave nothing at all; v1 prints the heading and says: No kimages loaded."),
        ),
    ),
)

table = forms.python(
    "06.5",
    "/proc/multikernel",
    "proc_multikernel",
    CASES,
    (
        "Compare the two images of the table that the machine printed above: where do their addresses begin?",
        "The name is padded to 10 characters and not cut; the address has 12 digits, the count is right-aligned in 8.",
        "f'{name:<10}  0x{start:012x}  {nr_segments:8d}' and a line break, for each image.",
    ),
    (
        Mistake("the name cut", (("{name:<10}", "{name[:10]:<10}"),), "A width in printf pads, it never cuts"),
        Mistake("the column widened", (("{name:<10}", "{name:<11}"),), "one ordinary image"),
        Mistake("no zeros", (("{start:012x}", "{start:x}"),), "The address has twelve digits"),
        Mistake("capital digits", (("{start:012x}", "{start:012X}"),), "three images, oldest first"),
        Mistake("the count not aligned", (("{nr_segments:8d}", "{nr_segments}"),), "one ordinary image"),
        Mistake(
            "an empty list says nothing", ((' if images else text + "No kimages loaded\\n"', ""),), "v1 adds a line"
        ),
        Mistake(
            "an empty list has no heading",
            (('text + "No kimages loaded\\n"', '"No kimages loaded\\n"'),),
            "The heading is printed in any case",
        ),
        Mistake("newest first", (("in images:", "in images[::-1]:"),), "three images, oldest first"),
        Mistake("no fourth type", (('.get(kind, "unknown")', "[kind]"),), "a type that nobody knows"),
    ),
    prelude=f"HEADER = {HEADER!r}",
    alternatives=(
        """
def proc_multikernel(images):
    names = ["default", "crash", "multikernel", "unknown"]
    rows = ["%-10s  0x%012x  %8d" % (names[kind], start, count) for kind, start, count in images]
    return HEADER + "\\n".join(rows or ["No kimages loaded"]) + "\\n"
""",
    ),
)
