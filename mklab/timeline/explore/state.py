"""A state of the exploration: what a machine is between two transitions, cut into parts that repeat.

A CPU's own part (:class:`Local`) holds everything that only this CPU reads or changes: registers, MSRs, calls in its
process context, and the memory that no other CPU has touched. Two states that differ in one CPU share the parts of the
others, so a state is a few short keys and the values of the memory that CPUs share.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from mklab.machine.cpu import Cpu, CpuState
from mklab.timeline.explore.stack import Dead

__all__ = ["Local", "State", "cpu_fields", "digest", "set_cpu_fields"]

_FIELDS = ("state", "mode", "owner", "planned", "nmi_pending", "nmi_blocked")


class State(NamedTuple):
    """What tells one state from another. Keys are digests of contents, the same in every process.

    Attributes:
        locals: the key of each CPU's :class:`Local`.
        apics: the key of each local APIC's registers.
        shared: the 8-byte words that CPUs share, in the order of the pass's list.
        platform: the key of what belongs to no CPU: ports, consoles, known images; empty once nothing runs any more.
        wakes: of each CPU's call, how many instructions it still sleeps.
    """

    locals: tuple[bytes, ...]
    apics: tuple[bytes, ...]
    shared: tuple[int, ...]
    platform: bytes
    wakes: tuple[int, ...]


@dataclass(slots=True)
class Local:
    """What belongs to one CPU.

    Attributes:
        key: digest of all that follows, registers by name.
        context: the engine's saved context.
        fields: the CPU's plain data.
        msrs: its model-specific registers, and what its time stamp counter is ahead.
        calls: the calls in its process context, the one under way first; none of them sleeps (see ``State.wakes``).
        dead: what of its memory was forgotten.
        memory: 8-byte words by number (physical address / 8), where they differ from what they were at the beginning.
    """

    key: bytes
    context: bytes
    fields: tuple[Any, ...]
    msrs: tuple[dict[int, int], int]
    calls: list[dict[str, Any]]
    dead: Dead
    memory: dict[int, int]


def cpu_fields(cpu: Cpu) -> tuple[Any, ...]:
    """The plain data of ``cpu`` that changes."""
    return tuple(getattr(cpu, name) for name in _FIELDS)


def set_cpu_fields(cpu: Cpu, values: tuple[Any, ...]) -> None:
    """The inverse of :func:`cpu_fields`."""
    for name, value in zip(_FIELDS, values, strict=True):
        setattr(cpu, name, value)
    cpu.state = CpuState(cpu.state)


def digest(*parts: Any) -> bytes:
    """A key of 16 bytes over plain data."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
