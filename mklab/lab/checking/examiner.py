"""The process that judges one answer: ``python -m mklab.lab.checking.examiner``.

It reads one JSON object (``exercise``, ``source``, ``seed``, ``checks``: a folder of hidden checks, or null) from
standard input, and writes one to standard output: the verdict, and what could not be limited.
"""

import json
import os
import sys

from mklab.lab import exercises
from mklab.lab.checking import answer

__all__ = ["main"]


def main() -> None:
    """Examine, once."""
    asked = json.load(sys.stdin)
    says = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a check prints is no verdict.
    os.dup2(2, 1)
    exercise = exercises.find(asked["exercise"], asked["checks"])
    verdict = exercise.examine(asked["source"], asked["seed"])
    json.dump({"verdict": verdict.to_dict(), "missing": answer.UNLIMITED}, says)
    says.close()


if __name__ == "__main__":
    main()
