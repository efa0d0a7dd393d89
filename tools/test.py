"""Every test of the repository, in one run: what `make test` calls inside .venv.

All steps run even when one fails, and the last is pytest itself, whose closing line so ends a run that passed.
Arguments go to that last pytest.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


def steps(arguments: list[str]) -> dict[str, list[str]]:
    """The steps in their order: a name, and the command.

    Raises:
        SystemExit: the notebooks that should be compared are not there.
    """
    solutions = [str(path) for path in sorted((ROOT / "labs" / "solutions").glob("*.ipynb"))]
    students = [str(path) for path in sorted((ROOT / "labs").glob("*.ipynb"))]
    if not solutions or not students:
        raise SystemExit("test: no notebooks in labs/ and labs/solutions/: build them first (CONTRIBUTING.md says how)")
    # A notebook has one kernel, whose cells run in their order: each stays with one worker.
    notebooks = [PYTHON, "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-p", "tools.own_progress"]
    notebooks += ["-p", "no:cacheprovider", "-q"]
    # In this environment's kernel; a cell that is stuck would have 2000 s otherwise.
    nbval = ["--nbval-current-env", "--nbval-cell-timeout=60"]
    return {
        "system": [PYTHON, "tools/system.py"],
        "ruff check": [PYTHON, "-m", "ruff", "check", "."],
        "ruff format": [PYTHON, "-m", "ruff", "format", "--check", "."],
        "mypy": [PYTHON, "-m", "mypy"],
        # A solution notebook gives again the outputs that are committed with it ...
        "solution notebooks": [*notebooks, "--nbval", *nbval, *solutions],
        # ... and a student's, as handed out, runs to its end: a stub is told so by its check, not by a traceback.
        "student notebooks": [*notebooks, "--nbval-lax", *nbval, *students],
        "pytest": [PYTHON, "-m", "pytest", "-n", "auto", *arguments],
    }


def main(arguments: list[str]) -> int:
    """Run the steps; return 0 if all of them passed."""
    # So that a test that starts `mklab` or `jupyter` gets the ones of this environment.
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    failed = []
    for name, command in steps(arguments).items():
        print(f"== {name}", flush=True)
        # A notebook's progress is a new student's, and stays nowhere.
        with tempfile.TemporaryDirectory() as folder:
            own = {**environment, "MKLAB_PROGRESS": str(Path(folder) / "mklab-progress.json")}
            if subprocess.run(command, cwd=ROOT, env=own).returncode:
                failed.append(name)
    if failed:
        print(f"test: failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\ntest: interrupted", file=sys.stderr)
        sys.exit(130)
