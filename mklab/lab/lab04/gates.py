"""Exercise 04.4: a gate for 0xEA, written into an IDT in guest RAM."""

from contextlib import suppress

from mklab.lab.checking.answer import Answer, Offer
from mklab.lab.checking.wire import Reference
from mklab.lab.exercise import Exercise, LimitedRoundRobin, Mistake, OutOfSlicesError, not_yet
from mklab.lab.lab04.bench import IDT, assembled, bench, program
from mklab.lab.lab04.bench import gate as right_gate
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine
from mklab.recording.bits import Descriptor, gate
from mklab.trace import Delivered, Shutdown

__all__ = ["EXERCISES"]

_VECTOR = 0xEA
_DEEPEST = 0x40018
_ELSEWHERE, _OTHER, _FAR = 0x34000, 0x41, 0xFFFFFFFF81A12B3D
"""A second IDT, another vector, and a handler where Linux's text lies: all 64 bits of the address count."""
_PARTS = (
    (0, 2, "offset 15:0"),
    (2, 4, "the selector"),
    (4, 5, "IST"),
    (5, 6, "type, DPL and P"),
    (6, 8, "offset 31:16"),
    (8, 12, "offset 63:32"),
    (12, 16, "reserved, 0"),
)


def _handler() -> int:
    return assembled(program("nest.S")).symbols["handler_eoi_first"]


def _judge(answer: Answer, _seed: int) -> Verdict:
    machine = bench(program("nest.S"), [("sender", 1), ("receiver", 0)], {})
    handler = _handler()
    memory = Offer(machine.memory, ("read", "write"))
    before = machine.memory.read(IDT, 0x1000)
    answer.call("set_gate", Reference("memory"), IDT, _VECTOR, handler, memory=memory)
    verdict = _misplaced(machine, before) or _ran(machine, handler)
    if verdict is not None:
        return verdict
    machine.memory.write(_ELSEWHERE, b"\xa5" * 0x1000)
    answer.call("set_gate", Reference("memory"), _ELSEWHERE, _OTHER, _FAR, memory=memory)
    got, wanted = machine.memory.read(_ELSEWHERE + 16 * _OTHER, 16), right_gate(_FAR)
    if got[12:] == b"\xa5" * 4 and got[:12] == wanted[:12]:
        return not_yet(
            "The first gate works, because there were zeros behind it. In the second table lay something else, and is"
            " still there: you have written 12 bytes, and a gate has 16.",
            f"set_gate(memory, {_ELSEWHERE:#x}, {_OTHER:#x}, {_FAR:#x}): bytes 12 to 15 of the gate",
            "What do the last four bytes hold? Write them too.",
            expected=wanted[12:].hex(" "),
            got=got[12:].hex(" "),
        )
    for start, end, name in _PARTS:
        if got[start:end] != wanted[start:end]:
            return not_yet(
                f"The first gate works. In the second, for vector {_OTHER:#x} and a handler at {_FAR:#x}, {name} is not"
                f" what it should be: this handler's address does not fit into 32 bits, and the IDT is another one.",
                f"set_gate(memory, {_ELSEWHERE:#x}, {_OTHER:#x}, {_FAR:#x}): bytes {start} to {end - 1} of the gate",
                "Take every part from the arguments: bits 0 to 15, 16 to 31 and 32 to 63 of the handler.",
                expected=wanted[start:end].hex(" "),
                got=got[start:end].hex(" "),
            )
    return Verdict(
        Outcome.PASSED,
        f"Four IPIs on 0xEA went through your gate to the handler at {handler:#x}, one handler at a time; and the gate"
        f" for a handler at {_FAR:#x} is right in all its 16 bytes.",
    )


def _misplaced(machine: Machine, before: bytes) -> Verdict | None:
    """The verdict on a gate that does not lie where the CPU looks."""
    after = machine.memory.read(IDT, 0x1000)
    changed = [place for place, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    entry = 16 * _VECTOR
    if not changed:
        return not_yet(
            "set_gate has written nothing into the IDT.",
            f"the page at {IDT:#x}",
            "memory.write(address, data) stores bytes at a physical address.",
        )
    if changed[0] // 16 == 8 * _VECTOR // 16:
        return not_yet(
            f"Your gate begins at {IDT + 8 * _VECTOR:#x}, 8 bytes for each vector. In long mode gates are 16 bytes: the"
            f" CPU takes yours for a part of entry {8 * _VECTOR // 16:#x}, and finds entry {_VECTOR:#x} empty.",
            f"address {IDT + changed[0]:#x}",
            f"Where does entry {_VECTOR:#x} begin, if each has 16 bytes?",
        )
    if changed[0] < entry or changed[-1] >= entry + 16:
        first = changed[0] if changed[0] < entry else next(one for one in changed if one >= entry + 16)
        return not_yet(
            f"Your bytes lie at {IDT + first:#x}, and the entry of {_VECTOR:#x} is {IDT + entry:#x} to"
            f" {IDT + entry + 15:#x}: that is the entry of vector {first // 16:#x}.",
            f"address {IDT + first:#x}",
            "16 bytes for each vector, from the IDT's base on; and a gate has 16 bytes, no more.",
        )
    return None


def _ran(machine: Machine, handler: int) -> Verdict | None:
    """The verdict on a gate through which the interrupt did not go as it should."""
    begin = machine.trace.count
    machine.schedule = LimitedRoundRobin(5_000, machine.trace, 5_000)
    machine.schedule.quantum = 50
    with suppress(OutOfSlicesError):
        machine.run(150_000)
    events = [event for event in machine.trace.events if event.seq >= begin]
    shutdown = next((event for event in events if isinstance(event, Shutdown)), None)
    entered = next((event for event in events if isinstance(event, Delivered) and event.vector == _VECTOR), None)
    where = f"the gate at {IDT + 16 * _VECTOR:#x}: {machine.memory.read(IDT + 16 * _VECTOR, 16).hex(' ')}"
    found = gate(machine.memory.read(IDT + 16 * _VECTOR, 16))
    if found.offset != handler or (shutdown is not None and entered is None):
        return _refused(shutdown, found, handler, where)
    deepest = int.from_bytes(machine.memory.read(_DEEPEST, 4), "little")
    if deepest > 1:
        return not_yet(
            f"{deepest} handlers were under way at once on CPU 1: your gate is a trap gate (type 0xF), which leaves IF"
            " on, and this handler writes EOI first, as the RFC's does. Each IPI interrupted the handler before it.",
            where,
            "Type 0xE is the interrupt gate: it clears IF at the entry.",
        )
    if shutdown is not None or entered is None:
        return not_yet(
            "The handler of 0xEA has not run as it should.", where, "Compare each field with the table above."
        )
    if found.dpl:
        return not_yet(
            f"The interrupts went through, but your gate has DPL {found.dpl}: a program in ring 3 could enter this"
            " handler by INT 0xEA, and the handler would write an EOI that belongs to another interrupt.",
            where,
            "DPL is bits 5 and 6 of byte 5: 0 for the kernel alone.",
        )
    return None


def _refused(shutdown: Shutdown | None, found: Descriptor, handler: int, where: str) -> Verdict:
    """The verdict on a gate that the CPU did not accept, or which led it astray."""
    told = "The IPI set its bit in IRR, and CPU 1 took it. "
    if shutdown is not None:
        told += f"What came of it: {shutdown.why}. "
    if not found.present:
        why, look = "P (bit 7 of byte 5) is 0: the gate counts as not present.", "Byte 5 is 0x8E: P, DPL 0, type 0xE."
    elif found.kind not in ("interrupt gate", "trap gate"):
        why = f"The type is that of a {found.kind}: interrupts go through interrupt gates and trap gates only."
        look = "Byte 5 is 0x8E: P, DPL 0, type 0xE."
    elif found.selector != 0x10:
        why = f"The selector is {found.selector:#x}, and the 64-bit code segment is 0x10."
        look = "Bytes 2 and 3 are the selector, __KERNEL_CS."
    elif found.ist:
        why = f"IST is {found.ist}: the stack would come from a TSS, and this machine has loaded none."
        look = "Byte 4 is 0: stay on the stack that is in use."
    else:
        why = f"The gate leads to {found.offset:#x}, and the handler is at {handler:#x}."
        look = "The address lies in three parts: bits 0 to 15 first, 16 to 31 in bytes 6 and 7, 32 to 63 in 8 to 11."
    return not_yet(told + why, where, look)


_gate = Exercise(
    id="04.4",
    title="A gate for 0xEA",
    kind="python",
    judge=_judge,
    prelude="import struct",
    hints=(
        "The table of a gate's 16 bytes stands above. Which fields change with the handler, which are always the same?",
        "The gate of vector v is at idt + 16 v. Selector 0x10, IST 0, byte 5 = 0x8E; the address in three parts, each"
        " with its lowest byte first.",
        'memory.write(idt + 16 * vector, struct.pack("<HHBBHII", low 16 bits, 0x10, 0, 0x8E, next 16, upper 32, 0)).',
    ),
    mistakes=(
        Mistake("8 bytes for each vector", (("16 * vector", "8 * vector"),), "In long mode gates are 16 bytes"),
        Mistake("a trap gate", (("0x8E", "0x8F"),), "your gate is a trap gate"),
        Mistake("not present", (("0x8E", "0x0E"),), "counts as not present"),
        Mistake("a call gate", (("0x8E", "0x8C"),), "that of a call gate"),
        Mistake("for everybody", (("0x8E", "0xEE"),), "a program in ring 3"),
        Mistake("the 32-bit code segment", ((" 0x10,", " 0x08,"),), "the 64-bit code segment is 0x10"),
        Mistake("the data segment", ((" 0x10,", " 0x18,"),), "The selector is 0x18"),
        Mistake("a stack of its own", (("0x10, 0, 0x8E", "0x10, 1, 0x8E"),), "this machine has loaded none"),
        Mistake(
            "halves swapped",
            (("handler & 0xFFFF, handler >> 16 & 0xFFFF", "handler >> 16 & 0xFFFF, handler & 0xFFFF"),),
            "the handler is at",
        ),
        Mistake("the upper half left out", (("handler >> 32", "0"),), "does not fit into 32 bits"),
        Mistake("the next vector", (("16 * vector", "16 * (vector + 1)"),), "the entry of vector 0xeb"),
        Mistake("one IDT only", (("idt + 16", "0x30000 + 16"),), "the IDT is another one"),
        Mistake("12 bytes", (("HHBBHII", "HHBBHI"), ("high, 0)", "high)")), "12 bytes, and a gate has 16"),
        Mistake("nothing", (("    memory.write(", "    print("),), "has written nothing"),
    ),
    alternatives=(
        "def set_gate(memory, idt, vector, handler):\n"
        "    gate = handler & 0xFFFF | 0x10 << 16 | 0x8E << 40 | (handler >> 16 & 0xFFFF) << 48\n"
        "    gate |= handler >> 32 << 64\n"
        "    memory.write(idt + 16 * vector, gate.to_bytes(16, 'little'))\n",
    ),
)

EXERCISES = (_gate,)
