"""Who has handed in what: a folder with a notebook, or a folder of notebooks, for each student.

Links are not followed, and nothing that is no plain file is opened.
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mklab
from mklab.errors import MklabError
from mklab.lab.grading.reader import LARGEST

__all__ = ["Found", "Submission", "find", "read"]

_NOTEBOOK = ".ipynb"
_DEEPEST, _MOST = 8, 200
_SECONDS = 60.0


@dataclass(frozen=True)
class Submission:
    """What a student has handed in.

    Attributes:
        student: the name of the file, without its ending, or of the folder.
        notebooks: the files, in the order of their names.
        problems: what was found and cannot be taken, in words.
    """

    student: str
    notebooks: tuple[Path, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What the notebooks of a student hold.

    Attributes:
        submission: whose.
        answers: by exercise, every cell that answers it: its notebook's name and its text.
        name: the name that a notebook gives to ``lab.open``; empty where none does.
        problems: what could not be read, in words.
    """

    submission: Submission
    answers: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    name: str = ""
    problems: tuple[str, ...] = ()


def find(folder: Path) -> tuple[list[Submission], list[str]]:
    """The submissions in a folder, by the students' names, and the names of what is none.

    Raises:
        MklabError: the folder cannot be read, or holds no submission.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError as error:
        raise MklabError(f"{folder} is no folder of submissions: {error.strerror}") from None
    found: dict[str, Submission] = {}
    others = []
    for entry in entries:
        if entry.name.startswith((".", "__")):
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder and not entry.name.lower().endswith(_NOTEBOOK):
            others.append(_plain(entry.name))
            continue
        name = _plain(entry.name if is_folder else entry.name[: -len(_NOTEBOOK)])
        places = list(_notebooks(Path(entry.path), 0)) if is_folder else [Path(entry.path)]
        before = found.get(name, Submission(name, ()))
        good, problems = _sorted(places[:_MOST], folder)
        if len(places) > _MOST:
            problems.append(f"there are more than {_MOST} notebooks; the first {_MOST} count")
        if not places:
            problems.append(f"{name} holds no notebook")
        found[name] = Submission(name, (*before.notebooks, *good), (*before.problems, *problems))
    if not found:
        raise MklabError(f"{folder} holds no submission: a notebook, or a folder of notebooks, for each student")
    return [found[name] for name in sorted(found)], others


def _plain(name: str) -> str:
    """A file's name as a student's: text in one form, whatever the system that has written it."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace")).strip() or "?"


def _notebooks(folder: Path, depth: int) -> Iterator[Path]:
    """Everything below a folder that is called a notebook."""
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith((".", "__")):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth < _DEEPEST:
                yield from _notebooks(Path(entry.path), depth + 1)
        elif entry.name.lower().endswith(_NOTEBOOK):
            yield Path(entry.path)


def _sorted(places: list[Path], folder: Path) -> tuple[list[Path], list[str]]:
    """Plain files, and what is wrong with the others."""
    good, problems = [], []
    for place in places:
        mode = place.lstat().st_mode
        if stat.S_ISREG(mode):
            good.append(place)
        else:
            what = "a link, which is not followed" if stat.S_ISLNK(mode) else "no file"
            problems.append(f"{_plain(str(place.relative_to(folder)))} is {what}")
    return good, problems


def read(submission: Submission, folder: Path) -> Found:
    """Take the answers out of a student's notebooks; whatever they are, it comes to an end."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    problems, names = list(submission.problems), []
    for place in submission.notebooks:
        name = _plain(str(place.relative_to(folder)))
        told = _read(place)
        if "problem" in told:
            problems.append(f"{name} {told['problem']}")
            continue
        names += [told["student"]] if told["student"] else []
        for exercise, text in told["answers"]:
            found[exercise] = (*found.get(exercise, ()), (name, text))
    return Found(submission, found, names[-1] if names else "", tuple(problems))


def _read(place: Path) -> dict[str, Any]:
    """What a process of its own has read in a notebook."""
    try:
        # What lies there now need not be what was found there.
        handle = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror}"}
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return {"problem": "is no file"}
        if status.st_size > LARGEST:
            return {"problem": f"is larger than {LARGEST >> 20} MiB"}
        with tempfile.TemporaryDirectory(prefix="mklab-read-") as nowhere:
            done = subprocess.run(
                [sys.executable, "-m", "mklab.lab.grading.reader"],
                stdin=handle,
                capture_output=True,
                cwd=nowhere,
                env={"PYTHONPATH": str(Path(mklab.__file__).parent.parent), "PATH": ""},
                timeout=_SECONDS,
            )
        told = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {"problem": "cannot be read: it takes too much time or memory"}
    finally:
        os.close(handle)
    assert isinstance(told, dict)
    return told
