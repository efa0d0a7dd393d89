"""A missing tool or kernel skips a test with its reason, and fails it where CI=true."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
def test_tool_that_is_missing(require_tool):
    require_tool("no-such-tool-of-ours")

def test_tool_that_is_there(require_tool):
    assert require_tool("sh").name == "sh"

def test_kernel(debian_kernel):
    pass
"""


@pytest.mark.parametrize(
    ("ci", "status", "outcome"),
    [("true", 1, "1 failed, 1 passed, 1 error"), ("", 0, "1 passed, 2 skipped")],
)
def test_missing_things(repository: Path, tmp_path: Path, ci: str, status: int, outcome: str) -> None:
    """Run in a folder that has our conftest.py, but no .cache/kernel."""
    folder = tmp_path / "elsewhere/tests"
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text((repository / "tests/conftest.py").read_text())
    (folder / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rsfE", "-p", "no:cacheprovider", "-p", "no:xdist", "test_it.py"],
        cwd=folder,
        env={**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert outcome in done.stdout.splitlines()[-1]
    assert "needs no-such-tool-of-ours, which is not on the PATH" in done.stdout
    assert "needs Debian's linux-image-cloud-amd64" in done.stdout
