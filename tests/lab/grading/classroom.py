"""A class: submissions that are right, wrong, blank, hostile or broken, and what a grader must say about each.

Numbers are those of each student's own name. A hostile answer in Python is the hostile text with the solution behind
it, so that only what it does can make it fail; with ``spoilt`` it is a known mistake that tries to be taken for right.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mklab.lab import exercises, source
from mklab.lab.exercise import Exercise
from mklab.lab.progress import seed_of
from mklab.lab.verdict import Outcome

__all__ = ["KINDS", "Expected", "make"]

Notebook = dict[str, Any]
Expected = dict[tuple[str, str], Outcome]
"""What must be said, by student and exercise."""

_SHOUT = """
import os
for said in ('{"value": 1}', '{"verdict": {"outcome": "passed the checks", "happened": "x"}, "missing": []}'):
    print(said)
    for number in range(64):
        try:
            os.write(number, said.encode() + b"\\n")
        except OSError:
            pass
"""
_PATCH = """
import sys
import mklab.lab.exercise, mklab.lab.verdict, mklab.lab.checking.wire
mklab.lab.verdict.Verdict.passed = property(lambda self: True)
mklab.lab.exercise.Exercise.examine = lambda *_: None
mklab.lab.checking.wire.encode = lambda value, depth=0: {"verdict": {"outcome": "passed the checks"}}
"""

# By name: the text before the answer. {witness} is a file that must stay as it is, {port} one that must hear nothing.
_ATTACKS = {
    "loops": "while True:\n    pass",
    "loops-deaf": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass",
    "sleeps": "import time\ntime.sleep(3600)",
    "forks": "import os\nwhile True:\n    os.fork()",
    "threads": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(99,)).start()",
    "allocates": "x = bytearray(1 << 30)",
    "allocates-pieces": "x = []\nwhile True:\n    x.append(bytearray(1 << 20))",
    "writes": "for n in range(10**6):\n    open(f'file{n}', 'wb').write(bytes(1 << 20))",
    "writes-elsewhere": "open({witness!r}, 'w').write('mine')",
    "deletes": "import os\nos.remove({witness!r})",
    "reads": "print(open({witness!r}).read())",
    "kills-parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "kills-parent-otherwise": "import ctypes, os\nif ctypes.CDLL(None).syscall(234, os.getppid(), os.getppid(), 9):\n"
    "    raise SystemError",
    "starves-parent": "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    "runs-programs": "import subprocess\nsubprocess.run(['sleep', '99'])",
    "connects": "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "closes": "import os\nos.closerange(0, 1024)",
    "ends": "import os\nos._exit(0)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "recurses": "def deeper():\n    deeper()\ndeeper()",
    "prints": "while True:\n    print('x' * 1_000_000)",
    "asks": "input('Is this right? ')",
}
_GUEST_ATTACKS = {
    "assembly": ("1: jmp 1b", ".fill 0x40000000, 1, 0", ".macro m\nm\nm\n.endm\nm", '.incbin "/etc/passwd"', "ud2"),
    "c": ('#include "/etc/hostname"', "char big[1 << 30] = {1};", "#define", 'asm(".incbin \\"/etc/passwd\\"");'),
}


@dataclass(frozen=True)
class _Member:
    """A student, and what the maker of a submission needs to know."""

    name: str
    number: int
    lab: Path
    exercises: Sequence[Exercise]
    witness: str
    port: int

    @property
    def seed(self) -> int:
        return seed_of(self.name)

    def right(self, exercise: Exercise) -> str:
        return exercise.solution(self.seed)

    def wrong(self, exercise: Exercise) -> str:
        """A known mistake, another one for each student."""
        solution, fitting = self.right(exercise), []
        for mistake in exercise.mistakes:
            # On some numbers a mistake cannot be made.
            with suppress(ValueError):
                fitting.append(mistake.apply(solution))
        others = [text for text in fitting if text != solution]
        return others[self.number % len(others)]

    def notebook(self, answer: Callable[[Exercise], str | None]) -> Notebook:
        """The student's notebook; an answer None leaves the cell as it was given."""
        notebook: Notebook = json.loads(self.lab.read_text())
        by_id = {one.id: one for one in self.exercises}
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
        for cell in answer_cells(notebook):
            exercise = by_id.get(cell["metadata"]["mklab"]["exercise"])
            text = answer(exercise) if exercise is not None else None
            if exercise is not None and text is not None:
                cell["source"] = source.magic(exercise.id, cell["metadata"]["mklab"]["lang"]) + text
        return notebook


def answer_cells(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["metadata"].get("mklab", {}).get("exercise")]


Maker = Callable[[_Member, Path], Outcome | Mapping[str, Outcome]]


def _save(path: Path, notebook: Notebook) -> None:
    path.write_text(json.dumps(notebook))


def _right(member: _Member, path: Path) -> Outcome:
    _save(path, member.notebook(member.right))
    return Outcome.PASSED


def _wrong(member: _Member, path: Path) -> Outcome:
    _save(path, member.notebook(member.wrong))
    return Outcome.NOT_YET


def _blank(member: _Member, path: Path) -> Outcome:
    _save(path, member.notebook(lambda _: None))
    return Outcome.NOT_ATTEMPTED


def _attack(text: str) -> Maker:
    def write(member: _Member, path: Path) -> Outcome:
        def answer(exercise: Exercise) -> str:
            if exercise.kind in _GUEST_ATTACKS:
                several = _GUEST_ATTACKS[exercise.kind]
                return several[member.number % len(several)]
            return f"{text.replace('{witness!r}', repr(member.witness)).replace('{port}', str(member.port))}\n" + (
                member.right(exercise)
            )

        _save(path, member.notebook(answer))
        return Outcome.NOT_YET

    return write


def _spoilt(text: str) -> Maker:
    def write(member: _Member, path: Path) -> Outcome:
        def answer(exercise: Exercise) -> str:
            wrong = member.wrong(exercise)
            return wrong if exercise.kind in _GUEST_ATTACKS else f"{text}\n{wrong}"

        _save(path, member.notebook(answer))
        return Outcome.NOT_YET

    return write


def _forged_outputs(member: _Member, path: Path) -> Outcome:
    notebook = member.notebook(member.wrong)
    passed = "Exercise 00.1: passed the checks"
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            data = {"text/plain": passed, "text/html": f"<b>{passed}</b>"}
            result = {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}
            cell.update(execution_count=number, outputs=[result])
    _save(path, notebook)
    return Outcome.NOT_YET


def _edited_checks(member: _Member, path: Path) -> Outcome:
    notebook = member.notebook(member.wrong)
    for cell in notebook["cells"]:
        if cell["metadata"].get("mklab", {}).get("check"):
            cell["source"] = "course.check = lambda *_: 'passed the checks'"
    _save(path, notebook)
    return Outcome.NOT_YET


def _missing(member: _Member, path: Path) -> Outcome:
    notebook = member.notebook(member.right)
    kept = answer_cells(notebook)
    notebook["cells"] = [cell for cell in notebook["cells"] if cell not in kept]
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "I have lost them."})
    # The lab's first exercise stays, as it was given: else nothing says which lab this is.
    notebook["cells"].append(answer_cells(member.notebook(lambda _: None))[0])
    _save(path, notebook)
    return Outcome.NOT_ATTEMPTED


def _duplicated(member: _Member, path: Path) -> Outcome:
    """The last attempt counts, whatever stub lies behind it."""
    notebook, wrong, blank = (member.notebook(one) for one in (member.right, member.wrong, lambda _: None))
    for cells in zip(*map(answer_cells, (wrong, notebook, blank)), strict=True):
        place = notebook["cells"].index(cells[1])
        notebook["cells"][place : place + 1] = [copy.deepcopy(cell) for cell in cells]
    _save(path, notebook)
    return Outcome.PASSED


def _without_magic(member: _Member, path: Path) -> Outcome:
    notebook = member.notebook(member.right)
    for cell in answer_cells(notebook):
        cell["source"] = cell["source"].partition("\n")[2]
    _save(path, notebook)
    return Outcome.PASSED


def _without_metadata(member: _Member, path: Path) -> Outcome:
    notebook = member.notebook(member.right)
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        cell["source"] = cell["source"].splitlines(keepends=True)
    _save(path, notebook)
    return Outcome.PASSED


def _in_a_folder(member: _Member, path: Path) -> Outcome:
    folder = path.with_suffix("") / "assignment"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    _save(folder / "the lab.ipynb", member.notebook(member.right))
    _save(folder / ".ipynb_checkpoints" / "the lab-checkpoint.ipynb", member.notebook(member.wrong))
    return Outcome.PASSED


def _utf16(member: _Member, path: Path) -> Outcome:
    path.write_bytes(json.dumps(member.notebook(member.right)).encode("utf-16"))
    return Outcome.PASSED


def _claims_a_name(member: _Member, path: Path) -> Mapping[str, Outcome]:
    """Another student's right answers, under that student's name."""
    other = _Member("somebody else", 0, member.lab, member.exercises, "", 0)
    notebook = other.notebook(other.right)
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"].insert(0, {**cell, "source": 'from mklab import lab\nlab.open("00", student="somebody else")'})
    _save(path, notebook)
    own = {
        one.id: one.solve is not None and one.solve(member.seed) != one.solve(other.seed) for one in member.exercises
    }
    return {id_: Outcome.NOT_YET if differs else Outcome.PASSED for id_, differs in own.items()}


def _bytes(data: Callable[[_Member], bytes]) -> Maker:
    def write(member: _Member, path: Path) -> Outcome:
        path.write_bytes(data(member))
        return Outcome.NOT_CHECKED

    return write


def _huge(member: _Member, path: Path) -> Outcome:
    with path.open("wb") as file:
        file.truncate(1 << 34)
    return Outcome.NOT_CHECKED


def _link(member: _Member, path: Path) -> Outcome:
    path.symlink_to(member.witness)
    return Outcome.NOT_CHECKED


def _fifo(_member: _Member, path: Path) -> Outcome:
    os.mkfifo(path)
    return Outcome.NOT_CHECKED


def _latin1(member: _Member) -> bytes:
    notebook = member.notebook(member.right)
    notebook["cells"][0]["source"] = "\u00e9t\u00e9"
    return json.dumps(notebook, ensure_ascii=False).encode("latin-1", "replace")


KINDS: dict[str, Maker] = {
    "right": _right,
    "wrong": _wrong,
    "blank": _blank,
    **{name: _attack(text) for name, text in _ATTACKS.items()},
    "patches": _spoilt(_PATCH),
    "shouts": _spoilt(_SHOUT),
    "forged-outputs": _forged_outputs,
    "edited-checks": _edited_checks,
    "missing": _missing,
    "duplicated": _duplicated,
    "without-magic": _without_magic,
    "without-metadata": _without_metadata,
    "in-a-folder": _in_a_folder,
    "utf-16": _utf16,
    "claims-a-name": _claims_a_name,
    "empty": _bytes(lambda _: b""),
    "no-json": _bytes(lambda _: b"{'cells': []}"),
    "a-list": _bytes(lambda _: b"[1, 2]"),
    "deep": _bytes(lambda _: b"[" * 1_000_000),
    "bomb": _bytes(lambda _: b'{"nbformat": 4, "cells": [' + b"[]," * 20_000_000 + b"[]]"),
    "format-3": _bytes(lambda _: b'{"nbformat": 3, "worksheets": []}'),
    "latin-1": _bytes(_latin1),
    "huge": _huge,
    "link": _link,
    "fifo": _fifo,
}
"""What a submission is, by name, and how it is made."""
_USUAL = (*("right",) * 5, *("wrong",) * 3, "blank")


def _chosen(count: int) -> Iterator[str]:
    """So many kinds: each one once, and what is left is as in any class."""
    yield from KINDS
    for number in range(max(0, count - len(KINDS))):
        yield _USUAL[number % len(_USUAL)]


def make(folder: Path, labs: Sequence[str], witness: Path, port: int, count: int = len(KINDS)) -> Expected:
    """Write a class into an empty folder, lab by lab.

    Args:
        folder: where.
        labs: which; with several, each student's notebooks are in a folder.
        witness: a file that must stay as it is.
        port: one of this computer to which nobody must connect.
        count: how many students.
    """
    expected: Expected = {}
    scripts = {script.stem[:2]: script for script in source.scripts()}
    for lab in labs:
        notebook = source.LABS / f"{scripts[lab].stem}.ipynb"
        own = exercises.of(lab)
        for number, kind in enumerate(_chosen(count)):
            name = f"{number:03}-{kind}"
            member = _Member(name, number, notebook, own, str(witness), port)
            path = folder / f"{name}.ipynb"
            if len(labs) > 1:
                (folder / name).mkdir(exist_ok=True)
                path = folder / name / f"{lab}.ipynb"
            said = KINDS[kind](member, path)
            expected |= {(name, one.id): said if isinstance(said, Outcome) else said[one.id] for one in own}
    return expected
