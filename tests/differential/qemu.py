"""The other side of the comparison: QEMU, with its own interpreter of x86 (TCG), as a bare PC without firmware.

QEMU is steered through its machine protocol (QMP). The machine stops by itself, when the payload has run or when a CPU
has shut down: that is an event, so nothing is polled, and a deadline bounds every wait.
"""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mklab.machine.registers import SEGMENTS
from tests.differential.harness import BANK, RAM, ROM, Setup

__all__ = ["Seen", "Segment", "finished"]

_DEADLINE = 60
"""Seconds that QEMU may be silent for; a run takes well under one, on an idle machine."""
Segment = tuple[int, int, int, int]
"""Selector, base, limit, and the descriptor's attributes (bits 8-15 and 20-23 of its second doubleword)."""
_SEGMENT = re.compile(r"^(\w+) *=([0-9a-f]{4}) ([0-9a-f]{8,16}) ([0-9a-f]{8}) ([0-9a-f]{8})", re.MULTILINE)
_ATTRIBUTES = 0xF0FF00
_NAMES = {"LDT": "ldtr", "TR": "tr"} | {name.upper(): name for name in SEGMENTS}


class _Monitor:
    """QMP on a connected socket."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._events: list[dict[str, Any]] = []
        self._receive("QMP")
        self.execute("qmp_capabilities")

    def _receive(self, key: str) -> dict[str, Any]:
        for line in self._stream:
            message: dict[str, Any] = json.loads(line)
            assert "error" not in message, message
            if "event" in message:
                self._events.append(message)
            if key in message:
                return message
        raise AssertionError(f"QEMU ended; the last events were {self._events}")

    def execute(self, command: str, **arguments: object) -> Any:
        """Carry out a command and return what it returns."""
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        return self._receive("return")["return"]

    def wait_for(self, name: str) -> list[dict[str, Any]]:
        """Every event up to the one of that name."""
        while name not in [event["event"] for event in self._events]:
            self._receive("event")
        return self._events


def _arguments(setup: Setup, folder: Path) -> list[str]:
    """QEMU's command line, but for the monitor; what memory begins with is written to ``folder``."""
    # panic= and reboot=, shutdown=: however the run ends, the machine stops and keeps its state.
    arguments = ["-accel", "tcg", "-cpu", "Nehalem", "-smp", str(setup.cpus), "-nodefaults", "-display", "none", "-S"]
    arguments += ["-device", "pvpanic", "-action", "panic=pause,reboot=shutdown,shutdown=pause"]
    memory = f"{RAM >> 20}M"
    if setup.bank is not None:
        memory += f",slots=1,maxmem={RAM + setup.bank + BANK}B"
        arguments += ["-object", f"memory-backend-ram,id=bank,size={BANK}"]
        arguments += ["-device", f"pc-dimm,memdev=bank,addr={setup.bank}"]
    arguments += ["-m", memory]
    for address, data in setup.contents.items():
        file = folder / f"{address:x}.bin"
        file.write_bytes(data)
        if address == ROM:
            arguments += ["-bios", str(file)]
        else:
            arguments += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
    return arguments


@dataclass(frozen=True)
class Seen:
    """QEMU, stopped at the end of a run.

    Attributes:
        ended: ``done``: the guest said so; ``reset``: a CPU shut down, and the platform was reset.
    """

    ended: str
    _monitor: _Monitor
    _folder: Path

    def memory(self, paddr: int, size: int) -> bytes:
        """``size`` bytes from ``paddr``."""
        file = self._folder / f"memory-{paddr:x}.bin"
        self._monitor.execute("pmemsave", val=paddr, size=size, filename=str(file))
        return file.read_bytes()

    def segments(self, cpu: int) -> dict[str, Segment]:
        """A CPU's segment registers, hidden parts included, by name; ``ldtr`` and ``tr`` too."""
        registers = self._monitor.execute(
            "human-monitor-command", **{"command-line": "info registers", "cpu-index": cpu}
        )
        return {_NAMES[name]: _segment(values) for name, *values in _SEGMENT.findall(registers)}


@contextmanager
def finished(qemu: Path, setup: Setup, folder: Path) -> Iterator[Seen]:
    """Run it to its end, to be looked at; ``folder`` takes the files that go in and out.

    Raises:
        TimeoutError: QEMU was silent for longer than the deadline.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, (folder / "qemu.log").open("w+") as log:
        ours.settimeout(_DEADLINE)
        monitor = ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"]
        process = subprocess.Popen(
            [qemu, *_arguments(setup, folder), *monitor],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        try:
            with ours.makefile("rw") as stream:
                yield _wait(_Monitor(stream), folder)
        except (AssertionError, OSError) as error:
            log.seek(0)
            error.add_note(f"QEMU says: {log.read() or 'nothing'}")
            raise
        finally:
            process.kill()
            process.wait()


def _wait(monitor: _Monitor, folder: Path) -> Seen:
    """Let the machine run until it stops."""
    monitor.execute("cont")
    events = {event["event"]: event.get("data", {}) for event in monitor.wait_for("STOP")}
    assert "GUEST_PANICKED" in events or events["SHUTDOWN"]["reason"] == "guest-reset", events
    return Seen("done" if "GUEST_PANICKED" in events else "reset", monitor, folder)


def _segment(values: list[str]) -> Segment:
    selector, base, limit, flags = (int(value, 16) for value in values)
    return selector, base, limit, flags & _ATTRIBUTES
