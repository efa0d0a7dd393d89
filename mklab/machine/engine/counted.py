"""Counting by Unicorn's own ``count``, where the native library does not run: the same results, some ten times slower.

One thing differs (docs/fidelity.md): a store into the running block counts twice, since the engine begins it anew.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from mklab.errors import MklabError
from mklab.machine.context import ContextLayout
from mklab.machine.decode import LONGEST_INSTRUCTION, code_at, how_it_repeats
from mklab.machine.engine.binding import DEVICE_HOOKS, VOID, TranslatedBlock, add_hook, add_native_hook, blob
from mklab.machine.engine.translations import Translations
from mklab.machine.execution import Exit, Watch
from mklab.machine.instructions import Instruction
from mklab.machine.memory import PAGE, PhysicalMemory
from mklab.machine.registers import RFLAGS, Registers

__all__ = ["Counted"]

_CHUNK = 1 << 20
"""Instructions at a time: in between, Python sees signals."""
_MOST_PLACES = 500
"""Each place is a hook that slows translation down; from here on all are dropped, with the translations."""
_STRUCT = 4096
"""Bytes of ``struct uc_struct`` that are looked at."""
_INVALID_OPCODE, _PAGE_FAULT = 6, 14
_FETCH_ERRORS = (uc_const.UC_ERR_FETCH_UNMAPPED, uc_const.UC_ERR_FETCH_PROT)
_LONGEST_BLOCK = 512
_ON_CODE = ctypes.CFUNCTYPE(None, VOID, ctypes.c_uint64, ctypes.c_uint32, VOID)
_ON_INTERRUPT = ctypes.CFUNCTYPE(None, VOID, ctypes.c_uint32, VOID)
_ON_ACCESS = ctypes.CFUNCTYPE(ctypes.c_bool, VOID, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64, VOID)
_ON_BLOCK = ctypes.CFUNCTYPE(None, VOID, ctypes.POINTER(TranslatedBlock), ctypes.POINTER(TranslatedBlock), VOID)


class Counted:
    """Runs the emulator for exact numbers of instructions; what :class:`mklab.machine.engine.native.Native` does.

    Args:
        uc: the emulator, before it has translated anything.
        layout: where registers lie in a saved context.
        memory: where the guest's code lies.
        intercept: called with a linear address and whether IRET counts; the instruction there, where it is one that
            the emulator must not execute.
        registers: gives the registers that the emulator holds.
    """

    def __init__(
        self,
        uc: Any,
        layout: ContextLayout,
        memory: PhysicalMemory,
        intercept: Callable[[int, bool], Instruction | None],
        registers: Callable[[], Registers],
    ) -> None:
        self._uc = uc
        self._handle = uc._uch
        self.eoi_passes = False
        self._layout = layout
        self._intercept = intercept
        self._registers = registers
        self._memory = memory
        self._translations = Translations(memory)
        self._hooks: dict[int, Any] = {}
        self._scratch = uc.context_save()
        self._limit, self._counter = _find_count(uc)
        self._done = 0
        self._breakpoints: frozenset[int] = frozenset()
        self._reached: Callable[[int, int], None] | None = None
        self._running = False
        self._asked = False
        self._before_iret = False
        self._new: list[int] = []
        self._halted = False
        self._instruction: Instruction | None = None
        self._vector: int | None = None
        self._error: BaseException | None = None
        self._on_code = _ON_CODE(self._at_place)
        self._keep = (
            add_hook(self._handle, uc_const.UC_HOOK_INTR, _ON_INTERRUPT(self._on_interrupt)),
            add_hook(self._handle, uc_const.UC_HOOK_EDGE_GENERATED, _ON_BLOCK(self._on_translated)),
        )
        self._on_access = _ON_ACCESS(lambda *_: True)

    def note_device(self, start: int, size: int) -> None:
        """There is a device at ``[start, start + size)``, on pages without permissions."""
        add_native_hook(self._handle, DEVICE_HOOKS, self._on_access, 0, start, start + size - 1)

    @property
    def executed(self) -> int:
        """Instructions begun since :meth:`run` was entered, the current one included."""
        return self._done + (min(self._counter.value, self._limit.value) if self._running else 0)

    def stop(self) -> None:
        """Stop before the next instruction."""
        self._asked = True
        if self._running:
            self._limit.value = min(self._limit.value, self._counter.value)

    def fail(self, error: BaseException) -> None:
        """From a callback: leave; :meth:`run` raises ``error``. It cannot cross the emulator's own frames."""
        self._error = error
        self.stop()

    def flush(self) -> None:
        """Drop all that is translated."""
        for hook in self._hooks.values():
            uclib.uc_hook_del(self._handle, hook)
        self._hooks.clear()
        self._translations.places.clear()
        self._uc.ctl_flush_tb()

    def set_breakpoints(self, addresses: frozenset[int], reached: Callable[[int, int], None]) -> None:
        """See the engine's."""
        if addresses != self._breakpoints:
            self.flush()
        self._breakpoints, self._reached = addresses, reached

    def catch_up(self) -> None:
        """There is nothing: only one slice runs at a time."""

    def digest(self) -> tuple[str, str]:
        """``(mode, digest)`` of the registers that the emulator holds."""
        return self._layout.digest(bytes(self._save()), self._reg(x86.UC_X86_REG_RFLAGS))

    def run(
        self,
        budget: int,
        watch: Watch | None = None,
        before_iret: bool = False,
        _more: int = 0,
        _slices_over: Callable[[list[str]], None] | None = None,
    ) -> Exit:
        """Let the CPU that the emulator holds execute up to ``budget`` instructions; see the engine's ``run``."""
        self._done, self._before_iret, self._instruction = 0, before_iret, None
        seen: tuple[int, str] | None = None
        try:
            while True:
                if self._asked:
                    return Exit(self._done, "asked")
                if self._done == budget:
                    return Exit(budget, "budget")
                if watch is not None:
                    registers = self._registers()
                    here = registers.linear_rip >> 12, registers.mode
                    if watch.place is not None and here != seen:
                        seen = here
                        if watch.place(registers.linear_rip):
                            return Exit(self._done, "asked")
                    wanted = RFLAGS.IF if watch.interrupt == 2 else 0
                    if watch.interrupt and not registers.shadow and registers.rflags & wanted == wanted:
                        return Exit(self._done, "asked")
                leave = self._part(1 if watch is not None else min(budget - self._done, _CHUNK))
                if leave is not None:
                    return leave
        finally:
            self._asked = False

    def _part(self, count: int) -> Exit | None:
        """Execute up to ``count`` instructions; why to leave, or None where there is no reason yet."""
        before, cr2 = self._reg(x86.UC_X86_REG_RIP), self._reg(x86.UC_X86_REG_CR2)
        rcx = self._reg(x86.UC_X86_REG_RCX)
        executed, error = self._start(count)
        if count == 1 and self._stands_still(before, rcx, error):
            # A store into its own block: it is begun anew, which the engine counts as well.
            executed, error = min(self._start(2)[0], 1), 0
        if self._is_ahead(error):
            # The engine translates ahead, into a page that it cannot fetch. Go there one by one.
            for _ in range(_LONGEST_BLOCK):
                self._forget_exception(cr2)
                error = 0
                if executed >= count:
                    break
                self._inhibit()
                before = self._reg(x86.UC_X86_REG_RIP)
                one, error = self._start(1)
                executed += one
                if not (error or self._vector is not None):
                    continue
                if self._reg(x86.UC_X86_REG_RIP) == before or not self._is_ahead(error):
                    executed += not one and not error  # a fetch that faults takes its time, too
                    break
        self._done += executed
        if self._error is not None:
            failure, self._error = self._error, None
            raise failure
        if self._vector is not None:
            return Exit(self._done, "exception", self._vector, last=self._last())
        if error == uc_const.UC_ERR_INSN_INVALID:
            return Exit(self._done, "exception", _INVALID_OPCODE)
        if error:
            return Exit(self._done, "absent")
        if self._instruction is not None:
            return Exit(self._done, "intercept", instruction=self._instruction)
        return Exit(self._done, "halt") if self._halted else None

    def _start(self, count: int) -> tuple[int, int]:
        """Let the emulator run: instructions executed, and its error."""
        self._vector, self._new, self._halted = None, [], False
        self._running = True
        error: int = uclib.uc_emu_start(self._handle, self._reg(x86.UC_X86_REG_RIP), 0, 0, ctypes.c_size_t(count))
        self._running = False
        counted, limit = self._counter.value, self._limit.value
        if self._instruction is not None:
            counted -= 1
        left = any((error, self._new, self._vector is not None, self._instruction is not None))
        self._halted = counted <= limit and not left
        self._hook_places()
        return min(counted, limit), error

    def _reg(self, name: int) -> int:
        value: int = self._uc.reg_read(name)
        return value

    def _stands_still(self, rip: int, rcx: int, error: int) -> bool:
        if error or self._vector is not None or self._halted or self._instruction is not None or self._new:
            return False
        registers = self._registers()
        if registers.rip != rip or registers.rcx != rcx:
            return False
        return how_it_repeats(self._memory, registers, registers.linear_rip) != "branch"

    def _is_ahead(self, error: int) -> bool:
        """Whether a fetch may have failed that lies some instructions ahead."""
        if error in _FETCH_ERRORS:
            return True
        if self._vector != _PAGE_FAULT or self._save()[self._layout.by_int]:
            return False
        ahead = self._reg(x86.UC_X86_REG_CR2) - self._registers().linear_rip
        return 0 <= ahead < PAGE + LONGEST_INSTRUCTION

    def _forget_exception(self, cr2: int) -> None:
        self._vector = None
        self._layout.exception(self._save())
        self._restore()
        self._uc.reg_write(x86.UC_X86_REG_CR2, cr2)

    def _inhibit(self) -> None:
        """Let the next instruction be translated alone, as one behind STI is."""
        self._layout.inhibit(self._save())
        self._restore()

    def _save(self) -> Any:
        uclib.uc_context_save(self._handle, self._scratch._context)
        return blob(self._scratch)

    def _restore(self) -> None:
        uclib.uc_context_restore(self._handle, self._scratch._context)

    def _last(self) -> int:
        """Where an INT instruction lies that ended at RIP; it may have no prefix."""
        registers = self._registers()
        two = code_at(self._memory, registers, registers.linear_rip - 2, 2)
        return registers.linear_rip - (2 if two == bytes((0xCD, self._vector or 0)) else 1)

    # Callbacks

    def _at_place(self, _uc: int, address: int, _size: int, _data: int) -> None:
        try:
            if address in self._breakpoints and self._reached is not None:
                self._reached(address, self.executed - 1)
            self._instruction = self._intercept(address, self._before_iret)
            # The engine clears RF behind a block, hardware behind an instruction; PUSHF, a place too, never shows it.
            flags = self._reg(x86.UC_X86_REG_RFLAGS)
            if flags & RFLAGS.RF:
                self._uc.reg_write(x86.UC_X86_REG_RFLAGS, flags & ~RFLAGS.RF)
        except BaseException as error:
            self.fail(error)
        if self._instruction is not None:
            uclib.uc_emu_stop(self._handle)

    def _on_interrupt(self, _uc: int, vector: int, _data: int) -> None:
        self._vector = vector
        uclib.uc_emu_stop(self._handle)

    def _on_translated(self, _uc: int, block: Any, _before: Any, _data: int) -> None:
        try:
            first, size = block.contents.pc, block.contents.size
            self._translations.translated(self._registers(), first, size)
            self._translations.places.update(one for one in self._breakpoints if first <= one < first + size)
            self._new = sorted(self._translations.places - self._hooks.keys())
        except BaseException as error:
            self.fail(error)
        if self._new:
            uclib.uc_emu_stop(self._handle)

    def _hook_places(self) -> None:
        """Stop before instructions that must not be executed; their blocks are translated anew."""
        if len(self._translations.places) > _MOST_PLACES:
            self.flush()
        elif self._new:
            for place in self._new:
                self._hooks[place] = add_native_hook(
                    self._handle, uc_const.UC_HOOK_CODE, self._on_code, 0, place, place
                )
            self._uc.ctl_flush_tb()


def _find_count(uc: Any) -> tuple[Any, Any]:
    """Where the emulator keeps how many instructions it may execute, and how many it has: nothing tells it else.

    Raises:
        MklabError: this build of Unicorn keeps them elsewhere.
    """
    asked = 0x1234_5678
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, b"\x90\x90\xf4")  # nop; nop; hlt
    uc.emu_start(0x1000, 0, count=asked)
    uc.mem_unmap(0x1000, 0x1000)
    start = uc._uch.value
    words = (ctypes.c_size_t * (_STRUCT // ctypes.sizeof(ctypes.c_size_t))).from_address(start)
    found = [i for i, word in enumerate(words) if word == asked]
    beside = [i + step for i in found for step in (-1, 1) if words[i + step] == 3]
    if len(found) != 1 or len(beside) != 1:
        raise MklabError(f"unicorn {unicorn.__version__} counts elsewhere; install the locked version")
    size = ctypes.sizeof(ctypes.c_size_t)
    return ctypes.c_size_t.from_address(start + size * found[0]), ctypes.c_size_t.from_address(start + size * beside[0])
