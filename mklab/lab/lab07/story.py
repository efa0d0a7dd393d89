"""A run told as numbered events, so that an answer can name one."""

from mklab.guest.abi import IRQ_WORK_VECTOR, RESCHEDULE_VECTOR
from mklab.lab.scenario import Scenario
from mklab.lab.telling import say
from mklab.machine.fault import PAGE_FAULT
from mklab.trace import Event, Fault, IpiSent, Step
from mklab.widgets.bits_words import EXCEPTIONS

__all__ = ["story"]

_OWN_AFFAIRS = (RESCHEDULE_VECTOR, IRQ_WORK_VECTOR)
"""Vectors with which a kernel wakes its own CPUs."""


def story(scenario: Scenario, since: int | None = None) -> str:
    """What happened in ``scenario``, an event a line: its number, the virtual time (instructions), the CPU, the words.

    Args:
        scenario: which has run.
        since: number of the event to begin with; None: the first one after the host has booted.
    """
    first = scenario.booted if since is None else since
    rows = [(event.seq, event.time, event.cpu, _told(event)) for event in scenario.machine.trace.events]
    rows += _said(scenario)
    lines = [f"{'event':>6}  {'instruction':>11}  CPU  what"]
    for number, time, cpu, text in sorted(rows, key=lambda row: row[0]):
        if text and number >= first:
            lines.append(f"{number:>6}  {time:>11,}  {'-' if cpu is None else cpu:>3}  {text}")
    return "\n".join(lines)


def _told(event: Event) -> str:
    match event:
        case Step():
            return ""
        case IpiSent(vector=vector) if vector in _OWN_AFFAIRS:
            return ""
        case Fault(vector=vector, error=error, rip=rip, cr2=cr2):
            words = f"raises {EXCEPTIONS.get(vector, f'exception {vector}')} at {rip:#x}"
            words += "" if error is None else f", error code {error:#x}"
            return f"{words}, address {cr2:#x}" if vector == PAGE_FAULT else words
        case _:
            return say(event)


def _said(scenario: Scenario) -> list[tuple[int, int, int | None, str]]:
    """The lines on the consoles of the spawned kernels, each at its first character."""
    rows = []
    for name, console in scenario.recording.consoles.items():
        start = 0
        for line in console.text.splitlines(keepends=True):
            event = scenario.machine.trace.events[console.events[start]]
            start += len(line)
            if name != "host":
                rows.append((event.seq, event.time, event.cpu, f"prints: {line.strip()}"))
    return rows
