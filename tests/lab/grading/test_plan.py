"""What there is to examine, on whose numbers; what an instructor keeps elsewhere."""

import sys
from pathlib import Path

import pytest

from mklab.errors import MklabError
from mklab.lab import exercises, source
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.grading import plan
from mklab.lab.grading.plan import Hidden, Line
from mklab.lab.grading.reader import LONGEST
from mklab.lab.grading.submissions import Found, Submission
from mklab.lab.progress import seed_of
from mklab.lab.verdict import Outcome

STUB = "%%answer 99.1\ndef f(x):\n    ...\n"


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr(source, "answer_cell", lambda _: (STUB.partition("\n")[2], "python"))
    return Exercise("99.1", "t", "python", lambda *_: not_yet("no"), ("a", "b", "c"), (), given=lambda seed: str(seed))


def line(exercise: Exercise, *texts: str, name: str = "", problems: tuple[str, ...] = (), **how: object) -> Line:
    answers = {"99.1": tuple(("a.ipynb", text) for text in texts)} if texts else {}
    found = Found(Submission("Ada", ()), answers, name, problems)
    given = {"kept": Hidden(), "seed": None, "trusted": False, **how}
    return plan.line(found, exercise, **given)  # type: ignore[arg-type]


def test_the_last_attempt_counts(exercise: Exercise) -> None:
    one = line(exercise, "%%answer 99.1\nfirst", STUB, "%%answer 99.1\nsecond", STUB)
    assert one.question is not None
    assert one.question.text == "%%answer 99.1\nsecond"
    assert one.note == "2 cells answer it; the last one counts."
    assert line(exercise, STUB, "second").note == ""


def test_what_needs_no_examination(exercise: Exercise) -> None:
    for texts, problems, outcome, words in (
        ((STUB, STUB), (), Outcome.NOT_ATTEMPTED, "as it was given"),
        ((), (), Outcome.NOT_ATTEMPTED, "No cell begins with %%answer 99.1."),
        ((), ("a.ipynb is no file",), Outcome.NOT_CHECKED, "a.ipynb is no file."),
        (("x" * (LONGEST + 1),), (), Outcome.NOT_YET, "more than 262,144 characters"),
    ):
        one = line(exercise, *texts, problems=problems)
        assert one.question is None
        assert one.known is not None
        assert one.known.verdict.outcome is outcome
        assert words in one.known.verdict.happened
        assert one.known.verdict.exercise == "99.1"
        assert len(one.text) <= LONGEST


def test_whose_numbers(exercise: Exercise) -> None:
    """Those of the file's name, whatever the notebook says; the instructor may decide otherwise."""
    kept = Hidden(seeds={"ada": 7})
    for expected, how in (
        (seed_of("Ada"), {}),
        (seed_of("Ada"), {"name": "Bob"}),
        (seed_of("Bob"), {"name": "Bob", "trusted": True}),
        (0, {"trusted": True}),
        (7, {"kept": kept, "name": "Bob", "trusted": True}),
        (3, {"kept": kept, "seed": 3}),
    ):
        one = line(exercise, "x", **how)
        assert one.question is not None
        assert one.seed == one.question.seed == expected


def test_other_numbers_are_tried_to_tell_of_them(exercise: Exercise) -> None:
    one = line(exercise, "x", name="Bob").question
    assert one is not None
    assert one.others == ((seed_of("Bob"), "the name that the notebook gives"), (0, "a notebook without a name"))
    zero = line(exercise, "x", seed=0).question
    assert zero is not None
    assert zero.others == ()


def test_upper_case_and_accents_make_no_other_student() -> None:
    assert seed_of(" Zo\xeb ") == seed_of("zoe\u0308") == seed_of("ZO\xcb") != seed_of("Zoe")
    assert seed_of("") == seed_of(" ") == 0


def test_hidden_checks_and_seeds(tmp_path: Path) -> None:
    (tmp_path / "00.1.py").write_text("def judge(answer, seed):\n    ...\n")
    (tmp_path / "seeds.csv").write_text("\ufeffstudent,seed\nAda,7\nBob , 0x10\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine")
    assert plan.hidden(tmp_path) == Hidden({"00.1": "def judge(answer, seed):\n    ...\n"}, {"ada": 7, "bob": 16})
    assert plan.hidden(None) == Hidden()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("99.1.py", "", "is a check for no exercise"),
        ("00.1.py", "def judge(:", "cannot be read"),
        ("seeds.csv", "name,seed\nAda,7", "must have the columns student and seed"),
        ("seeds.csv", "student,seed\nAda,seven", "a number in each seed, not {'student': 'Ada', 'seed': 'seven'}"),
        ("notes.txt", "", "holds neither a check"),
    ],
)
def test_what_is_wrong_with_hidden_checks(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(MklabError) as raised:
        plan.hidden(tmp_path)
    assert words in str(raised.value)


def test_no_folder_that_answers_can_read(tmp_path: Path) -> None:
    with pytest.raises(MklabError, match="which answers can read: move it elsewhere"):
        plan.hidden(Path(sys.prefix))
    with pytest.raises(MklabError, match="looked for in a folder"):
        plan.hidden(tmp_path / "nowhere")
    plan.apart(tmp_path)


def test_which_exercises() -> None:
    none, some = Found(Submission("a", ())), Found(Submission("b", ()), {"00.1": (("x", "y"),), "77.1": (("x", "y"),)})
    assert plan.chosen([], [none, some]) == list(exercises.of("00"))
    assert plan.chosen(["00"], []) == list(exercises.of("00"))
    with pytest.raises(MklabError, match="no notebook holds an answer"):
        plan.chosen([], [none])
    with pytest.raises(MklabError, match="there is no lab '77'"):
        plan.chosen(["77"], [])
