"""What a process on the host can do to start kernels, and a machine whose CPUs are as slow as the check wants them."""

from collections.abc import Sequence
from typing import Any

from mklab.errors import MklabError, require
from mklab.kernel.host import Host
from mklab.kernel.layout import BOOT_PAGE_TABLES, FREE_PAGES, INSTRUCTIONS_PER_MICROSECOND
from mklab.lab.lab07.runs import window
from mklab.machine.machine import Machine
from mklab.machine.schedule import KINDS, RoundRobin

__all__ = ["MILLISECOND", "ImpatientError", "Shell", "Uneven", "busy_machine"]

MILLISECOND = 1000 * INSTRUCTIONS_PER_MICROSECOND
"""Instructions."""
_BUSY = 3
_TURN = 10_000
_LOOP = bytes.fromhex("ebfe")
_MOST = 1000
_RAM = 80 << 20


class ImpatientError(MklabError):
    """More was slept than there is any need for."""


class Uneven(RoundRobin):
    """Each CPU in turn, but some CPUs get short turns: they are slow, or have much to wait for.

    Args:
        quantum: instructions of a turn.
        share: instructions of a turn of the ``slow`` CPUs.
        slow: which.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(self, quantum: int = 1000, share: int = 1000, slow: Sequence[int] = ()) -> None:
        super().__init__(quantum)
        require("share", share, 1, quantum, " instructions (quantum)")
        self.share, self.slow = share, tuple(slow)

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """The next CPU, and its turn."""
        cpu, turn = super().choose(runnable)
        return cpu, self.share if cpu in self.slow else turn

    def state(self) -> dict[str, Any]:
        """Turns, slow CPUs and the last choice."""
        return super().state() | {"kind": "Uneven", "share": self.share, "slow": list(self.slow)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        if state["kind"] != "Uneven":
            raise ValueError(f"the state must be of an Uneven schedule, not {state['kind']!r}")
        super().restore(state | {"kind": "RoundRobin"})
        self.share, self.slow = state["share"], tuple(state["slow"])


KINDS["Uneven"] = Uneven


class Shell(Host):
    """The host, as a process with CAP_SYS_BOOT uses it.

    Args:
        machine: on which a host has booted.
        patience: milliseconds that may be slept in all.

    Attributes:
        slept: milliseconds slept so far.
        reads: the addresses that were read.
        saw_entry: whether the image's ``boot_params`` was read and was not 0: its CPU had entered it.
    """

    def __init__(self, machine: Machine, patience: int = _MOST) -> None:
        super().__init__(machine)
        self.patience = patience
        self.slept = 0
        self.reads: set[int] = set()
        self.saw_entry = False

    def unload(self) -> None:
        """kexec_load without a segment: takes up to ten images off the list, and stops nobody."""
        self.kexec_load(0, [])

    def msleep(self, ms: int) -> None:
        """Sleep for ``ms`` milliseconds of virtual time; the machine goes on.

        Raises:
            ValueError: ``ms`` is not 1 to 1000.
            ImpatientError: more was slept than is needed.
            MklabError: the platform was reset.
        """
        require("ms", ms, 1, _MOST, " milliseconds")
        for _ in range(ms):
            if self.slept >= self.patience:
                raise ImpatientError(f"{self.slept} ms are over")
            self.slept += 1
            if self.machine.run(MILLISECOND).reason == "reset":
                raise MklabError(f"the platform was reset while the process slept: {self.machine.stopped}")

    def read(self, address: int, size: int) -> bytes:
        """The bytes at physical ``address``, as a driver in the host reads them.

        Raises:
            ValueError: not all of it is RAM.
        """
        data = self.machine.memory.read(address, size)
        self.reads.add(address)
        images = [one for name, one in self.machine.images.items() if name != self.name]
        entered = any(one.symbols.get("boot_params") == address for one in images)
        self.saw_entry = self.saw_entry or (entered and any(data))
        return data


def busy_machine(share: int = _TURN, slow: Sequence[int] = (1, 2)) -> Machine:
    """Four CPUs, a host on them that has booted, and a program of the host's that keeps CPU 3 busy.

    Args:
        share: instructions of a turn of the ``slow`` CPUs; CPU 3 gets 10,000.
        slow: which.
    """
    machine = Machine(4, _RAM)
    Host(machine).boot()
    place = FREE_PAGES[1] - 0x1000
    machine.poke(place, _LOOP)
    registers = machine.registers(_BUSY)
    # The host's own tables forbid it to execute data.
    registers.cr3, registers.rip = BOOT_PAGE_TABLES, place
    machine.patch_registers(_BUSY, registers)
    machine.schedule = Uneven(_TURN, share, slow)
    return machine


assert window(2).stop <= _RAM
