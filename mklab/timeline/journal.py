"""The journal followed: acts from outside are done again, and the schedule's choices are made again."""

import contextlib
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mklab.errors import MklabError
from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.machine.process import Call
from mklab.machine.registers import Registers
from mklab.machine.schedule import schedule_of
from mklab.trace import Event, Input, Slice

__all__ = ["Installers", "ReplayError", "do_again", "follow"]

Installers = Mapping[str, Callable[[Machine], object]]
"""For each name that ``Machine.install`` was called with: what calls it again, for example ``{"host": Host}``."""

Args = dict[str, Any]


class ReplayError(MklabError):
    """The machine does not do what is recorded: it has other kernel functions, or the record is of another mklab."""


def do_again(machine: Machine, act: Input, installers: Installers) -> None:
    """Carry out an act from outside once more; long bytes are those of ``machine.trace.blobs``.

    Raises:
        ReplayError: the act is unknown, or its arguments are not those of such an act.
    """
    args = copy.deepcopy(act.args)
    try:
        if act.name == "install":
            _install(machine, args["name"], installers)
        else:
            _ACTS[act.name](machine, args)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ReplayError(f"event {act.seq}, {act.name}, cannot be done again: {error!r}") from error


def _install(machine: Machine, name: str, installers: Installers) -> None:
    if name in installers:
        installers[name](machine)
    elif not machine.functions:
        raise ValueError(f"installers must have what installs {name!r}, not only {sorted(installers)}")
    # In the process of the first run the functions are there still.
    machine.install(name, {}, {})


def _submit(machine: Machine, args: Args) -> None:
    machine.submit(Call(**args))


def _wrmsr(machine: Machine, args: Args) -> None:
    with contextlib.suppress(ValueError):  # the local APIC refused then, too
        machine.wrmsr(**args)


def _patch_registers(machine: Machine, args: Args) -> None:
    machine.patch_registers(args["cpu"], Registers.from_dict(args["registers"]), running=args["running"])


def _schedule(machine: Machine, args: Args) -> None:
    machine.schedule = schedule_of(args["schedule"])


_ACTS: dict[str, Callable[[Machine, Args], None]] = {
    "abandon": lambda machine, args: machine.abandon(machine.calls[args["call"]]),
    "add_image": lambda machine, args: machine.add_image(Image(**args)),
    "console_input": lambda machine, args: machine.console_input(args["kernel"], bytes.fromhex(args["data"])),
    "enter_handler": lambda machine, args: machine.enter_handler(**args),
    "jump": lambda machine, args: machine.jump(args["cpu"], Registers.from_dict(args["registers"])),
    "out": lambda machine, args: machine.out(**args),
    "patch_registers": _patch_registers,
    "plan": lambda machine, args: machine.plan(**args),
    "poke": lambda machine, args: machine.poke(args["paddr"], machine.trace.blobs[args["sha256"]]),
    "printk": lambda machine, args: machine.printk(**args),
    "schedule": _schedule,
    "store": lambda machine, args: machine.store(**args),
    "submit": _submit,
    "wrmsr": _wrmsr,
}


def follow(machine: Machine, events: Sequence[Event], at: int, installers: Installers) -> int:
    """Let ``machine`` do what comes next: one act from outside, one slice, or time that passes while all CPUs wait.

    Args:
        machine: has done everything before ``events[at]``; within ``machine.interruptible``.
        events: what is recorded.

    Returns:
        The index of the event that comes next then.

    Raises:
        ReplayError: what happens is not what is recorded.
        KeyboardInterrupt: Ctrl-C was pressed; the machine may stand anywhere.
    """
    event, before = events[at], (machine.trace.count, machine.time)
    if not isinstance(event, Input):
        _advance(machine, _choice(events, at))
    elif machine.time < event.time:
        _advance(machine, None)
    else:
        do_again(machine, event, installers)
    if machine.interruptible.requested:
        raise KeyboardInterrupt
    new = machine.trace.count - before[0]
    if before == (machine.trace.count, machine.time):
        raise ReplayError(f"nothing happens where event {event.seq}, {event.kind}, is recorded")
    compare(machine.trace.events[len(machine.trace.events) - new :], events[at : at + new])
    return at + new


def _advance(machine: Machine, choice: tuple[int, int] | None) -> None:
    try:
        machine.advance(choice=choice)
    except ValueError as error:
        raise ReplayError(f"the run cannot go on as it is recorded: {error}") from error


def _choice(events: Sequence[Event], at: int) -> tuple[int, int] | None:
    for index in range(at, len(events)):
        event = events[index]
        if isinstance(event, Slice) and event.cpu is not None:
            return event.cpu, event.budget or 1
    return None


def compare(done: Sequence[Event], recorded: Sequence[Event]) -> None:
    """Both must be the same events.

    Raises:
        ReplayError: they are not.
    """
    if list(done) == list(recorded):
        return
    for index, event in enumerate(done):
        expected = recorded[index] if index < len(recorded) else None
        # A record that was a file has lists where there were tuples.
        if expected is None or json.dumps(event.to_dict()) != json.dumps(expected.to_dict()):
            raise ReplayError(f"event {event.seq} must be {expected}, not {event}")
