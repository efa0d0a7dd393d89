"""Exercise 07.6: a kernel that ran well dies when another one is started (defect 6)."""

from collections.abc import Mapping
from typing import Any

from mklab.lab.forms import values
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.lab07.runs import SeededRun, code, first_store, window
from mklab.lab.scenario import Act
from mklab.lab.session import timeline
from mklab.trace import Fault

__all__ = ["EXERCISE", "Sudden"]

_SMALL = "b900010000e2fe0f20d80f22d8ebf1"
"""1: mov $256, %ecx; loop .; mov %cr3, %rax; mov %rax, %cr3; jmp 1b."""
_NUMBER = 2


class Sudden(SeededRun):
    """Kernel 1 is a minikernel; kernel 2 is small, and keeps the page tables it was entered with; then comes kernel 3.

    Before that the host writes to kernel 1 a few times: how often, the seed decides.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(3, seed)

    def _planned(self) -> list[Act]:
        acts = self._spawning(1)
        acts += [self._off(_NUMBER), self._load(_NUMBER, code(_NUMBER, _SMALL)), self._kick(_NUMBER)]
        acts += [Act("wait until it runs", lambda: None, self._small_runs), self._unload()]
        for number in range(1 + self.seed % 3):
            acts += self._message(1, b"all is well %d" % number)
        return [*acts, *self._spawning(3)[:2], self._kick(3, lambda: self.machine.stopped is not None)]

    def _small_runs(self) -> bool:
        return self.machine.cpus[self.cpu_of(_NUMBER)].owner == f"kernel {_NUMBER}"


def facts(seed: int) -> Mapping[str, Any]:
    """What really happened, from two runs: in one the death is looked at, in the other the store is waited for."""
    run = Sudden(seed)
    line = timeline(run.machine)
    run.run()
    fault = next(iter(run.machine.trace.of(Fault)))
    line.seek(fault.seq - 1)
    died, table = run.cpu_of(_NUMBER), run.machine.registers(run.cpu_of(_NUMBER)).cr3
    again = Sudden(seed)
    stop = first_store(again, table, 8, lambda machine: machine.cpus[died].owner == "kernel 2")
    return {"died": fault.cpu, "table": table, "writer": stop.cpu, "time": again.machine.time, "cause": "C"}


EXERCISE = values(
    "07.6",
    "The kernel that died of another's birth",
    "diagnose",
    facts,
    (
        Value(
            "died",
            "the number of the CPU that shut down",
            "Look at the last lines of the story: who raised #PF?",
            decimal=True,
        ),
        Value(
            "table",
            "the physical address of the page table that this CPU was using (its CR3)",
            "Take the run back, until this CPU is alive again, and look at its registers.",
        ),
        Value(
            "writer",
            "the number of the CPU that was the first to change the table's first entry after the victim was started",
            "Stop at each store into the first 8 bytes of the table, and see which CPU stands there.",
            decimal=True,
        ),
        Value(
            "time",
            "the virtual time (in instructions) right after that store",
            "machine.time where the watchpoint stops first after this CPU has entered kernel 2.",
            decimal=True,
        ),
        Value("cause", "the letter of the cause", "Whose code is at the address where the writer stands?"),
    ),
    (
        "The last lines of the story name the CPU that shut down, the exception, and the address that it could not"
        " reach. The address is that of the instruction itself.",
        "An instruction that could be fetched a moment ago cannot be fetched now: so its translation has changed. CR3"
        " says where the tables are. Ask who has written there since: stop_at with 'write ADDRESS 8'.",
        "Five lines: died = a CPU, table = CR3 of that CPU, writer = another CPU, time = machine.time at the third"
        ' group of stops, cause = a letter in quotes, as in "A".',
    ),
    (
        Wrong(
            "bad tables from the start",
            {"cause": "B"},
            "The tables were right: the small kernel executed thousands of instructions on them before they changed.",
        ),
        Wrong(
            "its own bug",
            {"cause": "A"},
            "The small kernel's five instructions store nothing at all, and the store was made on another CPU.",
        ),
        Wrong(
            "the load",
            {"cause": "D"},
            "kexec_load copied kernel 3 to its own window, far above; the tables lie below 1 MiB.",
        ),
        Wrong(
            "the host's CPU",
            {"writer": 0},
            "CPU 0 sent INIT and SIPI, and wrote entry and boot_params into the trampoline. It did not touch the"
            " tables: the CPU that it started did.",
        ),
        Wrong(
            "the victim itself",
            lambda right: {"writer": right["died"]},
            "That is who filled the tables when it was started itself. Go on to the next stop: the same code runs"
            " again, on another CPU.",
        ),
        Wrong(
            "the one that was started",
            lambda right: {"died": right["writer"]},
            "That CPU was being started; it is the one that did the damage, and it was still alive when the platform"
            " was reset.",
        ),
        Wrong(
            "the trampoline's first page",
            lambda right: {"table": right["table"] - 0x2000},
            "That is where the trampoline begins. Its tables lie two pages further, where CR3 points.",
        ),
        Wrong(
            "CR3 after the reset",
            {"table": 0},
            "A reset clears CR3. Look at the CPU before it: take the run back, twice if once is not enough.",
        ),
        Wrong(
            "the next level",
            lambda right: {"table": right["table"] + 0x1000},
            "That is the table behind it, the PDPT. CR3 points to the first one.",
        ),
        Wrong(
            "what could not be reached",
            {"table": window(_NUMBER).start + 5},
            "That is the address that the CPU could not fetch from. The question is where the tables lie that should"
            " have translated it.",
        ),
        Wrong(
            "the kernel's name",
            {"died": f"kernel {_NUMBER}"},
            "That is the kernel. The CPU is asked for: the first line above the story says on which one it runs.",
        ),
        Wrong(
            "the CPU of kernel 1",
            lambda right: {"writer": 1 + 2 + 3 - right["died"] - right["writer"]},
            "That CPU filled the tables when kernel 1 was started, long before. Go on to the next stops.",
        ),
    ),
    passed="The trampoline clears its six pages of tables for every CPU that it starts, and never asks whether another"
    " one still runs on them. A kernel is safe as soon as it has tables of its own; the minikernel builds its own"
    " before"
    " anything else. On the real kernel the second kick reset the machine at the first try.",
    given=lambda seed: f"Your run is lab07.Sudden({seed}). Kernel 2 runs on CPU {Sudden.order(seed)[1]}.",
)
