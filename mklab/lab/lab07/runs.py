"""What the recorded runs of this lab have in common: kernels on CPUs that the student's seed chooses."""

from collections.abc import Callable

from mklab.errors import MklabError
from mklab.kernel.kexec import KexecSegment, LoadedImage
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.lab.lab07.numbers import chosen
from mklab.lab.scenario import Act, Scenario
from mklab.lab.session import timeline
from mklab.machine.machine import Machine, Stop
from mklab.machine.process import Call
from mklab.timeline.stops import MemoryWatch
from mklab.trace import MessageTaken

__all__ = ["SeededRun", "code", "first_store", "window"]

_ORDERS = ((1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1))
_NOTHING = LoadedImage("ELF64", 0, ())
"""kexec_load without a segment unloads."""


def window(number: int) -> range:
    """The memory of spawned kernel ``number`` (from 1)."""
    return range(HOST_END + (number - 1) * WINDOW, HOST_END + number * WINDOW)


class SeededRun(Scenario):
    """A scenario on four CPUs in which the seed chooses which kernel gets which CPU.

    Args:
        kernels: how many spawned kernels there is room for, 2 or 3.
        seed: of the student's numbers.

    Attributes:
        seed: as given.
    """

    def __init__(self, kernels: int, seed: int = 0) -> None:
        self.seed = seed
        self._order = self.order(seed)
        super().__init__(4, kernels)

    @classmethod
    def order(cls, seed: int) -> tuple[int, int, int]:
        """The CPUs of kernels 1, 2 and 3."""
        return chosen(f"{cls.__name__}: CPUs", seed, _ORDERS)

    def cpu_of(self, number: int) -> int:
        """The CPU on which spawned kernel ``number`` (from 1) is started."""
        return self._order[number - 1]

    # Acts

    def _off(self, number: int) -> Act:
        cpu = self.cpu_of(number)
        return Act(f"take CPU {cpu} offline", lambda: self.host.submit("cpu_down", {"cpu": cpu}), self._returned)

    def _load(self, number: int, image: LoadedImage) -> Act:
        """Load ``image`` as kernel ``number``, and plan its CPU for it."""

        def load() -> Call:
            self.machine.plan(self.cpu_of(number), f"kernel {number}")
            return self.host.submit_load(image)

        return Act(f"load kernel {number}", load, self._returned)

    def _kick(self, number: int, done: Callable[[], bool] | None = None) -> Act:
        cpu = self.cpu_of(number)
        kick = "multikernel_kexec"
        return Act(f"kick CPU {cpu}", lambda: self.host.submit(kick, {"cpu": cpu}), done or self._returned)

    def _unload(self) -> Act:
        return Act("unload", lambda: self.host.submit_load(_NOTHING), self._returned)

    def _message(self, number: int, text: bytes) -> list[Act]:
        """The host writes to kernel ``number``, and waits until the message was taken: other CPUs need not be idle."""
        cpu = self.cpu_of(number)

        def taken() -> bool:
            payload = text.hex()
            return any(one.cpu == cpu and one.payload == payload for one in self.machine.trace.of(MessageTaken))

        return [
            Act(f"write to kernel {number}", lambda: self.host.submit_message(cpu, text), self._returned),
            Act(f"let kernel {number} look into its slot", lambda: None, taken),
        ]


def code(number: int, instructions: str) -> LoadedImage:
    """Machine code (hex digits) as the image of kernel ``number``, entered at its first byte."""
    base = window(number).start
    return LoadedImage("ELF64", base, (KexecSegment(bytes.fromhex(instructions), base, 0x1000),))


def first_store(run: Scenario, address: int, size: int, since: Callable[[Machine], bool]) -> Stop:
    """Let ``run`` go on, from its beginning, to the first store that changes a byte of those, once ``since`` holds.

    Raises:
        MklabError: there is none.
    """
    line = timeline(run.machine)

    def once() -> Stop | None:
        asked = iter([False])
        stop = line.run(until=lambda _: next(asked, True))
        return None if stop.reason == "until" else stop

    while not run.finished:
        line.stops = [MemoryWatch(address, size)] if since(run.machine) else []
        stop = run.advance(once)
        if stop is not None:
            return stop
    raise MklabError(f"nobody has stored anything at {address:#x}")
