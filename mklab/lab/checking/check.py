"""A verdict on an answer, whatever the answer does: the examiner's process is started, waited for, and ended."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mklab
from mklab.lab.verdict import Outcome, Verdict

__all__ = ["Result", "check"]

_SECONDS = 120.0


@dataclass(frozen=True)
class Result:
    """What became of a check.

    Attributes:
        verdict: the verdict.
        missing: what this platform could not limit: any of ``time``, ``memory``, ``files``, ``processes``, ``network``.
    """

    verdict: Verdict
    missing: tuple[str, ...] = ()


def check(exercise: str, source: str, seed: int = 0, checks: Path | None = None, seconds: float = _SECONDS) -> Result:
    """Check the text of a cell.

    Args:
        exercise: the exercise's id.
        source: the text.
        seed: of the student's numbers.
        checks: a folder of hidden checks.
        seconds: of a clock, after which the check is ended. It is for checks that hang: an answer that does is ended
            sooner, by what it may use of the processor's time and of the machine's instructions.
    """
    asked = {"exercise": exercise, "source": source, "seed": seed, "checks": checks and str(checks)}
    with tempfile.TemporaryDirectory(prefix="mklab-check-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "mklab.lab.checking.examiner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(mklab.__file__).parent.parent), "TMPDIR": folder},
            start_new_session=True,
        )
        try:
            said, errors = process.communicate(json.dumps(asked).encode(), seconds)
        except subprocess.TimeoutExpired:
            return Result(_failed(exercise, f"The check had not ended after {seconds:.0f} seconds, and was stopped."))
        except KeyboardInterrupt:
            return Result(
                Verdict(
                    Outcome.NOT_CHECKED,
                    "The check was interrupted before it had ended.",
                    next_step="Run this cell again.",
                    exercise=exercise,
                )
            )
        finally:
            _end(process)
    try:
        told = json.loads(said)
        return Result(Verdict.from_dict(told["verdict"]), tuple(told["missing"]))
    except (ValueError, KeyError, TypeError):
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        return Result(_failed(exercise, f"The check itself failed: {last[0]}"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the examiner and all that it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            # What nobody has read, or written, any more is lost.
            with suppress(BrokenPipeError):
                stream.close()


def _failed(exercise: str, happened: str) -> Verdict:
    return Verdict(
        Outcome.NOT_CHECKED,
        happened,
        next_step="This is the lab's mistake, not yours. Please report it, with the text of your cell.",
        exercise=exercise,
    )
