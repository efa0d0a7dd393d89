"""Hidden checks: asked where the public one was passed; what is wrong with them is said."""

from pathlib import Path

import pytest

from mklab.errors import MklabError
from mklab.lab import exercises, source
from mklab.lab.checking.answer import Answer
from mklab.lab.checking.hidden import hidden
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.verdict import Outcome, Verdict

CHECK = """
from mklab.lab.exercise import not_yet
from mklab.lab.verdict import Outcome, Verdict

def judge(answer, seed):
    if answer.call("f", seed) != 2 * seed:
        return not_yet(f"It is not doubled for {seed}.")
    return Verdict(Outcome.PASSED, "Doubled.")
"""


def public(answer: Answer, _seed: int) -> Verdict:
    if answer.call("f", 2) != 4:
        return not_yet("It is not four.")
    return Verdict(Outcome.PASSED, "It is four.")


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr(source, "answer_cell", lambda _: ("def f(x):\n    ...\n", "python"))
    return Exercise("99.1", "test", "python", public, ("look", "rule", "shape"), ())


def test_both_are_asked_the_public_one_first(exercise: Exercise, tmp_path: Path) -> None:
    (tmp_path / "99.1.py").write_text(CHECK)
    both = hidden(exercise, tmp_path)
    assert both.examine("def f(x):\n    return 2 * x", 7).happened == "Doubled."
    assert both.examine("def f(x):\n    return x * x", 7).happened == "It is not doubled for 7."
    assert both.examine("def f(x):\n    return 5", 7).happened == "It is not four."
    assert exercise.examine("def f(x):\n    return x * x", 7).passed


def test_a_folder_without_a_check_for_it(exercise: Exercise, tmp_path: Path) -> None:
    assert hidden(exercise, tmp_path) is exercise


def test_no_folder(exercise: Exercise, tmp_path: Path) -> None:
    with pytest.raises(MklabError, match=r"looked for in a folder, which .*nowhere is not"):
        hidden(exercise, tmp_path / "nowhere")


def test_a_check_without_a_judge(exercise: Exercise, tmp_path: Path) -> None:
    (tmp_path / "99.1.py").write_text("x = 1")
    with pytest.raises(MklabError, match=r"99\.1\.py must define judge\(answer, seed\)"):
        hidden(exercise, tmp_path)


def test_a_check_that_fails_is_not_the_students_fault(exercise: Exercise, tmp_path: Path) -> None:
    (tmp_path / "99.1.py").write_text("def judge(answer, seed):\n    return 1 / 0")
    verdict = hidden(exercise, tmp_path).examine("def f(x):\n    return 4")
    assert verdict.outcome is Outcome.NOT_CHECKED


def test_find_takes_them_along(tmp_path: Path) -> None:
    (tmp_path / "00.1.py").write_text(CHECK)
    assert exercises.find("00.1").judge is not exercises.find("00.1", tmp_path).judge
    assert exercises.find("00.1", str(tmp_path)).id == "00.1"
    for name in ("00.99", "77.1", ""):
        with pytest.raises(MklabError, match="there is no"):
            exercises.find(name)
