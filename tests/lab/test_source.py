"""Scripts: what becomes of a cell that holds an answer, in each language."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mklab.lab import source
from mklab.lab.build import student_notebook
from mklab.lab.source import LabSourceError, body, solution, stub

HEAD = "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     name: python3\n# ---\n\n"
SCRIPT = """# %% id="choose" exercise="98.1"
### BEGIN SOLUTION
choice = "B"
confidence = "sure"
### END SOLUTION

# %% id="write" exercise="98.2" lang="asm"
# start:
#     ### BEGIN SOLUTION
#     mov $1, %eax
#
#     ret
#     ### END SOLUTION

# %% id="say" exercise="98.3" lang="c"
# int f(void)
# {
#     ### BEGIN SOLUTION
#     return 1;
#     ### END SOLUTION
# }
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    path = tmp_path / "src" / "98-test.py"
    path.write_text(HEAD + SCRIPT)
    return path


def test_a_students_cells_in_each_language(script: Path) -> None:
    cells = {cell.id: cell.source for cell in student_notebook(script).cells}
    assert cells["choose"] == "%%answer 98.1\nchoice = ...\nconfidence = ..."
    assert cells["write"] == "%%asm 98.2\nstart:\n    # ..."
    assert cells["say"] == "%%c 98.3\nint f(void)\n{\n    /* ... */\n}"


def test_solutions_in_each_language(script: Path) -> None:
    labs = script.parent.parent
    assert solution(source.answer_cell("98.1", labs)[0]) == 'choice = "B"\nconfidence = "sure"'
    text, lang = source.answer_cell("98.2", labs)
    assert (solution(text), lang) == ("start:\n    mov $1, %eax\n\n    ret", "asm")
    assert body("%%asm 98.2\n" + solution(text)) == solution(text)
    with pytest.raises(LabSourceError, match=r"exercise 98\.9 must have one cell in the scripts of the labs, not 0"):
        source.answer_cell("98.9", labs)


def test_answers_are_read_without_jupytext_as_with_it(script: Path) -> None:
    for one in (script, *source.scripts()):
        cells = [(cell.metadata.get("mklab", {}), cell.source) for cell in source.read(one).cells]
        expected = [(own["exercise"], text, own["lang"]) for own, text in cells if "exercise" in own]
        assert expected
        assert source.answers(one) == expected


def test_an_examiner_does_not_wait_for_libraries_of_notebooks() -> None:
    code = """
import sys, mklab.lab.forms.guest
from mklab.lab import exercises
from mklab.lab.checking import examiner
print([exercises.find("00.1").stub, sorted({name.split(".")[0] for name in sys.modules})])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    stub_, loaded = ast.literal_eval(done.stdout)
    assert "..." in stub_
    assert {"jupytext", "nbformat", "jsonschema", "tornado", "IPython", "ipywidgets", "bqplot"} & set(loaded) == set()


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("x = 1\n", "x = ..."),
        ("x = 1\ny_2 = [1, 2]\n", "x = ...\ny_2 = ..."),
        ("x = 1\nprint(x)\n", "..."),
        ("x = [\n    1,\n]\n", "..."),
        ("def f():\n    x = 1\n", "..."),
        ("x == 1\n", "..."),
    ],
)
def test_names_stay_only_where_nothing_else_stands(block: str, expected: str) -> None:
    assert stub(f"{source.BEGIN}\n{block}{source.END}\n") == f"{expected}\n"


def test_assignments_inside_a_function_are_the_answer() -> None:
    text = f"def f():\n    {source.BEGIN}\n    x = 1\n    {source.END}\n"
    assert stub(text) == "def f():\n    ...\n"
