"""The glossary: sorted, one sentence and one source a term; each lab's first use of a term links to it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mklab.lab.texts import Complaint
from mklab.lab.texts.prose import Text

__all__ = ["NAME", "Term", "check", "check_uses", "terms"]

NAME = "labs/glossary.md"
_TERM = re.compile(r'^- <a id="([^"]*)"></a>\*\*([^*]+)\*\*: (.*)$')
_SOURCE = re.compile(r" \(([^()]*(?:\([^()]*\)[^()]*)*)\)\.$")
_IS_SOURCE = re.compile(r"\bSDM\b|\bIntel\b|\bACPI\b|\bRFC\b|\b[\w/.-]+\.(?:c|h|S|rst|md|py)\b|\w+/\w+|man \d|ABI")
_ADDRESS = re.compile(r"\]\([^)]*\)")
_GLOSSARY_LINK = re.compile(r"\[[^\]]*\]\(glossary\.md#[^)]*\)")
_HIDDEN = re.compile(r"^```.*?^```|^#.*?$|(`+).*?\1|<!--.*?-->", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Term:
    """A term: the name of its place, the word itself, and what stands behind it."""

    anchor: str
    word: str
    meaning: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """The word in a text, in the plural too; acronyms as they are written, other words with a capital as well."""
        word = re.escape(self.word)
        if self.word.upper() != self.word:
            word = f"[{self.word[0].lower()}{self.word[0].upper()}]{re.escape(self.word[1:])}"
        return re.compile(rf"(?<![\w/.-]){word}(?:s|es)?(?![\w/]|-\w|\.\w)")


def terms(page: str) -> list[Term]:
    """The terms of a glossary, as they stand in it."""
    return [Term(*match.groups()) for line in page.splitlines() if (match := _TERM.match(line))]


def check(page: str) -> list[Complaint]:
    """What is wrong with the glossary itself."""
    found = [
        Complaint(NAME, f"a line of another form: {line[:60]!r}")
        for line in page.splitlines()
        if line.startswith(("-", "*")) and not _TERM.match(line)
    ]
    listed = terms(page)
    order = [term.word.casefold() for term in listed]
    found += [
        Complaint(NAME, f"{later.word!r} must stand before {former.word!r}")
        for former, later in pairwise(listed)
        if later.word.casefold() < former.word.casefold()
    ]
    found += [Complaint(NAME, f"{word!r} stands there twice") for word in sorted(set(order)) if order.count(word) > 1]
    for term in listed:
        expected = re.sub(r"[^a-z0-9]+", "-", term.word.lower()).strip("-")
        if term.anchor != expected:
            found.append(Complaint(NAME, f"{term.word!r}: its id must be {expected!r}, not {term.anchor!r}"))
        source = _SOURCE.search(term.meaning)
        if source is None or not _IS_SOURCE.search(source[1]):
            found.append(Complaint(NAME, f"{term.word!r}: it ends with no source: (SDM, chapter) or (a kernel's file)"))
        elif re.search(r"[.?!] +[A-Z]", term.meaning[: source.start()]):
            found.append(Complaint(NAME, f"{term.word!r}: it must be one sentence"))
    return found


def check_uses(page: str, labs: Mapping[str, Sequence[Text]]) -> list[Complaint]:
    """Terms that no lab links to, and first uses without a link.

    A lab's first cell (title, time, goals) and its questions on earlier labs (in ``<details>``) do not count: there a
    reader is to see the whole, or to remember.

    Args:
        page: the glossary.
        labs: the Markdown cells of each lab, by its script's name.
    """
    found, linked = [], set()
    for name, cells in labs.items():
        text = "\n\n".join(_HIDDEN.sub(" ", one.markdown) for one in cells[1:] if "<details>" not in one.markdown)
        for term in terms(page):
            link = re.compile(rf"\[[^\]]*\]\(glossary\.md#{re.escape(term.anchor)}\)")
            places = [match.span() for match in link.finditer(text)]
            if places:
                linked.add(term.anchor)
            # "APIC" in a link to "APIC id", or in an address, is no use of its own.
            others = [match.span() for match in _ADDRESS.finditer(text)]
            others += [one for match in _GLOSSARY_LINK.finditer(text) if (one := match.span()) not in places]
            use = next((one for one in term.pattern.finditer(text) if not _within(one.start(), others)), None)
            if use is not None and not _within(use.start(), places):
                line = text[: use.start()].rpartition("\n")[2] + text[use.start() :].partition("\n")[0]
                found.append(
                    Complaint(name, f"the first {term.word!r} does not link to the glossary: {line.strip()[:90]!r}")
                )
    found += [
        Complaint(NAME, f"{term.word!r}: no lab links to it") for term in terms(page) if term.anchor not in linked
    ]
    return found


def _within(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)
