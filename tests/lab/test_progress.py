"""Progress: a small file that survives what happens to files."""

import json
import zlib
from pathlib import Path

import pytest

from mklab.errors import MklabError
from mklab.lab.progress import FILE, PLACE, Done, Progress
from mklab.lab.verdict import Outcome


def test_nothing_yet(tmp_path: Path) -> None:
    progress = Progress.load(tmp_path / FILE)
    assert (progress.student, progress.exercises, progress.seed) == ("", {}, 0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_noted_is_there_again(tmp_path: Path) -> None:
    progress = Progress(tmp_path / FILE, "Ada")
    progress.note("00.1", Outcome.NOT_YET)
    progress.of("00.1").hints = 2
    progress.note("00.1", Outcome.PASSED)
    again = Progress.load(tmp_path / FILE)
    assert again == progress
    assert again.of("00.1") == Done(Outcome.PASSED, 2, 2)
    assert again.of("00.1").passed
    assert again.seed == zlib.crc32(b"ada")


def test_a_copy_that_was_downloaded_can_be_restored(tmp_path: Path) -> None:
    Progress(tmp_path / FILE).note("00.1", Outcome.PASSED)
    copy = (tmp_path / FILE).read_bytes()
    elsewhere = tmp_path / "another-session"
    elsewhere.mkdir()
    (elsewhere / FILE).write_bytes(copy)
    assert Progress.load(elsewhere / FILE).of("00.1").passed


@pytest.mark.parametrize(
    ("outcomes", "best", "attempts"),
    [
        ([Outcome.PASSED, Outcome.NOT_YET], Outcome.PASSED, 2),
        ([Outcome.NOT_YET, Outcome.NOT_CHECKED], Outcome.NOT_YET, 2),
        ([Outcome.NOT_CHECKED], Outcome.NOT_ATTEMPTED, 1),
        ([Outcome.NOT_ATTEMPTED], Outcome.NOT_ATTEMPTED, 0),
    ],
)
def test_the_best_verdict_stays(tmp_path: Path, outcomes: list[Outcome], best: Outcome, attempts: int) -> None:
    progress = Progress(tmp_path / FILE)
    for outcome in outcomes:
        progress.note("00.1", outcome)
    assert (progress.of("00.1").outcome, progress.of("00.1").attempts) == (best, attempts)


GOOD = {"format": "mklab-progress-1", "student": "", "exercises": {}}
ONE = {"outcome": "not yet", "attempts": 1, "hints": 0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\udcff\udcfe",
        json.dumps({**GOOD, "format": "mklab-progress-9"}),
        json.dumps({"format": "mklab-progress-1"}),
        json.dumps({**GOOD, "exercises": []}),
        json.dumps({**GOOD, "exercises": {"00.1": {**ONE, "outcome": "perfect"}}}),
        json.dumps({**GOOD, "exercises": {"00.1": {**ONE, "attempts": "7"}}}),
        json.dumps({**GOOD, "exercises": {"00.1": {}}}),
    ],
)
def test_a_damaged_file_is_told_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    damaged = text.encode("utf-8", "surrogateescape")
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(MklabError, match="move it away to begin anew, or upload the copy"):
        Progress.load(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == damaged


def test_a_save_that_is_interrupted_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(tmp_path / FILE)
    progress.note("00.1", Outcome.PASSED)
    before = (tmp_path / FILE).read_bytes()

    def replace(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        progress.note("00.2", Outcome.NOT_YET)
    monkeypatch.undo()
    assert (tmp_path / FILE).read_bytes() == before
    assert Progress.load(tmp_path / FILE).of("00.1").passed


def test_it_can_be_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "kept.json"))
    monkeypatch.chdir(tmp_path)
    Progress.load().note("00.1", Outcome.NOT_YET)
    assert [one.name for one in tmp_path.iterdir()] == ["kept.json"]
