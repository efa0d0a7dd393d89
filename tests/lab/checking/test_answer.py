"""A student's Python runs apart: whatever it does, the check goes on, and it reaches nothing but what is offered."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mklab.errors import KexecError, MklabError
from mklab.kernel.kexec import KexecSegment, LoadedImage
from mklab.lab.checking.answer import UNLIMITED, Answer, AnswerError, Offer
from mklab.lab.checking.wire import Reference

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")


class Memory:
    def read(self, address: int, size: int) -> bytes:
        return bytes([address % 256]) * size


class Thing:
    """What is offered: a method that refuses, a part, a value, and something that is not offered."""

    size = 7
    secret = "not for students"

    def __init__(self) -> None:
        self.memory = Memory()
        self.downed: list[int] = []

    def down(self, cpu: int) -> None:
        if cpu > 3:
            raise KexecError(22, "cpu_down", "no such CPU")
        self.downed.append(cpu)


OFFERED = ("down", "memory.read", "size")


def call(source: str, *args: Any, **offers: Offer) -> Any:
    with Answer(source) as answer:
        return answer.call("f", *args, **offers)


def failure(source: str, **offers: Offer) -> AnswerError:
    with pytest.raises(AnswerError) as raised:
        call(source, **offers)
    return raised.value


@pytest.mark.parametrize(
    "value",
    [0, -1, 1 << 200, -(1 << 64), True, None, 1.5, "\u2713 \n", b"\x00\xff", [1, [2]], (1, "a"), {1: (2,), "b": [b""]}],
)
def test_plain_data_goes_there_and_comes_back(value: object) -> None:
    found = call("def f(x):\n    return x", value)
    assert found == value
    assert type(found) is type(value)


def test_records_of_plain_data_pass() -> None:
    image = LoadedImage("ELF64", 0x2000000, (KexecSegment(b"abc", 0x2000000, 0x1000),))
    assert call("def f(x):\n    return x", image) == image


def test_names_and_state_of_the_cell_last() -> None:
    with Answer("count = [0]\ndef f():\n    count[0] += 1\n    return count[0]") as answer:
        assert [answer.call("f"), answer.call("f"), answer.value("count")] == [1, 2, [2]]


def test_what_is_offered_is_carried_out_here() -> None:
    thing = Thing()
    source = "def f(x):\n    x.down(2)\n    return x.memory.read(65, 3), x.size"
    assert call(source, x=Offer(thing, OFFERED)) == (b"AAA", 7)
    assert thing.downed == [2]


def test_an_offer_can_be_any_argument() -> None:
    thing = Offer(Thing(), OFFERED)
    with Answer("def f(a, x, b):\n    return a + x.size + b") as answer:
        assert answer.call("f", 1, Reference("x"), 2, x=thing) == 10


@pytest.mark.parametrize("name", ["secret", "memory.write", "memory.read.size", "downed", "memory.secret"])
def test_nothing_else_is_reached(name: str) -> None:
    error = failure(f"def f(x):\n    return x.{name}", x=Offer(Thing(), OFFERED))
    assert error.type == "AttributeError"


def test_an_offer_is_over_with_its_call() -> None:
    source = "kept = []\ndef f(x):\n    kept.append(x)\ndef g():\n    return kept[0].size"
    with Answer(source) as answer:
        answer.call("f", x=Offer(Thing(), OFFERED))
        with pytest.raises(AnswerError, match="offers no"):
            answer.call("g")


def test_a_refusal_is_an_exception_there_and_the_cause_here() -> None:
    offer = Offer(Thing(), OFFERED)
    caught = (
        "def f(x):\n    try:\n        x.down(9)\n    except Exception as error:\n        return error.errno, str(error)"
    )
    assert call(caught, x=offer) == (22, "cpu_down: -EINVAL: no such CPU")
    error = failure("def f(x):\n    x.down(9)", x=offer)
    assert isinstance(error.cause, KexecError)
    assert error.where("def f(x):\n    x.down(9)") == "line 2 of your cell: x.down(9)"


@pytest.mark.parametrize(
    ("source", "type_", "line"),
    [
        ("def f(:\n    return 1", "SyntaxError", 1),
        ("x = 1\ny = x / 0", "ZeroDivisionError", 2),
        ("def f():\n    return unknown", "NameError", 2),
        ("def g():\n    pass", "NameError", None),
        ("def f():\n    f()", "RecursionError", 2),
        ("def f(a, b):\n    pass", "TypeError", None),
        ("import sys\ndef f():\n    sys.exit('enough')", "SystemExit", 3),
        ("def f():\n    raise KeyboardInterrupt", "KeyboardInterrupt", 2),
    ],
)
def test_what_the_cell_raises_is_told_with_its_line(source: str, type_: str, line: int | None) -> None:
    error = failure(source)
    assert (error.kind, error.type, error.line) == ("raised", type_, line)


def test_an_endless_loop_is_ended_and_its_line_told() -> None:
    error = failure("def f():\n    n = 0\n    while True:\n        n += 1")
    assert error.kind == "endless"
    assert error.line in (3, 4)


def test_asking_for_ever_is_ended() -> None:
    error = failure("def f(x):\n    while True:\n        x.size", x=Offer(Thing(), OFFERED))
    assert error.kind == "endless"


def test_a_crash_of_its_process() -> None:
    error = failure("import ctypes\ndef f():\n    ctypes.string_at(0)")
    assert (error.kind, error.line) == ("died", 3)
    assert "SIGSEGV" in str(error)
    assert failure("import os\ndef f():\n    os._exit(3)").kind == "died"


@pytest.mark.parametrize("value", ["object()", "print", "[lambda: 1]", "[].append"])
def test_what_is_no_plain_data_is_refused(value: str) -> None:
    assert failure(f"def f():\n    return {value}").kind == "strange"


def test_what_holds_itself_is_refused() -> None:
    assert failure("def f():\n    x = []\n    x.append(x)\n    return x").kind == "strange"


def test_prints_disturb_nothing() -> None:
    assert call("import os, sys\ndef f():\n    print('{}'); os.write(1, b'{}\\n'); return sys.stdin.read()") == ""


@pytest.mark.parametrize("said", ['{"value": {"object": "x"}}', '{"value": {"record": "Popen"}}', "{}", "[1]", "{"])
def test_a_forged_message_is_at_most_its_own_answer(said: str) -> None:
    """Whoever finds the way out can say what the function returned, which it can anyway; nothing else."""
    source = (
        "import os\ndef f():\n    for number in range(3, 20):\n        try:\n"
        f"            os.write(number, {said!r}.encode() + b'\\n')\n"
        "        except OSError:\n            pass\n    os._exit(0)"
    )
    try:
        found = call(source)
    except AnswerError:
        return
    assert isinstance(found, Reference)


@linux
class TestLimits:
    """On Linux nothing stays open."""

    def test_all_of_them_hold(self) -> None:
        call("def f():\n    pass")
        assert UNLIMITED == []

    def test_memory(self) -> None:
        assert failure("def f():\n    return len(bytearray(1 << 31))").type == "MemoryError"

    def test_files_in_its_own_folder(self) -> None:
        assert failure("def f():\n    open('x', 'wb').write(b'x')").type == "PermissionError"

    def test_files_elsewhere(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("hidden checks")
        assert failure(f"def f():\n    return open({str(secret)!r}).read()").type == "PermissionError"
        assert failure(f"def f():\n    open({str(tmp_path / 'new')!r}, 'w')").type == "PermissionError"
        assert failure(f"import os\ndef f():\n    os.remove({str(secret)!r})").type == "PermissionError"
        assert secret.read_text() == "hidden checks"

    @pytest.mark.parametrize(
        "act",
        [
            "os.fork()",
            "os.posix_spawn('/bin/true', ['true'], {})",
            "os.execv('/bin/true', ['true'])",
            "subprocess.run(['/bin/true'])",
            "multiprocessing.Process(target=print).start()",
            "os.kill(os.getppid(), 9)",
            "socket.socket()",
            "socket.create_connection(('127.0.0.1', 9))",
        ],
    )
    def test_other_processes_and_networks(self, act: str) -> None:
        error = failure(f"import multiprocessing, os, socket, subprocess\ndef f():\n    return {act}")
        assert error.type in ("PermissionError", "OSError")

    def test_threads_are_allowed(self) -> None:
        source = "import threading\ndef f():\n    x = []\n    t = threading.Thread(target=x.append, args=(1,))\n"
        assert call(source + "    t.start(); t.join(); return x") == [1]

    def test_its_folder_is_gone_afterwards(self) -> None:
        with Answer("import os\ndef f():\n    return os.getcwd(), os.listdir()") as answer:
            folder, files = answer.call("f")
            assert (Path(folder).is_dir(), files) == (True, [])
        assert not Path(folder).exists()

    @pytest.mark.parametrize("place", ["/etc/passwd", "/proc/self/environ", "/proc/1/cmdline", "/root", "/home"])
    def test_what_it_cannot_read(self, place: str) -> None:
        act = "os.listdir" if place in ("/root", "/home") else "open"
        assert failure(f"import os\ndef f():\n    return {act}({place!r})").type == "PermissionError"


def test_what_is_told_in_pieces_is_heard() -> None:
    source = "import os, time\ndef f():\n" + WRITE.format("b'{'", "b'\"value\": 7}\\n'")
    assert call(source) == 7


WRITE = """
    for number in range(3, 20):
        try:
            os.write(number, {})
            time.sleep(0.2)
            os.write(number, {})
        except OSError:
            pass
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef f():\n    time.sleep(60)",
        "import os, time\ndef f():\n" + WRITE.format("b'{'", "b' '"),
        # It takes a little each time.
        "import time\ndef f(x):\n    while True:\n        x.size\n        time.sleep(0.1)",
        "import time\ntime.sleep(60)\ndef f():\n    pass",
    ],
)
def test_making_others_wait_is_ended(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr("mklab.lab.checking.answer._WAIT", 1.0)
    offers = {"x": Offer(Thing(), OFFERED)} if "f(x)" in source else {}
    assert failure(source, **offers).kind == "endless"


def test_a_forged_answer_to_loading_is_no_answer() -> None:
    """Written before the cell has come to its end."""
    shout = "import os\nfor number in range(3, 20):\n    try:\n        os.write(number, b'{\"value\": 1}\\n')\n"
    error = failure(shout + "    except OSError:\n        pass\ndef f():\n    pass")
    assert (error.kind, str(error)) == ("died", "its process sent something that makes no sense")


def test_what_it_says_on_standard_error_disturbs_nothing() -> None:
    assert call("import os, sys\ndef f():\n    print('x' * 200000, file=sys.stderr); return 5") == 5


def test_a_process_that_does_not_begin_is_our_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(MklabError, match="the process for an answer did not begin: its process ended by itself"):
        call("def f():\n    pass")
