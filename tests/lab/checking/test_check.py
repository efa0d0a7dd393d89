"""A verdict comes back whatever becomes of the examiner, and nothing of it is left afterwards."""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

import mklab
from mklab.lab.checking.check import check
from mklab.lab.verdict import Outcome, Verdict

posix = pytest.mark.skipif(sys.platform == "win32", reason="process groups and signals of POSIX")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where checks put their files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def examiner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package ``mklab`` whose examiner is the program written to this path."""
    place = tmp_path / "fake" / "mklab" / "lab" / "checking"
    place.mkdir(parents=True)
    for folder in (place, place.parent, place.parent.parent):
        (folder / "__init__.py").write_text("")
    monkeypatch.setattr(mklab, "__file__", str(tmp_path / "fake" / "mklab" / "__init__.py"))
    return place / "examiner.py"


def descendants() -> set[int]:
    return {one.pid for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE}


def child_is_gone(temporary: Path) -> bool:
    """Whether the process that an examiner has started is gone: it is not among our children any more."""
    pid = int((temporary.parent / "pid").read_text())
    # A signal takes its time, and a computer that is busy some more.
    for _ in range(1000):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def test_a_right_and_a_wrong_answer_and_the_stub(temporary: Path) -> None:
    """The real examiner, once for each."""
    before = descendants()
    stub = "%%answer 00.3\ndef boot_second_kernel(host):\n    ...\n"
    found = check("00.3", stub)
    assert found.verdict.outcome is Outcome.NOT_ATTEMPTED
    assert found.verdict.exercise == "00.3"
    wrong = check("00.3", "def boot_second_kernel(host):\n    print('hello')\n    while True: pass")
    assert wrong.verdict.outcome is Outcome.NOT_YET
    assert "did not come to an end" in wrong.verdict.happened
    assert descendants() == before
    assert list(temporary.iterdir()) == []


def test_an_exercise_that_does_not_exist_is_our_mistake() -> None:
    found = check("00.99", "x = 1").verdict
    assert found.outcome is Outcome.NOT_CHECKED
    assert "there is no exercise '00.99'" in found.happened


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os._exit(3)", "it said nothing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it said nothing"),
        ("raise MemoryError('no more')", "MemoryError: no more"),
        ("print('all is well')", "it said nothing"),
        ("print('{}')", "it said nothing"),
        ("print('[1, 2]')", "it said nothing"),
        ("""print('{"verdict": {"outcome": "perfect", "happened": ""}, "missing": []}')""", "it said nothing"),
        ("""print('{"verdict": {"outcome": "passed the checks"}, "missing": []}')""", "it said nothing"),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)", "it said nothing"),
        ("import sys; print('odd', file=sys.stderr)", "odd"),
    ],
)
def test_an_examiner_that_dies_or_talks_rubbish(examiner: Path, temporary: Path, program: str, words: str) -> None:
    examiner.write_text(program)
    before = descendants()
    found = check("00.1", "x = 1").verdict
    assert found.outcome is Outcome.NOT_CHECKED
    assert words in found.happened
    assert "not yours" in found.next_step
    assert descendants() == before
    assert list(temporary.iterdir()) == []


def test_it_is_told_what_to_examine_and_what_it_says_comes_back(examiner: Path, tmp_path: Path) -> None:
    verdict = Verdict(Outcome.PASSED, "Fine.", exercise="04.2").to_dict()
    told = json.dumps({"verdict": verdict, "missing": ["network"]})
    copy = tmp_path / "asked.json"
    examiner.write_text(f"import sys\nopen({str(copy)!r}, 'w').write(sys.stdin.read())\nprint({told!r})")
    found = check("04.2", "x = 1\n", 7, tmp_path)
    assert found.verdict == Verdict(Outcome.PASSED, "Fine.", exercise="04.2")
    assert found.missing == ("network",)
    asked = {"exercise": "04.2", "source": "x = 1\n", "seed": 7, "checks": str(tmp_path)}
    assert json.loads(copy.read_text()) == asked


_CHILDREN = """
import subprocess, sys, time, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("left-behind").write_text("x")
pathlib.Path({pid!r}).write_text(str(child.pid))
{then}
"""


@posix
@pytest.mark.parametrize("then", ["time.sleep(600)", "sys.exit(1)", "print('{')"])
def test_one_that_hangs_is_ended_with_all_it_started(examiner: Path, temporary: Path, then: str) -> None:
    """Its standard streams are inherited by the child, which would keep the check waiting."""
    examiner.write_text(_CHILDREN.format(then=then, pid=str(temporary.parent / "pid")))
    before = descendants()
    found = check("00.1", "x = 1", seconds=3).verdict
    assert found.outcome is Outcome.NOT_CHECKED
    assert "had not ended after 3 seconds" in found.happened
    assert child_is_gone(temporary)
    assert descendants() == before
    assert list(temporary.iterdir()) == []


@posix
def test_ctrl_c_gives_a_verdict_and_leaves_nothing_running(examiner: Path, temporary: Path) -> None:
    examiner.write_text(
        _CHILDREN.format(
            then="pathlib.Path('begun').write_text('x'); time.sleep(600)", pid=str(temporary.parent / "pid")
        )
    )
    before = descendants()

    def interrupt() -> None:
        while not list(temporary.glob("mklab-check-*/begun")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    found = check("00.1", "x = 1").verdict
    thread.join()
    assert found.outcome is Outcome.NOT_CHECKED
    assert "interrupted" in found.happened
    assert found.next_step == "Run this cell again."
    assert child_is_gone(temporary)
    assert descendants() == before
    assert list(temporary.iterdir()) == []
