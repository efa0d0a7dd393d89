"""Kernel functions in process context: they advance in named steps over plain data.

What the RFC does on behalf of a system call (``kexec_load``, the kick) is Python here, named after Linux's functions.
A :class:`Call` is such a function under way on one CPU. It holds plain data only, so a snapshot can fall between two
steps, and the schedule can let other CPUs run there: a CPU that has a call and nothing else to do performs one step
when its turn comes.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Call", "KernelFunction"]


@dataclass
class Call:
    """A kernel function under way.

    Attributes:
        function: its Linux name, by which it is registered with the machine.
        cpu: the CPU in whose process context it runs.
        step: the name of the next step; empty when it is done.
        values: arguments and local variables, plain data.
        wake: virtual time before which it sleeps.
        result: what it returned, once done.
        errno, reason: the refusal, if it was refused: errno (positive) and words.
    """

    function: str
    cpu: int
    step: str
    values: dict[str, Any] = field(default_factory=dict)
    wake: int = 0
    result: int = 0
    errno: int = 0
    reason: str = ""

    @property
    def done(self) -> bool:
        """Whether it has returned."""
        return not self.step

    def to_dict(self) -> dict[str, Any]:
        """The call as plain data."""
        return dict(vars(self))


class KernelFunction(Protocol):
    """The code of a kernel function, registered by name; it holds no state.

    Attributes:
        first: the name of its first step.
    """

    first: str

    def step(self, call: Call) -> str:
        """Perform the step that ``call`` names.

        Returns:
            What was done, in words, for the trace. ``call.step`` names the next step then, or is empty.

        Raises:
            KexecError: the kernel refuses; the call ends with that errno.
        """
