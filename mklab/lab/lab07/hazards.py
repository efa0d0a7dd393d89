"""Runs in which things go wrong, and every call returns 0: two quick kicks, and the run of exercise 07.8."""

from mklab.lab.lab07.numbers import chosen
from mklab.lab.lab07.runs import SeededRun, code
from mklab.lab.scenario import Act
from mklab.machine.schedule import RoundRobin, Schedule

__all__ = ["Hasty", "Hazards"]

_QUANTUM = 100
"""Short turns: the host is done with a kick before the CPU has left the trampoline, as on the real kernel."""
_SLEEP = "b8000007000f22d8faf4ebfd"
"""A small kernel: mov $0x70000, %eax; mov %rax, %cr3; cli; 1: hlt; jmp 1b. On those tables no kick disturbs it."""


_FIRST = (b"hi", b"hello", b"hey there", b"good morning", b"here is the host")
_LAST = (b"hello?", b"one more", b"all right?", b"are you well?", b"still there?")
"""What the host writes to kernel 1 first and last: of different lengths, so that later events have other numbers."""


class _Quick(SeededRun):
    """A run with short turns, in which kernels that only sleep are kicked one right after the other."""

    def reset(self, schedule: Schedule | None = None) -> None:
        """Power off and on again; the host boots."""
        super().reset(schedule)
        self.machine.schedule = schedule or RoundRobin(_QUANTUM)

    def _kicked(self, one: int, two: int) -> list[Act]:
        acts = [self._off(one), self._off(two)]
        for number in (one, two):
            acts += [self._load(number, code(number, _SLEEP)), self._kick(number), self._unload()]
        return [*acts, self._rest()]

    def _rest(self) -> Act:
        return Act("wait until every CPU waits", lambda: None)


class Hasty(_Quick):
    """Kernel 1 is kicked, and right after it kernel 2; both only sleep."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(2, seed)

    def _planned(self) -> list[Act]:
        return self._kicked(1, 2)


class Hazards(_Quick):
    """Kernel 1 is a minikernel; kernels 2 and 3 only sleep. The seed chooses the CPUs, and first and last words."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(3, seed)

    def _planned(self) -> list[Act]:
        return [
            *self._spawning(1),
            *self._message(1, chosen("first words", self.seed, _FIRST)),
            self._rest(),
            *self._twice(),
            *self._kicked(2, 3),
            *self._message(1, chosen("last words", self.seed, _LAST)),
            self._rest(),
            self._online(1),
            self._rest(),
        ]

    def _twice(self) -> list[Act]:
        """The host writes to kernel 1 twice in a row."""
        cpu = self.cpu_of(1)
        write = Act("write twice", lambda: self.host.submit_message(cpu, b"order", 100, repeat=1), self._returned)
        return [write, self._rest()]

    def _online(self, number: int) -> Act:
        cpu = self.cpu_of(number)
        return Act(f"bring CPU {cpu} online", lambda: self.host.submit("cpu_up", {"cpu": cpu}), self._returned)
