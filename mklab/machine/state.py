"""A machine as plain data, and back: restored in a fresh process, a run goes on with the same trace."""

import base64
import copy
import json
import struct
import zlib
from typing import Any

from mklab.errors import require
from mklab.machine.cpu import Cpu
from mklab.machine.machine import Machine, Stop
from mklab.machine.ownership import Image
from mklab.machine.process import Call
from mklab.machine.registers import Registers

__all__ = ["restore", "state"]

FORMAT = "mklab-machine-1"


def state(machine: Machine) -> dict[str, Any]:
    """Everything that changes, as data that JSON can hold."""
    engine = machine.engine
    return {
        "format": FORMAT,
        "time": machine.time,
        "current": machine.current,
        "on_shutdown": machine.on_shutdown,
        "x2apic": machine.x2apic,
        "cpus": [cpu.to_dict() for cpu in machine.cpus],
        "registers": [engine.registers(cpu.index).to_dict() for cpu in machine.cpus],
        "extended": [engine.extended(cpu.index) for cpu in machine.cpus],
        "memory": machine.memory.state(),
        "board": machine.board.state(),
        "schedule": machine.schedule.state(),
        "images": copy.deepcopy([image.to_dict() for image in machine.images.values()]),
        "calls": copy.deepcopy([call.to_dict() for call in machine.calls]),
        "installed": list(machine.installed),
        "blobs": _blobs(machine),
        "stopped": vars(machine.stopped) if machine.stopped else None,
        "trace": machine.trace.state(),
    }


def restore(machine: Machine, data: dict[str, Any]) -> None:
    """Make ``machine`` what :func:`state` describes.

    Raises:
        ValueError: the data is damaged, of another format, or of a machine with other CPUs, RAM or schedule; then the
            machine stays as it was.
    """
    if not hasattr(data, "get") or data.get("format") != FORMAT:
        raise ValueError(f"the state must be a dict of the format {FORMAT}, not {str(data)[:60]!r}")
    before, events, blobs = state(machine), machine.trace.events, machine.trace.blobs
    try:
        _restore(machine, data)
    except (LookupError, TypeError, AttributeError, ValueError, struct.error, zlib.error) as error:
        _restore(machine, before)
        machine.trace.events, machine.trace.blobs = events, blobs
        if isinstance(error, ValueError):
            raise
        raise ValueError(f"the state must be one that state() made, not one damaged at {error!r}") from None


def _restore(machine: Machine, data: dict[str, Any]) -> None:
    ids = [cpu["apic_id"] for cpu in data["cpus"]]
    if ids != [cpu.apic_id for cpu in machine.cpus]:
        raise ValueError(
            f"the state must be of CPUs with the APIC ids {[c.apic_id for c in machine.cpus]}, not {ids!r}"
        )
    require("the state's time", data["time"], 0, 1 << 62)
    require("the state's current CPU", data["current"], 0, len(machine.cpus) - 1)
    machine.memory.restore(data["memory"])
    machine.time = data["time"]
    machine.current = data["current"]
    machine.on_shutdown = data["on_shutdown"]
    machine.x2apic = data["x2apic"]
    machine.cpus[:] = [Cpu.from_dict(cpu) for cpu in data["cpus"]]
    for index in range(len(machine.cpus)):
        machine.engine.set_extended(index, data["extended"][index])
        machine.engine.set_registers(index, Registers.from_dict(data["registers"][index]))
    machine.board.restore(data["board"])
    machine.schedule.restore(data["schedule"])
    machine.images.clear()
    machine.images.update({image["name"]: Image(**copy.deepcopy(image)) for image in data["images"]})
    machine.calls[:] = [Call(**copy.deepcopy(call)) for call in data["calls"]]
    machine.installed = list(data["installed"])
    machine.stopped = Stop(**data["stopped"]) if data["stopped"] else None
    machine.trace.restore(data["trace"])
    machine.trace.blobs = {name: base64.b64decode(blob) for name, blob in data["blobs"].items()}


def _blobs(machine: Machine) -> dict[str, str]:
    """The long byte strings that a call under way still refers to, by hash."""
    calls = json.dumps([call.to_dict() for call in machine.calls])
    return {name: base64.b64encode(blob).decode() for name, blob in machine.trace.blobs.items() if name in calls}
