"""Exercise 05.3: multikernel_send_ipi_data, on the memory and the APIC of a host that has booted."""

import struct

from mklab.guest.abi import MK_IPI_DATA, MK_MAX_DATA_SIZE, MULTIKERNEL_VECTOR
from mklab.kernel.host import Host
from mklab.kernel.layout import SHARED_MEMORY
from mklab.lab.checking.answer import Answer, AnswerError, Offer
from mklab.lab.checking.wire import Reference
from mklab.lab.defects.stage import booted
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.layout import APIC_BASE
from mklab.trace import IpiSent, MessageTaken

__all__ = ["EXERCISES"]

_CPUS = [0, 1, 2, 3]
_OTHER_IDS = [1, 4, 6, 3]
"""APIC ids of a second host: none of them is the CPU's own number, but for CPU 3, and CPU 0's is not 0."""
_EINVAL, _ENOMEM = -22, -12
_TYPE = 77
_BUDGET = 60_000
"""Instructions that the other CPUs execute after an IPI, before the sender goes on."""


class _Kernel:
    """What the answer may do: store bytes, and store a word as CPU 0 does. After an IPI the other CPUs go on."""

    def __init__(self, host: Host, apicids: list[int]) -> None:
        self.host, self.apicids = host, apicids
        self.begin = host.machine.trace.count

    def write(self, address: int, data: bytes) -> None:
        """Store bytes in memory."""
        self.host.machine.poke(address, data)

    def store(self, address: int, value: int) -> None:
        """CPU 0 stores 32 bits, in memory or at its local APIC."""
        self.host.machine.store(0, address, value)
        if address == APIC_BASE + 0x300:
            self.host.settle(_BUDGET)

    @property
    def sent(self) -> list[IpiSent]:
        """The IPIs since the last call began."""
        return [one for one in self.host.machine.trace.of(IpiSent) if one.seq >= self.begin and one.cpu == 0]

    @property
    def taken(self) -> list[MessageTaken]:
        """What receivers have found since then."""
        return [one for one in self.host.machine.trace.of(MessageTaken) if one.seq >= self.begin]


def _judge(answer: Answer, _seed: int) -> Verdict:
    kernel = _Kernel(booted(4), _CPUS)
    for cpu, data in ((2, b"hello"), (3, bytes(range(256))), (1, b""), (0, b"to itself")):
        verdict = _delivered(answer, kernel, cpu, data)
        if verdict is not None:
            return verdict
    for cpu, data, area, errno, why, next_step in _REFUSED:
        verdict = _refused(answer, kernel, cpu, data, area, errno, why, next_step)
        if verdict is not None:
            return verdict
    return _elsewhere_numbered(answer) or Verdict(
        Outcome.PASSED,
        "Four messages arrived, the longest of 256 bytes, the last sent by CPU 0 to itself; five calls were refused"
        " with nothing written or sent. Where APIC ids are others than the kernel's numbers, yours does what v1 does.",
        next_step="What does your function do if the receiver has not read the last message yet? Nor does the RFC's.",
    )


def _call(answer: Answer, kernel: _Kernel, cpu: int, data: bytes, area: int) -> object:
    kernel.begin = kernel.host.machine.trace.count
    offer = Offer(kernel, ("write", "store"))
    args = (Reference("kernel"), area, list(kernel.apicids), cpu, data, _TYPE)
    return answer.call("multikernel_send_ipi_data", *args, kernel=offer)


def _delivered(answer: Answer, kernel: _Kernel, cpu: int, data: bytes) -> Verdict | None:
    """What is wrong with sending ``data`` to ``cpu``, or None."""
    result = _call(answer, kernel, cpu, data, SHARED_MEMORY)
    call = f"sending {len(data)} bytes to CPU {cpu}"
    sent = [one for one in kernel.sent if one.vector == MULTIKERNEL_VECTOR and one.delivery == "fixed"]
    if result in (_EINVAL, _ENOMEM) and not kernel.sent:
        return not_yet(
            f"{call} was refused with {result}. MK_MAX_DATA_SIZE, 256, is the largest size that is allowed, and CPU 0"
            " to 3 exist.",
            call,
            "Which comparison refuses? Look at its last allowed value.",
            expected="0",
            got=str(result),
        )
    if not sent:
        other = f" (an IPI was sent: vector {kernel.sent[0].vector:#x})" if kernel.sent else ""
        return not_yet(
            f"{call}: no interrupt 0xEA was sent{other}. The message lies in memory, and nobody looks.",
            call,
            f"Two stores: the APIC id to {APIC_BASE + 0x310:#x}, bits 24 to 31; 0xEA to {APIC_BASE + 0x300:#x}.",
        )
    if sent[0].targets != [cpu]:
        return not_yet(
            f"{call}: the interrupt went to CPU {sent[0].targets[0] if sent[0].targets else 'nobody'}.",
            f"event {sent[0].seq}",
            "apicids[cpu] is the APIC id; it belongs into bits 24 to 31 of ICR's high half, before the low half.",
        )
    return _found(kernel, cpu, data, call) or _result(result, call)


def _found(kernel: _Kernel, cpu: int, data: bytes, call: str) -> Verdict | None:
    """What is wrong with what the receiver found, or None."""
    found = next((one for one in kernel.taken if one.cpu == cpu), None)
    if found is None:
        return not_yet(f"{call}: CPU {cpu} has taken nothing.", call, "Is it the CPU that you interrupt?")
    slot = SHARED_MEMORY + cpu * MK_IPI_DATA.size
    lies = kernel.host.machine.memory.read(slot, MK_IPI_DATA.size)
    wanted = struct.pack("<iIQ", 0, _TYPE, len(data)) + data
    where = f"event {found.seq}: CPU {cpu} looks into the slot at {slot:#x}"
    if found.type != _TYPE and lies[: len(wanted)] == wanted:
        return not_yet(
            f"{call}: the interrupt came before the message. CPU {cpu} looked and found type {found.type}; your stores"
            " came later.",
            where,
            "Fill the slot first. The interrupt says 'look', and the receiver looks at once.",
        )
    if lies[: len(wanted)] != wanted and (at := _elsewhere(kernel, wanted)) is not None:
        return not_yet(
            f"{call}: your message begins at {at:#x}, and CPU {cpu} looks at {slot:#x}, where its slot is.",
            where,
            "A slot has 272 bytes, header and buffer. Slot n begins 272 n bytes into the area.",
        )
    return _fields(lies, wanted, call, where, cpu)


def _fields(lies: bytes, wanted: bytes, call: str, where: str, cpu: int) -> Verdict | None:
    """The first field of a slot that is not what it should be, or None."""
    for start, end, name in (
        (0, 4, "sender_cpu"),
        (4, 8, "type"),
        (8, 16, "data_size"),
        (16, len(wanted), "buffer"),
    ):
        if lies[start:end] != wanted[start:end]:
            return not_yet(
                f"{call}: in the slot of CPU {cpu}, {name} is not what it should be.",
                f"{where}; bytes {start} to {end - 1}",
                "sender_cpu has 4 bytes, type 4, data_size 8; the buffer begins at 16. A slot has 272 bytes.",
                expected=wanted[start:end][:16].hex(" "),
                got=lies[start:end][:16].hex(" "),
            )
    return None


def _elsewhere_numbered(answer: Answer) -> Verdict | None:
    """What is wrong with a message on a machine whose APIC ids are not the kernel's numbers, in a slot once used."""
    kernel, cpu, data = _Kernel(booted(4, apic_ids=_OTHER_IDS), _OTHER_IDS), 2, b"gaps"
    memory = kernel.host.machine.memory
    slot = SHARED_MEMORY + cpu * MK_IPI_DATA.size
    kernel.host.machine.poke(slot, b"\xa5" * MK_IPI_DATA.size)
    result = _call(answer, kernel, cpu, data, SHARED_MEMORY)
    call = f"sending {len(data)} bytes to CPU {cpu}, where the APIC ids are {_OTHER_IDS}"
    sent = [one for one in kernel.sent if one.vector == MULTIKERNEL_VECTOR]
    if not sent or sent[0].targets != [cpu]:
        return not_yet(
            f"{call}: the interrupt does not arrive at APIC id {_OTHER_IDS[cpu]}.",
            f"event {sent[0].seq}" if sent else call,
            "cpu is this kernel's number. ICR wants the APIC id, which is apicids[cpu].",
        )
    wanted = struct.pack("<iIQ", _OTHER_IDS[0], _TYPE, len(data)) + data
    lies = memory.read(slot, len(wanted))
    by_id = SHARED_MEMORY + _OTHER_IDS[cpu] * MK_IPI_DATA.size
    if memory.read(by_id, len(wanted))[4:] == wanted[4:]:
        return not_yet(
            f"{call}: you have filled slot {_OTHER_IDS[cpu]}, by the APIC id. That mends version 1, which is asked for"
            " in 05.4. Here the same function is wanted: it takes the slot by cpu.",
            f"the slot at {by_id:#x}",
            "Which number does mk_slot get in the C above?",
        )
    if lies[4:] == wanted[4:] and lies[:4] != wanted[:4]:
        return not_yet(
            f"{call}: sender_cpu is {int.from_bytes(lies[:4], 'little', signed=True)}. CPU 0, which sends, has APIC id"
            f" {_OTHER_IDS[0]}.",
            f"the slot at {slot:#x}, bytes 0 to 3",
            "The C above gives fill_slot physical_id(): the APIC id of the CPU that runs it.",
        )
    return _fields(lies, wanted, call, f"the slot at {slot:#x}, which was full of 0xa5", cpu) or _result(result, call)


def _elsewhere(kernel: _Kernel, wanted: bytes) -> int | None:
    """Where the message lies, if it does not lie in its slot."""
    at = kernel.host.machine.memory.read(SHARED_MEMORY, 8 * MK_IPI_DATA.size).find(wanted)
    return SHARED_MEMORY + at if at >= 0 else None


def _result(result: object, call: str) -> Verdict | None:
    if result == 0 and result is not False:
        return None
    return not_yet(
        f"{call}: the message arrived, and your function returned {result!r}. A kernel function says 0 for success.",
        call,
        "return 0",
        expected="0",
        got=repr(result),
    )


_REFUSED = (
    (
        4,
        b"x",
        SHARED_MEMORY,
        _EINVAL,
        "CPU 4 does not exist: nr_cpu_ids is 4, the first number past the end",
        "CPUs are 0 to 3.",
    ),
    (-1, b"x", SHARED_MEMORY, _EINVAL, "CPU -1 does not exist", "apicids[-1] is the last one, in Python."),
    (2, bytes(257), SHARED_MEMORY, _EINVAL, "257 bytes do not fit: 256 is MK_MAX_DATA_SIZE", "Compare with 256."),
    (2, b"x", 0, _ENOMEM, "there is no message area: mapping it has failed, and area is 0", "ENOMEM is 12."),
    (
        9,
        b"x",
        0,
        _EINVAL,
        "CPU 9 does not exist, and v1 asks that before it asks for the area",
        "In which order does v1 ask?",
    ),
)
"""Calls that are refused: CPU, data, area, errno, why, and what to look at."""


def _refused(
    answer: Answer, kernel: _Kernel, cpu: int, data: bytes, area: int, errno: int, why: str, next_step: str
) -> Verdict | None:
    """What is wrong with how a call was refused, or None."""
    memory = kernel.host.machine.memory
    before = memory.read(SHARED_MEMORY, 8 * MK_IPI_DATA.size)
    low = memory.read(0, 8 * MK_IPI_DATA.size)
    call = f"cpu {cpu}, {len(data)} bytes, area {area:#x}"
    try:
        result = _call(answer, kernel, cpu, data, area)
    except AnswerError as error:
        if error.kind != "raised":
            raise
        return not_yet(
            f"{why}. Your function raised {error.type} ({error}) instead of returning {errno}.",
            f"{call}; {error.where(answer.source)}",
            f"Test first, then act. {next_step}",
        )
    changed = memory.read(SHARED_MEMORY, 8 * MK_IPI_DATA.size) != before or memory.read(0, 8 * MK_IPI_DATA.size) != low
    if kernel.sent or changed:
        return not_yet(
            f"{why}. Your function has {'sent an interrupt' if kernel.sent else 'written to memory'} all the same"
            + (f", after cutting the message to {MK_MAX_DATA_SIZE} bytes" if len(data) > 256 else "")
            + ": the caller must learn that nothing was sent.",
            call,
            f"Test first, then act. {next_step}",
            expected=f"{errno}, and nothing done",
            got=repr(result),
        )
    if result != errno:
        return not_yet(
            f"{why}. Your function returned {result!r}.",
            call,
            f"Linux returns the negative errno: -EINVAL is -22, -ENOMEM is -12. {next_step}",
            expected=str(errno),
            got=repr(result),
        )
    return None


_FILL = "    kernel.write(slot, header + data)\n"
_HALF = "    kernel.write(slot, header)\n    kernel.write(slot + 16, data)\n"
_ICR = "    kernel.store(0xFEE00310, apicids[cpu] << 24)\n    kernel.store(0xFEE00300, 0xEA)\n"
_TEST = "cpu < 0 or cpu >= len(apicids)"

_send = Exercise(
    id="05.3",
    title="multikernel_send_ipi_data",
    kind="python",
    judge=_judge,
    prelude="import struct",
    hints=(
        "The C of the RFC's function stands above: three tests, one slot, two stores, 0. Which of its helpers do you"
        " have to write out?",
        "Refuse before you write. Slot: area + 272 cpu. Header: '<iIQ', that is sender, type, size; the sender is the"
        " APIC id of CPU 0. Interrupt last.",
        'if ...: return -22; if ...: return -12; kernel.write(slot, struct.pack("<iIQ", apicids[0], kind, len(data)) +'
        " data); two kernel.store; return 0.",
    ),
    mistakes=(
        Mistake("256 is refused", (("len(data) > 256", "len(data) >= 256"),), "256, is the largest size"),
        Mistake(
            "nr_cpu_ids is accepted",
            (("cpu >= len(apicids)", "cpu > len(apicids)"),),
            "CPU 4 does not exist: nr_cpu_ids is 4",
        ),
        Mistake("negative CPUs", ((_TEST, "cpu >= len(apicids)"),), "CPU -1 does not exist"),
        Mistake(
            "cut to 256",
            ((" or len(data) > 256", ""), ("    slot =", "    data = data[:256]\n    slot =")),
            "after cutting the message to 256 bytes",
        ),
        Mistake("no test for the area", (("    if not area:\n        return -12\n", ""),), "there is no message area"),
        Mistake("the interrupt first", ((_FILL, ""), (_ICR, _ICR + _FILL)), "the interrupt came before the message"),
        Mistake("no interrupt", ((_ICR, ""),), "no interrupt 0xEA was sent"),
        Mistake("nothing is returned", (("    return 0", "    return None"),), "returned None"),
        Mistake("the buffer at 12", (('"<iIQ"', '"<iII"'),), "data_size is not what it should be"),
        Mistake("a stride of 256", (("272 * cpu", "256 * cpu"),), "where its slot is"),
        Mistake(
            "the area is asked for first",
            (("    if " + _TEST, "    if not area:\n        return -12\n    if " + _TEST),),
            "asks that before it asks for the area",
        ),
        Mistake("positive errno", (("return -12", "return 12"),), "the negative errno"),
        Mistake("the sender is 0", (('"<iIQ", apicids[0]', '"<iIQ", 0'),), "sender_cpu is 0. CPU 0, which sends"),
        Mistake("the slot by APIC id", (("272 * cpu", "272 * apicids[cpu]"),), "which is asked for in 05.4"),
        Mistake("the interrupt by cpu", (("apicids[cpu] << 24", "cpu << 24"),), "does not arrive at APIC id 6"),
        Mistake(
            "data_size of 32 bits",
            (('"<iIQ", apicids[0], kind, len(data))', '"<iII", apicids[0], kind, len(data))'), (_FILL, _HALF)),
            "data_size is not what it should be",
        ),
        Mistake("the id is not shifted", (("apicids[cpu] << 24", "apicids[cpu]"),), "the interrupt went to CPU 0"),
    ),
    alternatives=(
        "def multikernel_send_ipi_data(kernel, area, apicids, cpu, data, kind):\n"
        "    if cpu not in range(len(apicids)) or len(data) > 256:\n        return -22\n"
        "    if area == 0:\n        return -12\n"
        "    slot = area + 272 * cpu\n"
        "    kernel.write(slot + 16, data)\n"
        "    kernel.write(slot + 8, len(data).to_bytes(8, 'little'))\n"
        "    kernel.store(slot + 4, kind)\n    kernel.store(slot, apicids[0])\n"
        "    kernel.store(0xFEE00310, apicids[cpu] << 24)\n    kernel.store(0xFEE00300, 0x40EA)\n"
        "    return 0\n",
    ),
)

EXERCISES = (_send,)
