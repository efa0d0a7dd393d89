"""Ctrl-C, as signals that the process sends itself."""

import signal
import threading
from collections.abc import Iterator

import pytest

from mklab.errors import MklabError
from mklab.machine.interruptible import Interruptible


@pytest.fixture(autouse=True)
def _python_listens() -> Iterator[None]:
    """A process that was started in the background ignores SIGINT; here it is Python's own again."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_asks_instead_of_breaking_off() -> None:
    asked: list[int] = []
    interruptible = Interruptible(lambda: asked.append(1))
    before = signal.getsignal(signal.SIGINT)
    went_on: list[bool] = []

    def press() -> None:
        signal.raise_signal(signal.SIGINT)
        went_on.append(interruptible.requested)

    with pytest.raises(KeyboardInterrupt), interruptible:
        press()
    assert (asked, went_on) == ([1], [True])
    assert signal.getsignal(signal.SIGINT) is before
    with interruptible:
        assert not interruptible.requested, "each entry begins anew"


def test_afterwards_it_breaks_off_again() -> None:
    with Interruptible(lambda: None):
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_handler_comes_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interruptible(lambda: None):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_leaves_signals_alone() -> None:
    """Also one that uses what the main thread has used before."""
    interruptible = Interruptible(lambda: None)
    with interruptible:
        pass
    seen: list[object] = []

    def enter() -> None:
        try:
            with interruptible:
                seen.append(signal.getsignal(signal.SIGINT))
        except ValueError as error:
            seen.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_it_cannot_be_entered_twice() -> None:
    interruptible = Interruptible(lambda: None)
    with interruptible, pytest.raises(MklabError, match="the machine runs already"):
        interruptible.__enter__()
    with interruptible:
        pass
