"""Lab scripts: ``labs/src/*.py`` in jupytext's percent format, the source from which the notebooks are built.

Each cell names itself (``# %% id="watch"``), so that its id outlives every change around it. A cell that holds an
answer says to which exercise (``exercise="00.1"``), and the lines between the two markers, which are nbgrader's, are
the solution. The stub is the same cell with an ellipsis in their place, so the two cannot drift apart.
"""

import re
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from mklab.errors import MklabError

__all__ = ["BEGIN", "END", "LABS", "LabSourceError", "answer_cell", "read", "scripts", "solution", "stub"]

LABS = Path(__file__).resolve().parent.parent.parent / "labs"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"

_BLOCK = re.compile(rf"^([ \t]*){BEGIN}\n(.*?)^[ \t]*{END}$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"[a-z0-9-]{1,64}")


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


def read(script: Path) -> NotebookNode:
    """The script as a notebook, solutions and markers in it; ``id`` and ``exercise`` moved to their places.

    Raises:
        LabSourceError: a cell has no id, or that of another one, or its markers do not pair.
    """
    notebook: NotebookNode = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells, 1):
        where = f"{script.name}, cell {number}"
        name = cell.metadata.pop("id", "")
        if not isinstance(name, str) or not _ID.fullmatch(name) or name in seen:
            raise LabSourceError(f"{where}: id must be lower case letters, digits and -, and used once, not {name!r}")
        seen.add(name)
        cell.id = name
        exercise = cell.metadata.pop("exercise", None)
        if exercise is not None:
            cell.metadata["mklab"] = {"exercise": exercise}
        blocks = len(_BLOCK.findall(cell.source))
        if not cell.source.count(BEGIN) == cell.source.count(END) == blocks:
            raise LabSourceError(f"{where} ({name}): each {BEGIN!r} must have its {END!r}, each on a line of its own")
        if bool(blocks) != (exercise is not None):
            raise LabSourceError(
                f"{where} ({name}): a cell has solution markers where it names an exercise, and only there"
            )
    return notebook


def stub(source: str) -> str:
    """The cell as students get it: an ellipsis in place of each solution."""
    return _BLOCK.sub(r"\1...", source)


def solution(source: str) -> str:
    """The cell with its solutions, without the markers."""
    return _BLOCK.sub(lambda block: block[2].removesuffix("\n"), source)


def answer_cell(exercise: str, labs: Path = LABS) -> str:
    """The source, markers included, of the cell that holds the answer to ``exercise``.

    Raises:
        LabSourceError: no script has one, or there are two.
    """
    found = [
        cell.source
        for script in scripts(labs)
        for cell in read(script).cells
        if cell.metadata.get("mklab", {}).get("exercise") == exercise
    ]
    if len(found) != 1:
        raise LabSourceError(f"exercise {exercise} must have one cell in the scripts of the labs, not {len(found)!r}")
    source: str = found[0]
    return source
