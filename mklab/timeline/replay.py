"""A run made again from its trace alone, from power-on."""

from mklab.errors import MklabError
from mklab.machine.machine import Machine
from mklab.timeline.journal import Installers, follow
from mklab.trace import Event, Input, Trace

__all__ = ["power_on", "replay"]


def power_on(events: list[Event]) -> Input:
    """The event in which a machine was switched on.

    Raises:
        ValueError: ``events`` do not begin with it: some were dropped, or the machine was restored from a state.
    """
    first = events[0] if events else None
    if not isinstance(first, Input) or first.name != "power_on" or first.seq:
        raise ValueError(f"the events must begin at power-on, not {first!r}")
    return first


def replay(trace: Trace, installers: Installers | None = None) -> Machine:
    """A machine that has done what ``trace`` says, with the same trace.

    Going on from there, its schedule is the default: a trace holds what was chosen, not by whom. A session keeps it.

    Args:
        trace: everything since power-on.
        installers: who makes kernel functions known, by name; for a host kernel ``{"host": Host}``.

    Raises:
        ValueError: the trace does not begin at power-on, or its machine cannot be made.
        ReplayError: the run cannot be made again; the message says at which event it differs.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    events = list(trace.events)
    machine = Machine.from_arguments(power_on(events).args)
    machine.trace.blobs.update(trace.blobs)
    at = machine.trace.count
    with machine.interruptible:
        while at < len(events):
            at = follow(machine, events, at, installers or {})
    if machine.trace.sha256 != trace.sha256:
        raise MklabError(f"the events must have the digest {machine.trace.sha256}, not {trace.sha256!r}")
    return machine
