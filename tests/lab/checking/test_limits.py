"""What a limited process may not do any more: tried in a process of its own, with what is allowed beside it."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import mklab
from mklab.lab.checking import limits
from mklab.lab.checking.limits import Limits, impose, unlimited

linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="these limits are Linux's"
)

PROGRAM = """
import json, sys
from mklab.lab.checking.limits import Limits, impose
import os, socket, subprocess, threading, ctypes, signal, fcntl, resource, urllib.request
libc, parent = ctypes.CDLL(None, use_errno=True), os.getppid()
def call(*numbers):
    if libc.syscall(*numbers) < 0:
        raise OSError(ctypes.get_errno(), "")
missing = impose(Limits(**json.loads(sys.argv[1])))
def attempt(what):
    try:
        exec(what, globals())
    except BaseException as error:
        return type(error).__name__
    return "done"
print(json.dumps([missing, attempt(sys.argv[2])]))
"""


def attempt(tmp_path: Path, what: str, *more: str, **limits: object) -> str:
    """What comes of ``what`` in a limited process: an exception's type, ``done``, or the signal it died of."""
    allowed = tmp_path / "allowed"
    allowed.mkdir(exist_ok=True)
    (tmp_path / "secret").write_text("hidden check")
    package = Path(mklab.__file__).parent
    (allowed / "mine").write_text("own")
    readable = [sys.prefix, sys.base_prefix, str(package), "/usr", "/lib", "/lib64", "/dev/null", *more]
    given = {"seconds": 1, "memory": 1 << 30, "file_size": 1 << 16, "readable": readable}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps({**given, **limits}), what],
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
        ("signal.raise_signal(signal.SIGCONT)", "done"),
        ("resource.prlimit(0, resource.RLIMIT_CPU)", "done"),
        ("open('inside', 'w')", "PermissionError"),
        ("open('mine').read()", "PermissionError"),
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
        ("open('/proc/self/mem')", "PermissionError"),
        ("resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))", "ValueError"),
        ("resource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))", "PermissionError"),
        ("fcntl.fcntl(0, fcntl.F_SETOWN, parent)", "PermissionError"),
        ("fcntl.fcntl(0, fcntl.F_SETSIG, 9)", "PermissionError"),
        ("os.setpriority(os.PRIO_PROCESS, parent, 19)", "PermissionError"),
        ("os.sched_setaffinity(parent, [0])", "PermissionError"),
        ("os.memfd_create('x')", "PermissionError"),
        ("os.chroot('/')", "PermissionError"),
        ("[os.pipe() for _ in range(1000)]", "OSError"),
        ("while True: pass", "signal 24"),
        ("signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "signal 9"),
    ],
)
def test_what_is_allowed_and_what_is_not(tmp_path: Path, what: str, found: str) -> None:
    assert attempt(tmp_path, what) == found
    assert (tmp_path / "secret").read_text() == "hidden check"


@linux
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize(
    "numbers",
    [
        *("62, parent, 0", "200, parent, 0", "234, parent, parent, 0", "129, parent, 9, bytes(128)"),
        *("297, parent, parent, 9, bytes(128)", "101, 16, parent, 0, 0", "310, parent, 0, 0, 0, 0, 0", "41, 2, 1, 0"),
        *("57", "58", "56, 17, 0, 0, 0, 0", "435, bytes(88), 88", "29, 0, 4096, 0o1600", "68, 0, 0o1600"),
        *("248, b'user', b'x', b'y', 1, -1", "272, 0", "434, parent, 0", "425, 1, bytes(120)", "16, 0, 0x8901, 0"),
        # A number of the x32 ABI, which a filter for x86_64 would not know.
        "0x40000000 + 62, parent, 0",
    ],
)
def test_calls_that_no_library_makes(tmp_path: Path, numbers: str) -> None:
    """Each by its number: kill, tkill, tgkill, ... ; with signal 0, those that would pass do nothing."""
    assert attempt(tmp_path, f"call({numbers})") in ("PermissionError", "OSError")


@linux
def test_a_compiler_may_write_in_its_folder_and_start_processes(tmp_path: Path) -> None:
    own: dict[str, object] = {"writable": str(tmp_path / "allowed"), "processes": True}
    for what, found in (
        ("open('a', 'w').write('x'); os.mkdir('d'); os.rename('a', 'd/b'); open('d/b').read()", "done"),
        ("subprocess.run(['/bin/true'], check=True)", "done"),
        ("open('big', 'wb', 0).write(bytes(1 << 17)); open('big', 'ab', 0).write(b'x')", "OSError"),
        ("open('../secret').read()", "PermissionError"),
        ("open('../new', 'w')", "PermissionError"),
        ("socket.socket()", "PermissionError"),
        ("resource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))", "PermissionError"),
    ):
        assert attempt(tmp_path, what, **own) == found


def test_what_a_platform_cannot_limit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_use_rlimits", lambda _: ["memory"])
    monkeypatch.setattr(limits, "_close_files", lambda _: False)
    monkeypatch.setattr(limits, "_filter_calls", lambda _: False)
    assert impose(Limits(1, 1, 1, ())) == ["memory", "files", "processes", "network"]
    assert impose(Limits(1, 1, processes=True)) == ["memory", "network"]


def test_what_a_platform_cannot_limit_is_known_without_limiting(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64"):
        assert unlimited() == []
    monkeypatch.setattr(limits, "_LIBC", None)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert unlimited() == ["memory", "files", "processes", "network"]


def test_an_architecture_whose_system_calls_are_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert limits._filter_calls(False) is False
