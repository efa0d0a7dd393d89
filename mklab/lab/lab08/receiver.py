"""Exercise 08.6: what a receiver does in its handler, and in which order; the lines are compiled, run and explored."""

from mklab.lab import forms, guestrun
from mklab.lab.exercise import not_yet
from mklab.lab.forms.parsons import Order, WrongOrder
from mklab.lab.guestcode import Code, compiled
from mklab.lab.guestrun import Place
from mklab.lab.lab08.bench import RECEIVED, Start, enter, received, settle_receiver
from mklab.lab.lab08.proof import Found, Task, prove
from mklab.lab.verdict import Verdict
from mklab.machine.machine import Machine

__all__ = ["receiver"]

_SLOT = 0x5000
_RECEIVER = 2
_MESSAGES = ((1, 0x101), (2, 0x202))
"""Number and text of each sender's message."""

LINES = {
    "A": "if (load(&slot->state) != FULL) return;",
    "B": "copy = slot->message;",
    "C": "store(&slot->state, EMPTY);",
    "D": "queue_work(&copy);",
    "E": "queue_work(&slot->message);",
    "F": "apic_eoi();",
}

_FRAME = """typedef unsigned long u64;
typedef unsigned int u32;
struct message { u64 sender, text; };
struct slot { u64 state; struct message message; };
enum { EMPTY, CLAIMED, FULL };
#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, value) __atomic_store_n(p, value, __ATOMIC_RELEASE)
#define cas(p, old, new) __sync_bool_compare_and_swap(p, old, new)
#define apic(offset) (*(volatile u32 *)(0xfee00000 + (offset)))

struct message copy, *pending;

void apic_eoi(void) { apic(0xb0) = 0; }
void queue_work(struct message *message) { pending = message; }

__attribute__((noinline)) void handle(struct slot *slot)
{
%s
}

void run_work(void)				/* behind the handler, as irq_work does */
{
	u64 *received = (u64 *)RECEIVED;

	if (!pending)
		return;
	received[1 + received[0]++] = pending->sender << 16 | pending->text;
	pending = 0;
}

void interrupt(void)
{
	handle((struct slot *)SLOT);
	run_work();
}

void send(struct slot *slot, u64 sender, u64 text)
{
	apic(0x310) = RECEIVER << 24;
	if (sender == 1)
		apic(0x300) = 0xea;		/* without a message: anybody can send that */
	while (!cas(&slot->state, EMPTY, CLAIMED))
		;
	slot->message.sender = sender;
	slot->message.text = text;
	store(&slot->state, FULL);
	apic(0x300) = 0xea;
}

__asm__(
	".globl receiver, on_message\\n"
	"receiver: movl $0xfee000f0, %%eax; movl $0x1ff, (%%rax); sti\\n"
	"1: hlt; jmp 1b\\n"
	"on_message: push %%rax; push %%rcx; push %%rdx; push %%rsi; push %%rdi\\n"
	"push %%r8; push %%r9; push %%r10; push %%r11\\n"
	"call interrupt\\n"
	"pop %%r11; pop %%r10; pop %%r9; pop %%r8; pop %%rdi; pop %%rsi; pop %%rdx; pop %%rcx; pop %%rax\\n"
	"iretq\\n"
);
"""
_FIRST = _FRAME[: _FRAME.index("%s")].count("\n") + 1
"""The line of the first of the student's lines."""


def _prepare(machine: Machine, code: Code) -> None:
    settle_receiver(machine, code, _RECEIVER)
    enter(machine, code, {cpu: Start("send", (_SLOT, *message)) for cpu, message in enumerate(_MESSAGES)})


_PLACE = Place(cpu=None, cpus=3, prepare=_prepare, budget=20_000, ends="any")


def _judge(order: Order, _seed: int) -> Verdict:
    if {"D", "E"} <= set(order.letters):
        return not_yet(
            "You queue the message twice: once a pointer to the copy, once one to the slot. The later one counts.",
            order.place("E"),
            "Which of the two stays what it is until the work runs?",
        )
    text = (_FRAME % "\n".join(f"\t{line}" for line in order.program)).replace("SLOT", f"{_SLOT:#x}")
    text = text.replace("RECEIVED", f"{RECEIVED:#x}").replace("RECEIVER", f"{_RECEIVER}")
    code = compiled(text, "c", _PLACE.base)
    labels = {_FIRST + number: letter for number, letter in enumerate(order.letters)}
    task = Task(
        tuple(sender << 16 | text for sender, text in _MESSAGES),
        received,
        ((_SLOT, _SLOT + 8),),
        {_SLOT: "state", _SLOT + 8: "sender", _SLOT + 16: "text"},
        ((_SLOT, _SLOT + 24),),
        lambda message: f"{message & 0xFFFF:#x} from sender {message >> 16}",
        labels,
    )
    return prove(
        guestrun.run(code, _PLACE),
        task,
        lambda found: _told(found, order),
        "Each message is copied while the slot is the receiver's, and the work looks at the copy only.",
    )


def _told(found: Found, order: Order) -> Verdict | None:
    letters = order.letters
    before = {one: letters.find(one) for one in LINES}
    if "F" not in letters or (
        before["A"] < before["F"] and found.kind in ("lost", "stuck") and _in_service(found.machine)
    ):
        return found.verdict(
            "The next interrupt never came: bit 0xEA of the ISR is still set, for the handler has returned without EOI."
            + (" An interrupt may come without a message, and then line A returns." if "F" in letters else ""),
            "EOI must be reached on every path through the handler.",
        )
    if "E" in letters and found.kind != "stuck":
        return found.verdict(
            "Deferred work read the slot after the next send: the pointer was to the slot, and by then another message"
            " lay there. RFC v1 does that: handler->saved_data points into the slot.",
            "Copy first. What the work is handed must stay what it is.",
        )
    if not {"D", "E"} & set(letters):
        return found.verdict("Nobody was told: no work was queued, so no message was ever handled.", "Queue the work.")
    if "C" not in letters:
        return found.verdict(
            "The slot stays FULL for ever, and the second sender waits for ever: nobody makes it EMPTY.",
            "When does the receiver need the slot no longer?",
        )
    if "B" not in letters:
        return found.verdict(
            "The work was handed a copy into which nothing was ever copied.", "Which line fills it, and when must it?"
        )
    if "A" not in letters or before["B"] < before["A"] or before["C"] < before["A"] or before["D"] < before["A"]:
        return found.verdict(
            "An interrupt came without a message, and your handler took what lay in the slot. Anybody can send 0xEA.",
            "Look at the state before you touch anything else.",
        )
    if before["C"] < before["B"]:
        return found.verdict(
            "Overwritten during the copy: the slot was EMPTY already, a sender claimed it, and the copy is of the next"
            " message, or of both.",
            "As long as the state is FULL the slot is yours. Copy first, free afterwards.",
        )
    return None


def _in_service(machine: Machine) -> bool:
    return bool(machine.apics[_RECEIVER].isr)


receiver = forms.parsons(
    "08.6",
    "What a receiver does",
    LINES,
    _judge,
    (
        "Two things can go wrong behind the handler's back: a sender stores into the slot, and an interrupt comes for"
        " which there is no message. Which line protects from which?",
        "The slot is the receiver's from FULL to EMPTY. Work that runs later must not look at what is another's by"
        " then. And every path through a handler reaches the EOI.",
        "First the EOI, then the question whether there is a message; then copy, free, queue the copy. One line is not"
        " needed.",
    ),
    (
        WrongOrder("FABCE", "a pointer to the slot is queued", "Deferred work read the slot after the next send"),
        WrongOrder("FACBD", "freed before it is copied", "Overwritten during the copy"),
        WrongOrder("ABCD", "no EOI", "for the handler has returned without EOI"),
        WrongOrder("AFBCD", "EOI on one path only", "An interrupt may come without a message, and then line A returns"),
        WrongOrder("FBCD", "does not look at the state", "An interrupt came without a message"),
        WrongOrder("FABD", "never freed", "The slot stays FULL for ever"),
        WrongOrder("FABC", "nothing is queued", "Nobody was told"),
        WrongOrder("FACD", "nothing is copied", "a copy into which nothing was ever copied"),
        WrongOrder("FABCDE", "both are queued", "You queue the message twice"),
    ),
    also=("FABDC", "FADBC"),
)
