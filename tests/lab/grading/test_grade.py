"""A class is graded by threads here and by a cluster alike; Ctrl-C keeps what there is; one that fails fails alone."""

import csv
import json
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from mklab import cluster
from mklab.cli import main
from mklab.errors import MklabError
from mklab.lab import exercises
from mklab.lab.checking.check import Result
from mklab.lab.exercise import Exercise
from mklab.lab.grading import examination
from mklab.lab.grading import grade as grading
from mklab.lab.grading.examination import Examined, Question, examined
from mklab.lab.grading.grade import Grades, grade
from mklab.lab.verdict import Outcome, Verdict

ONE = next(one for one in exercises.of("00") if one.kind == "python")
SOLUTION = ONE.solution()
PASSED, FAILED = Verdict(Outcome.PASSED, "Fine."), Verdict(Outcome.NOT_YET, "No.")


def hand_in(folder: Path, **answers: str) -> None:
    folder.mkdir(exist_ok=True)
    for student, answer in answers.items():
        cell = {"cell_type": "code", "metadata": {}, "source": f"%%answer {ONE.id}\n{answer}"}
        (folder / f"{student}.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [cell]}))


@pytest.fixture(autouse=True)
def of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The course has one exercise."""
    monkeypatch.setattr(exercises, "LABS", ("00",))
    monkeypatch.setattr(exercises, "of", partial(_only, exercises.of))


def _only(of: Callable[[str], tuple[Exercise, ...]], lab: str) -> tuple[Exercise, ...]:
    return tuple(one for one in of(lab) if one is ONE)


def rows(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as table:
        return {row["student"]: row["outcome"] for row in csv.DictReader(table)}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Nothing is examined: an answer passes if it says so. What was asked comes into the list."""
    asked: list[Question] = []

    def said(question: Question) -> Examined:
        asked.append(question)
        return Examined(
            PASSED if "pass" in question.text else FAILED, 0.5, ("network",) if "open" in question.text else ()
        )

    monkeypatch.setattr(grading, "examined", said)
    return asked


def test_everybody_is_asked_once(tmp_path: Path, fake: list[Question]) -> None:
    hand_in(tmp_path / "class", ada="pass", bob="fail", eve="open")
    complete: list[str] = []
    told: list[tuple[str, int, int]] = []
    grades = grade(
        tmp_path / "class",
        jobs=3,
        graded=lambda _, student: complete.append(student),
        told=lambda *one: told.append(one),
    )
    assert {one: grades.of(one)[0].outcome for one in grades.students} == {
        "ada": Outcome.PASSED,
        "bob": Outcome.NOT_YET,
        "eve": Outcome.NOT_YET,
    }
    assert sorted(one.student for one in fake) == sorted(complete) == ["ada", "bob", "eve"]
    assert grades.missing == {"network"}
    assert not grades.interrupted
    assert told[2] == ("reading", 3, 3)
    assert told[-1] == ("grading", 3, 3)


def test_one_whose_examination_fails_fails_alone(
    tmp_path: Path, fake: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(question: Question) -> Examined:
        if question.student == "bob":
            raise RuntimeError("the worker is gone")
        return Examined(PASSED)

    monkeypatch.setattr(grading, "examined", lost)
    hand_in(tmp_path / "class", ada="x", bob="x", eve="x")
    grades = grade(tmp_path / "class")
    assert [grades.of(one)[0].outcome for one in ("ada", "bob", "eve")] == [
        Outcome.PASSED,
        Outcome.NOT_CHECKED,
        Outcome.PASSED,
    ]
    assert "RuntimeError: the worker is gone" in grades.of("bob")[0].examined.verdict.happened


def test_ctrl_c_keeps_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_in(tmp_path / "class", **{f"s{number:02}": "x" for number in range(20)})
    begun = threading.Semaphore(0)

    def slow(question: Question) -> Examined:
        if question.student == "s03":
            os.kill(os.getpid(), signal.SIGINT)
        if question.student >= "s03":
            begun.acquire(timeout=2)
        return Examined(PASSED)

    monkeypatch.setattr(grading, "examined", slow)
    before = signal.getsignal(signal.SIGINT)
    done = CliRunner().invoke(
        main, ["grade", str(tmp_path / "class"), "--csv", str(tmp_path / "grades.csv"), "--jobs", "1"]
    )
    assert done.exit_code == 1
    found = rows(tmp_path / "grades.csv")
    assert {"s00", "s01", "s02", "s03"} <= found.keys()
    assert len(found) < 20
    assert f"Interrupted: {len(found)} of 20 answers graded; the table holds these." in done.output
    assert signal.getsignal(signal.SIGINT) is before


def test_what_the_command_says(tmp_path: Path, fake: list[Question]) -> None:
    hand_in(tmp_path / "class", ada="pass", bob="open")
    (tmp_path / "class" / "eve.ipynb").write_text("[red]hello\x1b[2J")
    (tmp_path / "class" / "[bold]x\x1b[2J").write_text("")
    table = tmp_path / "grades.csv"
    done = CliRunner().invoke(
        main,
        ["grade", str(tmp_path / "class"), "--csv", str(table), "--pages", str(tmp_path / "a" / "b"), "--seed", "5"],
    )
    assert done.exit_code == 1
    assert [one.seed for one in fake] == [5, 5]
    assert rows(table) == {"ada": "passed the checks", "bob": "not yet", "eve": "could not be checked"}
    assert sorted(one.name for one in (tmp_path / "a" / "b").iterdir()) == ["ada.html", "bob.html", "eve.html"]
    assert "3 of 3 students graded" in done.output
    assert "eve: eve.ipynb is no notebook: it is no JSON" in done.output
    assert "left alone: [bold]x\\x1b[2J" in done.output
    assert "\x1b" not in done.output
    assert "Could not be limited where answers ran: network" in done.output


def test_a_class_of_which_nothing_is_wrong(tmp_path: Path, fake: list[Question]) -> None:
    hand_in(tmp_path / "class", ada="pass")
    done = CliRunner().invoke(main, ["grade", str(tmp_path / "class"), "--csv", str(tmp_path / "grades.csv")])
    assert done.exit_code == 0
    assert "limited" not in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--csv", "grades.csv"], "nowhere is no folder of submissions"),
        (["class", "--csv", "no/where/grades.csv"], "No such file or directory"),
        (["class", "--csv", "grades.csv", "--lab", "77"], "there is no lab '77'"),
        (["class", "--csv", "grades.csv", "--checks", "class"], "holds neither a check"),
        (["class", "--csv", "grades.csv", "--checks", "nowhere"], "looked for in a folder"),
        (["empty", "--csv", "grades.csv"], "holds no submission"),
        (["other", "--csv", "grades.csv"], "no notebook holds an answer to an exercise"),
    ],
)
def test_what_cannot_be_graded(
    tmp_path: Path, fake: list[Question], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    hand_in(tmp_path / "class", ada="pass")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.ipynb").write_text('{"nbformat": 4, "cells": []}')
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["grade", *arguments])
    assert done.exit_code == 1
    assert words in done.output
    assert fake == []


def test_a_table_that_is_there_is_kept_until_there_is_another(tmp_path: Path) -> None:
    (tmp_path / "grades.csv").write_text("mine")
    done = CliRunner().invoke(main, ["grade", str(tmp_path / "nowhere"), "--csv", str(tmp_path / "grades.csv")])
    assert done.exit_code == 1
    assert (tmp_path / "grades.csv").read_text() == "mine"


class TestExamined:
    """One answer: what is asked of the examiner."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str | None]]:
        """Seeds, and the hidden check that was there. Seed 3 passes; 9 cannot be checked the first time."""
        asked: list[tuple[int, str | None]] = []

        def check(exercise: str, text: str, seed: int, checks: Path | None) -> Result:
            asked.append((seed, (checks / f"{exercise}.py").read_text() if checks else None))
            if seed == 9 and len(asked) == 1:
                return Result(Verdict(Outcome.NOT_CHECKED, "Too busy."), ())
            return Result(PASSED if seed in (3, 9) else FAILED, ("memory",))

        monkeypatch.setattr(examination, "check", check)
        return asked

    def test_a_hidden_check_goes_along(self, asked: list[tuple[int, str | None]]) -> None:
        found = examined(Question("ada", "00.1", "x", 3, "def judge(answer, seed): ..."))
        assert asked == [(3, "def judge(answer, seed): ...")]
        assert (found.verdict, found.missing, found.note) == (PASSED, ("memory",), "")

    def test_what_could_not_be_checked_is_checked_again(self, asked: list[tuple[int, str | None]]) -> None:
        assert examined(Question("ada", "00.1", "x", 9)).verdict is PASSED
        assert asked == [(9, None), (9, None)]

    def test_other_numbers_give_a_note_and_no_points(self, asked: list[tuple[int, str | None]]) -> None:
        found = examined(Question("ada", "00.1", "x", 1, None, ((2, "the first"), (3, "the second"))))
        assert found.verdict is FAILED
        assert found.note == "It would pass with the numbers of the second."
        assert [seed for seed, _ in asked] == [1, 2, 3]


def outcomes(grades: Grades) -> list[Outcome]:
    return [grades.of(one)[0].outcome for one in sorted(grades.students)]


def test_hidden_checks_decide(tmp_path: Path) -> None:
    """The real examiners."""
    hand_in(tmp_path / "class", ada=SOLUTION)
    checks = tmp_path / "checks"
    checks.mkdir()
    text = "from mklab.lab.exercise import not_yet\ndef judge(answer, seed):\n    return not_yet(f'Not with {seed}.')\n"
    (checks / f"{ONE.id}.py").write_text(text)
    (checks / "seeds.csv").write_text("student,seed\nADA,11\n")
    grades = grade(tmp_path / "class", checks=checks)
    assert grades.of("ada")[0].examined.verdict.happened == "Not with 11."
    assert outcomes(grade(tmp_path / "class")) == [Outcome.PASSED]


class TestCluster:
    """On a Dask cluster everything is as here."""

    def test_it_finds_what_this_computer_finds(self, tmp_path: Path, distributed: ModuleType) -> None:
        hand_in(
            tmp_path / "class", ada=SOLUTION, bob="def boot_second_kernel(host):\n    import os; os._exit(0)", eve="x"
        )
        local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
        with distributed.LocalCluster(**local) as its_own:
            grades = grade(tmp_path / "class", dask=its_own.scheduler_address)
        assert outcomes(grades) == [Outcome.PASSED, Outcome.NOT_YET, Outcome.NOT_YET]
        assert grades.missing == set()

    @pytest.mark.usefixtures("distributed")
    def test_processes_of_this_computer(self, tmp_path: Path) -> None:
        hand_in(tmp_path / "class", ada=SOLUTION)
        assert outcomes(grade(tmp_path / "class", dask=cluster.HERE)) == [Outcome.PASSED]

    @pytest.mark.usefixtures("distributed")
    def test_a_cluster_that_is_not_there(self, tmp_path: Path) -> None:
        hand_in(tmp_path / "class", ada="x")
        with pytest.raises(MklabError, match="there is no Dask scheduler at tcp://127"):
            grade(tmp_path / "class", dask="tcp://127.0.0.1:9")
