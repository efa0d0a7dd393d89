"""The other side of the comparison: QEMU, with its own interpreter of x86 (TCG), as a bare PC without firmware.

QEMU is steered through its machine protocol (QMP). The machine stops by itself, when the payload has run or when a CPU
has shut down: that is an event, so nothing is polled, and a deadline bounds every wait.
"""

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any, TextIO

from mklab.machine.registers import SEGMENTS
from tests.differential.experiment import (
    BANK,
    LOW_MEMORY,
    RAM,
    RECORD,
    RECORD_ADDRESS,
    ROM,
    Experiment,
    Outcome,
    Segment,
    fields_of,
)

__all__ = ["run_in_qemu"]

_DEADLINE = 60
"""Seconds that QEMU may be silent for; a run takes well under one, on an idle machine."""
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


def _arguments(experiment: Experiment, folder: Path) -> list[str]:
    """QEMU's command line, but for the monitor; what memory begins with is written to ``folder``."""
    # panic= and reboot=, shutdown=: however the run ends, the machine stops and keeps its state.
    arguments = ["-accel", "tcg", "-cpu", "Nehalem", "-smp", "2", "-nodefaults", "-display", "none", "-S"]
    arguments += ["-device", "pvpanic", "-action", "panic=pause,reboot=shutdown,shutdown=pause"]
    memory = f"{RAM >> 20}M"
    if experiment.high:
        memory += f",slots=1,maxmem={RAM + experiment.entry + BANK}B"
        arguments += ["-object", f"memory-backend-ram,id=bank,size={BANK}"]
        arguments += ["-device", f"pc-dimm,memdev=bank,addr={experiment.entry}"]
    arguments += ["-m", memory]
    for address, data in experiment.contents.items():
        file = folder / f"{address:x}.bin"
        file.write_bytes(data)
        if address == ROM:
            arguments += ["-bios", str(file)]
        else:
            arguments += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
    return arguments


def run_in_qemu(qemu: Path, experiment: Experiment, folder: Path) -> Outcome:
    """Carry it out in QEMU; ``folder`` takes the files that go in and out.

    Raises:
        TimeoutError: QEMU was silent for longer than the deadline.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, (folder / "qemu.log").open("w+") as log:
        ours.settimeout(_DEADLINE)
        monitor = ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"]
        process = subprocess.Popen(
            [qemu, *_arguments(experiment, folder), *monitor],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        try:
            with ours.makefile("rw") as stream:
                return _observe(_Monitor(stream), folder)
        except (AssertionError, OSError) as error:
            log.seek(0)
            error.add_note(f"QEMU says: {log.read() or 'nothing'}")
            raise
        finally:
            process.kill()
            process.wait()


def _observe(monitor: _Monitor, folder: Path) -> Outcome:
    """Let the machine run until it stops, and look at it."""
    monitor.execute("cont")
    events = {event["event"]: event.get("data", {}) for event in monitor.wait_for("STOP")}
    assert "GUEST_PANICKED" in events or events["SHUTDOWN"]["reason"] == "guest-reset", events

    def memory(paddr: int, size: int) -> bytes:
        file = folder / f"memory-{paddr:x}.bin"
        monitor.execute("pmemsave", val=paddr, size=size, filename=str(file))
        return file.read_bytes()

    registers = monitor.execute("human-monitor-command", **{"command-line": "info registers", "cpu-index": 1})
    return Outcome(
        ended="done" if "GUEST_PANICKED" in events else "reset",
        low=memory(0, LOW_MEMORY),
        record=fields_of(memory(RECORD_ADDRESS, RECORD.size)),
        segments={_NAMES[name]: _segment(values) for name, *values in _SEGMENT.findall(registers)},
    )


def _segment(values: list[str]) -> Segment:
    selector, base, limit, flags = (int(value, 16) for value in values)
    return selector, base, limit, flags & _ATTRIBUTES
