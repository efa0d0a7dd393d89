"""`mklab doctor`: what it says of a whole environment, and of one that is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mklab import doctor
from mklab.cli import main

LOCKED_CLICK = next(r for r in doctor.locked_requirements() if r.name == "click")


def write_lock(folder: Path, *lines: str) -> Path:
    lock = folder / "requirements.lock"
    lock.write_text("".join(f"{line} \\\n    --hash=sha256:{'0' * 64}\n" for line in lines))
    return lock


def by_subject(findings: list[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in findings}


def test_this_environment_is_whole(mklab_command: Path) -> None:
    """Runs the real command: the tests run in the environment that `make setup` made."""
    done = subprocess.run([mklab_command, "doctor", "--json"], capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert [row for row in answer["findings"] if row["required"] and not row["ok"]] == []
    assert answer["ok"] is True
    assert done.returncode == 0
    assert {"Python", "packages", "engine", "assembler", "JupyterLab"} <= {row["subject"] for row in answer["findings"]}


@pytest.mark.usefixtures("no_probes")
def test_other_version_and_missing_package_are_each_named(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, str(LOCKED_CLICK), "rich==0.0.1", "no-such-package-of-ours==1.0")
    findings = by_subject(doctor.examine(lock))
    assert findings["package rich"].found.endswith(", locked is 0.0.1")
    assert findings["package no-such-package-of-ours"].found == "not installed, locked is 1.0"
    assert "package click" not in findings
    assert "make setup" in findings["package rich"].advice
    assert doctor.is_broken(findings.values())


@pytest.mark.usefixtures("no_probes")
def test_a_line_for_another_platform_does_not_count(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, str(LOCKED_CLICK), "no-such-package-of-ours==1.0 ; sys_platform == 'plan9'")
    assert by_subject(doctor.examine(lock))["packages"].found == "1 installed as locked"


@pytest.mark.usefixtures("no_probes")
def test_without_a_lock_it_says_where_to_run(tmp_path: Path) -> None:
    finding = by_subject(doctor.examine(tmp_path / "requirements.lock"))["packages"]
    assert not finding.ok
    assert "checkout" in finding.advice


def probe_with(monkeypatch: pytest.MonkeyPatch, program: str) -> doctor.Finding:
    """What the doctor finds when trying the engine runs `program` instead."""
    monkeypatch.setattr(doctor, "PROBES", (doctor.Probe("engine", ("-c", program), "version {} executes"),))
    return by_subject(doctor.examine())["engine"]


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import sys; sys.exit('no engine here')", "no engine here"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("import no_such_module_of_ours", "ModuleNotFoundError: No module named 'no_such_module_of_ours'"),
    ],
)
def test_an_engine_that_does_not_open_is_a_finding(monkeypatch: pytest.MonkeyPatch, program: str, found: str) -> None:
    finding = probe_with(monkeypatch, program)
    assert (finding.ok, finding.required, finding.found) == (False, True, found)
    assert finding.advice


def test_an_engine_that_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 1)
    finding = probe_with(monkeypatch, "import time; time.sleep(100)")
    assert (finding.ok, finding.found) == (False, "no answer in 1 s")


def test_an_engine_that_opens_says_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = probe_with(monkeypatch, "print('9.8.7'); print('more')")
    assert (finding.ok, finding.found) == (True, "version 9.8.7 executes")


@pytest.fixture
def no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of other findings: starting JupyterLab takes its time."""
    monkeypatch.setattr(doctor, "PROBES", ())


@pytest.mark.usefixtures("no_probes")
def test_wrong_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    finding = by_subject(doctor.examine())["Python"]
    assert not finding.ok
    assert "3.11 to 3.13" in finding.advice


@pytest.mark.usefixtures("no_probes")
def test_a_missing_tool_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TOOLS", (doctor.Tool("no-such-tool-of-ours", "its-package", "the tests"),))
    findings = doctor.examine()
    finding = by_subject(findings)["no-such-tool-of-ours"]
    assert not finding.ok
    assert "its-package" in finding.advice
    assert not doctor.is_broken(findings)


@pytest.mark.parametrize(
    ("finding", "status", "sentence"),
    [
        (doctor.Finding("engine", False, True, "no", "run [make] setup"), 1, "mklab cannot work here"),
        (doctor.Finding("chromium", False, False, "no", "install [it]"), 0, "mklab works here"),
        (doctor.Finding("engine", True, True, "fine"), 0, "Everything is in place."),
    ],
)
def test_table_and_exit_status(
    monkeypatch: pytest.MonkeyPatch, finding: doctor.Finding, status: int, sentence: str
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [finding])
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == status
    assert sentence in result.stdout
    assert finding.advice in result.stdout


def test_help_names_the_commands_and_loads_none_of_them() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from mklab.cli import main;"
        "print(CliRunner().invoke(main, ['--help']).output);"
        "print(sorted({'rich', 'unicorn', 'numpy', 'jupyterlab'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "doctor" in done.stdout
    assert "lab" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="shared libraries have other names here")
def test_a_library_is_looked_for_by_the_linker() -> None:
    assert doctor.Tool("libc.so.6", "libc6", "everything").found == "it loads"
    assert doctor.Tool("libno-such.so.1", "its-package", "nothing").found is None
