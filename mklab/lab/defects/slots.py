"""One slot for each CPU, and who finds it by which number (RFC v1, patches 4 and 5): defects 26 to 31."""

from collections.abc import Sequence
from typing import Any

from mklab.guest.abi import MK_IPI_DATA, MULTIKERNEL_VECTOR, NR_CPUS
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import SHARED_MEMORY
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import booted, page_fault, spawn, window, words
from mklab.machine.schedule import RoundRobin
from mklab.trace import Fault, MessageTaken

__all__ = ["DEFECTS"]

_AREA_IN_RAM = 0x1800000
"""RAM of the host's that nothing else uses: a message area there has RAM of the host's behind it."""


class _First:
    """A schedule: the CPUs named have their turn before any other, ``quantum`` instructions at a time."""

    def __init__(self, *cpus: int, quantum: int = 20) -> None:
        self.cpus = cpus
        self.quantum = quantum

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """The first of its CPUs that can run, or the first of all."""
        return next((cpu for cpu in self.cpus if cpu in runnable), runnable[0]), self.quantum

    def state(self) -> dict[str, Any]:
        """What it chooses by."""
        return {"kind": "_First", "cpus": list(self.cpus), "quantum": self.quantum}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.cpus, self.quantum = tuple(state["cpus"]), state["quantum"]


def _taken(host: Host, cpu: int) -> list[MessageTaken]:
    return [event for event in host.machine.trace.of(MessageTaken) if event.cpu == cpu]


def _lines(host: Host, kernel: str, word: str) -> list[str]:
    """What ``kernel`` has printed that holds ``word``."""
    return [line for line in host.machine.console(kernel).splitlines() if word in line]


def _last(host: Host, kernel: str, word: str) -> str:
    return (_lines(host, kernel, word) or ["nothing"])[-1]


def _overwritten() -> list[Finding]:
    """Kernel 1 reads a message while another CPU sends it the next; then one CPU sends three in a row."""
    host = booted(3)
    spawn(host, 1, 1)
    machine, kernel = host.machine, host.kernel("kernel 1")
    host.multikernel_send_ipi_data(1, b"A" * 200, 5)
    host.settle()
    alone = _last(host, "kernel 1", "message from")
    machine.schedule = RoundRobin(20)
    code = kernel.symbol("answer")
    host.submit_message(1, b"A" * 200, 7)
    host.run_until(lambda _: code <= machine.registers(1).rip < code + 0x100, "kernel 1 does not read its message")
    host.submit_message(1, b"B" * 200, 8, via=2)
    host.settle()
    torn = _lines(host, "kernel 1", "message from")[-2]
    first, second = torn.count("A"), torn.count("B")
    before = len(_taken(host, 1))
    call = host.submit_message(1, b"x", 100, repeat=2)
    host.settle()
    types = [event.type for event in _taken(host, 1)[before:]]
    return [
        Finding(
            f"a message that is alone arrives whole ({alone.count('A')} A); while kernel 1 reads one of 200 A, CPU 2 "
            f"fills the same slot with 200 B: kernel 1 prints a message of {first} A and {second} B, torn, and takes "
            "CPU 2 for its sender",
            alone.endswith(" " + "A" * 200) and first > 0 and second == 200 - first > 0 and "from CPU 2" in torn,
        ),
        Finding(
            f"of three messages of types 100, 101 and 102, sent in a row, kernel 1 takes {len(types)}, of type "
            f"{' and '.join(map(str, types))}; nobody hears that the rest was overwritten",
            not call.errno and 0 < len(types) < 3,
        ),
    ]


def _saved_data() -> list[Finding]:
    """The slot is changed between interrupt and irq_work; then one handler's work is queued on two CPUs at once."""
    host = booted(4)
    machine = host.machine
    for number in (1, 2):
        spawn(host, number, number)
    host.multikernel_register_handler(1)
    one, two = host.kernel("kernel 1"), host.kernel("kernel 2")
    machine.schedule = _First(0)
    one.submit_by_hand(MULTIKERNEL_VECTOR, 0, slot=0, sender=1, type=301)
    host.run_until(lambda _: bool(_lines(host, "host", "type=301")), "CPU 0 does not see the message")
    machine.schedule = _First(2)
    call = two.submit_by_hand(MULTIKERNEL_VECTOR, 0, slot=0, sender=2, type=302)
    host.finish(call)
    host.settle()
    logged = [int(line.rpartition("=")[2]) for line in _lines(host, "host", "received on CPU 0 ")]
    handled = [record["type"] for record in host.handler_records()]

    machine.schedule = RoundRobin(5000)
    one.submit_by_hand(MULTIKERNEL_VECTOR, 0, slot=0, sender=1, type=401)
    two.submit_by_hand(MULTIKERNEL_VECTOR, 3, slot=3, sender=2, type=403)
    host.settle()
    taken = [(event.cpu, event.type) for event in machine.trace.of(MessageTaken) if event.type in (401, 403)]
    ran = [record["type"] for record in host.handler_records() if record["type"] in (401, 403)]
    return [
        Finding(
            f"the log of CPU 0 has the types {words(logged)}, the handler saw {words(handled)}: irq_work reads "
            "the slot again",
            logged == [301, 302] and handled == [302, 302],
        ),
        Finding(
            f"one after the other, {words(f'CPU {cpu} takes type {kind}' for cpu, kind in taken)}; their common "
            f"handler sees {words(ran)} alone: work that is queued already is not queued again, and its pointer was "
            "changed",
            sorted(taken) == [(0, 401), (3, 403)] and ran == [kind for _, kind in taken[1:]],
        ),
    ]


def _every_handler() -> list[Finding]:
    """Two handlers are registered, and one message sent that is meant for neither."""
    host = booted(2)
    for context in (1, 2):
        host.multikernel_register_handler(context)
    host.multikernel_send_ipi_data(1, b"x", 77)
    host.settle()
    seen = sorted((record["context"], record["type"]) for record in host.handler_records())
    return [
        Finding(
            f"handlers {words(context for context, _ in seen)} are both called, with type "
            f"{seen[0][1] if seen else '-'}: registering names no type",
            seen == [(1, 77), (2, 77)],
        )
    ]


def _logical_and_physical() -> list[Finding]:
    """On a machine with the APIC ids 0, 1, 2, 4 the host sends to its CPUs 2 and 3; a spawned kernel to its CPU 0."""
    host = booted(4, apic_ids=[0, 1, 2, 4])
    memory = host.machine.memory
    spawn(host, 1, 1)
    found = {}
    for cpu in (2, 3):
        host.multikernel_send_ipi_data(cpu, b"x", 70 + cpu)
        host.settle()
        slots = [index for index in range(8) if MK_IPI_DATA(memory, _slot(index)).get("type") == 70 + cpu]
        found[cpu] = slots, _last(host, "host", f"received on CPU {cpu} ")
    host.kernel("kernel 1").multikernel_send_ipi_data(0, b"to the host?", 80)
    host.settle()
    lines = _lines(host, "kernel 1", "received on")
    reached = len(_lines(host, "host", "received on CPU 0 "))
    own = MK_IPI_DATA(memory, _slot(0)).get("type")
    return [
        Finding(
            f"to CPU 2, APIC id 2: slot {words(found[2][0])} is written, and it prints '{found[2][1]}'; to CPU 3, "
            f"APIC id 4: slot {words(found[3][0])} is written, and it prints '{found[3][1]}'",
            [found[cpu][0] for cpu in (2, 3)] == [[2], [3]]
            and found[2][1].endswith("(physical id 2) from CPU 0 type=72")
            and found[3][1].endswith("(physical id 4) from CPU 0 type=0"),
        ),
        Finding(
            f"kernel 1 sends type 80 to CPU 0: slot 0 holds type {own}, the host takes {reached or 'no'} message, and "
            f"kernel 1 itself prints '{lines[-1] if lines else ''}'",
            own == 80 and reached == 0 and bool(lines) and lines[-1].endswith("(physical id 1) from CPU 0 type=0"),
        ),
    ]


def _slot(index: int, area: int = SHARED_MEMORY) -> int:
    return area + index * MK_IPI_DATA.size


def _unbounded() -> list[Finding]:
    """A machine with the APIC ids 0, 1, 64 and 128, where NR_CPUS is 64; bytes of our own lie behind the area."""
    ids, stray = [0, 1, 64, 128], {64: 6400, 128: 12800}
    host = booted(4, apic_ids=ids, cmdline=f"mk_shared_memory={_AREA_IN_RAM:#x}")
    for apicid, number in stray.items():
        MK_IPI_DATA(host.machine.memory, _slot(apicid, _AREA_IN_RAM)).set("type", number)
    seen = {}
    for cpu in (1, 2, 3):
        host.multikernel_send_ipi_data(cpu, b"x", 5)
        host.settle()
        event = _taken(host, cpu)[-1]
        seen[cpu] = event.slot - _AREA_IN_RAM, _last(host, "host", f"received on CPU {cpu} ")
    ends = {cpu: line.rpartition("=")[2] for cpu, (_, line) in seen.items()}
    size = NR_CPUS * MK_IPI_DATA.size
    host = booted(4, apic_ids=ids)
    host.submit_message(3, b"x", 5)
    host.settle(50_000)
    faults = [event for event in host.machine.trace.of(Fault) if event.cpu == 3]
    return [
        Finding(
            f"id 64 reads at offset {seen[2][0]} of {size}, in the slack: '{seen[2][1]}' (id 1 reads its slot: type "
            f"{ends[1]})",
            seen[2][0] == size and ends[2] == "6400" and ends[1] == "5",
        ),
        Finding(
            f"id 128 reads at offset {seen[3][0]}, beyond the area of {size + 4096} bytes, in RAM of the host's: "
            f"'{seen[3][1]}'",
            seen[3][0] > size + 4096 and ends[3] == "12800",
        ),
        Finding(
            "where the area lies at the end of the host's RAM, id 128 reads what is not mapped: " + page_fault(faults),
            bool(faults) and faults[0].vector == 14,
        ),
    ]


def _sent_during_boot(*order: int) -> MessageTaken:
    """What CPU 3 finds, if kernel 1 sends it a message while kernel 2 boots, and the CPUs go on in this order."""
    host = booted(4)
    spawn(host, 1, 1)
    host.cpu_down(2)
    host.load(minikernel_image(window(2), 2, [2]))
    host.multikernel_kexec(2)
    host.run_until(lambda _: bool(_lines(host, "kernel 2", "Using specified")), "kernel 2 does not begin")
    host.machine.schedule = _First(*order, quantum=1000)
    host.kernel("kernel 1").submit_by_hand(MULTIKERNEL_VECTOR, 3, slot=3, sender=1, type=77, size=5, data=b"hello")
    host.settle()
    return _taken(host, 3)[-1]


def _zeroed() -> list[Finding]:
    """Kernel 1 sends to CPU 3 while kernel 2 boots; CPU 3 has its turn before kernel 2 goes on, or after it."""
    before, after = _sent_during_boot(1, 3, 2), _sent_during_boot(1, 2, 3)
    texts = [bytes.fromhex(event.payload).decode("ascii") for event in (before, after)]
    return [
        Finding(
            f"before kernel 2 goes on, CPU 3 takes type {before.type} from CPU {before.sender}, {texts[0]!r}; after it "
            f"type {after.type} from CPU {after.sender}, {texts[1]!r}: the slot was zeroed with the message in it",
            (before.type, before.sender, texts[0]) == (77, 1, "hello")
            and (after.type, after.sender, after.size) == (0, 0, 0),
        )
    ]


DEFECTS: tuple[Defect, ...] = (
    Defect(
        26,
        "One slot, no lock",
        "patch 4, multikernel_send_ipi_data: it fills the slot, whether the last message was read or is being read",
        _overwritten,
    ),
    Defect(
        27,
        "A pointer is saved, not a copy",
        "patch 4, the handler of 0xEA: saved_data points into the slot, and the irq_work that reads it runs later",
        _saved_data,
    ),
    Defect(
        28,
        "Every handler for every type",
        "patch 4, multikernel_register_handler: it takes no type, so each handler's work is queued for each message",
        _every_handler,
    ),
    Defect(
        29,
        "Logical here, physical there",
        "patch 5: the sender still takes the slot of the logical CPU, the receiver now that of its physical id",
        _logical_and_physical,
    ),
    Defect(
        30,
        "A physical id without bound",
        "patch 5, the handler of 0xEA: the physical id that is its index is not compared with NR_CPUS",
        _unbounded,
    ),
    Defect(
        31,
        "Booting wipes messages",
        "patch 4, mk_shared_memory_init: every kernel zeroes the area that it is told of",
        _zeroed,
    ),
)
