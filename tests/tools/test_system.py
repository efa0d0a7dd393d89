"""tools/system.py: what it says and returns when something is missing, and what it asks of Debian."""

import importlib.util
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from mklab.doctor import Tool


@pytest.fixture
def system(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with a cache folder of its own, for a user who may install nothing."""
    spec = importlib.util.spec_from_file_location("system", repository / "tools/system.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "KERNEL", tmp_path / "kernel")
    monkeypatch.setattr(module, "TOOLS", (Tool("sh", "dash", "the shell tests"),))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("CI", raising=False)
    return module


def put_kernel(folder: Path) -> None:
    (folder / "boot").mkdir(parents=True)
    (folder / "boot/vmlinuz-6.1.0-1-cloud-amd64").write_bytes(b"a kernel")


def test_nothing_is_missing(
    system: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_kernel(system.KERNEL)
    monkeypatch.setenv("CI", "true")
    assert system.main() == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("false", 0), (None, 0)])
def test_a_missing_tool_is_named_and_fails_only_under_ci(
    system: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str | None,
    status: int,
) -> None:
    put_kernel(system.KERNEL)
    monkeypatch.setattr(system, "TOOLS", (Tool("no-such-tool-of-ours", "its-package", "the tests of it"),))
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    assert system.main() == status
    assert capsys.readouterr().out == "system: no-such-tool-of-ours is missing: the tests of it are left out\n"


def test_a_missing_kernel_is_named(
    system: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    assert system.main() == 1
    assert "linux-image-cloud-amd64" in capsys.readouterr().out


@pytest.fixture
def asked(system: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What a root user's run asks of apt and dpkg, which are stand-ins that do as they are told."""
    commands: list[tuple[str, ...]] = []

    def apt(*arguments: str, folder: Path = system.ROOT) -> str:
        commands.append(arguments)
        if arguments[:2] == ("apt-cache", "depends"):
            return "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-1-cloud-amd64\n"
        if arguments[:2] == ("apt-get", "download"):
            (folder / f"{arguments[2]}_6.1_amd64.deb").write_bytes(b"an archive")
        if arguments[0] == "dpkg":
            put_kernel(folder)
            (folder / "lib/modules").mkdir(parents=True)
        return ""

    monkeypatch.setattr(system, "apt", apt)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda command: None if command == "absent" else f"/bin/{command}")
    return commands


def test_as_root_on_debian_it_gets_what_is_missing_and_no_more(
    system: ModuleType, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = (Tool("absent", "its-package", "some tests"), Tool("sh", "dash", "other tests"))
    monkeypatch.setattr(system, "TOOLS", tools)
    system.main()
    assert asked == [
        ("apt-get", "update"),
        ("apt-get", "install", "--yes", "--no-install-recommends", "its-package"),
        ("apt-cache", "depends", "--important", "linux-image-cloud-amd64"),
        ("apt-get", "download", "linux-image-6.1.0-1-cloud-amd64"),
        ("dpkg", "-x", "linux-image-6.1.0-1-cloud-amd64_6.1_amd64.deb", "."),
    ]
    files = [path.relative_to(system.KERNEL) for path in system.KERNEL.rglob("*") if path.is_file()]
    assert files == [Path("boot/vmlinuz-6.1.0-1-cloud-amd64")]


def test_a_second_run_asks_for_nothing(system: ModuleType, asked: list[tuple[str, ...]]) -> None:
    assert system.main() == 0
    asked.clear()
    assert system.main() == 0
    assert asked == []


def test_what_debian_refuses_is_said(
    system: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: str, folder: Path = system.ROOT) -> str:
        raise system.DebianError("`apt-get update` failed: E: no network")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda command: f"/bin/{command}")
    monkeypatch.setattr(system, "apt", refuse)
    assert system.main() == 0
    assert "E: no network" in capsys.readouterr().out
    assert not system.has_kernel()


def test_a_command_that_fails_or_is_not_there_is_an_error_in_words(system: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(system.DebianError, match=r"failed: went wrong$"):
        system.apt("sh", "-c", "echo first >&2; echo went wrong >&2; exit 100", folder=tmp_path)
    with pytest.raises(system.DebianError, match="not Debian"):
        system.apt("no-such-tool-of-ours", folder=tmp_path)
