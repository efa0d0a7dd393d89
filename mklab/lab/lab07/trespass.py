"""Exercise 07.7: a kernel writes into another one's memory, and that one fails later, elsewhere (defects 14 and 37)."""

from collections.abc import Callable, Mapping
from typing import Any

from mklab.guest.abi import MULTIKERNEL_VECTOR, Work
from mklab.kernel.host import minikernel_image
from mklab.lab.forms import values
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.lab07.numbers import chosen
from mklab.lab.lab07.runs import SeededRun, first_store, window
from mklab.lab.scenario import Act
from mklab.machine.fault import PROTECTION
from mklab.machine.process import Call
from mklab.trace import Fault, MessageTaken

__all__ = ["EXERCISE", "Later"]

_GATE = 16
"""Bytes of a gate in an IDT of 64-bit mode (SDM, "IDT Descriptors")."""
_ERROR = MULTIKERNEL_VECTOR << 3 | 2 | 1
"""What #GP says of the gate: its index, in the IDT, asked for from outside (SDM "Error Code")."""
_BEFORE, _BETWEEN = (1, 2, 3), (1, 2)
_OTHER = {"kernel 1": "kernel 2", "kernel 2": "kernel 1"}


class Later(SeededRun):
    """Two kernels beside a host; messages come and go, until one of the two takes an exception.

    The seed decides which of the two it is, on which CPUs they run, and how many messages there are.
    """

    def __init__(self, seed: int = 0) -> None:
        self.culprit = chosen("culprit", seed, (1, 2))
        super().__init__(2, seed)

    @property
    def victim(self) -> int:
        """The number of the kernel that fails."""
        return 3 - self.culprit

    @property
    def gate(self) -> int:
        """Where the victim's gate of vector 0xEA lies."""
        image = minikernel_image(window(self.victim).start, self.victim, [self.cpu_of(self.victim)])
        return image.symbols["idt"] + MULTIKERNEL_VECTOR * _GATE

    def _planned(self) -> list[Act]:
        acts = self._spawning(1) + self._spawning(2)
        for number in range(chosen("messages before", self.seed, _BEFORE)):
            acts += [*self._message(1 + number % 2, b"before %d" % number), self._rest()]
        acts += [self._work(self._own_page), self._work(lambda: self.gate)]
        for number in range(chosen("messages between", self.seed, _BETWEEN)):
            acts += [*self._message(self.culprit, b"between %d" % number), self._rest()]
        failed = Act("write once more", self._last_message, lambda: bool(self.machine.trace.of(Fault)))
        return [*acts, failed, self._rest()]

    def _rest(self) -> Act:
        return Act("wait until every CPU waits", lambda: None)

    def _own_page(self) -> int:
        return self.host.kernel(f"kernel {self.culprit}").symbol("nodename")

    def _work(self, where: Callable[[], int]) -> Act:
        """The culprit's guest code stores zeros there."""

        def store() -> Call:
            kernel = self.host.kernel(f"kernel {self.culprit}")
            return kernel.submit_work(Work.STORE, [where(), _GATE], bytes(_GATE))

        return Act(f"let kernel {self.culprit} do its work", store, self._returned)

    def _last_message(self) -> None:
        self.host.submit_message(self.cpu_of(self.victim), b"are you there?")


def facts(seed: int) -> Mapping[str, Any]:
    """What really happened: the run goes on to the store into the victim's gate."""
    run = Later(seed)
    trace, victim = run.machine.trace, run.victim
    # Before the first message the victim fills its gates itself.
    stop = first_store(run, run.gate, _GATE, lambda _: bool(trace.of(MessageTaken)))
    found = {"gate": run.gate, "cpu": stop.cpu, "time": run.machine.time}
    return {"failed": run.cpu_of(victim), **found, "planned": f"kernel {victim}"}


EXERCISE = values(
    "07.7",
    "The failure and the fault",
    "memory",
    facts,
    (
        Value(
            "failed",
            "the number of the CPU that raised the exception",
            "The last lines of the story name it.",
            decimal=True,
        ),
        Value(
            "gate",
            "the physical address of the 16 bytes in which the CPU found no gate",
            "The error code of the exception names the entry: its bits 3 to 15 are the index, bit 1 says that it is in"
            " the IDT, bit 0 that an interrupt from outside asked for it. A gate has 16 bytes.",
        ),
        Value(
            "cpu",
            "the number of the CPU that wrote over the gate",
            "Stop at each store into these 16 bytes. The last stop before the exception is the one that counts.",
            decimal=True,
        ),
        Value(
            "time",
            "the virtual time (in instructions) right after that store",
            "machine.time at the last stop before the exception.",
            decimal=True,
        ),
        Value(
            "planned",
            "the name of the kernel for which this memory was planned",
            'In whose window does the address lie? Write the name as the story does: "kernel 1", for example.',
        ),
    ),
    (
        "The story ends with #GP. Its error code names the table and the entry that the CPU was looking at (SDM, 'Error"
        " Code').",
        "Error code = index * 8 + 2 for a gate of the IDT, and 1 more for an interrupt from outside. The gate is at"
        " IDTR's base + 16 * index. Who stored there"
        " last, stop_at with 'write ADDRESS 16' will show.",
        "Five lines: failed = a CPU, gate = the base + 16 * 0xea, cpu = the CPU at the last stop, time ="
        " machine.time there,"
        ' planned = "kernel ..." in quotes.',
    ),
    (
        Wrong(
            "the beginning of the table",
            lambda right: {"gate": right["gate"] - _GATE * MULTIKERNEL_VECTOR},
            "That is where the table begins. The entry that the CPU wanted lies further up: 16 bytes for each vector.",
        ),
        Wrong(
            "gates of 8 bytes",
            lambda right: {"gate": right["gate"] - 8 * MULTIKERNEL_VECTOR},
            "With 8 bytes for a gate you come to an entry half as far in. In 64-bit mode a gate has 16.",
        ),
        Wrong(
            "the error code as the index",
            lambda right: {"gate": right["gate"] + _GATE * (_ERROR - MULTIKERNEL_VECTOR)},
            "The error code itself is no index: its lowest three bits are flags, and the index begins at bit 3.",
        ),
        Wrong(
            "the error code as the offset",
            lambda right: {"gate": right["gate"] + _ERROR - _GATE * MULTIKERNEL_VECTOR},
            "The error code is no offset: its lowest three bits are flags, and the index begins at bit 3.",
        ),
        Wrong(
            "the gate of #GP",
            lambda right: {"gate": right["gate"] + _GATE * (PROTECTION - MULTIKERNEL_VECTOR)},
            "That is the gate of #GP, and the CPU found it: its handler ran. The error code names another one, which"
            " it did not find.",
        ),
        Wrong(
            "the writer's CPU",
            lambda right: {"failed": right["cpu"]},
            "That CPU has raised no exception at all.",
        ),
        Wrong(
            "the CPU that fails",
            lambda right: {"cpu": right["failed"]},
            "That CPU is where it shows: it looked for a gate and found zeros. It stored them there itself only when it"
            " was started, and something else than zeros.",
        ),
        Wrong(
            "the one who wrote the message",
            {"cpu": 0},
            "CPU 0 sent a message as it had done before, into the slot and not into the table. The message only brought"
            " the damage to light.",
        ),
        Wrong(
            "the writer's name",
            lambda right: {"planned": _OTHER.get(right["planned"])},
            "That is the kernel whose code made the store. The question is whose memory it went into.",
        ),
    ),
    passed="The store came first, in another kernel, and nothing noticed it: no page table, no check, no event. The"
    " exception came with the next message. What fails is not where the fault is; the plan says whose memory it"
    " was, and"
    " a watchpoint says who wrote.",
    given=lambda seed: f"Your run is lab07.Later({seed}).",
)
