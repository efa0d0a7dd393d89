"""Spelling: British words, from a dictionary and a list of the field's own (``words.txt``)."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from mklab.lab.texts import Complaint
from mklab.lab.texts.prose import Text, words

__all__ = ["check"]

_NAME = re.compile(r"[A-Z].*[A-Z]|.*[a-z][A-Z]")
"""Acronyms and names in mixed case: SIPI, GiB, JupyterLab."""


@cache
def _british() -> dict[str, str]:
    """American words and the British ones; -ize and -yze count as British, as Oxford has it, and so for Linux."""
    pairs = {}
    lines = files("codespell_lib").joinpath("data/dictionary_en-GB_to_en-US.txt").read_text(encoding="utf-8")
    for line in lines.splitlines():
        british, _, american = line.partition("->")
        pairs[american.split(",")[0].strip()] = british
    return pairs


@cache
def _own() -> frozenset[str]:
    """The words of the field, and those that are British as well, whatever the list of American ones says."""
    return frozenset(files("mklab.lab.texts").joinpath("words.txt").read_text(encoding="utf-8").split())


@cache
def _known() -> frozenset[str]:
    from spellchecker import SpellChecker

    return frozenset(SpellChecker(language="en").word_frequency.dictionary) | set(_british().values()) | _own()


def _is_known(word: str) -> bool:
    lower = word.lower()
    return any(stem in _known() for stem in (lower, lower.removesuffix("'s")))


def _american(word: str) -> str:
    """The British word for an American one, or nothing."""
    british = "" if word.lower() in _own() else _british().get(word.lower(), "")
    return "" if british.replace("s", "z") == word.lower().replace("s", "z") else british


def check(texts: Iterable[Text]) -> list[Complaint]:
    """Words that no list has, and American ones."""
    found = []
    for text in texts:
        for word in dict.fromkeys(words(text.markdown)):
            if len(word) < 3 or _NAME.match(word):
                continue
            if british := _american(word):
                found.append(Complaint(text.where, f"{word!r} is American: write {british!r}"))
            elif not _is_known(word):
                found.append(Complaint(text.where, f"{word!r} is misspelt, or missing in mklab/lab/texts/words.txt"))
    return found
