"""What an answer does: to every machine that its check makes, and for inputs that are near those of its check.

A mutant that passes may have changed nothing that matters. Two answers have the same effect if each machine ends in the
same state: memory (but the answer's own code and what lies on the stack below it), the registers that a function must
hand back, those that say how the CPU works, and the same events, in whatever order: consoles, interrupts, faults.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from mklab.lab import guestcode, guestrun
from mklab.lab.checking.answer import Answer, AnswerError
from mklab.lab.exercise import Exercise
from mklab.lab.verdict import Verdict
from mklab.machine.machine import Machine
from mklab.trace import Event, Halted, Input, Slice, Step

__all__ = ["Effect", "effect", "same_for_inputs"]

_PRESERVED = ("rax", "rbx", "rbp", "rsp", "r12", "r13", "r14", "r15")
"""A function's result, and what it must leave as it was (System V ABI)."""
_CONTROL = ("cr0", "cr3", "cr4", "efer", "cs", "ds", "es", "ss", "fs", "gs", "gdtr", "idtr")
_QUIET = (Slice, Step, Halted, Input)
"""Events that say how far something was at some time, or what a check has put there, and not what was done."""
_PAGE = 4096
_INPUTS = 150


@dataclass
class Effect:
    """What became of an answer.

    Attributes:
        verdict: of its check.
        machines: for each machine that was made, a digest of how it ended.
        codes: the machine code that was built.
        calls: the functions that were called with plain data, and with what.
        acts: whether the answer itself acts on the machines: something was offered to it, or its lines are carried out.
    """

    verdict: Verdict
    machines: list[str] = field(default_factory=list)
    codes: list[bytes] = field(default_factory=list)
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    acts: bool = False

    def same_as(self, other: "Effect") -> str:
        """Why both have the same effect; empty where they have not, or nothing shows it."""
        if self.codes and self.codes == other.codes:
            return "the same machine code"
        if self.machines and self.machines == other.machines and (self.codes or self.acts):
            return "the same effect on the machine"
        return ""


@dataclass
class _Watched:
    machines: list[Machine] = field(default_factory=list)
    codes: list[guestcode.Code] = field(default_factory=list)
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    asked: bool = False


@contextmanager
def _watching() -> Iterator[_Watched]:
    """See which machines are made, which code is built, and which functions are called."""
    seen = _Watched()
    make, compile_, call = Machine.__init__, guestcode.compiled, Answer.call

    def made(machine: Machine, *args: Any, **more: Any) -> None:
        make(machine, *args, **more)
        seen.machines.append(machine)

    def compiled(*args: Any, **more: Any) -> guestcode.Code:
        code = compile_(*args, **more)
        seen.codes.append(code)
        return code

    def called(answer: Answer, name: str, *args: Any, **offers: Any) -> Any:
        seen.calls.append((name, args))
        seen.asked |= bool(offers)
        return call(answer, name, *args, **offers)

    with (
        mock.patch.object(Machine, "__init__", made),
        mock.patch.object(guestcode, "compiled", compiled),
        mock.patch.object(Answer, "call", called),
    ):
        yield seen


def effect(exercise: Exercise, text: str, seed: int = 0) -> Effect:
    """Check an answer, and see what it does."""
    with _watching() as seen:
        verdict = exercise.examine(text, seed)
        machines = [_digest(machine, seen.codes) for machine in seen.machines]
    acts = seen.asked or exercise.kind == "parsons"
    return Effect(verdict, machines, [code.data for code in seen.codes], seen.calls, acts)


def _digest(machine: Machine, codes: list[guestcode.Code]) -> str:
    """How a machine has ended."""
    found = hashlib.sha256()
    hidden = [(code.base, code.base + guestrun.LANDING) for code in codes]
    for start, size in machine.memory.ranges:
        data = bytearray(machine.memory.read(start, size))
        for first, last in hidden:
            low, high = max(first, start) - start, min(last, start + size) - start
            if low < high:
                data[low:high] = bytes(high - low)
        _hide_below_stacks(machine, start, data)
        found.update(data)
    for cpu in machine.cpus:
        registers = machine.registers(cpu.index)
        names = (*_PRESERVED, *_CONTROL)
        found.update(repr((cpu.to_dict(), [getattr(registers, one) for one in names])).encode())
    found.update("\n".join(sorted(_said(event) for event in machine.trace.events)).encode())
    return found.hexdigest()


def _said(event: Event) -> str:
    """An event without when it was; nothing of those that say how far something was."""
    if isinstance(event, _QUIET):
        return ""
    return repr({key: value for key, value in event.to_dict().items() if key not in ("seq", "time", "rip")})


def _hide_below_stacks(machine: Machine, start: int, data: bytearray) -> None:
    """What lies below a stack pointer is nobody's."""
    for cpu in machine.cpus:
        registers = machine.registers(cpu.index)
        top = registers.ss.base + registers.rsp - start if cpu.mode != "long" else registers.rsp - start
        low = max(0, top - _PAGE)
        if 0 < top <= len(data):
            data[low:top] = bytes(top - low)


def same_for_inputs(exercise: Exercise, one: str, other: str, calls: list[tuple[str, tuple[Any, ...]]]) -> str:
    """Compare two answers on inputs near those of the check.

    Returns:
        Why they are the same; empty where they are not.
    """
    chance = random.Random(exercise.id)  # noqa: S311
    wanted = [chance.choice(calls) for _ in range(_INPUTS)] if calls else []
    tried = 0
    with Answer(one, exercise.prelude) as first, Answer(other, exercise.prelude) as second:
        for name, args in [*calls, *((name, _near(args, chance)) for name, args in wanted)]:
            try:
                if _result(first, name, args) != _result(second, name, args):
                    return ""
            except _GoneError:
                return ""
            tried += 1
    return f"the same results for {tried} inputs" if tried else ""


class _GoneError(Exception):
    """An answer's process came to an end."""


def _result(answer: Answer, name: str, args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "value", answer.call(name, *args)
    except AnswerError as error:
        if error.kind != "raised":
            raise _GoneError from error
        return "raised", error.type


def _near(value: Any, chance: random.Random) -> Any:
    """Plain data of the same kind, with something in it changed."""
    match value:
        case bool() | None:
            return value
        case int():
            return max(0, value + chance.choice((0, 0, 0, 1, -1, 2, 0x1000, -0x1000, value, -value)))
        case tuple() | list() if value:
            parts = [_near(one, chance) for one in value]
            return type(value)(parts)
        case dict():
            return {key: _near(one, chance) for key, one in value.items()}
        case bytes() if value:
            place = chance.randrange(len(value))
            return value[:place] + bytes([chance.randrange(256)]) + value[place + 1 :]
    return value
