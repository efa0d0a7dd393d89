"""``kernel/multikernel.c``: messages between kernels (RFC v1 patches 3 and 4).

Sending and receiving is guest code, on the host's CPUs too (``mklab/guest/minikernel/multikernel.c``). Here is what
process context adds: asking a CPU to do it, and telling the trace what lay in a slot when it mattered.
"""

import errno
from typing import TYPE_CHECKING

from mklab.errors import KexecError
from mklab.guest.abi import MK_IPI_DATA, MK_MAX_DATA_SIZE, MULTIKERNEL_VECTOR, RESCHEDULE_VECTOR, Work, WorkState
from mklab.kernel import apicdef
from mklab.kernel.layout import SHARED_MEMORY
from mklab.kernel.steps import SteppedFunction
from mklab.machine.process import Call
from mklab.trace import Message, MessageTaken

if TYPE_CHECKING:
    from mklab.machine.machine import Machine

__all__ = ["GuestWork", "MessageObserver", "MultikernelSendIpiData"]

_POINTERS = (Work.REGISTER_HANDLER, Work.RECEIVE_MAP_PAGE)
"""What returns a pointer, which as a signed number looks like an errno where it lies high."""
_REFUSALS = {
    Work.SEND_PFN: ("mk_send_pfn", "the CPU number is out of range, or there is no message area"),
    Work.RECEIVE_PFN: ("mk_receive_pfn", "the message in the slot has another type or size"),
}
"""The functions of v1, besides sending data, that return an errno, and why they do."""


class GuestWork(SteppedFunction):
    """Something that the guest code of CPU ``call.cpu`` does for process context (``minikernel/work.c``).

    ``call.values``: ``kernel``, ``via`` (the CPU's logical number), ``work``, ``args``, ``data`` (hex). Afterwards
    ``args`` and ``data`` are what the guest has left there.
    """

    first = "request"

    def request(self, call: Call) -> str:
        """Leave the arguments where the CPU looks for work."""
        values = call.values
        work = self.kernel(call).cpu_work(values["via"])
        if work.get("state") != WorkState.EMPTY:
            return self.poll(call, f"CPU {call.cpu} has other work and does not finish it")
        function, args, data = self.arguments(call)
        work.set("function", function)
        for index in range(8):
            work.set("args", args[index] if index < len(args) else 0, index)
        work.set_bytes("data", data[:MK_MAX_DATA_SIZE])
        work.set("state", WorkState.QUEUED)
        call.step = "wake"
        return self.describe(call)

    def arguments(self, call: Call) -> tuple[Work, list[int], bytes]:
        """Function, arguments and data for the guest code."""
        values = call.values
        return Work(values["work"]), values["args"], bytes.fromhex(values["data"])

    def describe(self, call: Call) -> str:
        """What is asked, in words."""
        return Work(call.values["work"]).name.lower()

    def wake(self, call: Call) -> str:
        """The CPU is idle, for this call runs on it: an IPI to itself ends its HLT."""
        kernel = self.kernel(call)
        apicid = kernel.physical_id(call.values["via"])
        kernel.icr_write(call.cpu, apicdef.APIC_DM_FIXED | RESCHEDULE_VECTOR, apicid)
        call.step = "wait"
        return f"CPU {call.cpu} woken"

    def wait(self, call: Call) -> str:
        """Until the guest code has returned."""
        work = self.kernel(call).cpu_work(call.values["via"])
        if work.get("state") != WorkState.DONE:
            return self.poll(call, f"CPU {call.cpu} does not answer")
        work.set("state", WorkState.EMPTY)
        call.step, call.result = "", work.get("result")
        call.values |= {"args": [work.get("args", i) for i in range(8)], "data": work.get_bytes("data").hex()}
        if call.result < 0 and call.values.get("work") not in _POINTERS:
            raise KexecError(-call.result, *self.refusal(call))
        return f"returns {call.result}"

    def refusal(self, call: Call) -> tuple[str, str]:
        """Which function has refused, and why, in words."""
        unknown = call.function, f"the guest code of {self.kernel(call).name} refuses {self.describe(call)}"
        return _REFUSALS.get(call.values["work"], unknown)


class MultikernelSendIpiData(GuestWork):
    """multikernel_send_ipi_data.

    ``call.values``: ``kernel``, ``cpu``, ``data`` (hex), ``size``, ``type``, ``repeat``.
    """

    def arguments(self, call: Call) -> tuple[Work, list[int], bytes]:
        """The call's own, in the order of the guest's."""
        values = call.values
        args = [values["cpu"] & 0xFFFFFFFF, values["size"], values["type"], values["repeat"]]
        return Work.SEND_IPI_DATA, args, bytes.fromhex(values["data"])

    def describe(self, call: Call) -> str:
        """To whom, and what."""
        return f"to CPU {call.values['cpu']}, type {call.values['type']}, {call.values['size']} bytes"

    def refusal(self, call: Call) -> tuple[str, str]:
        """The two that v1 knows."""
        if call.result == -errno.ENOMEM:
            return call.function, "there is no message area: it could not be mapped"
        return call.function, f"cpu {call.values['cpu']} or size {call.values['size']} is out of range"


class MessageObserver:
    """Tells the trace what lay in the target's slot when an IPI 0xEA was sent, and when it was delivered."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def __call__(self, what: str, cpu: int, vector: int, sender: int | None) -> None:
        """``what`` is ``sent`` or ``delivered``; ``cpu`` the target."""
        if vector != MULTIKERNEL_VECTOR:
            return
        physical = self._machine.cpus[cpu].apic_id
        # The receiver does not check its number: from NR_CPUS on it reads what follows the area (defect 30).
        slot = MK_IPI_DATA(self._machine.memory, self._area(cpu) + physical * MK_IPI_DATA.size)
        if not self._machine.memory.contains(slot.paddr, MK_IPI_DATA.size):
            return
        seen = {
            "slot": slot.paddr,
            "sender": slot.get("sender_cpu"),
            "type": slot.get("type"),
            "size": slot.get("data_size"),
            "payload": slot.get_bytes("buffer", min(slot.get("data_size"), MK_MAX_DATA_SIZE)).hex(),
        }
        if what == "sent":
            self._machine.emit(Message, sender, to_cpu=cpu, vector=vector, **seen)
        else:
            self._machine.emit(MessageTaken, cpu, **seen)

    def _area(self, cpu: int) -> int:
        """Where the kernel that owns ``cpu`` has its message area."""
        image = self._machine.images.get(self._machine.cpus[cpu].owner or "host")
        variable = image.symbols.get("mk_shared_phys") if image is not None else None
        if variable is None or not self._machine.memory.contains(variable, 8):
            return SHARED_MEMORY
        return self._machine.memory.read_u64(variable) or SHARED_MEMORY
