"""Fixtures that tests in every folder share."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest
from hypothesis import settings

from mklab.doctor import TOOLS

ROOT = Path(__file__).resolve().parent.parent
KERNEL_CACHE = ROOT / ".cache" / "kernel"


# Examples have no time limit, since no test asserts a duration; under CI each run tries the same ones.
settings.register_profile("mklab", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("mklab")


def _missing(what: str) -> NoReturn:
    """Fail where CI promises that everything is there (CI=true); elsewhere skip, saying what is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def mklab_command() -> Path:
    """The `mklab` command of the environment that the tests run in."""
    return Path(sys.executable).with_name("mklab")


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], Path]:
    """A function that takes a command's name and returns its path; a missing one skips the test (CI: fails it)."""

    def require(command: str) -> Path:
        found = shutil.which(command)
        if found is None:
            packages = {tool.command: tool.package for tool in TOOLS}
            package = packages.get(command)
            where = f"install Debian's package {package}" if package else "install it"
            _missing(f"needs {command}, which is not on the PATH: {where}")
        return Path(found)

    return require


@pytest.fixture(scope="session")
def distributed() -> ModuleType:
    """Dask's package for clusters; a missing one skips the test (CI: fails it)."""
    try:
        return importlib.import_module("distributed")
    except ImportError:
        _missing("needs the package distributed: make setup installs it")


@pytest.fixture(scope="session")
def nbgrader_module() -> str:
    """The name of nbgrader's package; a missing one skips the test (CI: fails it). It is run, not imported."""
    if importlib.util.find_spec("nbgrader") is None:
        _missing("needs the package nbgrader: make setup installs it")
    return "nbgrader"


@pytest.fixture(scope="session")
def debian_kernel() -> Path:
    """The bzImage of the Debian kernel package that `tools/system.py` unpacked into .cache/kernel."""
    kernels = sorted(KERNEL_CACHE.glob("boot/vmlinuz-*"))
    if not kernels:
        _missing("needs Debian's linux-image-cloud-amd64 in .cache/kernel: `make test` fetches it as root on Debian")
    return kernels[-1]
