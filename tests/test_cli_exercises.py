"""``mklab exercises`` lists what the course holds."""

import json

from click.testing import CliRunner

from mklab.cli import main
from mklab.lab import exercises


def test_as_json() -> None:
    done = CliRunner().invoke(main, ["exercises", "--json"])
    assert done.exit_code == 0
    rows = json.loads(done.output)
    assert [row["id"] for row in rows] == [one.id for one in exercises.every()]
    (found,) = (row for row in rows if row["id"] == "00.3")
    assert found == {
        "id": "00.3",
        "lab": "00",
        "kind": "python",
        "mistakes": len(exercises.find("00.3").mistakes),
        "title": "A second kernel by hand",
    }
    assert all(isinstance(row["mistakes"], int) for row in rows)


def test_as_text() -> None:
    done = CliRunner().invoke(main, ["exercises"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[1].split()[:2] == ["00.1", "prediction"]
    count = len(list(exercises.every()))
    assert lines[-1].startswith(f"{count} exercises, ")
    assert len(lines) == count + 2
