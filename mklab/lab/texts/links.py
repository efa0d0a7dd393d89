"""Links lead to a file that is there and to a place in it; pictures have a text that stands for them."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from mklab.lab.texts import Complaint
from mklab.lab.texts.prose import Text

__all__ = ["anchors", "check", "check_outputs"]

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]*)\)")
_IMAGE_TAG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_ID = re.compile(r'<a (?:id|name)="([^"]+)">')
_OBJECT = re.compile(r"<[\w.]+ object at 0x")
_LEAST_WORDS = 8
"""Of a picture's text twin: a title alone does not stand for a picture."""


@cache
def anchors(page: Path) -> frozenset[str]:
    """The places in a page in Markdown that a link can name: its headings, as GitHub names them, and its own marks."""
    text = page.read_text(encoding="utf-8")
    found = set(_ID.findall(text))
    for heading in _HEADING.findall(_FENCED.sub("", text)):
        base = slug = _slug(heading)
        number = 0
        while slug in found:
            number += 1
            slug = f"{base}-{number}"
        found.add(slug)
    return frozenset(found)


def _slug(heading: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "")).strip().lower()
    kept = (one for one in text if one in " -_" or unicodedata.category(one)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def check(texts: Iterable[Text]) -> list[Complaint]:
    """Links that lead nowhere, and pictures without a text."""
    found = []
    for text in texts:
        prose = _CODE.sub("code", _FENCED.sub("", text.markdown))
        for image, words, target in _LINK.findall(prose):
            if image and not words.strip():
                found.append(Complaint(text.where, f"the picture {target} has no text that stands for it"))
            elif not image and not words.strip():
                found.append(Complaint(text.where, f"the link to {target} has no words"))
            if fault := _fault(text, target):
                found.append(Complaint(text.where, fault))
        for tag in _IMAGE_TAG.findall(prose):
            if not re.search(r'\balt="[^"]+"', tag):
                found.append(Complaint(text.where, f"{tag} has no alt="))
    return found


def _fault(text: Text, target: str) -> str:
    if re.match(r"[a-z]+:", target):
        return "" if target.startswith(("https://", "mailto:")) else f"{target} is no https address"
    path, _, anchor = target.partition("#")
    page = text.folder / path if path else None
    if page is not None and not page.exists():
        return f"{target} leads nowhere: there is no {path}"
    if not anchor:
        return ""
    if page is None:
        known = frozenset(_slug(one) for one in _HEADING.findall(text.markdown)) | set(_ID.findall(text.markdown))
    elif page.suffix == ".md":
        known = anchors(page.resolve())
    else:
        return ""
    return "" if anchor in known else f"{target} leads nowhere: nothing there is called {anchor}"


def check_outputs(where: str, cell: Any) -> list[Complaint]:
    """Pictures among a cell's outputs whose text twin is missing or says next to nothing."""
    found = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        is_picture = any(kind.startswith("image/") for kind in data) or "<svg" in str(data.get("text/html", ""))
        twin = str(data.get("text/plain", ""))
        if is_picture and (_OBJECT.search(twin) or len(twin.split()) < _LEAST_WORDS):
            found.append(Complaint(where, f"a picture's text twin says next to nothing: {twin!r}"))
    return found
