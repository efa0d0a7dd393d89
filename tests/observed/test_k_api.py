"""The functions that v1 exports, called as the test hook did."""

import re
from collections.abc import Sequence

import pytest

from mklab.guest.abi import MK_IPI_DATA, MK_PFN_IPI_TYPE
from mklab.kernel.direct_map import PAGE_OFFSET
from mklab.kernel.host import Host
from mklab.kernel.layout import SHARED_MEMORY
from mklab.machine.schedule import RoundRobin
from mklab.trace import Delivered, MessageTaken
from tests.observed.reference import OBSERVED, PLAIN_RAM, action, boot, console, observed, outcome, result, said, text


@observed("k.send")
def test_cpu_numbers(host: Host) -> None:
    numbers = re.findall(r"-?\d+", action("k.send").split(" (")[0])
    assert numbers == ["-1", "4", "64"]
    for cpu in numbers:
        assert outcome(host.multikernel_send_ipi_data, int(cpu), b"x") == result("k.send")


@observed("k.size")
def test_sizes(host: Host) -> None:
    seen = [outcome(host.multikernel_send_ipi_data, 2, bytes(size)) for size in (257, 256, 0)]
    assert action("k.size") == "size 257 / 256 / 0"
    assert OBSERVED["k.size"] == "EINVAL / 0 / 0"
    assert seen == [result("k.size"), 0, 0]


@observed("k.handlers")
def test_two_handlers(host: Host) -> None:
    """Defects 27 and 28. Hard-IRQ context: between the delivery of an interrupt and its IRET, with interrupts off."""
    for context in (1, 2):
        host.multikernel_register_handler(context)
    host.multikernel_send_ipi_data(2, b"x", 4711)
    host.settle()
    seen = sorted((record["context"], record["type"], record["data"]) for record in host.handler_records())
    slot = PAGE_OFFSET + SHARED_MEMORY + 2 * MK_IPI_DATA.size
    assert seen == [(context, 4711, slot) for context in (1, 2)]
    assert text("k.handlers") == "both called, in hard-IRQ context, with a pointer into the shared slot"
    vectors = [event.vector for event in host.machine.trace.of(Delivered) if event.cpu == 2]
    assert vectors[-2:] == [0xEA, 0xF6]


class Interleaved(RoundRobin):
    """CPU 0 enters the handler at the first IPI, and reads the slot between the second and the third."""

    def __init__(self) -> None:
        super().__init__()
        # A turn ends behind an ICR store: the sender's next IPI, or the handler's irq_work.
        self.script = [(0, 1), (1, 10_000), (0, 10_000), (1, 10_000)]

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        begun = len(self.script) < 4 or 0 in runnable
        return self.script.pop(0) if self.script and begun else super().choose(runnable)


@observed("k.burst")
def test_a_burst(host: Host) -> None:
    """Defects 26 and 27. What is seen is a matter of who is quicker; this schedule makes it what was seen there."""
    assert text("k.burst") == "200 lost; log says 201 and 202; handlers saw 202 both times"
    for context in (1, 2):
        host.multikernel_register_handler(context)
    before = len(console(host))
    host.machine.schedule = Interleaved()
    call = host.submit_message(0, b"", 200, repeat=2, via=1)
    host.finish(call)
    host.settle()
    lines = [line for line in console(host)[before:] if line.startswith("Multikernel IPI")]
    assert [int(line.split("type=")[1]) for line in lines] == [201, 202]
    assert {record["type"] for record in host.handler_records()} == {202}


@observed("k.pfn")
def test_a_page_frame_number(host: Host) -> None:
    """Defect 37."""
    host.mk_send_pfn(1, 4660)
    host.settle()
    message = host.machine.trace.of(MessageTaken)[-1]
    assert f"type={message.type} size {message.size}; receive gives {host.mk_receive_pfn(via=1)}" in text("k.pfn")
    assert message.type == MK_PFN_IPI_TYPE
    host.multikernel_send_ipi_data(1, bytes(8), 5)
    host.settle()
    assert text("k.pfn").endswith("wrong type gives -EINVAL")
    assert outcome(host.mk_receive_pfn, via=1) == 22


@observed("k.size64")
def test_an_unbelievable_size(host: Host) -> None:
    """Defect 38."""
    for context in (1, 2):
        host.multikernel_register_handler(context)
    host.send_by_hand(0xEA, 0, slot=0, size=(1 << 64) - 1)
    host.settle()
    sizes = [record["data_size"] for record in host.handler_records()]
    assert [f"both handlers get size {size}" for size in sizes] == [OBSERVED["k.size64"]] * 2


@observed("k.unreg2")
def test_unregistering_twice(host: Host) -> None:
    """Defect 41."""
    assert text("k.unreg2") == "no visible failure in 3 runs"
    for _ in range(3):
        handle = host.multikernel_register_handler(1)
        for _ in range(2):
            host.multikernel_unregister_handler(handle)
    host.multikernel_send_ipi_data(2, b"still there", 1)
    host.settle()
    assert any(line.endswith("message from CPU 0: still there") for line in console(host))
    assert host.handler_records() == []


@observed("k.gaps")
def test_apic_ids_with_gaps() -> None:
    """Defect 29."""
    host = boot(cpus=6, apic_ids=[0, 1, 2, 4, 5, 6])
    for index in range(6):
        host.send_by_hand(0x20, 0, slot=index + 1, sender=1001 + index, type=2001 + index)  # a vector of no consequence
    host.settle()
    host.multikernel_send_ipi_data(3, b"x", 3)
    host.settle()
    line = next(line for line in reversed(console(host)) if line.startswith("Multikernel"))
    assert line.endswith(said("k.gaps")[0])
    written = MK_IPI_DATA(host.machine.memory, SHARED_MEMORY + 3 * MK_IPI_DATA.size)
    assert (written.get("sender_cpu"), written.get("type")) == (0, 3)


@observed("k.big")
@pytest.mark.parametrize(("cpu", "physical"), [(2, 64), (3, 128)])
def test_large_apic_ids(cpu: int, physical: int) -> None:
    """Defect 30. The area lies where the RAM behind it is the host's, too, as it did there."""
    host = boot(f"mk_shared_memory={PLAIN_RAM:#x}", apic_ids=[0, 1, 64, 128])
    offset = physical * MK_IPI_DATA.size
    assert f"id {physical} reads offset {offset}" in text("k.big")
    host.machine.poke(PLAIN_RAM + offset, (4242).to_bytes(4, "little") + (2424).to_bytes(4, "little"))
    host.multikernel_send_ipi_data(cpu, b"x", 5)
    host.settle()
    line = next(line for line in reversed(console(host)) if line.startswith("Multikernel"))
    assert line.endswith(f"(physical id {physical}) from CPU 4242 type=2424")
