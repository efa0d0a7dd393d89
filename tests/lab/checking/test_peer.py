"""A peer that is slow, silent or talks rubbish costs a bounded time."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from mklab.lab.checking.peer import Peer, busy
from mklab.lab.checking.wire import LONGEST, WireError


class Pipes:
    """Two pipes: what a peer hears, and what it says."""

    def __init__(self) -> None:
        self.heard, hears = os.pipe()
        says, self.saying = os.pipe()
        self.own = [self.heard, hears, says, self.saying]
        self.peer = Peer(hears, says, os.getpid(), 0.3, 60)

    def end(self, one: int) -> None:
        self.own.remove(one)
        os.close(one)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    for one in pipes.own:
        os.close(one)


def test_messages_however_they_are_cut(pipes: Pipes) -> None:
    os.write(pipes.saying, b'{"a": 1}\n{"b"')
    assert pipes.peer.receive() == {"a": 1}
    os.write(pipes.saying, b': 2}\n{"c": 3}\n')
    assert [pipes.peer.receive(), pipes.peer.receive()] == [{"b": 2}, {"c": 3}]


def test_a_long_message_arrives_in_both_directions(pipes: Pipes) -> None:
    text = "x" * (1 << 20)
    there: list[bytes] = []

    def listen() -> None:
        while not there or not there[-1].endswith(b"\n"):
            there.append(os.read(pipes.heard, 1 << 16))
        rest = memoryview(b"".join(there))
        while rest:
            rest = rest[os.write(pipes.saying, rest) :]

    thread = threading.Thread(target=listen)
    thread.start()
    pipes.peer.left = 60
    pipes.peer.send({"a": text})
    assert pipes.peer.receive() == {"a": text}
    thread.join()


@pytest.mark.parametrize("said", [b"", b"{", b'{"a": 1}'])
def test_one_that_says_no_whole_line(pipes: Pipes, said: bytes) -> None:
    os.write(pipes.saying, said)
    with pytest.raises(TimeoutError):
        pipes.peer.receive()


def test_one_that_does_not_listen(pipes: Pipes) -> None:
    with pytest.raises(TimeoutError):
        pipes.peer.send({"a": "x" * (1 << 20)})


def test_all_waiting_together_is_limited(pipes: Pipes) -> None:
    timers = [threading.Timer(0.1 * number, os.write, (pipes.saying, b"{}\n")) for number in range(1, 10)]
    heard: list[dict[str, object]] = []
    for timer in timers:
        timer.start()
    with pytest.raises(TimeoutError):
        heard.extend(pipes.peer.receive() for _ in timers)
    for timer in timers:
        timer.join()
    assert len(heard) <= 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a process waits for a processor")
def test_one_that_sleeps_is_told_from_one_that_is_not_let_run(pipes: Pipes) -> None:
    def run(program: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE)

    with run("import time; print('x', flush=True); time.sleep(600)") as sleeps, run("while True: pass") as loops:
        assert sleeps.stdout is not None
        sleeps.stdout.read(1)
        pipes.peer._pid, pipes.peer.left, pipes.peer.idle = sleeps.pid, 600, 1.5
        with pytest.raises(TimeoutError):
            pipes.peer.receive()
        assert pipes.peer.left > 0
        pipes.peer._pid, pipes.peer.left, pipes.peer.idle = loops.pid, 2.5, 1.5
        with pytest.raises(TimeoutError):
            pipes.peer.receive()
        assert pipes.peer.idle > 0
        sleeps.kill()
        loops.kill()
    assert busy(loops.pid) is None


def test_one_that_has_ended(pipes: Pipes) -> None:
    os.write(pipes.saying, b'{"half"')
    pipes.end(pipes.saying)
    with pytest.raises(EOFError):
        pipes.peer.receive()
    pipes.end(pipes.heard)
    with pytest.raises(BrokenPipeError):
        pipes.peer.send({})


@pytest.mark.parametrize("said", [b"hello\n", b"[1]\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_one_that_talks_rubbish(pipes: Pipes, said: bytes) -> None:
    thread = threading.Thread(target=os.write, args=(pipes.saying, said))
    thread.start()
    pipes.peer.left = 60
    with pytest.raises(WireError):
        pipes.peer.receive()
    thread.join()


def test_one_that_never_ends_its_line(pipes: Pipes) -> None:
    def talk() -> None:
        try:
            while True:
                os.write(pipes.saying, bytes(1 << 16))
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=talk)
    thread.start()
    pipes.peer.left = 60
    with pytest.raises(WireError, match="longer than 16 MiB"):
        pipes.peer.receive()
    assert LONGEST == 16 << 20
    pipes.end(pipes.own[2])
    thread.join()
