"""IPIs between a payload and the host: nothing is checked, nothing is filtered."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from mklab.errors import MklabError
from mklab.guest.abi import MK_IPI_DATA, NR_CPUS, Work
from mklab.kernel.host import Host
from mklab.kernel.layout import SHARED_MEMORY
from mklab.machine.cpu import CpuState
from mklab.machine.layout import APIC_BASE
from mklab.machine.schedule import RoundRobin
from tests.observed.reference import BASE, DATA, OBSERVED, console, counted, kick, observed, said, text

MULTIKERNEL = 0xEA
NMI, INIT = 0x400, 0x4500
ALL_BUT_SELF = 0xC0000


@dataclass
class Ipi:
    """What the sending payload is to do."""

    low: int
    apicid: int = 0
    sender: int = 0
    type: int = 0
    size: int = 0
    slot: int = 0
    times: int = 1

    def words(self) -> bytes:
        """As the payload wants it (payloads.S)."""
        high = self.apicid << 24
        return struct.pack("<IIIIiIQQ", 1, self.times, self.low, high, self.sender, self.type, self.size, self.slot)


@pytest.fixture
def sender(host: Host) -> Host:
    """The host, and the sending payload on CPU 1."""
    kick(host, "sender")
    assert host.machine.memory.read(BASE + DATA + 0x28, 1) == b"\1"
    return host


def send(host: Host, ipi: Ipi, budget: int = 100_000) -> list[str]:
    """Let the payload send; the lines that the host has printed on that."""
    before = len(console(host))
    host.machine.poke(BASE + DATA, ipi.words())
    host.machine.run(budget, lambda machine: machine.memory.read(BASE + DATA, 4) == bytes(4))
    host.machine.run(20_000)
    return console(host)[before:]


def calls(host: Host, cpu: int = 0) -> int:
    """The count in the row "Function call interrupts"."""
    row = next(line for line in host.proc_interrupts().splitlines() if line.endswith("Function call interrupts"))
    return int(row.split()[1 + cpu])


def slot(host: Host, index: int) -> bytes:
    return host.machine.memory.read(SHARED_MEMORY + index * MK_IPI_DATA.size, MK_IPI_DATA.size)


@observed("f.one")
def test_one_message(sender: Host) -> None:
    """Defects 39 and 40."""
    rows = [line.split(":")[0] for line in sender.proc_interrupts().splitlines()]
    before = calls(sender)
    lines = send(sender, Ipi(MULTIKERNEL, 0, sender=1, type=5, size=3, slot=SHARED_MEMORY))
    assert lines[0] == said("f.one")[0]
    assert said("f.one")[1] == "Function call interrupts"
    assert calls(sender) == before + 1
    assert [line.split(":")[0] for line in sender.proc_interrupts().splitlines()] == rows
    assert slot(sender, 0)[:16] == struct.pack("<iIQ", 1, 5, 3), "nobody has cleared it"


@observed("f.forged")
@pytest.mark.parametrize(
    ("who", "kind", "size"), [(-5, 0xFFFFFFFF, 0), (12345, 5, 0), (1, 5, 257), (1, 5, (1 << 64) - 1)]
)
def test_forged(sender: Host, who: int, kind: int, size: int) -> None:
    line = send(sender, Ipi(MULTIKERNEL, 0, who, kind, size, SHARED_MEMORY))[0]
    assert line.endswith(said("f.forged")[0].replace("-5", str(who)).replace("4294967295", str(kind)))


@observed("f.all")
def test_all_but_self(sender: Host) -> None:
    lines = [line for line in send(sender, Ipi(MULTIKERNEL | ALL_BUT_SELF)) if line.startswith("Multikernel")]
    assert sorted(re.findall(r"on CPU (\d)", " ".join(lines))) == ["0", "2", "3"]
    assert all(line.endswith(said("f.all")[0]) for line in lines)


@observed("f.absent")
@pytest.mark.parametrize("ipi", [Ipi(MULTIKERNEL, 9), Ipi(15, 0)], ids=["id 9", "vector 15"])
def test_to_nobody(sender: Host, ipi: Ipi) -> None:
    before = sender.proc_interrupts()
    assert send(sender, ipi) == []
    assert sender.proc_interrupts() == before
    assert text("f.absent").startswith("nothing")
    # QEMU 7.2 set no ESR bit; here it is as the manual has it (SDM "Error Handling": send illegal vector).
    sender.machine.store(1, APIC_BASE + 0x280, 0)
    assert sender.machine.apics[1].read(0x280) == (1 << 5 if ipi.low == 15 else 0)


class Merging(RoundRobin):
    """CPU 1 alone until it has sent ``merged`` times, then any other CPU first that has something to do."""

    def __init__(self, merged: int) -> None:
        super().__init__()
        self.merged = merged
        self.sent = 0

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        others = [cpu for cpu in runnable if cpu != 1]
        if self.sent >= self.merged and others:
            return others[0], 10_000
        # A turn ends behind the ICR store, and one round of the payload's loop is shorter than this.
        self.sent += 1
        return 1, 100


@observed("f.flood")
def test_a_flood(sender: Host) -> None:
    """Defect 39. How many merge in the IRR is a matter of who is quicker; by this schedule it is 99, as there."""
    found = re.match(r"CAL \+(\d+): merged", text("f.flood"))
    assert found is not None
    before = calls(sender)
    sender.machine.schedule = Merging(100)
    lines = send(sender, Ipi(MULTIKERNEL, times=500), 5_000_000)
    assert calls(sender) - before == int(found[1])
    assert len([line for line in lines if line.startswith("Multikernel")]) == int(found[1])


@observed("f.nmi")
def test_an_nmi(sender: Host) -> None:
    assert send(sender, Ipi(NMI)) == said("f.nmi")


@observed("f.stray")
def test_a_vector_that_nobody_has_asked_for(sender: Host) -> None:
    assert send(sender, Ipi(0xA0)) == said("f.stray")


@observed("f.init")
def test_init_to_a_host_cpu(sender: Host) -> None:
    """Defect 39. Who waits is told so here, after ten milliseconds."""
    assert text("f.init").startswith("no message; sysfs still 1; offlining it hangs")
    assert send(sender, Ipi(INIT, 2)) == []
    assert sender.machine.cpus[2].state is CpuState.WAIT_FOR_SIPI
    assert sender.cpu_online(2)
    with pytest.raises(MklabError, match="cpu_down did not return: it waits for ever: CPU 2 did not die"):
        sender.cpu_down(2)
    assert sender.cpu_online(2)
    before = len(console(sender))
    sender.send_by_hand(MULTIKERNEL, 3, slot=3, sender=0, type=9)
    sender.machine.run(20_000)
    assert "on CPU 3" in console(sender)[before]


@observed("f.topay")
def test_the_other_way(host: Host) -> None:
    """0xEA, INIT and NMI to a CPU that runs a payload with IF=0 and no IDT."""
    assert OBSERVED["f.topay"] == "nothing; stops; machine reset"
    kick(host, "counter")
    before = counted(host)[1]
    host.send_by_hand(MULTIKERNEL, 1)
    host.machine.run(20_000)
    assert counted(host)[1] > before
    host.send_by_hand(INIT, 1)
    before = counted(host)[1]
    host.machine.run(20_000)
    assert counted(host)[1] == before
    assert host.machine.cpus[1].state is CpuState.WAIT_FOR_SIPI
    host.multikernel_kexec(1)
    host.machine.run(20_000)
    assert counted(host)[1] > before
    host.submit_work(Work.SEND_BY_HAND, [NR_CPUS, 0, 0, 0, 1, NMI, 1])
    assert host.machine.run(20_000).reason == "reset"
