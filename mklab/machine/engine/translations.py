"""What the engine has translated, looked through for instructions that it gets wrong.

The engine reports every block it translates, before the block runs (measured: also after a stop, a flush, a store into
the block, and for a block that is reached by a direct jump). So it is enough to look for those instructions' opcodes
then: where none was seen, none is executed.
"""

import re

from mklab.machine.decode import code_at
from mklab.machine.instructions import OPCODES, PREFIXES
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import Registers

__all__ = ["Translations"]

_PUSHF = b"\x9c"
_SUSPICIOUS = re.compile(b"|".join(re.escape(opcode) for opcode in (*OPCODES, _PUSHF)))
_MOST_PREFIXES = 14


class Translations:
    """Linear addresses where an instruction to be intercepted may begin, in any address space.

    A place is remembered although other code may lie there later: whoever asks looks at the bytes.

    Attributes:
        places: those addresses.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.places: set[int] = set()

    def translated(self, registers: Registers, linear: int, size: int) -> None:
        """The engine has translated ``size`` bytes at ``linear``, in the address space of ``registers``."""
        code = code_at(self._memory, registers, linear, size)
        for match in _SUSPICIOUS.finditer(code):
            at = match.start()
            for start in range(at, max(at - _MOST_PREFIXES, 0) - 1, -1):
                self.places.add(linear + start)
                if not start or code[start - 1] not in PREFIXES:
                    break
