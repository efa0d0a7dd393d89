"""Executes the CPUs' code, one CPU at a time.

A CPU that does not run is a saved context; entering it restores the context. Translated code is shared, so a store into
code by any CPU is seen by all. Budgets are exact: see ``hook.c`` for how instructions are counted.
"""

import ctypes
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from mklab.machine.decode import LONGEST_INSTRUCTION, code_at
from mklab.machine.engine.binding import CPUID_RESULT, VOID, add_hook, blob, flush_tlb, map_device, open_emulator
from mklab.machine.engine.contexts import Contexts
from mklab.machine.engine.counted import Counted
from mklab.machine.engine.delivery import NativeDelivery
from mklab.machine.engine.library import load
from mklab.machine.engine.native import MOST_BREAKPOINTS, Native
from mklab.machine.engine.probe import probe_context
from mklab.machine.execution import Exit, Platform, Watch
from mklab.machine.instructions import Instruction, cr0_fault, decode
from mklab.machine.io_permission import port_fault
from mklab.machine.layout import APIC_BASE, APIC_SIZE, PHYSICAL_ADDRESS_BITS
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, CR4, Registers, Segment

__all__ = ["Engine"]

_U32, _U64, _INT = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
_ON_IN = ctypes.CFUNCTYPE(_U32, VOID, _U32, _INT, VOID)
_ON_OUT = ctypes.CFUNCTYPE(None, VOID, _U32, _INT, _U32, VOID)
_ON_INSTRUCTION = ctypes.CFUNCTYPE(_INT, VOID, VOID)

_UNPAGED_LIMIT = 1 << 32
"""Without paging, code reaches 4 GiB."""
_DROP_LIMIT = 1 << 20
"""Bytes from which dropping every translation is cheaper than looking at each page."""


class Engine(Contexts):
    """Executes the CPUs' code, one CPU at a time.

    Args:
        memory: the RAM; it is mapped, not copied.
        platform: everything else the code can reach.
        cpus: how many CPUs.
    """

    def __init__(self, memory: PhysicalMemory, platform: Platform, cpus: int) -> None:
        uc, layout = open_emulator(), probe_context()
        before = uc.context_save()
        library = load()
        self._counter: Native | Counted
        self._deliver: NativeDelivery | None = None
        if library is not None:
            self._counter = Native(uc, library, layout, self._intercept)
            self._deliver = NativeDelivery(uc, library, layout, memory)
        else:
            self._counter = Counted(uc, layout, memory, self._intercept, self._running_registers)
        self._memory = memory
        self._platform = platform
        self._before_mode_change = True
        self._keep: list[object] = []
        self._stale: list[tuple[int, int]] = []
        memory.on_write = self._written
        super().__init__(uc, layout, 0)
        self._hook()
        self._prime()
        uclib.uc_context_restore(self._handle, before._context)
        self._map()
        self._unpaged = self._make_unpaged()
        self._make_cpus(cpus)

    # Construction

    def _map(self) -> None:
        for start, end, buffer in self._memory.buffers:
            address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            self._uc.mem_map_ptr(start, end - start, uc_const.UC_PROT_ALL, address)
        self._map_device(APIC_BASE, APIC_SIZE, self._on_apic_read, self._on_apic_write)
        taken = sorted([(start, end) for start, end, _ in self._memory.buffers] + [(APIC_BASE, APIC_BASE + APIC_SIZE)])
        free = 0
        for start, end in [*taken, (1 << PHYSICAL_ADDRESS_BITS, 0)]:
            if start > free:
                self._map_device(free, start - free, self._on_absent_read, self._on_absent_write)
            free = end

    def _map_device(self, start: int, size: int, read: Callable[..., int], write: Callable[..., None]) -> None:
        self._keep.append(map_device(self._uc, start, size, self._guarded(read), self._guarded(write)))
        self._counter.note_device(start, size)

    def _hook(self) -> None:
        for kind, function, instruction in (
            (_ON_IN, self._on_in, x86.UC_X86_INS_IN),
            (_ON_OUT, self._on_out, x86.UC_X86_INS_OUT),
            (_ON_INSTRUCTION, self._on_cpuid, x86.UC_X86_INS_CPUID),
            (_ON_INSTRUCTION, self._on_rdtsc, x86.UC_X86_INS_RDTSC),
        ):
            callback = kind(self._guarded(function))
            self._keep.append(add_hook(self._handle, uc_const.UC_HOOK_INSN, callback, instruction))

    def _guarded(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """An exception cannot cross the emulator's own frames: :meth:`run` raises it."""

        def guarded(*arguments: Any) -> Any:
            try:
                self._counter.catch_up()
                return callback(*arguments)
            except BaseException as error:
                self._counter.fail(error)
                return 0

        return guarded

    def _prime(self) -> None:
        """Run a block to its end: until one has, the emulator reports no translations."""
        self._uc.mem_map(0x1000, 0x1000)
        self._uc.mem_write(0x1000, b"\xeb\x00\xf4")  # jmp to the next; hlt
        self._uc.reg_write(x86.UC_X86_REG_RIP, 0x1000)
        self._counter.run(3)
        self._uc.mem_unmap(0x1000, 0x1000)
        self._counter.flush()

    def _make_unpaged(self) -> Any:
        """A context in flat 32-bit protected mode."""
        flat = Segment(8, 0, 0xFFFFFFFF, 0xCF9B00)
        registers = Registers(cr0=CR0.PE | CR0.ET, cs=flat, ss=flat, ds=flat, es=flat)
        context = self._uc.context_save()
        self._layout.write(blob(context), registers)
        return context

    # Execution

    def begin(self, cpu: int) -> None:
        """A turn of ``cpu`` begins: what it remembers of address translation is forgotten.

        Always, not only where the last turn was another CPU's: looking at CPUs in between must not change the run.
        """
        self.enter(cpu)
        flush_tlb(self._handle)

    def set_breakpoints(self, addresses: frozenset[int], reached: Callable[[int, int], None]) -> None:
        """Call ``reached`` before each instruction at one of the linear ``addresses``; the CPU goes on all the same.

        Args:
            addresses: in any address space; none: no more calls.
            reached: is told the address, and how many instructions of this :meth:`run` precede it.

        Raises:
            ValueError: they are too many.
        """
        if len(addresses) > MOST_BREAKPOINTS:
            raise ValueError(f"addresses must be at most {MOST_BREAKPOINTS}, not {len(addresses)!r}")
        self._counter.set_breakpoints(addresses, reached)

    def run(
        self,
        cpu: int,
        budget: int,
        watch: Watch | None = None,
        *,
        before_iret: bool = False,
        before_mode_change: bool = True,
        more: int = 0,
        slices_over: Callable[[list[str]], None] | None = None,
    ) -> Exit:
        """Let ``cpu`` execute up to ``budget`` instructions (at least one).

        It stops before an instruction that :mod:`mklab.machine.instructions` must execute.

        Args:
            watch: what else it is to stop for.
            before_iret: whether to stop before IRET, too.
            before_mode_change: whether to stop before a MOV to CR0 that does not fault.
            more: slices of ``budget`` instructions, too, that may follow where this one is used up. It may be that none
                or not all of them are executed.
            slices_over: told the digests of the registers at the end of slices that were followed by another, before
                anything else of this call is: what is returned is about the last one only.
        """
        self.enter(cpu)
        if self._stale:
            self._drop_stale()
        self._before_mode_change = before_mode_change
        leave = self._counter.run(budget, watch, before_iret, more, slices_over)
        if leave.reason != "exception":
            return leave
        code, software = self._layout.exception(self._save_scratch())
        self._restore_scratch()
        return leave._replace(error=code, software=software)

    def enter_handler(self, cpu: int, vector: int) -> tuple[int, int] | None:
        """Let ``cpu`` enter its handler of an interrupt or NMI, where the native library can.

        Returns:
            RIP before, and the handler's address; None where :func:`mklab.machine.delivery.deliver` has to do it, to
            the same effect, and nothing has been done.
        """
        self.enter(cpu)
        return self._deliver(vector) if self._deliver is not None else None

    def digest(self, cpu: int) -> tuple[str, str]:
        """``(mode, digest)`` of the registers of ``cpu``."""
        self.enter(cpu)
        return self._counter.digest()

    @property
    def executed(self) -> int:
        """Instructions begun since :meth:`run` was entered or a slice has followed, the current one included."""
        return self._counter.executed

    @property
    def eoi_passes(self) -> bool:
        """Whether nothing follows from a store to EOI but what the platform does at once: the CPU need not stop then.

        A hint: counting is exact either way.
        """
        return self._counter.eoi_passes

    @eoi_passes.setter
    def eoi_passes(self, passes: bool) -> None:
        self._counter.eoi_passes = passes

    @property
    def native(self) -> bool:
        """Whether the native library counts."""
        return isinstance(self._counter, Native)

    @property
    def handle(self) -> Any:
        """The emulator, for hooks of others in this package."""
        return self._handle

    def flush(self) -> None:
        """Drop all that is translated."""
        self._counter.flush()

    def fail(self, error: BaseException) -> None:
        """From a callback: leave; :meth:`run` raises ``error``."""
        self._counter.fail(error)

    def stop(self) -> None:
        """From a callback or a signal handler: stop before the next instruction."""
        self._counter.stop()

    def _intercept(self, address: int, before_iret: bool) -> Instruction | None:
        """The instruction at ``address``, if it is one that is not to be executed by the emulator."""
        registers = self._running_registers()
        code = code_at(self._memory, registers, address, LONGEST_INSTRUCTION)
        instruction = decode(code, registers.mode == "long" and registers.cs.long, registers.cs.big)
        if instruction is None or (instruction.name == "iret" and not before_iret):
            return None
        if instruction.name == "mov to cr0" and registers.cpl:
            return None
        if instruction.name == "mov to cr0" and not cr0_fault(instruction, registers):
            return replace(instruction, name="mode change") if self._before_mode_change else None
        if instruction.name in ("port", "port in dx"):
            port = instruction.operand if instruction.name == "port" else registers.rdx & 0xFFFF
            if not port_fault(self._memory, registers, port, instruction.size):
                return None
        return instruction

    def _written(self, start: int, end: int) -> None:
        if self._stale and self._stale[-1][0] == end:
            end = self._stale.pop()[1]  # a stack that grows down
        self._stale.append((start, end))

    def _drop_stale(self) -> None:
        """Forget what was translated from bytes that Python has written since."""
        stale = list(self._stale)
        self._stale.clear()
        if max(end for _, end in stale) >= _UNPAGED_LIMIT or sum(end - start for start, end in stale) > _DROP_LIMIT:
            self._counter.flush()
            return
        # ctl_remove_cache takes linear addresses: with paging off they are physical ones.
        uclib.uc_context_save(self._handle, self._scratch._context)
        uclib.uc_context_restore(self._handle, self._unpaged._context)
        flush_tlb(self._handle)
        for start, end in stale:
            self._uc.ctl_remove_cache(start, end)
        self._restore_scratch()
        flush_tlb(self._handle)

    # What the running CPU reaches

    def _on_apic_read(self, _uc: int, offset: int, size: int, _data: int) -> int:
        return _part(self._platform.apic_read(offset & ~3), offset & 3, size)

    def _on_apic_write(self, _uc: int, offset: int, _size: int, value: int, _data: int) -> None:
        self._platform.apic_write(offset, value)

    def _on_absent_read(self, _uc: int, offset: int, _size: int, start: int | None) -> int:
        self._platform.absent((start or 0) + offset, False)
        return 0

    def _on_absent_write(self, _uc: int, offset: int, _size: int, _value: int, start: int | None) -> None:
        self._platform.absent((start or 0) + offset, True)

    def _on_in(self, _uc: int, port: int, size: int, _data: int) -> int:
        return self._platform.port_read(port, size)

    def _on_out(self, _uc: int, port: int, size: int, value: int, _data: int) -> None:
        self._platform.port_write(port, size, value)

    def _on_cpuid(self, _uc: int, _data: int) -> int:
        uc = self._uc
        leaf, subleaf = uc.reg_read(x86.UC_X86_REG_EAX), uc.reg_read(x86.UC_X86_REG_ECX)
        for name, value in zip(CPUID_RESULT, self._platform.cpuid(leaf, subleaf), strict=True):
            uc.reg_write(name, value)
        return 1

    def _on_rdtsc(self, _uc: int, _data: int) -> int:
        registers = self._running_registers() if self._peek(x86.UC_X86_REG_CR4) & CR4.TSD else None
        if registers is not None and registers.cpl:
            return 0  # the emulator's own RDTSC raises the #GP
        value = self._platform.timestamp()
        self._uc.reg_write(x86.UC_X86_REG_RAX, value & 0xFFFFFFFF)
        self._uc.reg_write(x86.UC_X86_REG_RDX, value >> 32)
        return 1


def _part(value: int, byte: int, size: int) -> int:
    return value >> 8 * byte & (1 << 8 * size) - 1
