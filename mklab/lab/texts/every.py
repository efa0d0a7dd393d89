"""All rules, on all texts of the repository."""

from mklab.lab import exercises, source
from mklab.lab.texts import Complaint, claims, glossary, length, links, spelling
from mklab.lab.texts.prose import ROOT, Text, cells, exercise_texts, lab_number, pages

__all__ = ["complaints", "labs"]


def labs() -> dict[str, list[Text]]:
    """The Markdown cells of each lab that the course has, by its script's name."""
    return {one.name: cells(one) for one in source.scripts() if lab_number(one) in exercises.LABS}


def complaints() -> list[Complaint]:
    """What all rules say, in the order of the texts."""
    found, own = [], labs()
    page = (ROOT / glossary.NAME).read_text(encoding="utf-8")
    in_labs = [text for one in own.values() for text in one]
    found += spelling.check([*in_labs, *pages(), *exercise_texts()])
    found += links.check([*in_labs, *pages()])
    found += claims.check(in_labs)
    found += glossary.check(page) + glossary.check_uses(page, own)
    for name, texts in own.items():
        number = name.split("-")[0]
        found += claims.check_table(name, texts)
        found += length.check(name, texts, [one.id for one in exercises.of(number)])
    return found
