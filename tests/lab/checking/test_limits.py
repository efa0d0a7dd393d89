"""What a limited process may not do any more: tried in a process of its own, with what is allowed beside it."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import mklab
from mklab.lab.checking import limits
from mklab.lab.checking.limits import Limits, impose

linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="these limits are Linux's"
)

PROGRAM = """
import json, sys
from mklab.lab.checking.limits import Limits, impose
import os, socket, subprocess, threading, ctypes, signal, urllib.request
missing = impose(Limits(**json.loads(sys.argv[1])))
def attempt(what):
    try:
        exec(what, globals())
    except BaseException as error:
        return type(error).__name__
    return "done"
print(json.dumps([missing, attempt(sys.argv[2])]))
"""


def attempt(tmp_path: Path, what: str) -> str:
    """What comes of ``what`` in a limited process: an exception's type, ``done``, or the signal it died of."""
    allowed = tmp_path / "allowed"
    allowed.mkdir(exist_ok=True)
    (tmp_path / "secret").write_text("hidden check")
    package = Path(mklab.__file__).parent
    readable = [sys.prefix, sys.base_prefix, str(package), "/usr", "/lib", "/lib64", "/etc", "/dev/null"]
    given = {"seconds": 1, "memory": 1 << 30, "file_size": 1 << 16, "readable": readable, "writable": str(allowed)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(given), what],
        cwd=allowed,
        env={"PYTHONPATH": str(package.parent)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        return f"signal {-done.returncode}"
    missing, found = json.loads(done.stdout)
    assert missing == []
    return str(found)


@linux
@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("open('inside', 'w').write('x'); open('inside').read()", "done"),
        ("t = threading.Thread(target=print); t.start(); t.join()", "done"),
        ("sum(range(1000))", "done"),
        ("open('../secret').read()", "PermissionError"),
        ("open('../secret', 'a')", "PermissionError"),
        ("os.unlink('../secret')", "PermissionError"),
        ("os.rename('../secret', 'mine')", "PermissionError"),
        ("os.listdir('..')", "PermissionError"),
        ("open('/etc/anything', 'w')", "PermissionError"),
        ("os.symlink('../secret', 'link'); open('link').read()", "PermissionError"),
        ("socket.socket()", "PermissionError"),
        ("socket.create_connection(('127.0.0.1', 9))", "PermissionError"),
        ("os.fork()", "PermissionError"),
        ("subprocess.run(['/bin/true'])", "PermissionError"),
        ("os.execv('/bin/true', ['true'])", "PermissionError"),
        ("os.kill(os.getppid(), 0)", "PermissionError"),
        ("bytearray(2 << 30)", "MemoryError"),
        ("open('big', 'wb', 0).write(bytes(1 << 17)); open('big', 'ab', 0).write(b'x')", "OSError"),
        ("while True: pass", "signal 24"),
        ("signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "signal 9"),
    ],
)
def test_what_is_allowed_and_what_is_not(tmp_path: Path, what: str, found: str) -> None:
    assert attempt(tmp_path, what) == found
    assert (tmp_path / "secret").read_text() == "hidden check"


def test_what_a_platform_cannot_limit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_use_rlimits", lambda _: False)
    monkeypatch.setattr(limits, "_close_files", lambda _: False)
    monkeypatch.setattr(limits, "_filter_calls", lambda: False)
    assert impose(Limits(1, 1, 1, (), "")) == ["time", "memory", "files", "processes", "network"]


def test_an_architecture_whose_system_calls_are_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert limits._filter_calls() is False
