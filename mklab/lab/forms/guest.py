"""Assembly and C: the cell is built, run on a machine, and told what became of it."""

import re
from collections.abc import Callable

from mklab.errors import GuestBuildError
from mklab.lab import guestcode, guestrun
from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.guestcode import Frame
from mklab.lab.guestrun import Place, Ran
from mklab.lab.verdict import Verdict
from mklab.machine.machine import MOST_EVENTS
from mklab.trace import Fault
from mklab.widgets.bits_words import EXCEPTIONS, error_code

__all__ = ["Place", "Ran", "built", "guest", "told"]

_LANGUAGES = {"assembly": "asm", "c": "c"}


def guest(
    id: str,  # noqa: A002
    title: str,
    kind: str,
    judge: Callable[[Ran, int], Verdict],
    hints: tuple[str, str, str],
    mistakes: tuple[Mistake, ...],
    *,
    place: Place | Callable[[int], Place] = Place(),  # noqa: B008  # plain data that never changes
    causes: Callable[[Ran, int], Verdict | None] | None = None,
    before: str = "",
    after: str = "",
    sources: tuple[tuple[str, str], ...] = (),
    alternatives: tuple[str | Mistake, ...] = (),
    given: Callable[[int], str] | None = None,
    solve: Callable[[int], str] | None = None,
) -> Exercise:
    """An exercise that is answered in assembly or C, which runs on a machine of its own.

    Args:
        id, title, hints, mistakes, alternatives, given, solve: as of any exercise.
        kind: ``assembly`` or ``c``; the script's cell says ``lang="asm"`` or ``lang="c"``.
        judge: says what a run has done that ended as it should, from the student's seed too.
        place: how the code is run; or a function that says so by the seed.
        causes: asked first about a run that went wrong: a known cause gets its own words. None from it: the general
            ones serve.
        before, after: text above and below the cell, in the same file, where the cell is a part of something larger.
        sources: further sources that are built with the cell, each a file name (``frame.S``) and its text; the cell may
            include the headers among them.
    """

    def judged(answer: Answer, seed: int) -> Verdict:
        where = place(seed) if callable(place) else place
        code = built(answer.source, _LANGUAGES[kind], where, frame)
        if isinstance(code, Verdict):
            return code
        ran = guestrun.run(code, where)
        trouble = told(ran, answer.source)
        if trouble is None:
            return judge(ran, seed)
        return (causes and causes(ran, seed)) or trouble

    frame = Frame(before, after, sources)
    if kind not in _LANGUAGES:
        raise ValueError(f"kind must be one of {list(_LANGUAGES)}, not {kind!r}")
    return Exercise(id, title, kind, judged, hints, mistakes, alternatives, given=given, solve=solve, frame=frame)


def built(
    text: str,
    lang: str,
    place: Place,
    frame: Frame = Frame(),  # noqa: B008  # plain data that never changes
) -> guestcode.Code | Verdict:
    """A cell's machine code, or the verdict on a cell that gives none that can be run.

    Raises:
        GuestBuildError: it is not the cell that is at fault: the compiler is missing.
    """
    try:
        code = guestcode.compiled(text, lang, place.base, frame)
    except GuestBuildError as error:
        if "ziglang" in str(error):
            raise
        first, _, rest = str(error).partition("\n")
        if guestcode.TOO_WIDE in first and "#define LOW(" in frame.before:
            return _without_low(first, text, frame)
        action = "assemble" if lang == "asm" else "compile"
        return not_yet(
            f"Your cell does not {action}: {first.partition(': ')[2] if first.startswith('line ') else first}.",
            f"{first.partition(':')[0]}: {rest.partition(chr(10))[0].strip()}" if first.startswith("line ") else "",
            "The function gives the same, whatever it is called with. What should depend on this parameter?"
            if "unused parameter" in first
            else "Look at this line first: what comes after it may follow from it."
            if first.startswith("line ")
            else "Find it in your cell.",
        )
    if place.entry and place.entry not in code.symbols:
        return not_yet(
            f"Your cell defines no {place.entry}.", next_step=f"Begin your code with the label {place.entry}."
        )
    if not code.size:
        return not_yet("Your cell gives no machine code.", next_step="Write instructions in place of the dots.")
    if code.size > guestrun.LANDING:
        return not_yet(
            f"Your cell gives {code.size:,} bytes, and there is room for {guestrun.LANDING:,}.",
            next_step="Which line makes so many?",
        )
    return code


def _without_low(first: str, text: str, frame: Frame) -> Verdict:
    """An address where an offset was meant, in a part of the trampoline: its macro LOW makes one of the other."""
    labels = set(re.findall(r"^([a-z]\w+):", frame.before + frame.after, re.MULTILINE))
    lines = enumerate((re.sub(r"LOW\(.*?\)|#.*", "", line) for line in text.splitlines()), 1)
    # A direct jump takes a label as it is.
    bare = (n for n, line in lines if labels & set(re.findall(r"\w+", line)) and not re.match(r"\s*j\w+\s+\w", line))
    line = next(bare, None)
    return not_yet(
        f"Your cell does not assemble: {first}. That is the linear address, with the page's own in it; an offset in"
        " 16-bit code has 16 bits.",
        _line(text, line) if line else "",
        "The segment's base will be added. Which macro makes an offset in the page of a label? Each label that is an"
        " operand wants it.",
    )


def told(ran: Ran, text: str) -> Verdict | None:
    """The verdict on a run that went wrong, whatever it was to do; None where it ended as it should.

    Args:
        ran: the run.
        text: the cell, whose lines are quoted.
    """
    fault, smashed = ran.fault, ran.smashed
    if fault is not None and (ran.shutdown is not None or ran.place.ends != "any"):
        return _faulted(ran, text, fault)
    if ran.shutdown is not None:
        return not_yet(
            f"CPU {ran.shutdown.cpu} shut down: {ran.shutdown.why}. On a PC the platform would be reset.",
            _standing(ran, text),
            "Follow the instructions that lead there.",
        )
    if ran.endless:
        return _endless(ran, text)
    if smashed is not None:
        line = ran.writer(smashed.address)
        return not_yet(
            f"Your code has written over {smashed.name}: the byte at {smashed.address:#x} was {smashed.before:#04x} and"
            f" is {smashed.after:#04x}.",
            _line(text, line) if line else f"address {smashed.address:#x}",
            "Work out the address of this store: base, index, segment. Is it the one that you meant?",
            expected=f"{smashed.before:#04x} at {smashed.address:#x}",
            got=f"{smashed.after:#04x}",
        )
    if ran.place.ends == "return" and not ran.returned:
        return not_yet(
            "Your code stopped before it had returned to where it was called from.",
            _standing(ran, text),
            "It is called like a function: RET takes it back. Is the stack as it was at the entry?",
        )
    if ran.place.ends == "halt" and not ran.halted:
        return not_yet("Your code has not come to HLT.", _standing(ran, text), "Let it end with HLT.")
    return None


def _faulted(ran: Ran, text: str, fault: Fault) -> Verdict:
    if ran.ran_on:
        last = len(text.rstrip().splitlines())
        return not_yet(
            "Your code ran on beyond its last instruction, into memory that holds none of yours.",
            _line(text, last),
            "A CPU never stops by itself. What should end your code: RET, HLT, or a jump?",
        )
    name = EXCEPTIONS.get(fault.vector, f"exception {fault.vector}")
    words = f"CPU {fault.cpu} raised an exception ({name})"
    if fault.error is not None:
        words += f", error code {fault.error:#x}"
        if meaning := error_code(fault.vector, fault.error):
            words += f" ({meaning})"
    if fault.vector == 14:
        words += f", at address {fault.cr2:#x}"
    words += "."
    if ran.shutdown is not None:
        words += " No handler took it, so the CPU shut down: a triple fault, which on a PC resets the platform."
    at = ran.linear(fault)
    # INT3 and INTO are traps: RIP lies behind them.
    line = ran.line(at - 1 if fault.vector in (3, 4) else at)
    if line is None:
        return not_yet(
            words,
            f"address {at:#x}, which is outside your code",
            "Some jump, call or return led the CPU there. Which one, and where did it get this address from?",
        )
    return not_yet(
        words,
        _line(text, line),
        "Look this instruction up in the SDM, volume 2: its page lists what raises this exception.",
    )


def _endless(ran: Ran, text: str) -> Verdict:
    took = f"{ran.place.budget:,} instructions"
    if ran.stop is None or ran.stop.reason == "events":
        took = f"more exceptions, interrupts and other events than it should need (at most {MOST_EVENTS:,})"
        if ran.stop is None:
            took = "more time than it should need"
    return not_yet(
        f"Your code did not come to an end: it took {took}, and was stopped.",
        _standing(ran, text),
        "Which condition should have ended this loop? Look at what it compares.",
    )


def _standing(ran: Ran, text: str) -> str:
    """Where its CPU stands."""
    at = ran.registers.linear_rip
    # Behind a HLT, the line is that of the HLT.
    line = ran.line(at - 1 if ran.halted else at)
    return _line(text, line) if line else f"CPU {ran.cpu} stands at {at:#x}, outside your code"


def _line(text: str, number: int) -> str:
    return f"line {number} of your cell: {text.splitlines()[number - 1].strip()}"
