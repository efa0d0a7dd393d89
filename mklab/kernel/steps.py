"""Kernel functions, advancing in named steps."""

from typing import TYPE_CHECKING

from mklab.errors import KexecError
from mklab.kernel.instance import Kernel
from mklab.kernel.layout import INSTRUCTIONS_PER_MICROSECOND
from mklab.machine.process import Call

if TYPE_CHECKING:
    from mklab.kernel.host import Host

__all__ = ["SteppedFunction"]

_POLL = 10
"""Microseconds between two looks."""
_PATIENCE = 9_000
"""Microseconds after which a wait is said to be one for ever: before whoever waits for the call gives up."""


class SteppedFunction:
    """A kernel function whose steps are its methods; ``first`` names the one it begins with.

    A step does one thing, sets ``call.step`` to the name of the next (or to nothing: the function returns
    ``call.result``), and says what it did. It keeps nothing in Python: locals are ``call.values``, the rest is in guest
    RAM.
    """

    first = "check"

    def __init__(self, host: "Host") -> None:
        self.host = host

    def step(self, call: Call) -> str:
        """Perform the step that ``call`` names."""
        detail: str = getattr(self, call.step)(call)
        return detail

    def kernel(self, call: Call) -> Kernel:
        """The kernel in whose process context ``call`` runs."""
        return Kernel(self.host.machine, call.values.get("kernel", self.host.name))

    def sleep(self, call: Call, microseconds: int) -> None:
        """The next step comes ``microseconds`` of virtual time later (udelay)."""
        call.wake = self.host.machine.time + microseconds * INSTRUCTIONS_PER_MICROSECOND

    def poll(self, call: Call, failure: str, code: int = 0) -> str:
        """The same step again, a little later, while something has not happened yet.

        Args:
            call: the call.
            failure: what did not happen.
            code: with which errno Linux gives up; 0: never, so the call does not return.

        Raises:
            KexecError: it has waited long enough, and ``code`` is not 0.
        """
        now = self.host.machine.time
        if now - call.values.setdefault("since", now) < _PATIENCE * INSTRUCTIONS_PER_MICROSECOND:
            self.sleep(call, _POLL)
            return "not yet"
        if code:
            raise KexecError(code, call.function, failure)
        call.step, call.reason = "", f"it waits for ever: {failure}"
        return call.reason
