"""The process that judges one answer: ``python -m mklab.lab.checking.examiner``.

It reads one JSON object (``exercise``, ``source``, ``seed``, ``checks``: a folder of hidden checks, or null) from
standard input, and writes one to standard output: the verdict, and what could not be limited.
"""

import json
import os
import sys

from mklab.lab import exercises
from mklab.lab.checking import answer
from mklab.lab.checking.limits import Limits, impose, unlimited

__all__ = ["main"]

_MEMORY = 4 << 30
_FILE = 64 << 20


def main() -> None:
    """Examine, once."""
    asked = json.load(sys.stdin)
    # Guest code runs in this process; what the machine it runs on leaves open is closed here.
    impose(Limits(_MEMORY, _FILE, processes=True))
    limited = unlimited()
    says = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a check prints is no verdict.
    os.dup2(2, 1)
    exercise = exercises.find(asked["exercise"], asked["checks"])
    verdict = exercise.examine(asked["source"], asked["seed"])
    missing = [*limited, *(one for one in answer.UNLIMITED if one not in limited)]
    json.dump({"verdict": verdict.to_dict(), "missing": missing}, says)
    says.close()


if __name__ == "__main__":
    main()
