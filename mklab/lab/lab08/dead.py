"""A sender that claims the slot of exercise 08.5 and stops for ever: what becomes of the other one."""

from mklab.lab.guestcode import Code, compiled
from mklab.lab.guestrun import LANDING
from mklab.lab.lab08.bench import Start, enter, settle_receiver
from mklab.lab.lab08.claim import FRAME, SLOT
from mklab.machine.machine import Machine
from mklab.timeline.explore import Exploration, NoDeadlock, explore

__all__ = ["dead_sender_run"]

_BASE = 0x20000
_CODE = (
    FRAME
    + """
die:	xorl	%eax, %eax
	movl	$1, %ecx
	lock cmpxchgq %rcx, (%rdi)
	hlt				/* claimed, and gone */

send:	xorl	%eax, %eax
	movl	$1, %ecx
	lock cmpxchgq %rcx, (%rdi)
	jne	send
	movq	%rsi, 8(%rdi)
	movq	$2, (%rdi)
	movl	$0xfee00310, %eax
	movl	$2 << 24, (%rax)
	movl	$0xfee00300, %eax
	movl	$0xea, (%rax)
	ret
"""
)


def machine_of(code: Code) -> Machine:
    """CPU 0 is about to claim and die, CPU 1 to send, CPU 2 to receive."""
    machine = Machine(3, 4 << 20)
    machine.poke(_BASE, code.data.ljust(LANDING, b"\xcc") + b"\xf4")
    settle_receiver(machine, code, 2)
    enter(machine, code, {0: Start("die", (SLOT, 0x101)), 1: Start("send", (SLOT, 0x201))})
    return machine


def dead_sender_run() -> Exploration:
    """Whether somebody waits for what cannot come."""
    return explore(machine_of(compiled(_CODE, "asm", _BASE)), NoDeadlock(), shared=[(SLOT, SLOT + 16)])
