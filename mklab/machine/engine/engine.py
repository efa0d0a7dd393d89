"""Executes the CPUs' code, one CPU at a time.

A CPU that does not run is a saved context; entering it restores the context and drops the TLB. Translated code is
shared, so a store into code by any CPU is seen by all. Budgets are exact: a hook before each instruction counts.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from mklab.machine.decode import LONGEST_INSTRUCTION, code_at, how_it_repeats
from mklab.machine.engine.binding import (
    CPUID_RESULT,
    VOID,
    TranslatedBlock,
    add_hook,
    blob,
    flush_tlb,
    open_emulator,
)
from mklab.machine.engine.probe import probe_context
from mklab.machine.engine.translations import Translations
from mklab.machine.execution import Count, Exit, Platform
from mklab.machine.instructions import cr0_fault, decode
from mklab.machine.io_permission import port_fault
from mklab.machine.layout import APIC_BASE, APIC_SIZE, PHYSICAL_ADDRESS_BITS
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, CR4, RFLAGS, Registers, Segment

__all__ = ["Engine"]

_ON_CODE = ctypes.CFUNCTYPE(None, VOID, ctypes.c_uint64, ctypes.c_uint32, VOID)
_ON_INTR = ctypes.CFUNCTYPE(None, VOID, ctypes.c_uint32, VOID)
_ON_TSC = ctypes.CFUNCTYPE(ctypes.c_int, VOID, VOID)
_ON_BLOCK = ctypes.CFUNCTYPE(None, VOID, ctypes.POINTER(TranslatedBlock), ctypes.POINTER(TranslatedBlock), VOID)

_UNPAGED_LIMIT = 1 << 32
"""Without paging, code reaches 4 GiB."""
_DROP_LIMIT = 1 << 20
"""Bytes from which dropping every translation is cheaper than looking at each page."""
_INVALID_OPCODE = 6
_MSRS = (0xC0000102,)
"""KERNEL_GS_BASE: the one that an instruction the engine executes by itself (SWAPGS) reads and writes."""
_DR6_SINGLE_STEP = 1 << 14
_DEBUG = tuple(getattr(x86, f"UC_X86_REG_DR{i}") for i in (0, 1, 2, 3, 6, 7))
_XMM = tuple(getattr(x86, f"UC_X86_REG_XMM{i}") for i in range(16))
_X87 = tuple(getattr(x86, f"UC_X86_REG_FP{i}") for i in range(8))
_X87_CONTROL = (x86.UC_X86_REG_FPCW, x86.UC_X86_REG_FPSW, x86.UC_X86_REG_FPTAG, x86.UC_X86_REG_MXCSR)


class Engine:
    """Executes the CPUs' code, one CPU at a time.

    Args:
        memory: the RAM; it is mapped, not copied.
        platform: everything else the code can reach.
        cpus: how many CPUs.
    """

    def __init__(self, memory: PhysicalMemory, platform: Platform, cpus: int) -> None:
        self._layout = probe_context()
        self._memory = memory
        self._platform = platform
        self._uc = uc = open_emulator()
        self._handle = uc._uch
        self._keep: list[object] = []
        self._current: int | None = None
        self._peeked = ctypes.c_uint64()
        self._peeked_at = ctypes.byref(self._peeked)
        self._stale: list[tuple[int, int]] = []
        self._count = Count(0, None)
        self._translations = Translations(memory)
        self._places = self._translations.places
        memory.on_write = self._written
        self._scratch = uc.context_save()
        self._hook()
        self._prime()
        self._map()
        self._unpaged = self._make_unpaged()
        self._contexts = [uc.context_save() for _ in range(cpus)]

    # Construction

    def _map(self) -> None:
        for start, end, buffer in self._memory.buffers:
            address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            self._uc.mem_map_ptr(start, end - start, uc_const.UC_PROT_ALL, address)
        self._uc.mmio_map(APIC_BASE, APIC_SIZE, self._on_apic_read, None, self._on_apic_write, None)
        taken = sorted([(start, end) for start, end, _ in self._memory.buffers] + [(APIC_BASE, APIC_BASE + APIC_SIZE)])
        free = 0
        for start, end in [*taken, (1 << PHYSICAL_ADDRESS_BITS, 0)]:
            if start > free:
                self._uc.mmio_map(free, start - free, self._on_absent_read, free, self._on_absent_write, free)
            free = end

    def _hook(self) -> None:
        self._hook_raw(uc_const.UC_HOOK_EDGE_GENERATED, _ON_BLOCK(self._on_translated))
        self._hook_raw(uc_const.UC_HOOK_CODE, _ON_CODE(self._on_code))
        self._hook_raw(uc_const.UC_HOOK_INTR, _ON_INTR(self._on_exception))
        self._hook_raw(uc_const.UC_HOOK_INSN, _ON_TSC(self._on_rdtsc), x86.UC_X86_INS_RDTSC)
        self._uc.hook_add(uc_const.UC_HOOK_INSN, self._on_in, None, 1, 0, x86.UC_X86_INS_IN)
        self._uc.hook_add(uc_const.UC_HOOK_INSN, self._on_out, None, 1, 0, x86.UC_X86_INS_OUT)
        self._uc.hook_add(uc_const.UC_HOOK_INSN, self._on_cpuid, None, 1, 0, x86.UC_X86_INS_CPUID)

    def _hook_raw(self, kind: int, callback: Any, *extra: int) -> None:
        self._keep.append(add_hook(self._handle, kind, callback, *extra))

    def _prime(self) -> None:
        """Run a block to its end: until one has, the engine reports no translations."""
        self._count = Count(2, None)
        self._uc.mem_map(0x1000, 0x1000)
        self._uc.mem_write(0x1000, b"\xeb\x00\xf4")  # jmp to the next; hlt
        self._uc.emu_start(0x1000, 0)
        self._uc.mem_unmap(0x1000, 0x1000)
        uclib.uc_context_restore(self._handle, self._scratch._context)

    # Registers

    def enter(self, cpu: int) -> None:
        """Make ``cpu`` the one that the engine holds."""
        if self._current == cpu:
            return
        if self._current is not None:
            uclib.uc_context_save(self._handle, self._contexts[self._current]._context)
        uclib.uc_context_restore(self._handle, self._contexts[cpu]._context)
        self._current = cpu

    def context(self, cpu: int) -> Any:
        """The saved context of ``cpu``, as it is now; what is written into it counts after :meth:`reload`."""
        if self._current == cpu:
            uclib.uc_context_save(self._handle, self._contexts[cpu]._context)
        return self._contexts[cpu]

    def reload(self, cpu: int) -> None:
        """The saved context of ``cpu`` was written to."""
        if self._current == cpu:
            uclib.uc_context_restore(self._handle, self._contexts[cpu]._context)

    @property
    def handle(self) -> Any:
        """The emulator, for hooks of others in this package."""
        return self._handle

    def drop_translations(self) -> None:
        """Forget everything that was translated."""
        self._places.clear()
        self._uc.ctl_flush_tb()

    def _save_scratch(self) -> Any:
        uclib.uc_context_save(self._handle, self._scratch._context)
        return blob(self._scratch)

    def registers(self, cpu: int) -> Registers:
        """The registers of ``cpu``."""
        self.enter(cpu)
        return self._running_registers()

    def _running_registers(self) -> Registers:
        return self._layout.read(self._save_scratch(), self._uc.reg_read(x86.UC_X86_REG_RFLAGS))

    def set_registers(self, cpu: int, registers: Registers) -> None:
        """Give ``cpu`` other registers.

        Raises:
            ValueError: a value does not fit its register.
        """
        self.enter(cpu)
        self._layout.write(self._save_scratch(), registers)
        uclib.uc_context_restore(self._handle, self._scratch._context)
        self._uc.reg_write(x86.UC_X86_REG_RFLAGS, registers.rflags)

    def cr0(self) -> int:
        """CR0 of the running CPU; cheap enough to be asked before each instruction."""
        return self._peek(x86.UC_X86_REG_CR0)

    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF of the running CPU."""
        return bool(self._peek(x86.UC_X86_REG_RFLAGS) & RFLAGS.IF)

    def _peek(self, name: int) -> int:
        uclib.uc_reg_read(self._handle, name, self._peeked_at)
        return self._peeked.value

    def kernel_gs(self, cpu: int) -> int:
        """IA32_KERNEL_GS_BASE of ``cpu``, which SWAPGS exchanges with the base of GS."""
        self.enter(cpu)
        value: int = self._uc.msr_read(_MSRS[0])
        return value

    def set_kernel_gs(self, cpu: int, value: int) -> None:
        """The inverse of :meth:`kernel_gs`."""
        self.enter(cpu)
        self._uc.msr_write(_MSRS[0], value)

    def note_single_step(self, cpu: int) -> None:
        """DR6 of ``cpu`` shall tell that the trap flag raised #DB."""
        self.enter(cpu)
        self._uc.reg_write(x86.UC_X86_REG_DR6, self._uc.reg_read(x86.UC_X86_REG_DR6) | _DR6_SINGLE_STEP)

    def extended(self, cpu: int) -> dict[str, list[Any]]:
        """What :class:`Registers` leaves out: the MSRs it keeps, debug registers, x87 and SSE state; plain data."""
        self.enter(cpu)
        read = self._uc.reg_read
        return {
            "msrs": [self._uc.msr_read(msr) for msr in _MSRS],
            "debug": [read(name) for name in _DEBUG],
            "x87": [list(read(name)) for name in _X87],
            "x87_control": [read(name) for name in _X87_CONTROL],
            "xmm": [hex(read(name)) for name in _XMM],
        }

    def set_extended(self, cpu: int, values: dict[str, list[Any]]) -> None:
        """The inverse of :meth:`extended`."""
        self.enter(cpu)
        write = self._uc.reg_write
        for msr, value in zip(_MSRS, values["msrs"], strict=True):
            self._uc.msr_write(msr, value)
        for name, value in zip(_DEBUG, values["debug"], strict=True):
            write(name, value)
        for name, value in zip(_X87, values["x87"], strict=True):
            write(name, tuple(value))
        for name, value in zip(_X87_CONTROL, values["x87_control"], strict=True):
            write(name, value)
        for name, value in zip(_XMM, values["xmm"], strict=True):
            write(name, int(value, 16))

    def save_context(self, cpu: int) -> bytes:
        """All registers of ``cpu``, as this process and this engine have them; for :meth:`load_context` only."""
        if cpu == self._current:
            return bytes(self._save_scratch())
        return bytes(blob(self._contexts[cpu]))

    def load_context(self, cpu: int, context: bytes) -> None:
        """The inverse of :meth:`save_context`."""
        if cpu != self._current:
            blob(self._contexts[cpu])[:] = context
            return
        blob(self._scratch)[:] = context
        uclib.uc_context_restore(self._handle, self._scratch._context)

    # Execution

    def run(
        self, cpu: int, budget: int, watch: Callable[[int], bool] | None = None, *, before_iret: bool = False
    ) -> Exit:
        """Let ``cpu`` execute up to ``budget`` instructions (at least one).

        It stops before an instruction that :mod:`mklab.machine.instructions` must execute.

        Args:
            watch: called with the linear address before each instruction; True stops before it.
            before_iret: whether to stop before IRET, too.
        """
        self.enter(cpu)
        self._drop_stale()
        # Always, not only where the CPU is another one: looking at registers in between must not change the run.
        flush_tlb(self._handle)
        self._count = Count(budget, watch, before_iret)
        failure = None
        try:
            self._uc.emu_start(self._uc.reg_read(x86.UC_X86_REG_RIP), 0)
        except unicorn.UcError as error:
            failure = error.errno
        count = self._count
        if count.error is not None:
            raise count.error
        if count.vector is not None:
            code, software = self._layout.exception(self._save_scratch())
            uclib.uc_context_restore(self._handle, self._scratch._context)
            return Exit(count.executed, "exception", count.vector, code, software, count.last)
        if failure == uc_const.UC_ERR_INSN_INVALID:
            return Exit(count.executed, "exception", _INVALID_OPCODE)
        if failure is not None:
            return Exit(count.executed, "absent")
        if count.instruction is not None:
            return Exit(count.executed, "intercept", instruction=count.instruction)
        if not count.refused:
            return Exit(count.executed, "halt")
        return Exit(count.executed, "asked" if count.asked else "budget")

    @property
    def executed(self) -> int:
        """Instructions begun since :meth:`run` was entered, the current one included."""
        return self._count.executed

    def stop(self) -> None:
        """From a callback: stop before the next instruction."""
        self._count.asked = True

    def _on_code(self, _uc: int, address: int, _size: int, _data: int) -> None:
        count = self._count
        if address == count.last and self._restarted(address):
            return
        try:
            if count.asked or not count.left or (count.watch is not None and count.watch(address)):
                count.asked |= count.left > 0
                count.refused = True
                uclib.uc_emu_stop(self._handle)
                return
            if address in self._places and self._intercept(address):
                uclib.uc_emu_stop(self._handle)
                return
        except BaseException as error:
            self.fail(error)
        count.left -= 1
        count.last = address

    def _on_translated(self, _uc: int, block: Any, _before: Any, _data: int) -> None:
        try:
            self._translations.translated(self._running_registers(), block.contents.pc, block.contents.size)
        except BaseException as error:
            self.fail(error)

    def _intercept(self, address: int) -> bool:
        """Whether the instruction at ``address`` is one that is not to be executed by the engine."""
        registers = self._running_registers()
        code = code_at(self._memory, registers, address, LONGEST_INSTRUCTION)
        instruction = decode(code, registers.mode == "long" and registers.cs.long, registers.cs.big)
        if instruction is None or (instruction.name == "iret" and not self._count.before_iret):
            return False
        if instruction.name == "mov to cr0" and (registers.cpl or not cr0_fault(instruction, registers)):
            return False
        if instruction.name in ("port", "port in dx"):
            port = instruction.operand if instruction.name == "port" else registers.rdx & 0xFFFF
            if not port_fault(self._memory, registers, port, instruction.size):
                return False
        self._count.instruction = instruction
        return True

    def _restarted(self, address: int) -> bool:
        """Whether the engine begins an instruction anew that it has begun already.

        It does so for a store into the translated block that holds the store itself. Such a second beginning looks
        like an iteration of REP, told apart by RCX, or like a branch to itself.
        """
        count = self._count
        if (address, count.left) == count.repeat and count.repeats == "branch":
            count.repeat = (address, count.left - 1)
            return False
        if (address, count.left) != count.repeat:
            count.repeats = how_it_repeats(self._memory, self._running_registers(), address)
            count.rcx = -1
        rcx = self._peek(x86.UC_X86_REG_RCX)
        restarted = not count.repeats or (count.repeats == "rep" and rcx == count.rcx)
        count.rcx = rcx
        count.repeat = (address, count.left - (not restarted))
        return restarted

    def _on_exception(self, _uc: int, vector: int, _data: int) -> None:
        self._count.vector = vector
        uclib.uc_emu_stop(self._handle)

    def fail(self, error: BaseException) -> None:
        """From a callback: leave the engine; :meth:`run` raises ``error``. An exception cannot cross the emulator's own frames."""
        if self._count.error is None:
            self._count.error = error
        uclib.uc_emu_stop(self._handle)

    def _written(self, start: int, end: int) -> None:
        self._stale.append((start, end))

    def _drop_stale(self) -> None:
        """Forget what was translated from bytes that Python has written since."""
        if self._translations.too_many:
            self._places.clear()
            self._uc.ctl_flush_tb()
        stale = list(self._stale)
        if not stale:
            return
        self._stale.clear()
        if max(end for _, end in stale) >= _UNPAGED_LIMIT or sum(end - start for start, end in stale) > _DROP_LIMIT:
            self._uc.ctl_flush_tb()
            return
        # ctl_remove_cache takes linear addresses: with paging off they are physical ones.
        uclib.uc_context_save(self._handle, self._scratch._context)
        uclib.uc_context_restore(self._handle, self._unpaged._context)
        flush_tlb(self._handle)
        for start, end in stale:
            self._uc.ctl_remove_cache(start, end)
        uclib.uc_context_restore(self._handle, self._scratch._context)

    def _make_unpaged(self) -> Any:
        """A context in flat 32-bit protected mode."""
        flat = Segment(8, 0, 0xFFFFFFFF, 0xCF9B00)
        registers = Registers(cr0=CR0.PE | CR0.ET, cs=flat, ss=flat, ds=flat, es=flat)
        context = self._uc.context_save()
        self._layout.write(blob(context), registers)
        return context

    # What the running CPU reaches

    def _on_apic_read(self, _uc: Any, offset: int, size: int, _data: Any) -> int:
        return _part(self._platform.apic_read(offset & ~3), offset & 3, size)

    def _on_apic_write(self, _uc: Any, offset: int, _size: int, value: int, _data: Any) -> None:
        self._platform.apic_write(offset, value)

    def _on_absent_read(self, _uc: Any, offset: int, _size: int, start: int) -> int:
        self._platform.absent(start + offset, False)
        return 0

    def _on_absent_write(self, _uc: Any, offset: int, _size: int, _value: int, start: int) -> None:
        self._platform.absent(start + offset, True)

    def _on_in(self, _uc: Any, port: int, size: int, _data: Any) -> int:
        return self._platform.port_read(port, size)

    def _on_out(self, _uc: Any, port: int, size: int, value: int, _data: Any) -> None:
        self._platform.port_write(port, size, value)

    def _on_cpuid(self, uc: Any, _data: Any) -> int:
        leaf, subleaf = uc.reg_read(x86.UC_X86_REG_EAX), uc.reg_read(x86.UC_X86_REG_ECX)
        for name, value in zip(CPUID_RESULT, self._platform.cpuid(leaf, subleaf), strict=True):
            uc.reg_write(name, value)
        return 1

    def _on_rdtsc(self, _uc: int, _data: int) -> int:
        registers = self._running_registers() if self._peek(x86.UC_X86_REG_CR4) & CR4.TSD else None
        if registers is not None and registers.cpl:
            return 0  # the engine's own RDTSC raises the #GP
        value = self._platform.timestamp()
        self._uc.reg_write(x86.UC_X86_REG_RAX, value & 0xFFFFFFFF)
        self._uc.reg_write(x86.UC_X86_REG_RDX, value >> 32)
        return 1


def _part(value: int, byte: int, size: int) -> int:
    return value >> 8 * byte & (1 << 8 * size) - 1
