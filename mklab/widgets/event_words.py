"""An event in words: what happened, why, and each of its fields decoded."""

from collections.abc import Callable
from typing import Any

from mklab import trace
from mklab.recording import Span
from mklab.widgets import ipi_words
from mklab.widgets.bits_words import EXCEPTIONS, apic_write, error_code
from mklab.widgets.messages import VECTORS
from mklab.widgets.sequence_lanes import owner_at
from mklab.widgets.step_words import source_of, why_of
from mklab.widgets.told import Fact, Told
from mklab.widgets.view import View

__all__ = ["told"]

_MOST_ARGUMENTS = 12


def told(view: View, number: int) -> Told:
    """Event number ``number`` of the film of ``view`` in words."""
    event = view.film.events[number]
    known = ipi_words.told(view, event)
    if known is None:
        known = _KINDS[type(event)](view, event)
    facts = [*_where(view, event), *known.facts]
    return Told(known.head, known.why, known.trouble, facts)


def _where(view: View, event: trace.Event) -> list[Fact]:
    """The CPU, and how it stood before and after."""
    if event.cpu is None:
        return [Fact("on", "the platform, or somebody outside")]
    before, after = (_span(view, event.cpu, number) for number in (event.seq - 1, event.seq))
    words = f"CPU {event.cpu} ({_standing(before)}"
    if _standing(before) != _standing(after):
        words += f"; then {_standing(after)}"
    words += ")"
    return [Fact("on", words)]


def _span(view: View, cpu: int, event: int) -> Span:
    return view.film.recording.span_at(cpu, event)


def _standing(span: Span) -> str:
    mode = span.mode if span.state == "running" else span.state
    return f"{span.owner or 'nobody'}, {mode}"


# Kinds


def _input(_view: View, event: trace.Input) -> Told:
    facts = []
    for name, value in list(event.args.items())[:_MOST_ARGUMENTS]:
        facts.append(Fact(name, _argument(name, value), code=True))
    if len(event.args) > _MOST_ARGUMENTS:
        facts.append(Fact("", f"{len(event.args) - _MOST_ARGUMENTS} more"))
    what = {
        "power_on": "the machine is switched on",
        "poke": f"{event.args.get('size', 0):,} bytes are written from outside",
        "plan": f"CPU {event.args.get('cpu')} is planned for {event.args.get('owner') or 'nobody'}",
        "submit": f"{event.args.get('function')} is called",
        "printk": f"{event.args.get('kernel')} logs a line",
        "add_image": f"{event.args.get('name')} is in memory",
        "console_input": f"{event.args.get('kernel')} gets input on its console",
        "patch_registers": f"CPU {event.args.get('cpu')} gets registers from outside",
    }.get(event.name, f"act from outside: {event.name}")
    return Told(
        what,
        "An act from outside: nothing in the machine made it. It is in the trace, so that a run repeats.",
        facts=facts,
    )


def _argument(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name in ("paddr", "entry", "address"):
        return f"{value:#x}"
    words = f"{len(value)} of them" if isinstance(value, dict) and len(value) > 8 else str(value)
    return words if len(words) <= 160 else f"{words[:160]} and {len(words) - 160} more characters"


def _slice(_view: View, event: trace.Slice) -> Told:
    reasons = {
        "budget": "its budget was used up",
        "halt": "it executed HLT",
        "ipi": "it wrote its ICR: an IPI acts before the next instruction",
        "call": "a step of a kernel function was done",
        "shutdown": "it shut down",
        "reset": "the platform was reset",
        "exit": "it left through the debug exit",
    }
    facts = [
        Fact("budget", f"{event.budget:,} instructions" if event.budget else "one step of a kernel function"),
        Fact("executed", f"{event.executed:,} instructions"),
        Fact("registers", f"digest {event.registers}", code=True),
    ]
    return Told(
        f"CPU {event.cpu} ran",
        f"The schedule let CPU {event.cpu} run; it stopped because {reasons.get(event.stop, event.stop)}.",
        facts=facts,
    )


def _step(_view: View, event: trace.Step) -> Told:
    facts = [
        Fact("function", event.function, code=True),
        Fact("source", source_of(event.function, event.step)),
        Fact("step", event.step, code=True),
        Fact("detail", event.detail),
    ]
    return Told(f"{event.function}: {event.step}", why_of(event.function, event.step), facts=facts)


def _printk(_view: View, event: trace.Printk) -> Told:
    return Told(
        f"{event.kernel} logs a line", "printk, from process context.", facts=[Fact("text", event.text, code=True)]
    )


def _console_byte(_view: View, event: trace.ConsoleByte) -> Told:
    character = repr(chr(event.byte)) if event.byte < 127 else "not ASCII"
    who = event.kernel or "a CPU of nobody's"
    return Told(
        f"{who} prints {character}",
        f"CPU {event.cpu} sent a byte to its serial port, the 16550 at 0x3F8.",
        facts=[Fact("byte", f"{event.byte:#04x} {character}", code=True)],
    )


def _planned(_view: View, event: trace.Planned) -> Told:
    owner = event.owner or "nobody"
    return Told(
        f"CPU {event.cpu} is planned for {owner}",
        "A plan only. Whose the CPU is, is seen when it enters a kernel's memory.",
        facts=[Fact("plan", owner)],
    )


def _owner(view: View, event: trace.OwnerChange) -> Told:
    assert event.cpu is not None
    before = owner_at(view.film, event.cpu, event.seq - 1) or "nobody"
    facts = [Fact("owner", f"{before}, now {event.owner or 'nobody'}"), Fact("planned", event.planned or "nobody")]
    if event.owner is None:
        why = "INIT reset it. It belongs to nobody until it jumps into a kernel's memory."
        return Told(f"CPU {event.cpu} belongs to nobody", why, facts=facts)
    facts.append(Fact("entered at", f"{event.address:#x}", code=True))
    why = f"It is about to execute at {event.address:#x}, which is {event.owner}'s memory."
    if event.against_plan:
        why += f" It was planned for {event.planned}: somebody started it against the plan."
    return Told(f"CPU {event.cpu} enters {event.owner}", why, event.against_plan, facts)


def _mode(view: View, event: trace.ModeChange) -> Told:
    assert event.cpu is not None
    before = _span(view, event.cpu, event.seq - 1).mode
    why = {
        "real": "CR0.PE is 0: addresses are segment times 16 plus offset.",
        "protected": "CR0.PE is 1: segment registers now name descriptors in the GDT.",
        "long": "CR0.PG was set with EFER.LME and CR4.PAE: EFER.LMA is 1, addresses go through four levels of tables.",
    }.get(event.mode, "")
    return Told(f"CPU {event.cpu} is in {event.mode} mode", why, facts=[Fact("mode", f"{before}, now {event.mode}")])


def _apic_write(view: View, event: trace.ApicWrite) -> Told:
    name, words = apic_write(event.offset, event.value)
    facts = [Fact("register", f"{name}, offset {event.offset:#x}"), Fact("value", f"{event.value:#010x}", code=True)]
    facts += [Fact("decoded", words)] if words else []
    for following in view.film.events[event.seq + 1 : event.seq + 3]:
        if isinstance(following, trace.IpiSent) and following.cpu == event.cpu and event.offset == 0x300:
            facts.append(Fact("so", f"e{following.seq}: an IPI is sent", event=following.seq))
            break
    why = (
        "Writing the low word of the ICR sends the IPI."
        if event.offset == 0x300
        else (
            "The high word only names the destination; the write of the low word sends."
            if event.offset == 0x310
            else f"CPU {event.cpu} stored into a register of its own local APIC; no other CPU can."
        )
    )
    return Told(f"CPU {event.cpu} writes {name}", why, facts=facts)


def _timer(_view: View, event: trace.TimerExpired) -> Told:
    merged = " It was set already: two expiries, one interrupt." if event.merged else ""
    return Told(
        f"the timer of CPU {event.cpu} expires",
        f"The local APIC's timer sets IRR bit 0x{event.vector:X}.{merged}",
        facts=[Fact("vector", f"0x{event.vector:X}")],
    )


def _delivered(_view: View, event: trace.Delivered) -> Told:
    """One that no IPI caused: an exception, or an interrupt of a timer."""
    name = EXCEPTIONS.get(event.vector, "") if event.source == "exception" else VECTORS.get(event.vector, "")
    called = f"0x{event.vector:X}{f' ({name})' if name else ''}"
    facts = [
        Fact("vector", called),
        Fact("was about to execute", f"{event.rip:#x}", code=True),
        Fact("handler", f"{event.handler:#x}", code=True),
    ]
    return Told(
        f"CPU {event.cpu} enters its handler of {event.source} {called}",
        f"The gate of vector 0x{event.vector:X} in its IDT leads to {event.handler:#x}.",
        facts=facts,
    )


def _eoi(_view: View, event: trace.Eoi) -> Told:
    if event.vector is None:
        return Told(f"CPU {event.cpu} writes EOI", "Nothing was in service: it has no effect.")
    return Told(
        f"CPU {event.cpu} writes EOI", f"ISR bit 0x{event.vector:X} is clear again: the handler said it is done."
    )


def _halted(_view: View, event: trace.Halted) -> Told:
    why = (
        "RFLAGS.IF is 1: any interrupt wakes it."
        if event.interruptible
        else "RFLAGS.IF is 0: only NMI and INIT wake it."
    )
    return Told(f"CPU {event.cpu} halts", f"It executed HLT. {why}")


def _woken(_view: View, event: trace.Woken) -> Told:
    return Told(f"CPU {event.cpu} wakes", f"Vector 0x{event.vector:X} ended its HLT.")


def _fault(_view: View, event: trace.Fault) -> Told:
    name = EXCEPTIONS.get(event.vector, f"exception {event.vector}")
    facts = [Fact("exception", f"{event.vector}, {name}"), Fact("at", f"{event.rip:#x}", code=True)]
    why = f"The instruction at {event.rip:#x} raised it."
    if event.error is not None:
        facts.append(Fact("error code", f"{event.error:#x}: {error_code(event.vector, event.error)}"))
    if event.vector == 14:
        facts.append(Fact("address", f"{event.cr2:#x} (CR2)", code=True))
        why = f"The instruction at {event.rip:#x} reached for {event.cr2:#x}: {error_code(14, event.error or 0)}."
    return Told(f"CPU {event.cpu} raises {name}", why, True, facts)


def _absent(_view: View, event: trace.AbsentAccess) -> Told:
    way = "writes" if event.write else "reads"
    return Told(
        f"CPU {event.cpu} {way} where nothing is",
        f"At {event.address:#x} there is neither memory nor a device: reads give 0, writes vanish.",
        True,
        [Fact("address", f"{event.address:#x}", code=True)],
    )


def _shutdown(_view: View, event: trace.Shutdown) -> Told:
    return Told(f"CPU {event.cpu} shuts down", f"{event.why[:1].upper()}{event.why[1:]}.", True)


def _reset(_view: View, event: trace.PlatformReset) -> Told:
    return Told(
        "the whole platform is reset", f"{event.why[:1].upper()}{event.why[1:]}. Every kernel goes with it.", True
    )


def _init(_view: View, event: trace.Init) -> Told:
    sender = "from outside" if event.from_cpu is None else f"from CPU {event.from_cpu}"
    return Told(f"CPU {event.cpu} takes an INIT {sender}", "It waits for a SIPI now, and belongs to nobody.")


def _sipi(_view: View, event: trace.Sipi) -> Told:
    return Told(f"CPU {event.cpu} takes a SIPI", f"It starts in real mode at {event.vector << 12:#x}.")


def _ignored(_view: View, event: trace.Ignored) -> Told:
    return Told(f"CPU {event.cpu} ignores {event.what}", f"{event.why[:1].upper()}{event.why[1:]}.")


def _lost(_view: View, event: trace.Lost) -> Told:
    return Told(f"interrupt 0x{event.vector:X} is lost", f"{event.why[:1].upper()}{event.why[1:]}.", True)


def _accepted(_view: View, event: trace.Accepted) -> Told:
    return Told(f"CPU {event.cpu} accepts 0x{event.vector:X}", f"IRR bit 0x{event.vector:X} is set.")


def _message(_view: View, event: trace.Message | trace.MessageTaken) -> Told:
    return Told(
        f"slot at {event.slot:#x}", "What lay there when the interrupt came.", facts=ipi_words.slot_facts(event)
    )


_KINDS: dict[type[trace.Event], Callable[[View, Any], Told]] = {
    trace.Input: _input,
    trace.Slice: _slice,
    trace.Step: _step,
    trace.Printk: _printk,
    trace.ConsoleByte: _console_byte,
    trace.Planned: _planned,
    trace.OwnerChange: _owner,
    trace.ModeChange: _mode,
    trace.ApicWrite: _apic_write,
    trace.TimerExpired: _timer,
    trace.Delivered: _delivered,
    trace.Eoi: _eoi,
    trace.Halted: _halted,
    trace.Woken: _woken,
    trace.Fault: _fault,
    trace.AbsentAccess: _absent,
    trace.Shutdown: _shutdown,
    trace.PlatformReset: _reset,
    trace.Init: _init,
    trace.Sipi: _sipi,
    trace.Ignored: _ignored,
    trace.Lost: _lost,
    trace.Accepted: _accepted,
    trace.Message: _message,
    trace.MessageTaken: _message,
}
