"""``kernel/multikernel.c``: messages between kernels (RFC v1 patches 3 and 4).

Sending and receiving is guest code, on the host's CPUs too (``mklab/guest/minikernel/minikernel.c``). Here is what
process context adds: asking a host CPU to send, and telling the trace what lay in a slot when it mattered.
"""

from typing import TYPE_CHECKING

from mklab.errors import KexecError
from mklab.guest.abi import MK_IPI_DATA, MK_MAX_DATA_SIZE, MULTIKERNEL_VECTOR, RESCHEDULE_VECTOR, Work
from mklab.kernel import apicdef
from mklab.kernel.layout import SHARED_MEMORY
from mklab.kernel.steps import SteppedFunction
from mklab.machine.process import Call
from mklab.trace import Message, MessageTaken

if TYPE_CHECKING:
    from mklab.machine.machine import Machine

__all__ = ["MK_PING", "MK_PONG", "MessageObserver", "MultikernelSendIpiData"]

MK_PING, MK_PONG = 1, 2
"""Message types that the minikernel knows: a ping is answered with the same bytes, as a pong."""


class MultikernelSendIpiData(SteppedFunction):
    """multikernel_send_ipi_data, carried out by the guest code of the host CPU ``call.cpu``.

    ``call.values``: ``cpu``, ``data`` (hex), ``size``, ``type``.
    """

    first = "request"

    def request(self, call: Call) -> str:
        """Leave the arguments where the CPU looks for work."""
        values = call.values
        work = self.host.cpu_work(call.cpu)
        if work.get("state") != Work.EMPTY:
            return self.poll(call, f"CPU {call.cpu} has other work and does not finish it")
        work.set("function", Work.SEND_IPI_DATA)
        for index, value in enumerate((values["cpu"] & 0xFFFFFFFF, values["size"], values["type"])):
            work.set("args", value, index)
        work.set_bytes("data", bytes.fromhex(values["data"])[:MK_MAX_DATA_SIZE])
        work.set("state", Work.QUEUED)
        call.step = "wake"
        return f"to CPU {values['cpu']}, type {values['type']}, {values['size']} bytes"

    def wake(self, call: Call) -> str:
        """The CPU is idle, for this call runs on it: an IPI to itself ends its HLT."""
        apicid = self.host.apicid(call.cpu)
        assert apicid is not None
        for paddr, value in apicdef.icr_write(apicdef.APIC_DM_FIXED | RESCHEDULE_VECTOR, apicid):
            self.host.machine.store(call.cpu, paddr, value)
        call.step = "wait"
        return f"CPU {call.cpu} woken"

    def wait(self, call: Call) -> str:
        """Until the guest code has returned."""
        work = self.host.cpu_work(call.cpu)
        if work.get("state") != Work.DONE:
            return self.poll(call, f"CPU {call.cpu} does not answer")
        work.set("state", Work.EMPTY)
        call.step, call.result = "", work.get("result")
        if call.result < 0:
            why = f"cpu {call.values['cpu']} or size {call.values['size']} is out of range"
            raise KexecError(-call.result, "multikernel_send_ipi_data", why)
        return f"returns {call.result}"


class MessageObserver:
    """Tells the trace what lay in the target's slot when an IPI 0xEA was sent, and when it was delivered."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def __call__(self, what: str, cpu: int, vector: int, sender: int | None) -> None:
        """``what`` is ``sent`` or ``delivered``; ``cpu`` the target."""
        physical = self._machine.cpus[cpu].apic_id
        # The receiver does not check its number: from NR_CPUS on it reads what follows the area (defect 30).
        slot = MK_IPI_DATA(self._machine.memory, SHARED_MEMORY + physical * MK_IPI_DATA.size)
        if vector != MULTIKERNEL_VECTOR or not self._machine.memory.contains(slot.paddr, MK_IPI_DATA.size):
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
