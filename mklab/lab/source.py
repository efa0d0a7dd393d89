"""Lab scripts: ``labs/src/*.py`` in jupytext's percent format, the source from which the notebooks are built.

Each cell names itself (``# %% id="watch"``), so that its id outlives every change around it. A cell that holds an
answer says to which exercise (``exercise="00.1"``), and the lines between the two markers, which are nbgrader's, are
the solution. The stub is the same cell with an ellipsis in their place, so the two cannot drift apart. A block of
Python that only assigns to names, at the cell's margin, keeps the names: ``choice = "B"`` becomes ``choice = ...``.
"""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mklab.errors import MklabError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = [
    "BEGIN",
    "END",
    "LABS",
    "MAGICS",
    "LabSourceError",
    "answer_cell",
    "answers",
    "body",
    "magic",
    "read",
    "scripts",
    "solution",
    "stub",
]

LABS = Path(__file__).resolve().parent.parent.parent / "labs"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
MAGICS = {"python": "answer", "asm": "asm", "c": "c"}
"""The magic of an answer's cell, by the language of the answer."""
_ELLIPSIS = {"python": "...", "asm": "# ...", "c": "/* ... */"}

_BLOCK = re.compile(rf"^([ \t]*){BEGIN}\n(.*?)^[ \t]*{END}$", re.MULTILINE | re.DOTALL)
_ASSIGNED, _NAME = re.compile(r"(?:[a-z_]+\w* = .*\n)+"), re.compile(r"^(\w+) = ", re.MULTILINE)
_ID = re.compile(r"[a-z0-9-]{1,64}")
_COMMENT = re.compile(r"^# ?", re.MULTILINE)
_HEAD, _NAMED = re.compile(r"^# %%(.*)\n", re.MULTILINE), re.compile(r'\b(exercise|lang)="([^"]*)"')


class LabSourceError(MklabError):
    """A lab's script that no notebook can be built from; the message names the script and the cell."""


def scripts(labs: Path = LABS) -> list[Path]:
    """The scripts of all labs in the folder ``labs``, in the labs' order.

    Raises:
        LabSourceError: there is none, as in an installation without the repository.
    """
    found = sorted((labs / "src").glob("[0-9]*.py"))
    if not found:
        raise LabSourceError(f"{labs / 'src'} holds no labs: work in a checkout of mklab, which does")
    return found


def read(script: Path) -> "NotebookNode":
    """The script as a notebook, solutions and markers in it; ``id`` and ``exercise`` moved to their places.

    Raises:
        LabSourceError: a cell has no id, or that of another one, or its markers do not pair.
    """
    # Takes seconds to import, which those who only check answers would wait for at every check.
    import jupytext

    notebook: NotebookNode = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells, 1):
        where = f"{script.name}, cell {number}"
        cell.metadata.pop("lines_to_next_cell", None)  # what jupytext would need on the way back
        name = cell.metadata.pop("id", "")
        if not isinstance(name, str) or not _ID.fullmatch(name) or name in seen:
            raise LabSourceError(f"{where}: id must be lower case letters, digits and -, and used once, not {name!r}")
        seen.add(name)
        cell.id = name
        exercise, lang = cell.metadata.pop("exercise", None), cell.metadata.pop("lang", "python")
        checked = cell.metadata.pop("check", None)
        if lang not in MAGICS:
            raise LabSourceError(f"{where} ({name}): lang must be one of {list(MAGICS)}, not {lang!r}")
        if lang != "python":
            cell.source = _COMMENT.sub("", cell.source)
        if checked is not None:
            cell.metadata["mklab"] = {"check": checked}
        if exercise is not None:
            cell.metadata["mklab"] = {"exercise": exercise, "lang": lang}
        blocks = len(_BLOCK.findall(cell.source))
        if not cell.source.count(BEGIN) == cell.source.count(END) == blocks:
            raise LabSourceError(f"{where} ({name}): each {BEGIN!r} must have its {END!r}, each on a line of its own")
        if bool(blocks) != (exercise is not None):
            raise LabSourceError(
                f"{where} ({name}): a cell has solution markers where it names an exercise, and only there"
            )
    return notebook


def stub(source: str, lang: str = "python") -> str:
    """The text of an answer's cell as students get it: an ellipsis in place of each solution."""

    def blank(block: re.Match[str]) -> str:
        if lang == "python" and (names := _ASSIGNED.fullmatch(block[2]) and _NAME.findall(block[2])):
            return "\n".join(f"{name} = ..." for name in names)
        return f"{block[1]}{_ELLIPSIS[lang]}"

    return _BLOCK.sub(blank, source)


def solution(source: str) -> str:
    """The cell with its solutions, without the markers."""
    return _BLOCK.sub(lambda block: block[2].removesuffix("\n"), source)


def magic(exercise: str, lang: str) -> str:
    """The first line of an answer's cell in a notebook."""
    return f"%%{MAGICS[lang]} {exercise}\n"


def body(text: str) -> str:
    """The text of a notebook's cell without its magic."""
    return text.partition("\n")[2] if text.startswith("%%") else text


def answer_cell(exercise: str, labs: Path = LABS) -> tuple[str, str]:
    """The cell that holds the answer to ``exercise``: its text, markers included and without a magic, and its language.

    Raises:
        LabSourceError: no script has one, or there are two.
    """
    found = [cell for cell in _answer_cells(labs) if cell[0] == exercise]
    if len(found) != 1:
        raise LabSourceError(f"exercise {exercise} must have one cell in the scripts of the labs, not {len(found)!r}")
    return found[0][1:]


@cache
def _answer_cells(labs: Path) -> list[tuple[str, str, str]]:
    """Exercise, text and language of every answer's cell."""
    return [cell for script in scripts(labs) for cell in answers(script)]


def answers(script: Path) -> list[tuple[str, str, str]]:
    """Exercise, text and language of each answer's cell of a script: what :func:`read` finds, without its library."""
    found = []
    _, *pieces = _HEAD.split(script.read_text(encoding="utf-8"))
    for head, text in zip(pieces[::2], pieces[1::2], strict=True):
        named = dict(_NAMED.findall(head))
        if "exercise" in named:
            lang = named.get("lang", "python")
            found.append((named["exercise"], (text if lang == "python" else _COMMENT.sub("", text)).strip("\n"), lang))
    return found
