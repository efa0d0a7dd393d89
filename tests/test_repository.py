"""The files around the code agree with each other, and hold nothing that belongs to one machine."""

import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mklab.doctor import locked_requirements

# Platforms that the lock serves, by the markers that differ between them.
ENVIRONMENTS = {
    f"{system} {machine} {python}": {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
        "platform_machine": machine,
        "os_name": "posix",
    }
    for system, machine in [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64")]
    for python in ("3.11", "3.12", "3.13")
}


@pytest.fixture(scope="session")
def tracked(repository: Path, require_tool: Callable[[str], Path]) -> list[Path]:
    """Every file that is, or is about to be, in the repository."""
    if not (repository / ".git").exists():
        pytest.skip("this copy is no git checkout, so nothing says which files belong to it")
    git = [str(require_tool("git")), "-c", f"safe.directory={repository}", "ls-files", "-z", "--cached", "--others"]
    done = subprocess.run([*git, "--exclude-standard"], cwd=repository, capture_output=True, text=True, check=True)
    paths = [repository / name for name in done.stdout.split("\0") if name]
    assert paths
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="session")
def lock(repository: Path) -> str:
    return (repository / "requirements.lock").read_text()


@pytest.fixture(scope="session")
def project(repository: Path) -> dict[str, object]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def direct_requirements(project: dict[str, object]) -> dict[str, Requirement]:
    """What pyproject.toml names itself: for mklab, for the labs, for development and for building."""
    table = project["project"]
    groups = project["dependency-groups"]
    build = project["build-system"]
    assert isinstance(table, dict)
    assert isinstance(groups, dict)
    assert isinstance(build, dict)
    lines = [*table["dependencies"], *table["optional-dependencies"]["lab"], *groups["dev"], *build["requires"]]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def versions(environment: dict[str, str]) -> dict[str, str]:
    """The version of each package that the lock gives to an environment."""
    found: dict[str, str] = {}
    for requirement in locked_requirements():
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in found, f"{requirement.name} is locked twice"
            found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def test_lock_holds_versions_hashes_and_no_addresses(lock: str) -> None:
    assert "://" not in lock
    assert "--index" not in lock
    blocks = re.split(r"\n(?=\S)", lock.strip())
    assert len(blocks) > 50
    for block in blocks:
        first, *hashes = (line.strip().removesuffix("\\").strip() for line in block.splitlines())
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*( ; .+)?", first)
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_lock_satisfies_pyproject_everywhere(name: str, project: dict[str, object]) -> None:
    locked = versions(ENVIRONMENTS[name])
    for package, requirement in direct_requirements(project).items():
        assert locked[package] in requirement.specifier


def test_lock_needs_every_python_that_pyproject_admits(project: dict[str, object]) -> None:
    table = project["project"]
    assert isinstance(table, dict)
    assert table["requires-python"] == ">=3.11,<3.14"


def conda_environment(text: str) -> tuple[list[str], dict[str, str]]:
    """The conda packages and the pip pins of an environment.yml of the simple kind that we have."""
    conda = re.findall(r"^  - ([^\s:]+)$", text, re.MULTILINE)
    pins = dict(line.split("==") for line in re.findall(r"^      - (\S+)$", text, re.MULTILINE))
    return conda, pins


def test_conda_environment_has_the_locked_versions(repository: Path, project: dict[str, object]) -> None:
    conda, pins = conda_environment((repository / "environment.yml").read_text())
    assert {"conda-forge", "python=3.12", "pip"} <= set(conda)
    locked = versions(ENVIRONMENTS["linux x86_64 3.12"])
    table = project["project"]
    groups = project["dependency-groups"]
    assert isinstance(table, dict)
    assert isinstance(groups, dict)
    development = {canonicalize_name(Requirement(line).name) for line in groups["dev"]}
    expected = {*direct_requirements(project)} - development | {"hatchling"}
    assert pins == {name: locked[name] for name in expected}


def test_binder_environment_is_the_root_one(repository: Path) -> None:
    assert (repository / "binder/environment.yml").read_bytes() == (repository / "environment.yml").read_bytes()


@pytest.mark.parametrize("name", [".ci/run", "binder/postBuild", "tools/setup.sh"])
def test_scripts_stop_at_the_first_error(repository: Path, name: str) -> None:
    script = repository / name
    assert os.access(script, os.X_OK)
    assert re.search(r"^set -e", script.read_text(), re.MULTILINE)


def test_no_file_names_a_place_on_one_machine_or_a_registry(tracked: list[Path], repository: Path) -> None:
    places = "|".join(["work", "tmp", "root", "home", "opt"])
    hosts = "|".join(["pypi", "pythonhosted", "debian", "npmjs", "anaconda"])
    # A folder at the root of the file system, or a registry's host name; who has built a kernel says so by e-mail.
    pattern = re.compile(rf"(?<![\w.\-}}>)*$~]) ?(?<!\w)/({places})/\w|(?<!@lists\.)\b({hosts})\.(org|com|net)\b")
    found = []
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or an object file
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(repository)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_licence_is_the_one_that_pyproject_names(repository: Path, project: dict[str, object]) -> None:
    table = project["project"]
    assert isinstance(table, dict)
    assert table["license"] == "GPL-2.0-only"
    text = (repository / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 2, June 1991" in text
