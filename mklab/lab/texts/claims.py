"""Claims about Linux: each names the function, and the patch of the RFC or the file.

What can be checked is that names and numbers are there and fit together; whether a sentence is true, a reader says.
"""

import re
from collections.abc import Iterable, Sequence

from mklab.lab.texts import Complaint
from mklab.lab.texts.linux import BEFORE, PATCHES, PATH, is_known, patches_of
from mklab.lab.texts.prose import Text

__all__ = ["check", "check_table"]

_VERB = (
    r"(?:does|keeps|asks|checks|copies|writes|reads|sends|takes|finds|waits|looks|adds|puts|gives|calls|clears|holds|leaves"
    r"|loads|locks|maps|marks|never|prints|refuses|registers|reserves|returns|runs|sees|sets|shows|starts|stops|stores"
    r"|tells|tests|trusts|unloads|zeroes|accepts|allocates|allows|believes|compares|counts|decides|knows|lets|removes)\b"
)
_CLAIM = re.compile(
    rf"\bLinux,? (?:[^,.]{{1,50}}, )?(?:too |itself |also |always |only |first |then |so |here )?{_VERB}"
    rf"|\bIn Linux\b|\b(?:v1|The RFC|the RFC|version 1|first version) {_VERB}"
)
_NOT_ABOUT_CODE = re.compile(r"^(?:#|\|)")
_NUMBERS = re.compile(r"\bpatch(?:es)? (\d+(?:(?:, | and |, and | to )\d+)*)")
_NAME = re.compile(r"`([^`\n]+)`")
_IDENTIFIER = re.compile(r"^[A-Za-z_]\w*$")
_SECTION = re.compile(r"^## +What Linux does", re.MULTILINE | re.IGNORECASE)


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for group in _NUMBERS.findall(text):
        ends = re.findall(r"(\d+) to (\d+)", group)
        found |= {int(one) for one in re.findall(r"\d+", group)}
        found |= {number for start, end in ends for number in range(int(start), int(end) + 1)}
    return found


def _functions(text: str) -> list[str]:
    """The identifiers in code: ``kexec_load()`` and ``trampoline_64_bsp.S`` too, without what follows the name."""
    heads = [re.split(r"[(.\s]", one, maxsplit=1)[0] for one in _NAME.findall(text)]
    return [one for one in heads if _IDENTIFIER.match(one)]


def _paragraphs(markdown: str) -> list[str]:
    """Paragraphs, each item of a list for itself; no headings and no tables."""
    parts = re.split(r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*]|\d+\.) )", markdown)
    return [one for one in parts if not _NOT_ABOUT_CODE.match(one.strip())]


def check(texts: Iterable[Text]) -> list[Complaint]:
    """Sentences of what Linux does that name no function, or neither a patch nor a file."""
    found = []
    for text in texts:
        for paragraph in _paragraphs(text.markdown):
            flat = " ".join(paragraph.split())
            if not (claim := _CLAIM.search(flat)):
                continue
            quoted = flat[max(0, claim.start() - 30) : claim.end() + 40]
            path = PATH.search(flat)
            names = [one for one in _functions(flat) if path or is_known(one)]
            # A file of assembly or of constants has no functions to name.
            if not names and not (path and path[0].endswith((".S", ".h"))):
                found.append(Complaint(text.where, f"it names no function of Linux in code: {quoted!r}"))
            if not _numbers(flat) and not path:
                found.append(Complaint(text.where, f"it names neither the RFC's patch nor a file: {quoted!r}"))
    return found


def check_table(name: str, cells: Sequence[Text]) -> list[Complaint]:
    """The table under "What Linux does": a known function, its file, and a patch that has that function.

    Args:
        name: of the lab's script.
        cells: its Markdown cells.
    """
    sections = [text for text in cells if _SECTION.search(text.markdown)]
    rows = [
        (text.where, line)
        for text in sections
        for line in text.markdown.splitlines()
        if line.startswith("|") and not re.match(r"^\|[\s|:-]*$", line)
    ]
    if len(rows) < 2:
        return [Complaint(name, "there is no table under '## What Linux does'")]
    return [complaint for where, row in rows[1:] for complaint in _row(where, row)]


def _row(where: str, row: str) -> list[Complaint]:
    names, numbers, found = _functions(row), _numbers(row), []
    last = row.strip().strip("|").rpartition("|")[2].strip()
    if column := re.search(r"(?:^|\()(\d+(?:(?:, | and )\d+)*)\)?$", last):  # under the word "patch" in the head
        numbers |= {int(one) for one in re.findall(r"\d+", column[1])}
    if not names and "`/proc/" not in row:
        found.append(Complaint(where, f"the row names no function in code: {row}"))
    found += [
        Complaint(where, f"{one!r} is no name that the project knows: {row}") for one in names if not is_known(one)
    ]
    if not PATH.search(row):
        found.append(Complaint(where, f"the row names no file of Linux: {row}"))
    wrong = sorted(numbers - PATCHES.keys())
    if wrong:
        found.append(Complaint(where, f"the RFC has patches 1 to {max(PATCHES)}, not {wrong[0]}: {row}"))
    its_own = {number for one in names if one not in BEFORE for number in patches_of(one)}
    if its_own and not numbers:
        found.append(Complaint(where, f"the row names no patch, and {min(its_own)} has it: {row}"))
    found += [
        Complaint(where, f"patch {number} has none of {', '.join(names)}: {row}")
        for number in sorted(numbers & PATCHES.keys())
        if names and not any(number in patches_of(one) for one in names)
    ]
    return found
