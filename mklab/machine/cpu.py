"""A CPU as plain data; its registers are the engine's."""

import enum
from dataclasses import dataclass
from typing import Any

__all__ = ["Cpu", "CpuState"]


class CpuState(enum.StrEnum):
    """What a CPU is doing (SDM "Multiple-Processor Initialization", "HLT", "Shutdown")."""

    WAIT_FOR_SIPI = "wait-for-SIPI"
    RUNNING = "running"
    HALTED = "halted"
    SHUTDOWN = "shut down"


@dataclass
class Cpu:
    """One CPU.

    Attributes:
        index: its place in the machine, from 0; the BSP is 0.
        apic_id: its physical id, by which IPIs name it.
        state: what it is doing.
        mode: ``real``, ``protected`` or ``long``, as last seen.
        owner: the kernel whose memory it was last seen to enter, or None.
        planned: the kernel it is meant for, or None.
        nmi_pending: an NMI waits to be taken.
        nmi_blocked: the handler of an NMI runs: another one waits until IRET.
    """

    index: int
    apic_id: int
    state: CpuState = CpuState.WAIT_FOR_SIPI
    mode: str = "real"
    owner: str | None = None
    planned: str | None = None
    nmi_pending: bool = False
    nmi_blocked: bool = False

    @property
    def bsp(self) -> bool:
        """Whether this is the bootstrap processor, as long as no software changes the flag in IA32_APIC_BASE."""
        return self.index == 0

    def to_dict(self) -> dict[str, Any]:
        """The CPU as plain data."""
        return {**vars(self), "state": str(self.state)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Cpu":
        """The inverse of :meth:`to_dict`."""
        return cls(**{**data, "state": CpuState(data["state"])})
