"""`mklab lab`: the arguments that Jupyter gets, and a server that really answers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from mklab.cli import main
from mklab.lab import serve


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The command lines that would have been started; the first lab is there."""
    (tmp_path / serve.FIRST_LAB).parent.mkdir()
    (tmp_path / serve.FIRST_LAB).touch()
    lines: list[list[str]] = []
    monkeypatch.setattr(serve, "ROOT", tmp_path)
    monkeypatch.setattr(os, "execve", lambda program, line, variables: lines.append(line))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return lines


def test_port_and_arguments_pass_through(started: list[list[str]]) -> None:
    result = CliRunner().invoke(main, ["lab", "--port", "8890", "--ServerApp.token=x", "--debug"])
    assert result.exit_code == 0
    (line,) = started
    assert "--port=8890" in line
    assert line[-2:] == ["--ServerApp.token=x", "--debug"]
    assert "--ip=127.0.0.1" in line
    assert any(argument.endswith("/lab/tree/labs/00-a-second-kernel.ipynb") for argument in line)


def test_jupyter_chooses_the_port_unless_told(started: list[list[str]]) -> None:
    CliRunner().invoke(main, ["lab"])
    assert not any("port" in argument.partition("=")[0] for argument in started[0])


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_root_is_allowed_only_to_root(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, user: int, allowed: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    CliRunner().invoke(main, ["lab"])
    assert ("--allow-root" in started[0]) is allowed


@pytest.mark.parametrize(
    ("platform", "variables", "display"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
    ],
)
def test_a_browser_opens_only_where_there_is_a_display(
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    variables: dict[str, str],
    display: bool,
) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["lab"])
    assert ("--no-browser" in started[0]) is not display
    assert ("No display here" in result.stdout) is not display


def test_labs_that_are_not_there_are_one_line(started: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / serve.FIRST_LAB).unlink()
    result = CliRunner().invoke(main, ["lab"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "checkout" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert started == []


def test_a_port_that_is_none_is_refused(started: list[list[str]]) -> None:
    result = CliRunner().invoke(main, ["lab", "--port", "70000"])
    assert result.exit_code == 2
    assert started == []


@pytest.mark.parametrize("named", ["", os.sep + "mine"])
def test_its_settings_come_after_those_that_somebody_has_named(named: str) -> None:
    variables = serve.environment({"HOME": "x"} | ({"JUPYTER_CONFIG_PATH": named} if named else {}))
    wanted = [*([named] if named else []), str(serve.SETTINGS)]
    assert variables == {"HOME": "x", "JUPYTER_CONFIG_PATH": os.pathsep.join(wanted)}


@pytest.fixture
def server(tmp_path: Path, mklab_command: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A real `mklab lab`: the process, the port it was told, and its log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    left_out = {"DISPLAY", "WAYLAND_DISPLAY", "JUPYTER_TOKEN"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["JUPYTER_RUNTIME_DIR"] = str(tmp_path / "runtime")
    log = tmp_path / "log"
    with log.open("w") as output:
        line = [str(mklab_command), "lab", "--port", str(port)]
        process = subprocess.Popen(line, env=environment, stdout=output, stderr=output, text=True)
    try:
        yield process, port, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def test_the_lab_is_served_on_the_loopback_address(server: tuple[subprocess.Popen[str], int, Path]) -> None:
    """As a student does without a display: read the printed address, and open it."""
    process, port, log = server
    listening: set[str] = set()
    printed = None
    while printed is None:  # pytest's own time limit ends this
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
        printed = re.search(rf"http://127\.0\.0\.1:{port}(/lab/tree/labs/00-\S+\.ipynb)\?token=(\w+)", log.read_text())
    while not listening:  # it says so a moment before it does
        time.sleep(0.1)
        connections = psutil.Process(process.pid).net_connections()
        listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    assert urllib.request.urlopen(printed[0], timeout=60).status == 200
    contents = f"http://127.0.0.1:{port}/api/contents/{serve.FIRST_LAB.as_posix()}"
    assert b'"type": "notebook"' in urllib.request.urlopen(f"{contents}?token={printed[2]}", timeout=60).read()
    plugin = f"http://127.0.0.1:{port}/lab/api/settings/@jupyterlab/docmanager-extension:plugin?token={printed[2]}"
    schema = json.load(urllib.request.urlopen(plugin, timeout=60))["schema"]
    assert schema["properties"]["defaultViewers"]["default"] == {"markdown": "Markdown Preview"}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(contents, timeout=60)
    connections = psutil.Process(process.pid).net_connections()
    assert {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
