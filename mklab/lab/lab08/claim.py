"""Exercise 08.5: a sender that claims the slot, fills it, publishes, and sends the interrupt; exploration judges it."""

from mklab.guest.abi import MULTIKERNEL_VECTOR
from mklab.lab import forms
from mklab.lab.exercise import Exercise, Mistake
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place, Ran
from mklab.lab.lab08.bench import RECEIVED, Start, enter, received, settle_receiver
from mklab.lab.lab08.proof import Found, Task, prove
from mklab.lab.verdict import Verdict
from mklab.machine.machine import Machine
from mklab.trace import IpiSent

__all__ = ["FRAME", "SLOT", "claim"]

SLOT = 0x5000
EMPTY, CLAIMED, FULL = 0, 1, 2
_RECEIVER = 2
_MESSAGES = (0x101, 0x201)

FRAME = f"""
	.code64
	.globl	receiver
receiver:
	movl	$0xfee000f0, %eax	/* SVR: the local APIC is enabled */
	movl	$0x1ff, (%rax)
	sti
1:	hlt
	jmp	1b

	.globl	on_message
on_message:
	pushq	%rax
	pushq	%rcx
	movl	$0xfee000b0, %eax	/* EOI */
	movl	$0, (%rax)
1:	cmpq	${FULL}, {SLOT:#x}
	jne	2f
	movq	{RECEIVED:#x}, %rcx
	movq	{SLOT + 8:#x}, %rax
	movq	%rax, {RECEIVED + 8:#x}(,%rcx,8)
	incq	{RECEIVED:#x}
	movq	${EMPTY}, {SLOT:#x}
	jmp	1b			/* perhaps the next one is there already */
2:	popq	%rcx
	popq	%rax
	iretq
"""
"""The receiver, on CPU 2: it sleeps, and its handler takes messages out of the slot as long as the state is FULL."""


def _prepare(machine: Machine, code: Code) -> None:
    settle_receiver(machine, code, _RECEIVER)
    enter(machine, code, {cpu: Start("send", (SLOT, message)) for cpu, message in enumerate(_MESSAGES)})


PLACE = Place(entry="send", cpu=None, cpus=3, prepare=_prepare, budget=20_000, ends="any")
_TASK = Task(_MESSAGES, received, ((SLOT, SLOT + 8),), {SLOT: "state", SLOT + 8: "message"}, ((SLOT, SLOT + 16),))


def _judge(ran: Ran, _seed: int) -> Verdict:
    return prove(ran, _TASK, _told, "Both messages arrive, whoever comes first, and whoever is stopped where.")


def _told(found: Found) -> Verdict | None:
    state = found.machine.memory.read_u64(SLOT)
    if clash := found.clash("state"):
        one, other = clash
        return found.verdict(
            f"Both saw {EMPTY}: CPU {one.cpu} and CPU {other.cpu} have both read the state before either of them wrote"
            " it, and each took the slot for its own.",
            "The test and the store must be one step that no other CPU can come between: lock cmpxchg.",
        )
    if found.kind == "strange" or any(_published_first(found, cpu) for cpu in range(len(_MESSAGES))):
        return found.verdict(
            "The receiver took a message before it was there: the state said FULL, and the bytes came later.",
            "Fill first, publish afterwards. On x86 stores are seen in their order.",
        )
    if found.kind in ("lost", "stuck") and state == FULL:
        return _unheard(found)
    filled = all("message" in found.stores(cpu) for cpu in range(len(_MESSAGES)))
    if found.kind == "lost" and state == EMPTY and filled and not found.taken:
        return found.verdict(
            f"The slot was made EMPTY before CPU {_RECEIVER} had taken the message: it came, looked, and found"
            " nothing.",
            "Who knows that the message was taken? Only the receiver: it makes the slot EMPTY, not the sender.",
        )
    if found.kind == "stuck" and state == EMPTY:
        return found.verdict(
            "The slot is EMPTY, and the senders go round for ever and do not take it.",
            "cmpxchg compares with RAX. What does RAX hold when your code comes round again? A cmpxchg that fails"
            " loads it.",
        )
    if found.kind in ("lost", "stuck") and state == CLAIMED:
        return found.verdict(
            "The slot stays claimed for ever: whoever has claimed it never said FULL, so the receiver never"
            " empties it.",
            "What does the state have to be once the message lies in the slot?",
        )
    if found.kind in ("lost", "twice"):
        return _overwritten(found)
    return None


def _published_first(found: Found, cpu: int) -> bool:
    """Whether ``cpu`` has claimed the slot and said FULL before it stored its message.

    A cmpxchg is no publishing, however often it was tried.
    """
    touches = found.touches(cpu)
    if ("message", True) in touches:
        touches = touches[: touches.index(("message", True))]
    return touches.count(("state", True)) - _tries(found, cpu) + (_tries(found, cpu) > 0) >= 2


def _tries(found: Found, cpu: int) -> int:
    """How often ``cpu`` has read and written the state in one instruction."""
    both = {("state", False), ("state", True)}
    return sum(both <= set(found.named(one)) for one in found.way.operations if one.cpu == cpu)


def _unheard(found: Found) -> Verdict:
    sent = [one for one in found.machine.trace.of(IpiSent) if one.vector == MULTIKERNEL_VECTOR]
    taken = [one for one in found.way.operations if one.kind == "interrupt" and one.cpu == _RECEIVER]
    if not sent:
        return found.verdict(
            f"A message lies in the slot, FULL, and CPU {_RECEIVER} sleeps: no interrupt was ever sent to it.",
            "After the publishing: the destination to 0xFEE00310, bits 24 to 31, then 0xEA to 0xFEE00300.",
        )
    if not taken:
        return found.verdict(
            f"A message lies in the slot, and the interrupt went elsewhere: CPU {_RECEIVER} never got one.",
            f"The destination stands in bits 24 to 31 of the word at 0xFEE00310: {_RECEIVER} << 24. It comes first.",
        )
    return found.verdict(
        f"The interrupt came too early: CPU {_RECEIVER} looked, saw that the slot was not FULL yet, and went to sleep."
        " Then the message was published, and nobody told it.",
        "The interrupt says: look now. What must be true before it is sent?",
    )


def _overwritten(found: Found) -> Verdict:
    missing = [one for one in _MESSAGES if one not in found.taken]
    cpu = _MESSAGES.index(missing[0]) if missing else 0
    if missing and "message" not in found.stores(cpu):
        return found.verdict(
            f"CPU {cpu} met a slot that was in use, and gave up: it never stored its message.",
            "A sender that finds the slot in use tries again. `pause` makes the waiting polite.",
        )
    if any(_tries(found, one) > 1 for one in range(len(_MESSAGES))):
        return found.verdict(
            "A message was overwritten before the receiver had taken it. The slot was FULL; a cmpxchg failed, loaded"
            " that into RAX, and the next one compared with it and succeeded.",
            "What must RAX hold each time before cmpxchg is tried? Where does your loop go back to?",
        )
    return found.verdict(
        "A message was overwritten before the receiver had taken it: a sender stored into a slot that was another's.",
        "Who may store into the slot? Only who has changed its state from EMPTY to CLAIMED.",
    )


def _causes(ran: Ran, seed: int) -> Verdict | None:
    """A run that does not come to an end is explored all the same: who waits for what?"""
    return _judge(ran, seed) if ran.endless and ran.fault is None and ran.shutdown is None else None


_CLAIM = "\tlock cmpxchgq %rcx, (%rdi)\n\tjne\t1b\n"
_FILL = "\tmovq\t%rsi, 8(%rdi)\n"
_PUBLISH = "\tmovq\t$2, (%rdi)\n"
_HIGH = "\tmovl\t$2 << 24, (%rax)\n"
_SEND = "\tmovl\t$0xfee00310, %eax\n" + _HIGH + "\tmovl\t$0xfee00300, %eax\n\tmovl\t$0xea, (%rax)\n"

claim: Exercise = forms.guest(
    "08.5",
    "A slot that is claimed",
    "assembly",
    _judge,
    (
        "Two CPUs run your code at the same time. Which of your instructions read the state, and which write it?",
        "lock cmpxchg compares RAX with memory and stores only if they are equal, in one step that no CPU can come"
        " between; ZF says whether it did. It may fail: then the slot is another sender's, and you try again.",
        "1: xor %eax, %eax; mov $1, %ecx; lock cmpxchg %rcx, (%rdi); jne 1b. Then fill, then the state 2, then the two"
        " stores to the ICR, then ret.",
    ),
    (
        Mistake(
            "tested, then set",
            ((_CLAIM, "\tcmpq\t%rax, (%rdi)\n\tjne\t1b\n\tmovq\t%rcx, (%rdi)\n"),),
            "Both saw 0: CPU 0 and CPU 1 have both read the state",
        ),
        Mistake(
            "RAX is not set again",
            (("1:\txorl\t%eax, %eax\n", "\txorl\t%eax, %eax\n"), (_CLAIM, "1:" + _CLAIM)),
            "loaded that into RAX",
        ),
        Mistake("cmpxchg without lock", (("lock cmpxchgq", "cmpxchgq"),), "without LOCK"),
        Mistake("nothing is claimed", ((_CLAIM, ""),), "overwritten before the receiver had taken it"),
        Mistake(
            "published before it is filled",
            ((_FILL, ""), (_PUBLISH, _PUBLISH + _FILL)),
            "took a message before it was there",
        ),
        Mistake("never published", ((_PUBLISH, ""),), "The slot stays claimed for ever"),
        Mistake("no interrupt", ((_SEND, ""),), "no interrupt was ever sent to it"),
        Mistake(
            "the interrupt before the publishing",
            ((_SEND, ""), (_PUBLISH, _SEND + _PUBLISH)),
            "The interrupt came too early",
        ),
        Mistake("to CPU 0", ((_HIGH, "\tmovl\t$0, (%rax)\n"),), "the interrupt went elsewhere"),
        Mistake("gives up", (("\tjne\t1b\n", "\tjne\t9f\n"), ("\tret", "9:\tret")), "and gave up"),
        Mistake(
            "emptied by the sender", (("\tret", "\tmovq\t$0, (%rdi)\n\tret"),), "it came, looked, and found nothing"
        ),
        Mistake(
            "waits for FULL",
            (("\txorl\t%eax, %eax\n", "\tmovl\t$2, %eax\n"),),
            "The slot is EMPTY, and the senders go round for ever",
        ),
    ),
    alternatives=(
        Mistake(
            "looks before it locks",
            (("1:\txorl\t%eax, %eax\n", "1:\tpause\n\tcmpq\t$0, (%rdi)\n\tjne\t1b\n\txorl\t%eax, %eax\n"),),
            "",
        ),
        Mistake("in Intel's syntax", ((_FILL, "\t.intel_syntax noprefix\n\tmov\t[rdi+8], rsi\n\t.att_syntax\n"),), ""),
    ),
    place=PLACE,
    causes=_causes,
    sources=(("frame.S", FRAME),),
)
