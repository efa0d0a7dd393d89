"""Checks that an instructor keeps elsewhere: the solutions of the course are public, so its checks are, too.

A folder of hidden checks holds ``04.2.py`` for exercise 04.2, and so on, each with a function ``judge(answer, seed)``
like the public one's. It is asked where the public check was passed.
"""

import runpy
from dataclasses import replace
from pathlib import Path

from mklab.errors import MklabError
from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise
from mklab.lab.verdict import Verdict

__all__ = ["hidden"]


def hidden(exercise: Exercise, folder: Path) -> Exercise:
    """``exercise`` with the check in ``folder`` behind its own, if there is one.

    Raises:
        MklabError: the folder is none, or its check defines no ``judge``.
    """
    if not folder.is_dir():
        raise MklabError(f"hidden checks are looked for in a folder, which {folder} is not")
    path = folder / f"{exercise.id}.py"
    if not path.is_file():
        return exercise
    judge = runpy.run_path(str(path)).get("judge")
    if judge is None:
        raise MklabError(f"{path} must define judge(answer, seed)")

    def both(answer: Answer, seed: int) -> Verdict:
        verdict = exercise.judge(answer, seed)
        if not verdict.passed:
            return verdict
        own: Verdict = judge(answer, seed)
        return own

    return replace(exercise, judge=both)
