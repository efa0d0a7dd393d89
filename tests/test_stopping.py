"""Ctrl-C, as signals that the process sends itself."""

import signal
import threading
from collections.abc import Iterator

import pytest

from mklab.stopping import asked_to_stop


@pytest.fixture(autouse=True)
def _python_listens() -> Iterator[None]:
    """A process that was started in the background ignores SIGINT; here it is Python's own again."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_asks_each_time() -> None:
    with asked_to_stop() as stopped:
        assert not stopped()
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            assert stopped()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_once_it_breaks_off_the_second_time() -> None:
    with asked_to_stop(once=True) as stopped:
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_comes_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), asked_to_stop():
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_another_thread_leaves_signals_alone() -> None:
    seen: list[object] = []

    def enter() -> None:
        with asked_to_stop() as stopped:
            seen.extend([signal.getsignal(signal.SIGINT), stopped()])

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler, False]
