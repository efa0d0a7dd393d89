"""A small class with one of each kind: every verdict is right, and nobody harms another."""

import csv
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from mklab.cli import main
from mklab.lab import exercises
from mklab.lab.verdict import Outcome
from tests.lab.grading import classroom

ONE = next(one for one in exercises.of("00") if one.kind == "python")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port to which nobody must connect."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.timeout(900)
def test_every_kind_gets_its_verdict_and_harms_nobody(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with one answer; measure_class.py has whole labs."""
    monkeypatch.setattr(exercises, "of", lambda _: (ONE,))
    witness, folder = tmp_path / "witness", tmp_path / "class"
    witness.write_text("SECRET")
    folder.mkdir()
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    expected = classroom.make(folder, ["00"], witness, listener.getsockname()[1])
    arguments = ["grade", str(folder), "--csv", str(tmp_path / "grades.csv"), "--pages", str(tmp_path / "pages")]
    done = CliRunner().invoke(main, [*arguments, "--jobs", "2"])
    assert done.exit_code == 1, done.output  # some are no notebooks
    with (tmp_path / "grades.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert {(row["student"], row["exercise"]): Outcome(row["outcome"]) for row in rows} == expected
    assert all(row["points"] == str(int(row["outcome"] == Outcome.PASSED)) for row in rows)
    assert witness.read_text() == "SECRET"
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert not any("SECRET" in page.read_text() for page in (tmp_path / "pages").iterdir())
    assert len(list((tmp_path / "pages").iterdir())) == len(classroom.KINDS)
    assert {one.pid for one in psutil.Process().children(recursive=True)} == before


def test_in_a_larger_class_most_are_as_usual() -> None:
    kinds = list(classroom._chosen(200))
    assert len(kinds) == 200
    assert kinds.count("right") > kinds.count("wrong") > kinds.count("blank") > 10
    assert set(kinds) == set(classroom.KINDS)
