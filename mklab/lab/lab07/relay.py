"""Exercise 07.5: a handler of 0xEA in C that passes messages on, in a kernel between two others."""

from importlib import resources

from mklab.errors import MklabError
from mklab.guest.abi import MK_MAX_DATA_SIZE, MK_PING, MK_PONG, MULTIKERNEL_VECTOR
from mklab.kernel.host import Host
from mklab.lab import forms
from mklab.lab.exercise import Mistake, OutOfSlicesError, not_yet
from mklab.lab.guestcode import Code
from mklab.lab.guestrun import Place, Ran
from mklab.lab.lab07.hello import OWN, PEER, beside_kernel_1, load, slot
from mklab.lab.lab07.numbers import chosen
from mklab.lab.lab07.runs import window
from mklab.lab.stores import misfit
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine
from mklab.trace import IpiSent, Message, MessageTaken

__all__ = ["EXERCISE", "FRAME"]

FRAME = (resources.files(__package__) / "frame.S").read_text(encoding="utf-8")
"""What stands around the student's function; see its head."""
_WORDS = (b"ring", b"round", b"relay", b"hand over", b"pass it on")
_LONG = bytes(range(256))
_LIE = 0x1000
_ANOTHER, _WORD = 9, b"not yours" * 20
"""A slot that nobody uses here, and what lies in it."""
_BESIDE = b"\xd7"
"""What lies behind the slot of the student's CPU: a copy of one byte too many takes it along."""


def _first(seed: int) -> bytes:
    return chosen("the first word", seed, _WORDS)


def _place(seed: int) -> Place:
    def ask(machine: Machine, code: Code) -> None:
        """Start the student's kernel; the host's first message comes with the run."""
        host = load(machine, code, code.symbols["frame_start"])
        host.multikernel_kexec(OWN)
        host.run_until(lambda one: one.memory.read(code.symbols["frame_up"], 1) == b"\1", "the frame is not up")
        host.settle()
        _send(host, _first(seed))

    return Place(
        "long",
        window(2).start,
        entry="relay",
        cpu=None,
        make=beside_kernel_1,
        prepare=ask,
        ends="any",
        budget=300_000,
        keep={"the memory of kernel 1": range(window(1).start, window(1).start + 0x4000)},
    )


def _send(host: Host, text: bytes, size: int | None = None) -> None:
    claimed = len(text) if size is None else size
    host.submit_by_hand(MULTIKERNEL_VECTOR, OWN, slot=OWN, sender=0, type=MK_PING, size=claimed, data=text)


def judge(ran: Ran, seed: int) -> Verdict:
    """One message, then one that fills a slot, then one that lies about its size."""
    verdict = _round(ran, _first(seed), ran.begin, "the first message")
    if verdict is not None:
        return verdict
    machine, host = ran.machine, Host(ran.machine)
    for text, size, name in ((_LONG, None, "a message of 256 bytes"), (b"a lie", _LIE, "a message that lies")):
        machine.poke(slot(_ANOTHER).start, _WORD)
        machine.poke(slot(OWN + 1).start, _BESIDE)
        begin = machine.trace.count
        _send(host, text, size)
        try:
            stop = host.settle(200_000)
        except (OutOfSlicesError, MklabError):
            stop = None
        if stop is None or stop.reason != "idle":
            return not_yet(
                f"The kernels came to no rest after {name}: {stop.detail if stop else 'it took too long'}.",
                next_step="Count who answers whom: a pong must never become a ping again.",
            )
        verdict = _round(ran, text, begin, name) if size is None else _lied(ran, begin)
        verdict = verdict or _one_more(ran, name)
        if verdict is not None:
            return verdict
    if (wrong := misfit(ran, OWN)) is not None:
        return wrong
    count = len([one for one in ran.events if isinstance(one, MessageTaken) and one.cpu == OWN])
    return Verdict(
        Outcome.PASSED,
        f"Your kernel took {count} messages and passed each on: from the host to kernel 1, and the answers back. The"
        f" one that claimed {_LIE:,} bytes did no harm.",
        next_step="Look at it again: which of your lines would fail if kernel 1 answered while you still copy?",
    )


def _round(ran: Ran, text: bytes, begin: int, name: str) -> Verdict | None:
    """What is wrong with one message's way: host, your kernel, kernel 1, your kernel, host."""
    taken = [one for one in ran.machine.trace.of(MessageTaken) if one.seq >= begin]
    mine = [one for one in taken if one.cpu == OWN]
    sent = [one for one in ran.machine.trace.of(IpiSent) if one.seq >= begin and one.cpu == OWN]
    if not mine:
        return _deaf(ran, name)
    if not sent:
        return not_yet(
            f"Your handler took {name} and sent nothing.",
            f"event {mine[0].seq}, at instruction {mine[0].time:,}",
            "Fill the next slot, then write the ICR: 0x310 to whom, 0x300 which vector.",
        )
    if sent[0].targets != [PEER] or sent[0].vector != MULTIKERNEL_VECTOR or sent[0].delivery != "fixed":
        to = ", ".join(map(str, sent[0].targets)) or "nobody"
        return not_yet(
            f"Your handler took {name} and sent an IPI of delivery mode {sent[0].delivery}, vector {sent[0].vector:#x},"
            f" to CPU {to}.",
            f"event {sent[0].seq}, at instruction {sent[0].time:,}",
            f"A ping goes on to CPU {PEER}: {PEER} << 24 to 0x310, then 0xea to 0x300.",
        )
    there = next((one for one in taken if one.cpu == PEER), None)
    if there is None or there.type == 0:
        return not_yet(
            f"CPU {PEER} was interrupted, and its slot was empty.",
            f"the slot of CPU {PEER} at {slot(PEER).start:#x}",
            f"slots[{PEER}] is its slot. Fill it before you write the ICR.",
        )
    return _contents(there, text, name) or _home(taken, there, text, name)


def _deaf(ran: Ran, name: str) -> Verdict:
    apic = ran.machine.apics[OWN]
    if apic.isr >> MULTIKERNEL_VECTOR & 1:
        return not_yet(
            f"Your CPU never took {name}: 0xEA still stands in its ISR from the message before, so the next one"
            f" waits in"
            " IRR for ever.",
            f"IRR and ISR of CPU {OWN}",
            "Who tells the APIC that a handler is done? A store to 0xb0.",
        )
    return not_yet(f"Your CPU never took {name}.", next_step="Does your handler return?")


def _contents(there: MessageTaken, text: bytes, name: str) -> Verdict | None:
    where = f"event {there.seq}, the slot of CPU {PEER} at {slot(PEER).start:#x}"
    payload = bytes.fromhex(there.payload)
    if there.sender != OWN:
        return not_yet(
            f"Kernel 1 took {name} to be from CPU {there.sender}, and will answer that CPU: past you.",
            where,
            f"In what you pass on, the sender is you: me, which is {OWN}.",
        )
    if there.type != MK_PING:
        return not_yet(
            f"Kernel 1 found type {there.type} in its slot, and did not answer.",
            where,
            f"What comes as type {MK_PING} (MK_PING) goes on as type {MK_PING}.",
        )
    if payload != text:
        return not_yet(
            f"Of {name}, kernel 1 found {there.size} bytes, and not the same.",
            where,
            "Copy data_size bytes, from buffer to buffer, and set data_size.",
            expected=f"{len(text)} bytes: {text[:24]!r}",
            got=f"{there.size} bytes: {payload[:24]!r}",
        )
    return None


def _home(taken: list[MessageTaken], there: MessageTaken, text: bytes, name: str) -> Verdict | None:
    """Whether the answer came back to the host, by way of the student's kernel."""
    back = [one for one in taken if one.cpu == OWN and one.seq > there.seq]
    if not back:
        return not_yet(
            f"Kernel 1 answered {name} to your CPU, and your CPU never took the answer: 0xEA still stands in its ISR,"
            " so the next one waits in IRR for ever.",
            f"IRR and ISR of CPU {OWN}",
            "Who tells the APIC that a handler is done? A store to 0xb0.",
        )
    home = [one for one in taken if one.cpu == 0 and one.seq > back[0].seq]
    if not home:
        return not_yet(
            f"The answer to {name} came back to your kernel, and the host never got it.",
            f"event {back[0].seq}, at instruction {back[0].time:,}",
            f"A message of type {MK_PONG} (MK_PONG) goes to slot 0 and CPU 0.",
        )
    if home[0].type != MK_PONG or home[0].sender != OWN or bytes.fromhex(home[0].payload) != text:
        return not_yet(
            f"The host got type {home[0].type} from CPU {home[0].sender}, {home[0].size} bytes, as the answer to"
            f" {name}.",
            f"event {home[0].seq}, the slot of CPU 0 at {slot(0).start:#x}",
            f"Pass the answer on as it came: type {MK_PONG}, the same bytes, you as the sender.",
        )
    return None


def _lied(ran: Ran, begin: int) -> Verdict | None:
    """Whether a size of 4096 was believed."""
    if ran.machine.memory.read(slot(_ANOTHER).start, len(_WORD)) != _WORD:
        return not_yet(
            f"A message claimed {_LIE:,} bytes, and your handler believed it: it wrote on, over the slots of other"
            f" CPUs.",
            f"slot {_ANOTHER} at {slot(_ANOTHER).start:#x}, which is none of yours",
            f"A slot holds MK_MAX_DATA_SIZE = {MK_MAX_DATA_SIZE} bytes. Whatever a sender claims, never copy more.",
        )
    told = [one for one in ran.machine.trace.of(Message) if one.seq >= begin and one.cpu == OWN]
    if any(one.size > MK_MAX_DATA_SIZE for one in told):
        return not_yet(
            f"A message claimed {_LIE:,} bytes. You copied no more than there is room for, but passed the claim on.",
            f"event {told[0].seq}, data_size at {slot(told[0].to_cpu).start + 8:#x}",
            "Set data_size to what you have copied, or drop the message.",
        )
    return None


def _one_more(ran: Ran, name: str) -> Verdict | None:
    """Whether the copy of a full slot went one byte beyond it."""
    beyond, memory = slot(PEER).start, ran.machine.memory
    if memory.read(beyond, 1) != _BESIDE:
        return None
    got = int.from_bytes(memory.read(beyond, 4), "little")
    return not_yet(
        f"Of {name}, your handler copied one byte more than a slot holds: the byte at {beyond:#x} is the first of the"
        f" next slot, and its sender_cpu is {got:#x} now.",
        f"slot {PEER} at {beyond:#x}, behind slot 0",
        f"{MK_MAX_DATA_SIZE} bytes are the bytes 0 to {MK_MAX_DATA_SIZE - 1}. At which i does your loop end?",
        expected=f"sender_cpu = {OWN:#x}",
        got=f"sender_cpu = {got:#x}",
    )


def causes(ran: Ran, _seed: int) -> Verdict | None:
    """Messages that go round and round are the commonest way not to come to an end."""
    taken = [one for one in ran.events if isinstance(one, MessageTaken)]
    if ran.fault is None and ran.endless and len(taken) > 8:
        pairs = sorted({(one.sender, one.cpu) for one in taken[-4:]})
        way = ", ".join(f"CPU {one} to CPU {other}" for one, other in pairs)
        return not_yet(
            f"A message goes round and round: {len(taken)} were taken, and more would follow ({way}).",
            f"event {taken[-1].seq}, type {taken[-1].type}",
            "Which type do you send where? A pong that goes back to where it came from is never done.",
        )
    return None


_EOI = "    APIC(0xb0) = 0;\n"
_CLAMP = "    if (size > MK_MAX_DATA_SIZE)\n        size = MK_MAX_DATA_SIZE;\n"
_NEXT = "mine->type == MK_PING ? 1 : 0"
_HIGH, _LOW = "    APIC(0x310) = next << 24;\n", "    APIC(0x300) = MULTIKERNEL_VECTOR;"

EXERCISE = forms.guest(
    "07.5",
    "The kernel in between",
    "c",
    judge,
    (
        "The messages' types say where each goes: MK_PING came from the host, MK_PONG from kernel 1. Your own slot is"
        " slots[me].",
        "EOI is a store to the APIC's 0xb0. A copy needs the sender (you), the type, a size of at most"
        " MK_MAX_DATA_SIZE, and the bytes; then 0x310, then 0x300.",
        "unsigned next = mine->type == MK_PING ? 1 : 0; then fill slots[next] field by field, a for loop for the bytes,"
        " and two lines with APIC(...) = ...;",
    ),
    (
        Mistake("no EOI", ((_EOI, ""),), "0xEA still stands in its ISR"),
        Mistake("across EOI", (("APIC(0xb0)", "APIC(0xaf)"),), "where no register begins"),
        Mistake(
            "EOI of 64 bits", ((_EOI, "    *(volatile unsigned long *)&APIC(0xb0) = 0;\n"),), "at 0xfee000b0 has 64"
        ),
        Mistake("the answer goes nowhere", ((_NEXT, "1"),), "and the host never got it"),
        Mistake("everything goes to the host", ((_NEXT, "0"),), "to CPU 0."),
        Mistake("the first sender stays", (("sender_cpu = me", "sender_cpu = mine->sender_cpu"),), "past you"),
        Mistake("destination not shifted", (("next << 24", "next"),), "to CPU 0."),
        Mistake("low word first", ((_HIGH, ""), (_LOW, _LOW + "\n" + _HIGH)), "to CPU 0."),
        Mistake("always a ping", (("type = mine->type", "type = MK_PING"),), "A message goes round and round"),
        Mistake("always a pong", (("type = mine->type", "type = MK_PONG"),), "found type 2 in its slot"),
        Mistake("eight bytes are enough", (("i < size; i++", "i < 8; i++"),), "and not the same"),
        Mistake("one byte more", (("i < size", "i <= size"),), "copied one byte more than a slot holds"),
        Mistake("no data_size", (("    theirs->data_size = size;\n", ""),), "found 0 bytes"),
        Mistake("the size is believed", ((_CLAMP, ""),), "your handler believed it"),
        Mistake(
            "the claim is passed on", (("data_size = size", "data_size = mine->data_size"),), "passed the claim on"
        ),
        Mistake("one slot further", (("&slots[next]", "&slots[next + 1]"),), "its slot was empty"),
        Mistake("the own slot", (("&slots[next]", "&slots[me]"),), "its slot was empty"),
        Mistake("nothing is sent", ((_LOW, ""),), "and sent nothing"),
        Mistake("a SIPI", (("= MULTIKERNEL_VECTOR", "= 0x6ea"),), "delivery mode sipi"),
        Mistake("a forgotten semicolon", (("= next << 24;", "= next << 24"),), "does not compile"),
        Mistake("another name", (("void relay", "void pass_on"),), "defines no relay"),
    ),
    place=_place,
    causes=causes,
    sources=(("frame.S", FRAME),),
    alternatives=(
        Mistake("EOI last", ((_EOI, ""), (_LOW, _LOW + "\n" + _EOI.rstrip("\n"))), ""),
        Mistake(
            "a message that lies is dropped", ((_CLAMP, "    if (size > MK_MAX_DATA_SIZE)\n        return;\n"),), ""
        ),
    ),
    given=lambda seed: f"The host's first message to your kernel is {_first(seed).decode()!r}.",
)
