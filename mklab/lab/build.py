"""From a lab's script to its two notebooks: the student's, without outputs, and the solution's, executed.

The same script gives the same bytes on every computer, so that both can be committed and compared: cell ids are the
script's own, and nothing of when or where a notebook was executed is kept.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from mklab.lab import source
from mklab.lab.progress import FILE, PLACE
from mklab.lab.source import LabSourceError

__all__ = ["build", "solution_notebook", "student_notebook", "to_text"]

_CELL_SECONDS = 60
_STARTUP_SECONDS = 300
"""A busy computer takes its time to start a kernel."""
# A live widget is known by a random number and is gone with its kernel. What stays is its picture and its text.
_LIVE = "application/vnd.jupyter.widget-view+json"


def build(check: bool = False, labs: Path = source.LABS) -> list[Path]:
    """Build the notebooks of all labs.

    Args:
        check: write nothing, compare only.
        labs: the folder that holds ``src``, the student notebooks and ``solutions``.

    Returns:
        The notebooks that were not as their scripts would have them, and which now are, unless ``check``.

    Raises:
        LabSourceError: a script is wrong, a cell of a solution raises or warns, or a notebook has no script.
    """
    wanted: dict[Path, str] = {}
    for script in source.scripts(labs):
        wanted[labs / f"{script.stem}.ipynb"] = to_text(student_notebook(script))
        wanted[labs / "solutions" / f"{script.stem}.ipynb"] = to_text(solution_notebook(script))
    changed = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if not check:
        for path in changed:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8", newline="\n")
    strays = sorted({*labs.glob("*.ipynb"), *labs.glob("solutions/*.ipynb")} - wanted.keys())
    if strays:
        raise LabSourceError(
            f"{strays[0].name} in {strays[0].parent.name} has no script in labs/src: move it elsewhere"
        )
    return changed


def student_notebook(script: Path) -> NotebookNode:
    """The notebook as handed out: stubs in place of solutions, nothing executed."""
    notebook = _notebook(script)
    for cell in notebook.cells:
        if answers := cell.metadata.get("mklab", {}).get("exercise"):
            lang = cell.metadata["mklab"]["lang"]
            cell.source = source.magic(answers, lang) + source.stub(cell.source, lang)
    return notebook


def solution_notebook(script: Path) -> NotebookNode:
    """The notebook with solutions, executed from its first cell to its last in a fresh kernel.

    Raises:
        LabSourceError: a cell raises, takes longer than a minute, or prints on standard error.
    """
    notebook = _notebook(script)
    for cell in notebook.cells:
        if answers := cell.metadata.get("mklab", {}).get("exercise"):
            cell.source = source.magic(answers, cell.metadata["mklab"]["lang"]) + source.solution(cell.source)
        if cell.cell_type == "markdown":
            # It lies one folder deeper than the student's.
            cell.source = cell.source.replace("](../", "](../../").replace("](glossary.md", "](../glossary.md")
    client = NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        startup_timeout=_STARTUP_SECONDS,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(script.parent)}},
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            # On its own standard error a kernel warns of how it is reached; what a cell prints there is an output.
            client.execute(stderr=subprocess.DEVNULL, env={**os.environ, PLACE: str(Path(folder) / FILE)})
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        raise LabSourceError(f"{script.name}: a cell of the solution does not run: {error}") from error
    notebook.metadata = _metadata()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _stable(cell.outputs, f"{script.name}, {cell.id}")
    return notebook


def to_text(notebook: NotebookNode) -> str:
    """The notebook as the text of its file."""
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"


def _metadata() -> NotebookNode:
    """The same for every notebook: a kernel adds its version, which differs."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    node: NotebookNode = nbformat.from_dict(metadata)  # type: ignore[no-untyped-call]
    return node


def _add_nbgrader(cell: NotebookNode) -> None:
    """Say in nbgrader's words (schema 3) which cells are answers and which give the points."""
    own = cell.metadata.get("mklab", {})
    exercise = own.get("exercise") or own.get("check")
    if exercise is None:
        return
    gives, name = "check" in own, "check" if "check" in own else "answer"
    cell.metadata["nbgrader"] = {
        "grade": gives,
        "grade_id": f"{name}-{exercise.replace('.', '-')}",
        "locked": gives,
        "schema_version": 3,
        "solution": not gives,
        "task": False,
        **({"points": 1} if gives else {}),
    }


def _notebook(script: Path) -> NotebookNode:
    notebook = source.read(script)
    notebook.metadata = _metadata()
    for cell in notebook.cells:
        _add_nbgrader(cell)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _stable(outputs: list[NotebookNode], where: str) -> list[NotebookNode]:
    """Outputs without what differs from run to run.

    Raises:
        LabSourceError: something was printed on standard error: a warning belongs in no lab.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                raise LabSourceError(f"{where}: standard error must stay empty, not {output.text!r}")
            # The kernel sends what is printed in pieces, cut by time.
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        else:
            output.get("data", {}).pop(_LIVE, None)
        kept.append(output)
    return kept
