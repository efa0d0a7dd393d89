"""Who hears Ctrl-C while runs go on, and who after them."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mklab.widgets.interrupts import leave, listen


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What was called; before anybody listens Ctrl-C says ``before``."""
    said: list[str] = []
    old: Any = signal.signal(signal.SIGINT, lambda *_: said.append("before"))
    yield said
    signal.signal(signal.SIGINT, old)


def test_all_who_listen_hear_it_until_they_leave(heard: list[str]) -> None:
    def one() -> None:
        heard.append("one")

    def two() -> None:
        heard.append("two")

    listen(one)
    listen(two)
    listen(one)
    signal.raise_signal(signal.SIGINT)
    leave(one)
    signal.raise_signal(signal.SIGINT)
    leave(two)
    leave(two)
    signal.raise_signal(signal.SIGINT)
    assert heard == ["one", "two", "two", "before"]


def test_a_kernel_puts_its_handlers_around_messages(heard: list[str]) -> None:
    def act() -> None:
        heard.append("act")

    listen(act)
    saved = signal.signal(signal.SIGINT, signal.default_int_handler)
    leave(act)  # the message was Esc
    signal.signal(signal.SIGINT, saved)
    signal.raise_signal(signal.SIGINT)
    assert heard == ["before"]
    listen(act)
    signal.raise_signal(signal.SIGINT)
    leave(act)
    assert heard == ["before", "act"]


def test_another_thread_hears_nothing_and_breaks_nothing(heard: list[str]) -> None:
    thread = threading.Thread(target=listen, args=[heard.clear])
    thread.start()
    thread.join()
    signal.raise_signal(signal.SIGINT)
    assert heard == ["before"]
