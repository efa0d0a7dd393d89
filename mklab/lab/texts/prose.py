"""Where the texts are: the cells of the labs, pages in Markdown, and what exercises say."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mklab.lab import source

__all__ = ["ROOT", "Text", "cells", "exercise_texts", "lab_number", "pages", "plain", "words"]

ROOT = source.LABS.parent
PACKAGE = Path(__file__).resolve().parent.parent

_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?:(?!\1).)+?\1", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
_TAG = re.compile(r"<[^>]*>")
_SENTENCE = re.compile(r"\A(?=.* )(?! {4})(?:[A-Z ].*|.*[.?!:])\Z")
_ASSEMBLY = re.compile(r"%[a-z]{2}|^\w+:")
_WORD = re.compile(r"(?<![\w./\\$%#-])[A-Za-z][A-Za-z'\u2019]*(?![\w/\\]|\.\w)")


@dataclass(frozen=True)
class Text:
    """A piece of text.

    Attributes:
        where: file, and cell or line.
        markdown: as it is written.
        folder: what its relative links start from.
    """

    where: str
    markdown: str
    folder: Path


def lab_number(script: Path) -> str:
    """``"04"`` of ``labs/src/04-the-vector.py``."""
    return script.name.split("-")[0]


def cells(script: Path) -> list[Text]:
    """The Markdown cells of a lab, in their order. Its notebook, from which links start, lies beside ``src``."""
    return [
        Text(f"{script.name}, {cell.id}", cell.source, script.parent.parent)
        for cell in source.read(script).cells
        if cell.cell_type == "markdown"
    ]


def pages(root: Path = ROOT) -> list[Text]:
    """The repository's own pages: README, CONTRIBUTING, docs and the glossary."""
    found = [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md")), *sorted((root / "labs").glob("*.md"))]
    return [Text(str(one.relative_to(root)), one.read_text(encoding="utf-8"), one.parent) for one in found]


def exercise_texts(package: Path = PACKAGE) -> Iterator[Text]:
    """What the exercises say: the texts in ``labNN`` that look like sentences or parts of them, but no docstrings."""
    for module in sorted(package.glob("lab[0-9][0-9]/*.py")):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        docs = {id(node.body[0].value) for node in ast.walk(tree) if _has_docstring(node)}  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docs:
                continue
            said = node.value.strip()
            if _SENTENCE.search(node.value) and not _ASSEMBLY.search(said):
                yield Text(f"{module.parent.name}/{module.name}, line {node.lineno}", said, module.parent)


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) or not node.body:
        return False
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def plain(markdown: str) -> str:
    """The prose: without code, addresses and tags."""
    text = _CODE.sub(" ", _FENCE.sub(" ", markdown))
    return _TAG.sub(" ", _LINK.sub(r"\1", text))


def words(markdown: str) -> list[str]:
    """The words of the prose; names with digits, underscores, dots or slashes are none."""
    return [word.replace("\u2019", "'").strip("'") for word in _WORD.findall(plain(markdown))]
