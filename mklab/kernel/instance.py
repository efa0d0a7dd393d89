"""A kernel that runs on the machine, the host or a spawned one: its variables, and what can be asked of it.

Nothing is kept here: a :class:`Kernel` is made whenever one is needed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mklab.errors import KexecError, MklabError, require
from mklab.guest.abi import (
    BOOT_INFO,
    CPU_WORK,
    HANDLER_RECORD,
    HANDLER_RECORDS,
    IRQ_STAT,
    MK_MAX_DATA_SIZE,
    MK_PING,
    NR_CPUS,
    Work,
)
from mklab.kernel import apicdef
from mklab.kernel.direct_map import PAGE_OFFSET, DirectMap
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine, Stop
from mklab.machine.process import Call
from mklab.structs import View

__all__ = ["Kernel"]

_CALL_BUDGET = 1_000_000
"""Instructions within which a system call returns, unless a guest loops."""


class Kernel:
    """One kernel of a machine. CPUs are named by this kernel's own logical numbers, from 0.

    Args:
        machine: the machine it runs on.
        name: ``host`` or ``kernel 1``, ``kernel 2``, ...
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name

    # Its variables

    def symbol(self, name: str) -> int:
        """Physical address of a variable or function.

        Raises:
            MklabError: the image is not loaded, or its loader knows no such symbol (a bzImage has none).
        """
        image = self.machine.images.get(self.name)
        if image is None or name not in image.symbols:
            why = "is not loaded" if image is None else f"has no symbol {name!r}"
            raise MklabError(f"{self.name} {why}; what asks for it needs a minikernel")
        return image.symbols[name]

    @property
    def boot_info(self) -> View:
        """What its loader has told it."""
        return BOOT_INFO(self.machine.memory, self.symbol("mk_boot_info"))

    @property
    def memory_map(self) -> list[tuple[int, int]]:
        """``(start, end)`` of each range that it takes for RAM of its own."""
        info = self.boot_info
        edges = [info.get("ram", index) for index in range(2 * info.get("nr_ram"))]
        return list(zip(edges[::2], edges[1::2], strict=True))

    @property
    def direct_map(self) -> DirectMap:
        """How its process context reaches memory."""
        return DirectMap(self.machine.memory, self.symbol("page_tables"), self.memory_map)

    def kernel_write(self, paddr: int, data: bytes) -> None:
        """Store ``data`` as its process context does; where there is no memory, nothing is stored.

        Raises:
            OopsError: its own page tables forbid it.
        """
        self.direct_map.write(paddr, data)

    @property
    def nr_cpu_ids(self) -> int:
        """How many CPUs it knows."""
        return min(self.boot_info.get("nr_cpu_ids"), NR_CPUS)

    def apicid(self, cpu: int) -> int | None:
        """arch_cpu_physical_id of logical CPU ``cpu``, or None: it does not know it."""
        return self.boot_info.get("apicid", cpu) if 0 <= cpu < self.nr_cpu_ids else None

    def index(self, cpu: int) -> int:
        """The machine's index of logical CPU ``cpu``.

        Raises:
            ValueError: this kernel knows no such CPU, or the machine has none with that physical id.
        """
        require("cpu", cpu, 0, self.nr_cpu_ids - 1, f" (the CPUs of {self.name})")
        apicid = self.apicid(cpu)
        for one in self.machine.cpus:
            if one.apic_id == apicid:
                return one.index
        raise ValueError(f"cpu must have a physical id that the machine knows, not {apicid!r}")

    def cpu_online(self, cpu: int) -> bool:
        """Whether logical CPU ``cpu`` runs this kernel, as its guest code has noted."""
        apicid = self.apicid(cpu) if self.name in self.machine.images else None
        if apicid is None:
            return False
        return self.machine.memory.read(self.symbol("cpu_online") + apicid, 1) == b"\1"

    def test_cpu_online(self, cpu: int) -> bool:
        """cpu_online(cpu) as v1 asks it: the bit of that number in the mask, whatever the number (defect 17).

        Raises:
            OopsError: the bit lies outside all memory of this kernel.
        """
        number = cpu & 0xFFFFFFFF
        byte = self.direct_map.read(PAGE_OFFSET + self.symbol("cpu_online_mask") + number // 8, 1)
        return bool(byte[0] >> number % 8 & 1)

    def cpu_work(self, cpu: int) -> View:
        """What process context asks of logical CPU ``cpu``."""
        apicid = self.apicid(cpu)
        assert apicid is not None
        return CPU_WORK(self.machine.memory, self.symbol("cpu_work") + apicid * CPU_WORK.size)

    def irq_stat(self, cpu: int) -> View:
        """Interrupts that logical CPU ``cpu`` has taken."""
        apicid = self.apicid(cpu)
        assert apicid is not None
        return IRQ_STAT(self.machine.memory, self.symbol("irq_stat") + apicid * IRQ_STAT.size)

    def handler_records(self) -> list[dict[str, int]]:
        """What its recording handlers were handed, oldest first: ``context``, ``type``, ``sender_cpu``, ..."""
        memory = self.machine.memory
        count = int.from_bytes(memory.read(self.symbol("handler_record_count"), 4), "little")
        first = self.symbol("handler_records")
        records = []
        for index in range(max(0, count - HANDLER_RECORDS), count):
            record = HANDLER_RECORD(memory, first + index % HANDLER_RECORDS * HANDLER_RECORD.size)
            records.append({name: record.get(name) for name in HANDLER_RECORD.fields})
        return records

    def icr_write(self, cpu: int, low: int, apicid: int) -> None:
        """The CPU with the machine's index ``cpu`` sends an IPI: two stores, the low half last, or one WRMSR."""
        if self.machine.apics[cpu].mode == "x2apic":
            self.apic_write(cpu, apicdef.APIC_ICR, apicid << 32 | low)
            return
        self.apic_write(cpu, apicdef.APIC_ICR2, apicid << 24)
        self.apic_write(cpu, apicdef.APIC_ICR, low)

    def apic_write(self, cpu: int, register: int, value: int) -> None:
        """native_apic_mem_write or native_apic_msr_write of the CPU with the machine's index ``cpu``."""
        if self.machine.apics[cpu].mode == "x2apic":
            self.machine.wrmsr(cpu, apicdef.APIC_BASE_MSR + register // 16, value)
        else:
            self.machine.store(cpu, APIC_BASE + register, value)

    def printk(self, text: str) -> None:
        """A line of its log."""
        self.machine.printk(self.name, text)

    # Calls in its process context

    def submit(self, function: str, values: dict[str, Any], *, via: int = 0) -> Call:
        """Begin a kernel function of ``machine.functions`` in process context on logical CPU ``via``.

        The machine carries it out as it runs.

        Raises:
            ValueError: ``via`` is not online in this kernel, or an argument is not a number that a call can carry.
            MklabError: the platform was reset; or the CPU runs another kernel now.
        """
        if self.machine.stopped:
            raise MklabError(self.machine.stopped.detail)
        if not self.cpu_online(via):
            raise ValueError(f"via must be a CPU that is online in {self._the_name}, not {via!r}")
        index = self.index(via)
        owner = self.machine.cpus[index].owner
        if owner not in (None, self.name):
            raise MklabError(f"CPU {index} runs {owner} now, and {self._the_name} on it no longer")
        if values.get("cpu") is not None or function != "reboot":
            require("cpu", values.get("cpu", 0), -(1 << 31), (1 << 31) - 1, " (an int)")
        require("type", values.get("type", 0), 0, (1 << 32) - 1, " (a u32)")
        require("entry", values.get("entry", 0), 0, (1 << 64) - 1, " (a u64)")
        first: str = self.machine.functions[function].first
        return self.machine.submit(Call(function, index, first, {"kernel": self.name, "via": via, **values}))

    @property
    def _the_name(self) -> str:
        return "the host" if self.name == "host" else self.name

    def finish(self, call: Call) -> int:
        """Run until ``call`` has returned; its result.

        Raises:
            KexecError: the kernel refuses.
            MklabError: the call died in the kernel, or does not return.
        """
        try:
            self.run_until(lambda _: call.done, f"{call.function} has not returned")
        except MklabError:
            if call in self.machine.calls:
                self.machine.abandon(call)
            raise
        if call.errno:
            raise KexecError(call.errno, call.function, call.reason)
        if call.reason:
            raise MklabError(f"{call.function} did not return: {call.reason}")
        return call.result

    def run_until(self, condition: Callable[[Machine], bool], failure: str) -> None:
        """Run until ``condition`` holds.

        Raises:
            MklabError: it does not come to hold; the message is ``failure`` and where the machine stands.
        """
        stop = self.machine.run(_CALL_BUDGET, condition)
        if stop.reason != "until":
            raise MklabError(f"{failure}: {stop.detail}")

    def settle(self, budget: int = _CALL_BUDGET) -> Stop:
        """Run until every CPU waits."""
        return self.machine.run(budget)

    def cpu_up(self, cpu: int, *, via: int = 0) -> None:
        """Bring ``cpu`` online, whoever uses it (defect 16): echo 1 > /sys/devices/system/cpu/cpuN/online."""
        self.finish(self.submit("cpu_up", {"cpu": cpu}, via=via))

    def cpu_down(self, cpu: int, *, via: int = 0) -> None:
        """Take ``cpu`` offline: echo 0 > /sys/devices/system/cpu/cpuN/online."""
        self.finish(self.submit("cpu_down", {"cpu": cpu}, via=via))

    # Messages: guest code on CPU ``via`` does all of it

    def multikernel_send_ipi_data(self, cpu: int, data: bytes, type: int = MK_PING, *, via: int = 0) -> None:  # noqa: A002
        """Send ``data`` to logical CPU ``cpu`` of this kernel: into its slot, then an IPI on vector 0xEA.

        Raises:
            KexecError: EINVAL, a CPU number out of range or more than 256 bytes; ENOMEM, there is no message area.
        """
        self.finish(self.submit_message(cpu, data, type, via=via))

    def submit_message(self, cpu: int, data: bytes, type: int = MK_PING, *, repeat: int = 0, via: int = 0) -> Call:  # noqa: A002
        """Begin :meth:`multikernel_send_ipi_data`, and ``repeat`` times more in a loop with the types that follow."""
        if not isinstance(data, bytes | bytearray):
            raise TypeError(f"data must be bytes, not {data!r}")
        values = {"cpu": cpu, "data": data.hex(), "size": len(data), "type": type, "repeat": repeat}
        return self.submit("multikernel_send_ipi_data", values, via=via)

    def mk_send_pfn(self, cpu: int, pfn: int, *, via: int = 0) -> None:
        """Tell logical CPU ``cpu`` a page frame number.

        Raises:
            KexecError: as :meth:`multikernel_send_ipi_data`.
        """
        self.work(Work.SEND_PFN, [cpu & 0xFFFFFFFF, pfn], via=via)

    def mk_receive_pfn(self, *, via: int = 0) -> int:
        """The page frame number in the slot of CPU ``via``; any is taken (defect 37).

        Raises:
            KexecError: EINVAL, the message has another type or size.
        """
        call = self.submit_work(Work.RECEIVE_PFN, [], via=via)
        self.finish(call)
        return int(call.values["args"][0])

    def mk_receive_map_page(self, *, via: int = 0) -> int:
        """Map the page whose number lies in the slot of CPU ``via``: its linear address, 0 where there is none."""
        return self.work(Work.RECEIVE_MAP_PAGE, [], via=via) & (1 << 64) - 1

    def multikernel_register_handler(self, context: int, *, via: int = 0) -> int:
        """Register a handler that records what it sees, with ``context`` from 1 on; 0 is one that answers pings.

        Returns:
            Its handle, as unregistering wants it; 0: no memory.
        """
        return self.work(Work.REGISTER_HANDLER, [context], via=via) & (1 << 64) - 1

    def multikernel_unregister_handler(self, handle: int, *, via: int = 0) -> None:
        """Unregister a handler; twice the same is not noticed (defect 41)."""
        self.work(Work.UNREGISTER_HANDLER, [handle], via=via)

    def send_by_hand(
        self,
        icr_low: int,
        apicid: int = 0,
        *,
        slot: int | None = None,
        sender: int = 0,
        type: int = 0,  # noqa: A002
        size: int = 0,
        data: bytes = b"",
        times: int = 1,
        via: int = 0,
    ) -> None:
        """Write a slot (None: none) and ICR past the API, ``times`` over, as any kernel can (defect 39).

        Args:
            icr_low: vector, delivery mode, shorthand.
            apicid: destination, for no shorthand.
            sender, type, size: what is claimed; ``size`` need not be the size of ``data``.
        """
        self.finish(
            self.submit_by_hand(
                icr_low, apicid, slot=slot, sender=sender, type=type, size=size, data=data, times=times, via=via
            )
        )

    def submit_by_hand(
        self,
        icr_low: int,
        apicid: int = 0,
        *,
        slot: int | None = None,
        sender: int = 0,
        type: int = 0,  # noqa: A002
        size: int = 0,
        data: bytes = b"",
        times: int = 1,
        via: int = 0,
    ) -> Call:
        """Begin :meth:`send_by_hand`."""
        first = NR_CPUS if slot is None else slot
        args = [first, sender & 0xFFFFFFFF, type, size, apicid, icr_low, times]
        return self.submit_work(Work.SEND_BY_HAND, args, data, via=via)

    def store(self, paddr: int, data: bytes, *, via: int = 0) -> None:
        """Its guest code stores up to 256 bytes anywhere in physical memory."""
        self.work(Work.STORE, [paddr, len(data)], data, via=via)

    def load_memory(self, paddr: int, size: int, *, via: int = 0) -> bytes:
        """Its guest code reads up to 256 bytes anywhere in physical memory."""
        require("size", size, 0, MK_MAX_DATA_SIZE, " bytes")
        call = self.submit_work(Work.LOAD, [paddr, size], via=via)
        self.finish(call)
        return bytes.fromhex(call.values["data"])[:size]

    def out(self, port: int, value: int, *, via: int = 0) -> Call:
        """Its guest code writes to an I/O port; what follows may be the end of everything, so nobody waits."""
        return self.submit_work(Work.OUT, [port, value], via=via)

    def work(self, work: Work, args: Sequence[int], data: bytes = b"", *, via: int = 0) -> int:
        """Let the guest code of logical CPU ``via`` do something (``minikernel/work.c``); its result.

        Raises:
            KexecError: the result is a negative errno.
        """
        return self.finish(self.submit_work(work, args, data, via=via))

    def submit_work(self, work: Work, args: Sequence[int], data: bytes = b"", *, via: int = 0) -> Call:
        """Begin :meth:`work`."""
        if len(data) > MK_MAX_DATA_SIZE:
            raise ValueError(f"data must be at most {MK_MAX_DATA_SIZE} bytes, not {len(data)!r}")
        for value in args:
            require("each of args", value, 0, (1 << 64) - 1, " (a u64)")
        return self.submit("work", {"work": int(work), "args": list(args), "data": data.hex()}, via=via)
