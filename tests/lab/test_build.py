"""Notebooks are built from their scripts, the same bytes each time, and drift is found."""

import json
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from mklab.cli_build import build as command
from mklab.lab import source
from mklab.lab.build import build, solution_notebook, student_notebook, to_text
from mklab.lab.source import LabSourceError

SCRIPT = """\
# %% [markdown] id="title"
# # A lab
# See [the list](../docs/list.md).

# %% id="open"
get_ipython().run_line_magic("load_ext", "mklab.lab.magics")

# %% id="answer" exercise="98.1"
def answer() -> int:
    ### BEGIN SOLUTION
    two = 2
    return two + 2
    ### END SOLUTION


# %% id="show"
import sys
for number in range(3):
    print(number)
    sys.stdout.flush()
answer()
"""


@pytest.fixture
def labs(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "98-test.py").write_text(SCRIPT)
    return tmp_path


@pytest.fixture
def script(labs: Path) -> Path:
    return labs / "src" / "98-test.py"


def test_a_student_gets_stubs_and_no_outputs(script: Path) -> None:
    notebook = student_notebook(script)
    assert notebook.cells[2].source == "%%answer 98.1\ndef answer() -> int:\n    ..."
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells[1:])
    assert "SOLUTION" not in to_text(notebook)


def test_the_solution_is_executed_and_can_be_compared(script: Path) -> None:
    """nbval compares only where execution_count is set."""
    notebook = solution_notebook(script)
    assert notebook.cells[2].source == "%%answer 98.1\ndef answer() -> int:\n    two = 2\n    return two + 2"
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3]
    printed, shown = notebook.cells[3].outputs
    assert (printed.output_type, printed.name, printed.text) == ("stream", "stdout", "0\n1\n2\n")
    assert shown.data == {"text/plain": "4"}
    assert "../../docs/list.md" in notebook.cells[0].source


def test_both_have_the_ids_of_the_script_and_no_trace_of_when_and_where(script: Path) -> None:
    for notebook in (student_notebook(script), solution_notebook(script)):
        assert [cell.id for cell in notebook.cells] == ["title", "open", "answer", "show"]
        assert notebook.cells[2].metadata["mklab"] == {"exercise": "98.1", "lang": "python"}
        assert notebook.cells[2].metadata["nbgrader"]["solution"] is True
        assert all(cell.metadata == {} for cell in (*notebook.cells[:2], notebook.cells[3]))
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        assert notebook.metadata.kernelspec.name == "python3"
        assert notebook.metadata.language_info == {"name": "python"}


def test_of_a_live_widget_its_text_stays(script: Path) -> None:
    """Its model is known by a random number, and is gone with its kernel."""
    script.write_text(SCRIPT.replace("\nanswer()", "\nimport ipywidgets\nipywidgets.IntSlider(5)"))
    first, second = solution_notebook(script), solution_notebook(script)
    (shown,) = (output for output in first.cells[3].outputs if output.output_type == "execute_result")
    assert shown.data == {"text/plain": "IntSlider(value=5)"}
    assert to_text(first) == to_text(second)


def test_building_twice_gives_the_same_bytes(labs: Path) -> None:
    student, solution = labs / "98-test.ipynb", labs / "solutions" / "98-test.ipynb"
    assert build(labs=labs) == [student, solution]
    before = student.read_bytes(), solution.read_bytes()
    assert build(labs=labs) == []
    assert build(check=True, labs=labs) == []
    student.unlink()
    solution.unlink()
    build(labs=labs)
    assert (student.read_bytes(), solution.read_bytes()) == before
    for data in before:
        assert data.endswith(b"}\n")
        nbformat.validate(json.loads(data))


def test_check_finds_drift_and_writes_nothing(labs: Path, script: Path) -> None:
    build(labs=labs)
    solution = labs / "solutions" / "98-test.ipynb"
    changed = solution.read_text().replace('"text/plain": [\n       "4"', '"text/plain": [\n       "5"')
    assert changed != solution.read_text()
    solution.write_text(changed)
    assert build(check=True, labs=labs) == [solution]
    assert solution.read_text() == changed
    script.write_text(SCRIPT.replace("# # A lab", "# # Another lab"))
    assert build(check=True, labs=labs) == [labs / "98-test.ipynb", solution]


def test_a_notebook_without_a_script_is_named(labs: Path) -> None:
    build(labs=labs)
    (labs / "97-old.ipynb").write_text("{}")
    with pytest.raises(LabSourceError, match=r"^97-old\.ipynb in .* has no script in labs/src"):
        build(check=True, labs=labs)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id="show"', "", r"cell 4: id must be .*, not ''$"),
        ('id="show"', 'id="title"', r"cell 4: id must be .*, not 'title'$"),
        ('id="show"', 'id="a b"', r"cell 4: id must be .*, not 'a b'$"),
        ("    ### END SOLUTION\n", "", r"\(answer\): each '### BEGIN SOLUTION' must have its '### END SOLUTION'"),
        ("    ### BEGIN SOLUTION\n", "", r"\(answer\): each '### BEGIN SOLUTION' must have its '### END SOLUTION'"),
        (' exercise="98.1"', "", r"\(answer\): a cell has solution markers where it names an exercise"),
        ('id="show"', 'id="show" exercise="98.2"', r"\(show\): a cell has solution markers where it names an exercise"),
    ],
)
def test_a_wrong_script_is_refused(script: Path, old: str, new: str, message: str) -> None:
    assert old in SCRIPT
    script.write_text(SCRIPT.replace(old, new))
    with pytest.raises(LabSourceError, match=message):
        student_notebook(script)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 / 0", r"98-test\.py: a cell of the solution does not run: .*"),
        ("print('careful', file=sys.stderr)", r"98-test\.py, show: standard error must stay empty, not 'careful\\n'"),
        ("import os; os._exit(1)", r"98-test\.py: a cell of the solution does not run: Kernel died"),
    ],
)
def test_a_solution_that_does_not_run_is_refused(script: Path, line: str, message: str) -> None:
    script.write_text(SCRIPT.replace("\nanswer()", f"\n{line}"))
    with pytest.raises(LabSourceError, match=message):
        solution_notebook(script)


def test_a_folder_without_scripts(tmp_path: Path) -> None:
    with pytest.raises(LabSourceError, match="holds no labs: work in a checkout"):
        build(labs=tmp_path)


def test_an_exercise_has_one_cell(labs: Path) -> None:
    text, lang = source.answer_cell("98.1", labs)
    assert "two + 2" in text
    assert lang == "python"
    with pytest.raises(LabSourceError, match=r"exercise 98\.2 must have one cell .*, not 0$"):
        source.answer_cell("98.2", labs)


def test_the_notebooks_in_the_tree_are_as_their_scripts_have_them() -> None:
    done = CliRunner().invoke(command, ["--check"])
    assert done.exit_code == 0, done.output


def test_command_reports_drift(labs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "__defaults__", (False, labs))
    runner = CliRunner()
    done = runner.invoke(command, ["--check"])
    assert done.exit_code == 1
    assert "differs from its script: 98-test.ipynb in solutions" in done.output
    assert "written: 98-test.ipynb in solutions" in runner.invoke(command).output
    done = runner.invoke(command, ["--check"])
    assert (done.exit_code, done.output) == (0, "every notebook is as its script has it\n")
