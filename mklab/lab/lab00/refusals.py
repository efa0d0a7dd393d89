"""Exercise 00.4: two calls that returned -EBUSY, each for a reason of its own; the seed changes the numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from mklab.kernel.host import Host
from mklab.lab import forms
from mklab.lab.defects.stage import STOP, booted, load_code, outcome, window
from mklab.lab.forms.values import Value, Wrong
from mklab.trace import Step

__all__ = ["two_refusals"]

_ONLINE, _LOCKED, _TAKEN, _NOTHING = "ABCD"
"""The causes to choose from, as the lab's text lists them."""
_LOAD, _TO_OOPS = 15, 6
"""Events from one load to the next, and from taking the lock to the page fault."""


@dataclass(frozen=True)
class _Facts:
    """Two runs, as tables, and what is to be found in them."""

    tables: tuple[str, str]
    values: Mapping[str, Any]


def _steps(host: Host, begin: int) -> list[Step]:
    """The steps of the host's calls, those of which nothing can be learned left out."""
    dull = {("kexec_load", "check"), ("kexec_load", "allocate"), ("reboot", "check")}
    steps = [event for event in host.machine.trace.of(Step) if event.seq >= begin]
    return [one for one in steps if (one.function, one.step) not in dull]


def _table(steps: list[Step]) -> str:
    lines = [f"{'event':>6}  {'function':<18}  {'step':<8}  what came of it"]
    for one in steps:
        # The errno is what a caller gets; why, is the question.
        detail = one.detail.partition(":")[0] if one.detail.startswith("-E") else one.detail
        lines.append(f"{one.seq:>6}  {one.function:<18}  {one.step:<8}  {detail}")
    return "\n".join(lines)


def _while_online(cpus: int, cpu: int, other: int, loads: int) -> list[Step]:
    """A kick of a CPU that the host runs on; another one is offline."""
    host = booted(cpus)
    begin = host.machine.trace.count
    host.cpu_down(other)
    for number in range(loads):
        load_code(host, STOP, window(number + 1))
    outcome(host.multikernel_kexec, cpu)
    return _steps(host, begin)


def _while_locked(cpus: int, cpu: int, loads: int) -> list[Step]:
    """A kick after a load over the host's own code, which was killed with kexec_lock held (rfc-observed, b)."""
    host = booted(cpus)
    begin = host.machine.trace.count
    for number in range(loads):
        load_code(host, STOP, window(number + 1))
    outcome(load_code, host, STOP, host.symbol("asm_sysvec_multikernel") & ~0xFFF)
    host.cpu_down(cpu)
    outcome(host.multikernel_kexec, cpu)
    return _steps(host, begin)


@cache
def _facts(seed: int) -> _Facts:
    chance = Random(seed)  # noqa: S311
    cpus = chance.randint(3, 6)
    cpu, other = chance.sample(range(1, cpus), 2)
    loads = chance.randint(1, 2)
    online, locked = _while_online(cpus, cpu, other, loads), _while_locked(cpus, cpu, loads)
    held = [one.seq for one in locked if (one.function, one.step) == ("kexec_load", "lock")][-1]
    tables, causes = [_table(online), _table(locked)], [_ONLINE, _LOCKED]
    if chance.random() < 0.5:
        tables.reverse()
        causes.reverse()
    return _Facts((tables[0], tables[1]), {"run_1": causes[0], "run_2": causes[1], "taken": held})


def _given(seed: int) -> str:
    first, second = _facts(seed).tables
    return f"Run 1\n{first}\n\nRun 2\n{second}"


def _values(seed: int) -> Mapping[str, Any]:
    return _facts(seed).values


def _swapped(right: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"run_1": right["run_2"], "run_2": right["run_1"]}


def _instead(cause: str, by: str) -> Any:
    """The right causes, with one of them mistaken for another."""

    def change(right: Mapping[str, Any]) -> Mapping[str, Any]:
        name = next(one for one in ("run_1", "run_2") if right[one] == cause)
        return {name: by}

    return change


two_refusals = forms.values(
    "00.4",
    "Busy, twice",
    "diagnose",
    _values,
    (
        Value("run_1", "the letter of the cause in run 1", "At which step did multikernel_kexec end in run 1?"),
        Value("run_2", "the letter of the cause in run 2", "At which step did multikernel_kexec end in run 2?"),
        Value(
            "taken",
            "the number of the event at which the lock was taken that nobody gave back",
            "Pair the lines: which 'kexec_lock taken' has no 'kexec_lock released' after it?",
        ),
    ),
    (
        "Look at the last line of each run: it has the same errno, and another step.",
        "multikernel_kexec asks first whether the CPU is online, and only then takes kexec_lock. Who got as far as the"
        " lock had an offline CPU.",
        'Three lines: run_1 = "A", run_2 = "B" or the other way round, taken = the number of an event.',
    ),
    (
        Wrong(
            "swapped",
            _swapped,
            "The errno is the same, but the two calls ended at different steps: only one of them got as far as the"
            " lock.",
        ),
        Wrong(
            "another kernel on the CPU, for online",
            _instead(_ONLINE, _TAKEN),
            "No call has started another kernel there, and Linux keeps no record that could say so: what it asked is"
            " whether the CPU is its own.",
        ),
        Wrong(
            "another kernel on the CPU, for the lock",
            _instead(_LOCKED, _TAKEN),
            "No call has started another kernel there. The call went past the question about the CPU, and met something"
            " else that was taken.",
        ),
        Wrong(
            "no image, for online",
            _instead(_ONLINE, _NOTHING),
            "An image is in the list: see the step install. And without one the errno would be EINVAL.",
        ),
        Wrong(
            "no image, for the lock",
            _instead(_LOCKED, _NOTHING),
            "The list was not even looked at: that step, choose, comes after the lock. Without an image the errno would"
            " be EINVAL.",
        ),
        Wrong(
            "the lock of the load before",
            lambda right: {"taken": right["taken"] - _LOAD},
            "That call gave the lock back in the end",
        ),
        Wrong(
            "where the call died",
            lambda right: {"taken": right["taken"] + _TO_OOPS},
            "There the call died. It had taken the lock a few steps before",
        ),
    ),
    passed="Two causes, one errno. In one run the CPU was the host's own. In the other a kexec_load met the host's own"
    " code, which is read-only, and was killed where it stood: kexec_lock is held for ever, and no kexec call of this"
    " host will succeed again. A Linux with the RFC's patches was seen to do the same.",
    given=_given,
)
