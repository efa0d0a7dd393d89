"""What a notebook of the course adds to Python: ``%%answer``, ``%%asm``, ``%%c`` and ``%mk``.

``%load_ext mklab.lab.magics`` makes them known; opening a lab does so.
"""

import re
import sys
from dataclasses import replace
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from mklab.errors import GuestBuildError, MklabError
from mklab.lab import course, exercises, guestcode, guestrun
from mklab.lab.forms.guest import told
from mklab.lab.mk import Commands, MkError
from mklab.lab.verdict import Verdict

__all__ = ["AnswerMagics", "load_ipython_extension"]

_EXERCISE = re.compile(r"\d\d\.\d+")
_MODES = {f"--{mode}": mode for mode in guestrun.MODES}


@magics_class
class AnswerMagics(Magics):
    """Cells that hold answers or guest code, and commands for a machine."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.commands = Commands(shell.user_ns)

    @cell_magic
    def answer(self, line: str, cell: str) -> None:
        """Run a cell of Python, and keep its text as the answer to an exercise: ``%%answer 04.1``."""
        if not _EXERCISE.fullmatch(line.strip()):
            print(f"%%answer needs the exercise's number, as in %%answer 04.1, not {line!r}", file=sys.stderr)
            return
        self._keep(line, cell)
        assert self.shell is not None
        self.shell.run_cell(cell, store_history=False)  # type: ignore[no-untyped-call]

    @cell_magic
    def asm(self, line: str, cell: str) -> None:
        """Assemble a cell (GNU syntax): ``%%asm 04.3`` keeps it as an answer, ``%%asm --run`` runs it.

        ``--real`` and ``--protected`` run it in these modes (with ``.code16`` and ``.code32`` on top), else it is
        64-bit code. It begins with the first byte and ends with RET or HLT.
        """
        self._build(line, cell, "asm")

    @cell_magic
    def c(self, line: str, cell: str) -> None:
        """Compile a cell of C: ``%%c 04.3`` keeps it as an answer, ``%%c --run`` runs its first function."""
        self._build(line, cell, "c")

    @line_magic
    def mk(self, line: str) -> None:
        """Step, take back and look at the notebook's machine: ``%mk help`` lists the commands."""
        try:
            print(self.commands.perform(line))
        except MkError as error:
            print(error, file=sys.stderr)

    def _build(self, line: str, cell: str, lang: str) -> None:
        words = line.split()
        exercise = next((word for word in words if _EXERCISE.fullmatch(word)), None)
        unknown = [word for word in words if word not in (exercise, "--run", *_MODES)]
        if unknown:
            print(
                f"%%{lang} takes an exercise's number, --run, {', '.join(_MODES)}; not {unknown[0]!r}", file=sys.stderr
            )
            return
        if exercise is not None:
            self._keep(exercise, cell)
        if _is_stub(exercise, cell):
            print("There is nothing to build yet: the cell is as it was given to you.")
            return
        frame = _frame(exercise)
        mode = next((_MODES[word] for word in words if word in _MODES), "long")
        try:
            code = _compiled(cell, lang, frame)
        except GuestBuildError as error:
            print(error, file=sys.stderr)
            return
        whole = " in all" if frame != guestcode.Frame() else ""
        built = f"{code.size:,} bytes of machine code{whole}."
        if "--run" in words:
            print(f"{built}\n{_run(code, cell, mode)}")
        else:
            print(f"{built} The cell below checks them." if exercise is not None else built)

    def _keep(self, line: str, cell: str) -> None:
        course.ANSWERS[line.strip()] = cell


def _is_stub(exercise: str | None, cell: str) -> bool:
    """Whether a cell is what students get: what a compiler would say of it helps nobody."""
    try:
        return exercises.find(exercise or "").is_stub(cell)
    except MklabError:
        return False


def _frame(exercise: str | None) -> guestcode.Frame:
    """What stands around the answer to an exercise; nothing where there is no such exercise."""
    try:
        return exercises.find(exercise or "").frame
    except MklabError:
        return guestcode.Frame()


def _compiled(cell: str, lang: str, frame: guestcode.Frame) -> guestcode.Code:
    """``cell`` by itself; or, where it needs something of what it is built with, with that.

    Raises:
        GuestBuildError: neither can be built.
    """
    headers = tuple((name, text) for name, text in frame.sources if name.endswith(".h"))
    try:
        return guestcode.compiled(cell, lang, guestrun.Place().base, replace(frame, sources=headers))
    except GuestBuildError:
        if headers == frame.sources:
            raise
        return guestcode.compiled(cell, lang, guestrun.Place().base, frame)


def _run(code: guestcode.Code, cell: str, mode: str) -> str:
    """What became of running a cell on a fresh machine: trouble, and the registers that changed."""
    if not code.size or code.size > guestrun.LANDING:
        return f"That cannot be run: it must have 1 to {guestrun.LANDING:,} bytes."
    ran = guestrun.run(code, guestrun.Place(mode=mode, ends="any"))
    trouble: Verdict | None = told(ran, cell)
    lines = []
    if trouble is not None:
        lines += [one for one in (trouble.happened, trouble.where) if one]
    else:
        lines.append("It returned." if ran.returned else "It halted.")
    changed = [f"{name} {before:#x} -> {after:#x}" for name, (before, after) in ran.changed.items()]
    return "\n".join([*lines, *(changed or ["No general register has changed."])])


def _complete(shell: Any, event: Any) -> list[str]:
    """What comes behind ``%mk``."""
    magics = shell.magics_manager.registry["AnswerMagics"]
    found: list[str] = magics.commands.completions(event.line.partition("mk")[2].lstrip())
    return found


def load_ipython_extension(shell: Any) -> None:
    """Make the magics known to a notebook."""
    shell.register_magics(AnswerMagics)
    for name in ("%mk", "mk"):
        shell.set_hook("complete_command", _complete, str_key=name)
