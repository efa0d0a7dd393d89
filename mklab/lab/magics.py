"""What a notebook of the course adds to Python: ``%%answer``, ``%%asm`` and ``%%c``.

``%load_ext mklab.lab.magics`` makes them known; opening a lab does so.
"""

import sys
from typing import Any

from IPython.core.magic import Magics, cell_magic, magics_class

from mklab.errors import GuestBuildError
from mklab.lab import course, guestcode

__all__ = ["AnswerMagics", "load_ipython_extension"]


@magics_class
class AnswerMagics(Magics):
    """Cells that hold answers."""

    @cell_magic
    def answer(self, line: str, cell: str) -> None:
        """Run a cell of Python, and keep its text as the answer to an exercise: ``%%answer 04.1``."""
        self._keep(line, cell)
        assert self.shell is not None
        self.shell.run_cell(cell, store_history=False)  # type: ignore[no-untyped-call]

    @cell_magic
    def asm(self, line: str, cell: str) -> None:
        """Assemble a cell (GNU syntax), and keep its text as the answer to an exercise: ``%%asm 04.3``."""
        self._build(line, cell, "asm")

    @cell_magic
    def c(self, line: str, cell: str) -> None:
        """Compile a cell of C, and keep its text as the answer to an exercise: ``%%c 04.3``."""
        self._build(line, cell, "c")

    def _build(self, line: str, cell: str, lang: str) -> None:
        self._keep(line, cell)
        try:
            built = guestcode.compiled(cell, lang)
        except GuestBuildError as error:
            print(error, file=sys.stderr)
            return
        print(f"{built.size} bytes of machine code. The cell below runs them.")

    def _keep(self, line: str, cell: str) -> None:
        course.ANSWERS[line.strip()] = cell


def load_ipython_extension(shell: Any) -> None:
    """Make the magics known to a notebook."""
    shell.register_magics(AnswerMagics)
