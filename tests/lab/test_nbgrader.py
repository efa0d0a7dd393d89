"""nbgrader itself grades a lab's notebook: a right, a wrong and a blank submission get the right scores."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab.lab import exercises, source

NAME = "00-a-second-kernel.ipynb"
Nbgrader = Callable[..., str]

_VALIDATE = """
import sys
from nbgrader.nbgraderformat import read, SCHEMA_VERSION
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        for cell in read(file, as_version=4).cells:
            own = cell.metadata.get("nbgrader")
            if own:
                assert own["schema_version"] == SCHEMA_VERSION
                print(own["grade_id"], own.get("points", 0), "solution" if own["solution"] else "")
"""


@pytest.fixture
def course(tmp_path: Path, nbgrader_module: str) -> Path:
    """A course whose assignment lab00 is the student's notebook, configured as docs/grading.md says."""
    docs = (source.LABS.parent / "docs" / "grading.md").read_text(encoding="utf-8")
    before, _, after = docs.partition("```python\nc = get_config()")
    assert after, "docs/grading.md shows the configuration"
    assert "nbgrader" in before
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()" + after.partition("```")[0])
    place = tmp_path / "source" / "lab00"
    place.mkdir(parents=True)
    shutil.copy(source.LABS / NAME, place)
    return tmp_path


def run(course: Path, *arguments: str) -> str:
    """What nbgrader says; its databases and settings are the course's own."""
    own = {"HOME": str(course), "JUPYTER_CONFIG_DIR": str(course / "config"), "JUPYTER_DATA_DIR": str(course / "data")}
    environment = {**os.environ, **own, "MKLAB_PROGRESS": ""}
    del environment["MKLAB_PROGRESS"]
    environment["PYTHONPATH"] = str(source.LABS.parent)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=course, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.timeout(900)
def test_autograde_gives_the_right_scores(course: Path) -> None:
    run(course, "-m", "nbgrader", "generate_assignment", "lab00", "--create")
    released = json.loads((course / "release" / "lab00" / NAME).read_text())
    handed_out = json.loads((source.LABS / NAME).read_text())
    assert [cell["source"] for cell in released["cells"]] == [cell["source"] for cell in handed_out["cells"]]
    own = {one.id: one for one in exercises.of("00")}
    for student in ("right", "wrong", "blank"):
        notebook = json.loads(json.dumps(released))
        for cell in notebook["cells"]:
            mklab = cell["metadata"].get("mklab", {})
            if "exercise" in mklab and student != "blank":
                one = own[mklab["exercise"]]
                answer = one.solution() if student == "right" else one.mistakes[0].apply(one.solution())
                cell["source"] = source.magic(one.id, mklab["lang"]) + answer
            # What a student makes of a check does not count.
            if student == "wrong" and "check" in mklab:
                cell["source"] = "1.0"
        place = course / "submitted" / student / "lab00"
        place.mkdir(parents=True)
        (place / NAME).write_text(json.dumps(notebook))
    said = run(course, "-m", "nbgrader", "autograde", "lab00")
    assert "cannot be converted" not in said
    run(course, "-m", "nbgrader", "export")
    with (course / "grades.csv").open(newline="") as table:
        scores = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(table)}
    most = float(len(own))
    assert scores == {"right": (most, most), "wrong": (0.0, most), "blank": (0.0, most)}
    graded = json.loads((course / "autograded" / "right" / "lab00" / NAME).read_text())
    checks = [cell["outputs"] for cell in graded["cells"] if "check" in cell["metadata"].get("mklab", {})]
    assert len(checks) == len(own)
    assert all("passed the checks" in "".join(output["data"]["text/plain"]) for (output,) in checks)


def test_every_notebook_has_an_answer_and_a_check_for_each_exercise(course: Path) -> None:
    """In nbgrader's own words, which its own reader checks; it refuses two cells of one name."""
    notebooks = sorted(source.LABS.glob("*.ipynb"))
    said = run(course, "-c", _VALIDATE, *map(str, notebooks)).splitlines()
    expected = []
    for one in (one for path in notebooks for one in exercises.of(path.name[:2])):
        name = one.id.replace(".", "-")
        expected += [f"answer-{name} 0 solution", f"check-{name} 1"]
    assert sorted(line.strip() for line in said if line.startswith(("answer-", "check-"))) == sorted(expected)
