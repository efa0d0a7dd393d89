"""Exercise 07.4: the smallest kernel that can speak, entered by the trampoline on a CPU of its own."""

from mklab.guest.abi import MK_IPI_DATA, MK_PING, MULTIKERNEL_VECTOR
from mklab.kernel.host import Host
from mklab.kernel.kexec import KexecSegment
from mklab.kernel.layout import SHARED_MEMORY
from mklab.kernel.reboot import LINUX_REBOOT_CMD_MULTIKERNEL, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2
from mklab.lab import forms
from mklab.lab.defects.stage import spawn
from mklab.lab.exercise import Mistake, not_yet
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place, Ran
from mklab.lab.lab07.again import in_used_slot, left_over, woken
from mklab.lab.lab07.runs import window
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine
from mklab.trace import Fault, IpiSent, Lost, MessageTaken, OwnerChange

__all__ = ["EXERCISE", "OWN", "PEER", "TEXT", "beside_kernel_1", "kick", "slot"]

PEER, OWN = 1, 2
"""The CPU of kernel 1, and that of the student's kernel."""
TEXT = b"hello"
_APIC_SIGN_EXTENDED = 0xFFFFFFFFFEE00000
_IMAGE = 0x10000
"""Bytes: as many as the code, and what surrounds it, may take."""


def slot(cpu: int) -> range:
    """The slot of a CPU in mk_shared_data, by its physical id."""
    start = SHARED_MEMORY + cpu * MK_IPI_DATA.size
    return range(start, start + MK_IPI_DATA.size)


def beside_kernel_1() -> Machine:
    """A machine on which the host and kernel 1 run, and CPU 2 is offline."""
    machine = Machine(4, 80 << 20, on_shutdown="halt")
    host = Host(machine)
    host.boot()
    spawn(host, 1, PEER)
    host.cpu_down(OWN)
    return machine


def load(machine: Machine, code: Code, entry: int) -> Host:
    """Load a student's kernel as kernel 2."""
    host = Host(machine)
    machine.plan(OWN, "kernel 2")
    # With what stands behind the code: who runs on beyond its end is caught there.
    segment = KexecSegment(machine.memory.read(code.base, _IMAGE), code.base, _IMAGE)
    host.kexec_load(entry, [segment], symbols=dict(code.symbols))
    return host


def kick(machine: Machine, code: Code) -> None:
    """Load it, and begin reboot(2): INIT and SIPI come with the run."""
    host = load(machine, code, code.symbols["start"])
    magic = {"magic1": LINUX_REBOOT_MAGIC1, "magic2": LINUX_REBOOT_MAGIC2, "cmd": LINUX_REBOOT_CMD_MULTIKERNEL}
    host.submit("reboot", {**magic, "privileged": True, "cpu": OWN})


def judge(ran: Ran, _seed: int) -> Verdict:
    """Whether kernel 1 has found the message in its slot, whole and under the right name."""
    sent = [one for one in ran.events if isinstance(one, IpiSent) and one.cpu == OWN]
    if not sent:
        return _nothing_sent(ran)
    where = f"event {sent[0].seq}, at instruction {sent[0].time:,}"
    found = [one for one in ran.events if isinstance(one, MessageTaken) and one.sender != PEER]
    mine = [one for one in found if one.cpu == PEER]
    if sent[0].delivery != "fixed" or sent[0].vector != MULTIKERNEL_VECTOR:
        return not_yet(
            f"Your kernel sent an IPI of delivery mode {sent[0].delivery} with vector {sent[0].vector:#x}: no message.",
            where,
            f"A message is vector {MULTIKERNEL_VECTOR:#x} in delivery mode 0 (fixed), so the low word is 0xea.",
        )
    if not mine:
        return _astray(sent[0], where)
    first = mine[0]
    payload = bytes.fromhex(first.payload)
    if first.type == 0 and first.size == 0:
        return _empty(ran, where)
    if first.size != len(TEXT):
        return not_yet(
            f"Kernel 1 found a message of {first.size} bytes.",
            f"event {first.seq}, data_size at {slot(PEER).start + 8:#x}",
            f"data_size is a u64 at offset 8 of the slot, and a slot is {MK_IPI_DATA.size} bytes long."
            f" {TEXT.decode()!r} has"
            f" {len(TEXT)} bytes.",
        )
    if payload != TEXT:
        return not_yet(
            f"Kernel 1 found {payload!r} in its slot.",
            f"event {first.seq}, the buffer at {slot(PEER).start + 16:#x}",
            "data_size is 8 bytes long, so the buffer begins at offset 16.",
            expected=repr(TEXT),
            got=repr(payload),
        )
    if first.sender != OWN:
        return not_yet(
            f"Kernel 1 took the message to be from CPU {first.sender}, and answered that CPU.",
            f"event {first.seq}, sender_cpu at {slot(PEER).start:#x}",
            f"sender_cpu is the first word of the slot. Your kernel runs on CPU {OWN}.",
        )
    if first.type != MK_PING:
        return not_yet(
            f"Kernel 1 found a message of type {first.type}, and did not answer.",
            f"event {first.seq}, type at {slot(PEER).start + 4:#x}",
            f"It answers type {MK_PING} (MK_PING).",
        )
    return _strayed(ran) or _said_once(sent, found) or _tried_again(ran, first) or _passed(ran, first)


def _said_once(sent: list[IpiSent], found: list[MessageTaken]) -> Verdict | None:
    if len(sent) == 1:
        return None
    return not_yet(
        f"Your kernel sent {len(sent):,} IPIs, and {len(found):,} times a handler of 0xEA looked for its one message.",
        f"event {sent[1].seq}, at instruction {sent[1].time:,}",
        "Say it once, then sleep. Where does your last jump lead?",
    )


def _tried_again(ran: Ran, first: MessageTaken) -> Verdict | None:
    """The same where the slot was used before; then NMIs come."""
    again = in_used_slot(ran, slot(PEER))
    return left_over(again, first, slot(PEER)) or woken(again, OWN)


def _strayed(ran: Ran) -> Verdict | None:
    """Whether the CPU has left the code, once the message was out."""
    at = ran.machine.registers(OWN).linear_rip
    if ran.code.base <= at <= ran.code.base + ran.code.size:
        return None
    return not_yet(
        f"The message arrived, and then CPU {OWN} left your code: it stands at {at:#x}, and executes whatever lies"
        f" there.",
        f"CPU {OWN}, RIP {at:#x}",
        "Nobody has called your kernel, so there is nowhere to return to. Let it end in a loop around HLT.",
    )


def _passed(ran: Ran, first: MessageTaken) -> Verdict:
    entered = next(one for one in ran.events if isinstance(one, OwnerChange) and one.owner == "kernel 2")
    lost = next((one for one in ran.events if isinstance(one, Lost) and one.cpu == OWN), None)
    why = f" Its answer lies in slot {OWN}; the interrupt was lost: {lost.why}." if lost else ""
    return Verdict(
        Outcome.PASSED,
        f"The trampoline jumped into your kernel at instruction {entered.time:,}, and kernel 1 found {TEXT.decode()!r}"
        f" {first.time - entered.time:,} instructions later.{why} A slot that was used before made no difference, nor"
        " did an NMI.",
        next_step="A kernel that wants to hear must enable its APIC and have an IDT. The next exercise brings both.",
    )


def _nothing_sent(ran: Ran) -> Verdict:
    entered = any(isinstance(one, OwnerChange) and one.owner == "kernel 2" for one in ran.events)
    written = any(ran.read(slot(PEER).start, len(slot(PEER))))
    if not entered:
        return not_yet("CPU 2 never reached your code.", next_step="Does it begin with the label start?")
    state = "The slot is filled, but no" if written else "No"
    return not_yet(
        f"Your kernel ran, and kernel 1 heard nothing of it. {state} IPI was sent.",
        "the ICR of CPU 2, at 0xfee00310 and 0xfee00300",
        "An IPI is sent by the store to 0xfee00300, the low word of the ICR.",
    )


def _astray(sent: IpiSent, where: str) -> Verdict:
    to = ", ".join(map(str, sent.targets)) or "nobody"
    return not_yet(
        f"Your IPI went to CPU {to}, not to CPU {PEER}. The store to the low word sends, and goes to the CPU that the"
        " high word names at that moment; after INIT that is 0.",
        where,
        f"First the high word: the destination {PEER} in bits 24 to 31 of 0xfee00310. Then the low word.",
    )


def _empty(ran: Ran, where: str) -> Verdict:
    if any(ran.read(slot(PEER).start, 16)):
        return not_yet(
            "Kernel 1 looked into its slot before your bytes were there: it found type 0 and no data.",
            where,
            "The interrupt says 'look'. Fill the slot first, then send.",
        )
    return not_yet(
        "Kernel 1 was interrupted and found its slot empty: type 0, no data.",
        f"{where}; its slot is at {slot(PEER).start:#x}",
        f"A slot is {MK_IPI_DATA.size} bytes long, and kernel 1 looks into the one of its own physical id, {PEER}.",
    )


def causes(ran: Ran, seed: int) -> Verdict | None:
    """Known reasons for a run that went wrong; a kernel that has done its work may also spin."""
    fault = ran.fault
    if fault is None and ran.endless and ran.smashed is None:
        # It may spin, where it has done its work.
        return judge(ran, seed)
    if isinstance(fault, Fault) and fault.cr2 & ~0xFFF == _APIC_SIGN_EXTENDED:
        line = ran.line(fault.rip)
        return not_yet(
            f"Your store went to {fault.cr2:#x}, where nothing is mapped: a triple fault, which on a PC resets every"
            " kernel. In 64-bit code an absolute address is a signed number of 32 bits, and 0xfee00000 is negative.",
            f"line {line} of your cell" if line else "",
            "Put 0xfee00000 into a register with movl, which clears the upper half, and store relative to it.",
        )
    return None


_HIGH = "        movl    $1 << 24, 0x310(%rax)\n"
_LOW = "        movl    $MULTIKERNEL_VECTOR, 0x300(%rax)\n"
_FILL = "        movl    $0x6c6c6568, SLOT + OFFSETOF_mk_ipi_data_buffer\n"

EXERCISE = forms.guest(
    "07.4",
    "A kernel that says hello",
    "assembly",
    judge,
    (
        f"Kernel 1's slot begins at {slot(PEER).start:#x}. The cell names its four fields; RAX can hold the address of"
        " the APIC.",
        "Fill the whole slot before you send. The APIC's ICR: 0x310 takes the destination in bits 24 to 31, the"
        " store to"
        " 0x300 sends.",
        "Four stores to SLOT + OFFSETOF_..., movl $0xfee00000, %eax, a store to 0x310(%rax), a store to"
        " 0x300(%rax), and"
        " a loop around HLT.",
    ),
    (
        Mistake("low word first", ((_HIGH, ""), (_LOW, _LOW + _HIGH)), "Your IPI went to CPU 0, not to CPU 1"),
        Mistake("destination in the low bits", (("$1 << 24", "$1"),), "Your IPI went to CPU 0, not to CPU 1"),
        Mistake("the own CPU as destination", (("$1 << 24", "$2 << 24"),), "Your IPI went to CPU 2, not to CPU 1"),
        Mistake("slots of 256 bytes", (("1 * SIZEOF_mk_ipi_data", "1 * 256"),), "a message of 0 bytes"),
        Mistake("the own slot", (("1 * SIZEOF_mk_ipi_data", "2 * SIZEOF_mk_ipi_data"),), "found its slot empty"),
        Mistake("the delivery mode of a SIPI", (("$MULTIKERNEL_VECTOR,", "$0x6ea,"),), "delivery mode sipi"),
        Mistake("another vector", (("$MULTIKERNEL_VECTOR,", "$0xeb,"),), "with vector 0xeb"),
        Mistake("no ICR store", ((_LOW, ""),), "The slot is filled, but no IPI was sent."),
        Mistake("text at offset 12", (("OFFSETOF_mk_ipi_data_buffer\n", "12\n"),), "Kernel 1 found"),
        Mistake("no size", (("        movq    $5, SLOT + OFFSETOF_mk_ipi_data_data_size\n", ""),), "of 0 bytes"),
        Mistake(
            "no sender", (("        movl    $2, SLOT + OFFSETOF_mk_ipi_data_sender_cpu\n", ""),), "to be from CPU 0"
        ),
        Mistake("a pong", (("$MK_PING", "$MK_PONG"),), "Kernel 1 found a message of type 2"),
        Mistake(
            "the message after the interrupt",
            ((_FILL, ""), (_LOW, _LOW + _FILL)),
            "Kernel 1 found",
        ),
        Mistake("the APIC by its absolute address", (("0x300(%rax)", "0xfee00300"),), "and 0xfee00000 is negative"),
        Mistake("no loop at the end", (("1:      hlt\n        jmp     1b", ""),), "ran on beyond its last instruction"),
        Mistake("HLT without a loop", (("1:      hlt\n        jmp     1b", "        hlt"),), "There CPU 2 ran on"),
        Mistake("it wakes and speaks again", (("jmp     1b", "jmp     start"),), "said hello once more"),
        Mistake("it never sleeps", (("1:      hlt\n        jmp     1b", "        jmp     start"),), "Your kernel sent"),
        Mistake("a size of 32 bits", (("movq    $5", "movl    $5"),), "found data_size 0xffffffff00000005"),
        Mistake("a type of 8 bits", (("movl    $MK_PING", "movb    $MK_PING"),), "found type 0xffffff01"),
        Mistake("return", (("1:      hlt\n        jmp     1b", "        ret"),), "and then CPU 2 left your code"),
        Mistake("not a mnemonic", (("hlt", "halt"),), "does not assemble"),
    ),
    place=Place(
        "long",
        window(2).start,
        entry="start",
        cpu=None,
        make=beside_kernel_1,
        prepare=kick,
        ends="any",
        budget=60_000,
        keep={"the memory of kernel 1": range(window(1).start, window(1).start + 0x4000)},
    ),
    causes=causes,
    alternatives=(
        Mistake(
            "it waits for a free slot",
            (("start:\n", "start:\n        cmpl    $0, SLOT + OFFSETOF_mk_ipi_data_type\n        jne     start\n"),),
            "",
        ),
        Mistake("it spins", (("1:      hlt\n        jmp     1b", "1:      pause\n        jmp     1b"),), ""),
        Mistake(
            "RBX holds the APIC", (("%eax", "%ebx"), ("0x310(%rax)", "0x310(%rbx)"), ("0x300(%rax)", "0x300(%rbx)")), ""
        ),
    ),
)
