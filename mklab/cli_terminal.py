"""The terminal or the pipes that a command is connected to while a machine runs."""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

__all__ = ["Output", "Termination", "standard_input", "termination"]


class Output:
    """Standard output: bytes as they are and at once.

    Attributes:
        line_ended: whether the last byte ended a line.
    """

    def __init__(self) -> None:
        self.line_ended = True

    def write(self, data: bytes) -> None:
        """Write at least one byte."""
        self.line_ended = data.endswith(b"\n")
        if sys.stdout is not None:  # it may have been closed: >&-
            sys.stdout.buffer.write(data)
            sys.stdout.flush()


class Termination:
    """Whether SIGTERM has come.

    Attributes:
        asked: it has.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_signal(self, _signal: int, frame: FrameType | None) -> None:
        """It has come, and does what Ctrl-C would do now; that may be ignored, as in a shell's background job."""
        self.asked = True
        ctrl_c = signal.getsignal(signal.SIGINT)
        (ctrl_c if callable(ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)


@contextmanager
def termination() -> Iterator[Termination]:
    """Within it SIGTERM raises KeyboardInterrupt, so that the terminal is left as it was found."""
    found = Termination()
    before = signal.signal(signal.SIGTERM, found.on_signal)
    try:
        yield found
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def standard_input() -> Iterator[Callable[[int], bytes]]:
    """A function that reads up to so many bytes of standard input without waiting; empty: there are none now.

    A terminal hands over each key as it is pressed, and leaves its echo to the guest; Ctrl-C stays what it is. Where
    the host has no termios (Windows), nothing is read, and a line on standard error says so.
    """
    try:
        import termios
        import tty
    except ImportError:
        click.echo(
            "mklab boot: standard input is not read: that needs termios, which this host does not have", err=True
        )
        yield lambda _: b""
        return
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor) if os.isatty(descriptor) else None
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        yield lambda _: b""
        return
    open_ = before is None or not _in_background(descriptor)

    def read(most: int) -> bytes:
        nonlocal open_
        # Not by O_NONBLOCK, which would hold for whoever else has the same terminal or pipe, our own output too.
        if not open_ or not select.select([descriptor], [], [], 0)[0]:
            return b""
        data = os.read(descriptor, most)
        open_ = bool(data)
        return data

    if before is None or not open_:
        yield read
        return
    tty.setcbreak(descriptor, termios.TCSANOW)
    try:
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _in_background(terminal: int) -> bool:
    """Whether reading from this terminal would stop the process: a job in the background."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # it is not the one that controls the process
        return False
