"""`mklab defect`: the defects of version 1 from the command line."""

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mklab.cli import main
from mklab.errors import MklabError
from mklab.lab import defects
from mklab.lab.defects import DEFECTS, Finding


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["defect", *arguments], env={"COLUMNS": "400"})


def test_the_list() -> None:
    done = run()
    assert done.exit_code == 0
    rows = [re.split(r" {2,}", line.strip()) for line in done.output.splitlines()[2:]]
    assert rows == [
        [str(one.number), one.name, f"mklab defect {one.number}" if one.run else f"no: {one.why_not}"]
        for one in DEFECTS
    ]


def test_the_list_as_json() -> None:
    listed = json.loads(run("--json").output)
    assert [one["number"] for one in listed] == [defect.number for defect in DEFECTS]
    assert listed[9] == {
        "number": 10,
        "name": "No check for long mode",
        "cause": DEFECTS[9].cause,
        "can_show": False,
        "why_not": DEFECTS[9].why_not,
    }


def test_one_is_told(mklab_command: Path) -> None:
    done = subprocess.run(
        [mklab_command, "defect", "19"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "150"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert rows[0] == "Defect 19: A mutex that is never released"
    assert rows[1].startswith("cause patch 1, reboot: return -EFAULT")
    assert rows[2].startswith("done Call reboot(2) with a harmless command before and after")
    assert "seen a kick with a bad pointer: -EFAULT, the mutex is held" in rows
    assert rows[-1] == "verdict reproduced"


def test_one_as_json() -> None:
    done = run("25", "--json")
    assert done.exit_code == 0
    answer = json.loads(done.output)
    assert answer["verdict"] == "reproduced"
    assert [finding["seen"] for finding in answer["findings"]] == [True] * 4


def test_one_that_cannot_show() -> None:
    done = run("10")
    assert done.exit_code == 0
    assert f"cannot show here: {DEFECTS[9].why_not}" in done.output
    assert json.loads(run("10", "--json").output)["verdict"] == "cannot show here"


@pytest.mark.parametrize("seen", [[True, False], []])
def test_a_scenario_that_does_not_show_it(seen: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(DEFECTS[0], run=lambda: [Finding(f"finding {one}", one) for one in seen])
    monkeypatch.setattr(defects, "DEFECTS", (other,))
    done = run("1")
    assert done.exit_code == 1
    assert ("NOT seen  finding False" in done.output) == bool(seen)
    assert "not reproduced" in done.output


def test_a_scenario_that_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    def end() -> list[Finding]:
        raise MklabError("the host did not come up")

    monkeypatch.setattr(defects, "DEFECTS", (replace(DEFECTS[0], run=end),))
    done = run("1")
    assert done.exit_code == 1
    assert "Error: the scenario of defect 1 ended early: the host did not come up" in done.output


@pytest.mark.parametrize("number", ["0", "45", "-1", "x", "1.5"])
def test_numbers_that_no_defect_has(number: str) -> None:
    done = run("--", number)
    assert done.exit_code == 2
    assert f"must be 1 to {len(DEFECTS)}, not {number}" in done.output or "is not a valid integer" in done.output
