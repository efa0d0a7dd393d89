"""The notebooks in labs/: what is handed out, what is compared, and that a student cannot lose them.

Whether a solution gives its outputs again is nbval's affair: `tools/test.py` runs it. Here it is shown that nbval
really compares them.
"""

import os
import queue
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient
from nbformat import NotebookNode

LABS = Path(__file__).resolve().parent.parent.parent / "labs"
STUDENTS = sorted(LABS.glob("*.ipynb"))
SOLUTIONS = sorted(LABS.glob("solutions/*.ipynb"))
SCRIPTS = sorted(LABS.glob("src/*.py"))
NAMES = [path.stem for path in SCRIPTS]


def load(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_lab_has_its_three_files() -> None:
    assert NAMES
    assert [path.stem for path in STUDENTS] == [path.stem for path in SOLUTIONS] == NAMES


@pytest.mark.parametrize("path", STUDENTS, ids=NAMES)
def test_a_student_notebook_is_blank(path: Path) -> None:
    cells = code(load(path))
    assert all(cell.execution_count is None and cell.outputs == [] for cell in cells)
    assert sum("..." in cell.source for cell in cells) >= 1


@pytest.mark.parametrize("path", SOLUTIONS, ids=NAMES)
def test_a_solution_notebook_can_be_compared(path: Path) -> None:
    """nbval compares no cell without execution_count, and no live widget: there must be something else to compare."""
    cells = code(load(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    for output in outputs:
        assert output.output_type == "stream" or output.data["text/plain"]
    assert "widgets" not in load(path).metadata


@pytest.mark.parametrize("path", [*STUDENTS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_cells_are_short_and_links_lead_somewhere(path: Path) -> None:
    notebook = load(path)
    for cell in code(notebook):
        most = 30 if "exercise" in cell.metadata.get("mklab", {}) else 10
        assert len(cell.source.splitlines()) <= most, f"{cell.id}: over {most} lines; it belongs in mklab"
    for cell in notebook.cells:
        for link in re.findall(r"\]\(([^)#]+)", cell.source if cell.cell_type == "markdown" else ""):
            assert "://" in link or (path.parent / link).exists(), f"{cell.id}: {link} leads nowhere"


@pytest.mark.parametrize("name", NAMES)
def test_both_have_the_same_cells(name: str) -> None:
    student, solution = load(LABS / f"{name}.ipynb"), load(LABS / "solutions" / f"{name}.ipynb")
    assert [cell.id for cell in student.cells] == [cell.id for cell in solution.cells]


@pytest.mark.parametrize("path", STUDENTS, ids=NAMES)
def test_a_student_notebook_runs_to_its_end_and_says_what_is_not_attempted(path: Path) -> None:
    notebook = load(path)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(path.parent)}}).execute()
    said = [str(output.get("data", {}).get("text/plain", "")) for cell in code(notebook) for output in cell.outputs]
    verdicts = [text.splitlines()[0] for text in said if text.startswith("Exercise ")]
    assert verdicts
    assert all(re.fullmatch(r"Exercise [\d.]+: not attempted yet", verdict) for verdict in verdicts)


@pytest.mark.parametrize("path", SOLUTIONS, ids=NAMES)
def test_a_solution_notebook_shows_verdicts_that_passed(path: Path) -> None:
    said = [str(output.get("data", {}).get("text/plain", "")) for cell in code(load(path)) for output in cell.outputs]
    verdicts = [text.splitlines()[0] for text in said if text.startswith("Exercise ")]
    assert verdicts
    assert all(verdict.endswith(": passed the checks") for verdict in verdicts)


def test_nbval_compares_the_outputs(tmp_path: Path) -> None:
    """A solution with one digit of a hash changed must fail in that cell."""
    notebook = load(SOLUTIONS[0])
    (cell,) = (cell for cell in notebook.cells if cell.id == "hash")
    text = cell.outputs[0].text
    cell.outputs[0].text = text[:-2] + ("0" if text[-2] != "0" else "1") + text[-1]
    changed = tmp_path / "changed.ipynb"
    nbformat.write(notebook, changed)  # type: ignore[no-untyped-call]
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--nbval"]
    command += ["--nbval-current-env", "--nbval-cell-timeout=60", "--rootdir", str(tmp_path), str(changed)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    number = [cell.id for cell in code(notebook)].index("hash")
    assert f"FAILED changed.ipynb::Cell {number} " in done.stdout, done.stdout


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A notebook's kernel that has opened lab 00."""
    manager, client = start_new_kernel(
        kernel_name="python3", env={**os.environ, "MKLAB_PROGRESS": str(tmp_path / "progress.json")}
    )
    try:
        client.execute_interactive(
            "from mklab import Host, Machine, Scenario, lab; from mklab.lab import course as labs\n"
            "course = lab.open('00')",
            timeout=60,
        )
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


LOOPS = {
    # An answer that does nothing for ever; one that computes for ever ends by itself.
    "check": (
        "labs.ANSWERS['00.3'] = 'import time\\ndef boot_second_kernel(host):\\n    time.sleep(1000)'\n"
        "print('begun', flush=True)\n"
        "print(repr(course.check('00.3')))\n"
    ),
    "guest": (
        "host = Host(Machine()); host.boot()\n"
        "host.machine.poke(host.symbol('asm_sysvec_multikernel'), b'\\xeb\\xfe')\n"
        "print('begun', flush=True)\n"
        "try:\n    host.multikernel_send_ipi_data(1, b'hello'); host.machine.run(10**12)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_an_interrupt_ends_a_loop_and_the_notebook_lives(
    kernel: tuple[KernelManager, BlockingKernelClient], loop: str
) -> None:
    manager, client = kernel
    number = client.execute(LOOPS[loop])
    said, deadline = "", time.monotonic() + 120
    interrupted = False
    while time.monotonic() < deadline:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != number:
            continue
        if message["msg_type"] == "stream":
            said += message["content"]["text"]
            if "begun" in said and not interrupted:
                time.sleep(1)  # until it is under way
                manager.interrupt_kernel()
                interrupted = True
        elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    assert interrupted
    assert "interrupted" in said
    if loop == "check":
        assert "Exercise 00.3: could not be checked" in said
    reply = client.execute_interactive("run = Scenario(); run.run(); assert run.finished", timeout=60)
    assert reply["content"]["status"] == "ok"
