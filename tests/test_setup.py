"""tools/setup.sh and tools/setup.py: which Python they take, and what they say when there is none.

The Pythons are stand-ins, scripts that answer the one question that setup.sh asks; making a real environment is what
`make test` has done before any test runs.
"""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """A copy of what setup needs, whose setup.py only says which Python runs it."""
    folder = tmp_path / "a checkout"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(repository / "tools/setup.sh", folder / "tools")
    shutil.copy(repository / "Makefile", folder)
    (folder / "tools/setup.py").write_text("never run by a stand-in")
    return folder


def stand_in(folder: Path, name: str, version: str, status: int) -> None:
    """A python that answers the version check with this version, and otherwise says its own name."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then printf %s "{version}"; exit {status}; fi\necho "{name} runs $1"\n'
    )
    script.chmod(0o755)


def setup(checkout: Path, pythons: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run tools/setup.sh with a PATH that holds these Pythons and what a shell script needs."""
    programs = checkout.parent / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("dirname", "sh"):
        found = shutil.which(name)
        assert found
        if not (programs / name).exists():
            (programs / name).symlink_to(found)
    pythons.mkdir(exist_ok=True)
    return subprocess.run(
        [programs / "sh", checkout / "tools/setup.sh"],
        env={"PATH": f"{pythons}{os.pathsep}{programs}", **variables},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_first_python_that_fits_is_taken(checkout: Path, tmp_path: Path) -> None:
    pythons = tmp_path / "pythons"
    stand_in(pythons, "python3", "3.8.10", 1)
    stand_in(pythons, "python3.13", "", 127)  # a shim of a version that is not in use
    stand_in(pythons, "python3.12", "3.12.4", 0)
    stand_in(pythons, "python3.11", "3.11.9", 0)
    done = setup(checkout, pythons)
    assert done.stdout == f"python3.12 runs {checkout}/tools/setup.py\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_another_python_is_one_line_that_says_which_to_get(checkout: Path, tmp_path: Path) -> None:
    stand_in(tmp_path / "pythons", "python3", "3.8.10", 1)
    done = setup(checkout, tmp_path / "pythons")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "3.11, 3.12 or 3.13" in done.stderr
    assert "python3 3.8.10" in done.stderr
    assert "make setup PYTHON=" in done.stderr


def test_no_python_at_all_is_one_line_too(checkout: Path, tmp_path: Path) -> None:
    done = setup(checkout, tmp_path / "pythons")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "found none" in done.stderr


def test_named_python_is_the_only_one_tried(checkout: Path, tmp_path: Path) -> None:
    stand_in(tmp_path / "pythons", "python3", "3.11.9", 0)
    stand_in(tmp_path / "old", "python", "3.9.1", 1)
    done = setup(checkout, tmp_path / "pythons", PYTHON=str(tmp_path / "old/python"))
    assert done.returncode == 1
    assert f"{tmp_path}/old/python 3.9.1" in done.stderr
    done = setup(checkout, tmp_path / "pythons", PYTHON="no-such-python")
    assert done.returncode == 1
    assert "no-such-python" in done.stderr


def test_the_version_check_is_right_and_old_pythons_can_read_it(repository: Path) -> None:
    (check,) = re.findall(r"^check='(.+)'$", (repository / "tools/setup.sh").read_text(), re.MULTILINE)
    ast.parse(check, feature_version=(3, 4))
    for version, status in [((2, 7, 18), 1), ((3, 10, 14), 1), ((3, 11, 0), 0), ((3, 13, 9), 0), ((3, 14, 0), 1)]:
        code = f"import sys; sys.version_info = {version}; " + check.removeprefix("import sys; ")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (status, ".".join(map(str, version)))


def test_an_environment_is_current_until_the_lock_or_the_folder_changes(repository: Path, tmp_path: Path) -> None:
    """Asked, without making it anew, of the environment that the tests run in, where that is .venv."""
    if Path(sys.prefix) != repository / ".venv":
        pytest.skip("these tests do not run in .venv: `make test` does so")
    (tmp_path / "requirements.lock").write_text((repository / "requirements.lock").read_text() + "# changed\n")
    (tmp_path / "pyproject.toml").write_text((repository / "pyproject.toml").read_text())
    code = (
        "import pathlib, runpy, sys; script, name, value = sys.argv[1:]; setup = runpy.run_path(script);"
        "is_current = setup['is_current']; is_current.__globals__.update({name: pathlib.Path(value)} if name else {});"
        "print(is_current())"
    )
    # The Python that made .venv, as setup.sh would take it again.
    base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info[1]}")
    answers = {}
    for name, value in [("", ""), ("LOCK", str(tmp_path / "requirements.lock")), ("ROOT", str(tmp_path))]:
        line = [str(base), "-c", code, str(repository / "tools/setup.py"), name, value]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        answers[name] = done.stdout.strip()
    assert answers == {"": "True", "LOCK": "False", "ROOT": "False"}


@pytest.mark.parametrize(
    ("target", "variables", "line"),
    [
        ("lab", ["PORT=8890"], ".venv/bin/mklab lab --port 8890"),
        ("lab", ["ARGS=--debug --no-browser"], ".venv/bin/mklab lab  --debug --no-browser"),
        ("test", ["ARGS=-k kexec"], ".venv/bin/python tools/test.py -k kexec"),
    ],
)
def test_make_passes_port_and_arguments_through(repository: Path, target: str, variables: list[str], line: str) -> None:
    make = shutil.which("make")
    assert make, "make is what brought you here"
    command = [make, "--dry-run", "--no-print-directory", target, *variables]
    environment = {name: value for name, value in os.environ.items() if name not in {"PORT", "ARGS", "MAKEFLAGS"}}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=True)
    assert [" ".join(text.split()) for text in done.stdout.splitlines()][-1] == "exec " + " ".join(line.split())


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("ERROR: one\nERROR: two\nhint: three", "ERROR: two"),
        ("E: Unable to locate package", "E: Unable to locate package"),
        ("    ModuleNotFoundError: No module named 'x'\nnote: see above", "ModuleNotFoundError: No module named 'x'"),
        ("it just ended", "it just ended"),
        (
            "WARNING: Retrying after connection broken by 'no route to host': /simple\nERROR: No matching distribution",
            "the package index cannot be reached: 'no route to host': /simple",
        ),
    ],
)
def test_the_line_that_says_why_is_chosen(repository: Path, log: str, reason: str) -> None:
    assert runpy.run_path(str(repository / "tools/setup.py"))["reason"](log.splitlines()) == reason
