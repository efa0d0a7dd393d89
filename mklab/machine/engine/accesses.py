"""What the running CPU reads and writes in RAM, told access by access: slow, for those who explore.

Beside the engine, and only as long as it is asked for: with such a hook, every access of the guest takes the engine's
slow way.
"""

import ctypes
from collections.abc import Callable
from types import TracebackType
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn.unicorn_py3.unicorn import uclib

from mklab.machine.engine.binding import VOID, add_hook
from mklab.machine.engine.engine import Engine

__all__ = ["Accesses"]

_ON_MEMORY = ctypes.CFUNCTYPE(None, VOID, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64, VOID)


class Accesses:
    """While it is entered, ``tell(paddr, size, write)`` is called before each access of guest code to memory.

    An exception that it raises leaves :meth:`Engine.run`; the rest of the block has been executed then, and was told,
    too. Instruction fetches and the walks of page tables are not told.

    Args:
        engine: who executes.
        tell: as above.
        written: first and last physical address, where only writes between these are to be told.
    """

    def __init__(
        self, engine: Engine, tell: Callable[[int, int, bool], None], written: tuple[int, int] | None = None
    ) -> None:
        self._engine = engine
        self._tell = tell
        self._written = written
        self._hook: Any = None

    def _on_memory(self, _uc: int, kind: int, paddr: int, size: int, _value: int, _data: int) -> None:
        try:
            self._tell(paddr, size, kind == uc_const.UC_MEM_WRITE)
        except BaseException as error:
            self._engine.fail(error)

    def __enter__(self) -> "Accesses":
        """Begin; what is translated already would not tell, so it is dropped."""
        kinds = uc_const.UC_HOOK_MEM_WRITE | (0 if self._written else uc_const.UC_HOOK_MEM_READ)
        begin, end = self._written or (1, 0)
        self._hook = add_hook(self._engine.handle, kinds, _ON_MEMORY(self._on_memory), begin=begin, end=end)
        self._engine.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End; what tells is dropped."""
        hook, self._hook = self._hook, None
        uclib.uc_hook_del(self._engine.handle, hook[0])
        self._engine.flush()
