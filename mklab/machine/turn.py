"""A CPU's turn: what happens between the schedule's choice and the end of its slice."""

from typing import TYPE_CHECKING

from mklab.errors import KexecError, MklabError
from mklab.machine.cpu import Cpu, CpuState
from mklab.machine.delivery import GuestFaultError, TripleFaultError, deliver, error_code_of
from mklab.machine.execution import Exit, Watch
from mklab.machine.instructions import DEBUG, Instruction, execute
from mklab.machine.interruptible import Interruptible
from mklab.machine.interrupts import InterruptBus
from mklab.machine.layout import DEBUG_EXIT
from mklab.machine.ownership import Observation
from mklab.machine.process import Call
from mklab.machine.registers import RFLAGS, Registers
from mklab.trace import Delivered, Fault, Halted, Slice, Step, Woken

if TYPE_CHECKING:
    from mklab.machine.machine import Machine

__all__ = ["Turn"]


class Turn:
    """Carries out one choice of the schedule after the other.

    Attributes:
        running: whether the engine executes now.
    """

    def __init__(
        self, machine: "Machine", interrupts: InterruptBus, observation: Observation, interruptible: Interruptible
    ) -> None:
        self._machine = machine
        self._interrupts = interrupts
        self._observation = observation
        self._interruptible = interruptible
        self.running = False
        # Of the slice that runs: when it began, and the instructions allowed.
        self._start = self._budget = 0

    def take(self, cpu: Cpu, budget: int, more: int = 0) -> None:
        """Let ``cpu`` run for up to ``budget`` instructions, or perform one step of a call that is ready on it.

        Args:
            cpu: one that can run.
            budget: instructions.
            more: slices as long that may follow at once where this one is used up, if nothing can happen in between.
        """
        machine, board, onlookers = self._machine, self._machine.board, self._machine.onlookers
        machine.current = cpu.index
        machine.engine.begin(cpu.index)
        self._start, self._budget, stop = machine.time, budget, "budget"
        if cpu.state is CpuState.HALTED and self._interrupts.deliverable(cpu) is None:
            call = machine.ready_call(cpu)
            if call is not None:
                self._perform(call)
                stop, self._budget = "call", 0
        # Only this CPU's own timer can change while its turn lasts: what it asks of others ends the turn.
        nearest, apic = self._interrupts.deadline, board.apics[cpu.index]
        stride = min(one.stride for one in onlookers) if onlookers else budget
        while (left := self._start + self._budget - machine.time) > 0:
            self._take_interrupt(cpu)
            if onlookers:
                machine.look("part")
            if cpu.state is not CpuState.RUNNING:
                break
            own, end = apic.deadline, None
            if own is not None or nearest is not None:
                end = min(at for at in (nearest, own) if at is not None)
                left = min(left, end - machine.time)
                more = min(more, (end - machine.time - 1) // budget - 1)
            self._execute(cpu, min(left, stride), more)
            more = 0
            if end is not None and machine.time >= end:
                self._interrupts.tick()
                nearest = self._interrupts.deadline
            if onlookers:
                machine.look("part")
            if board.commands:
                stop = "ipi"
                break
            if self._interruptible.requested:
                # As if the schedule had allowed no more, so that the run can be replayed; but one instruction at least.
                self._budget = max(machine.time - self._start, 1)
            if board.leaving or machine.stopped:
                break
        if board.commands or board.leaving:
            self.carry_out()
        if onlookers:
            machine.look("part")
        if machine.stopped:
            stop = "exit" if machine.stopped.reason == "exit" else "reset"
        elif cpu.state is CpuState.HALTED and stop == "budget":
            stop = "halt"
        elif cpu.state is CpuState.SHUTDOWN:
            stop = "shutdown"
        mode, registers = machine.engine.digest(cpu.index)
        self._observation.note_mode(cpu, mode)
        # Most of all events are slices; so without the ways that take any event.
        trace, time = machine.trace, machine.time
        executed = time - self._start
        trace.append(Slice(trace.count, time, cpu.index, self._budget, executed, stop, registers))
        if onlookers:
            machine.look("slice")

    def _slices_over(self, registers: list[str]) -> None:
        """Slices are used up, and another as long has begun at once. The mode cannot have changed: see `_execute`."""
        machine, trace, budget, time = self._machine, self._machine.trace, self._budget, self._start
        for one in registers:
            time += budget
            trace.append(Slice(trace.count, time, machine.current, budget, budget, "budget", one))
        machine.time = self._start = time

    def carry_out(self) -> None:
        """Do what CPUs have asked the platform for: send IPIs, reset it, end the run."""
        board = self._machine.board
        for sender, icr in board.take_commands():
            self._interrupts.send(sender, icr)
        if board.reset_request is not None:
            (cpu, why), board.reset_request = board.reset_request, None
            self._machine.power.reset_platform(why, cpu)
        if board.exit_request is not None:
            (cpu, value), board.exit_request = board.exit_request, None
            why = f"CPU {cpu} wrote {value:#x} to the debug exit at port {DEBUG_EXIT.start:#x}"
            self._machine.stop_for_good("exit", cpu, why, code=value << 1 | 1)

    def _run(self, cpu: Cpu, budget: int, watch: Watch | None, more: int = 0, *, any_instruction: bool = False) -> Exit:
        # Where an interrupt waits, EOI may let it in; and whoever looks on sees each of the machine's own accesses.
        machine = self._machine
        passes = not (machine.apics[cpu.index].irr or machine.onlookers or machine.memory.witness)
        if machine.board.eoi_passes is not passes:
            machine.board.eoi_passes = machine.engine.eoi_passes = passes
        self.running = True
        try:
            leave = machine.engine.run(
                cpu.index,
                budget,
                watch,
                before_iret=cpu.nmi_blocked and not any_instruction,
                before_mode_change=not any_instruction,
                more=more,
                slices_over=self._slices_over,
            )
        finally:
            self.running = False
        machine.time += leave.executed
        return leave

    def _execute(self, cpu: Cpu, budget: int, more: int) -> None:
        watch = self._observation.watch(cpu)
        # Without a watch, each change of the mode is an instruction that comes back here; one NMI's end may let another
        # one in.
        leave = self._run(cpu, budget, watch, more if watch is None and not cpu.nmi_blocked else 0)
        if leave.reason == "budget":
            return
        if leave.instruction is not None and leave.instruction.name in ("iret", "mode change"):
            # IRET unblocks NMIs even where it faults (SDM "Handling Multiple NMIs"); one that waits comes after it.
            cpu.nmi_blocked &= leave.instruction.name != "iret"
            leave = self._run(cpu, 1, None, any_instruction=True)
            self._observation.note_mode(cpu, self._machine.engine.registers(cpu.index).mode)
        if leave.instruction is not None:
            self._instead(cpu, leave.instruction)
        elif leave.reason == "halt":
            _, interruptible = self._machine.engine.interrupt_flags(cpu.index)
            cpu.state = CpuState.HALTED
            self._machine.emit(Halted, cpu.index, interruptible=interruptible)
        elif leave.reason == "exception":
            self._exception(cpu, leave)
        elif leave.reason == "absent":
            registers = self._machine.engine.registers(cpu.index)
            self._machine.power.shut_down(
                cpu, f"it fetched an instruction at {registers.linear_rip:#x}, where there is no memory"
            )

    def _exception(self, cpu: Cpu, leave: Exit) -> None:
        registers = self._machine.engine.registers(cpu.index)
        error = error_code_of(leave.vector, leave.error, leave.software)
        self._machine.emit(Fault, cpu.index, vector=leave.vector, error=error, rip=registers.rip, cr2=registers.cr2)
        if leave.software:
            self._deliver(cpu, registers, leave.vector, error, "software", registers.linear_rip - leave.last)
        else:
            self._deliver(cpu, registers, leave.vector, error, "exception")

    def _instead(self, cpu: Cpu, instruction: Instruction) -> None:
        """Execute an instruction that the engine gets wrong."""
        machine, engine = self._machine, self._machine.engine
        machine.time += 1
        registers, msrs = engine.registers(cpu.index), machine.board.msrs[cpu.index]
        stepped = registers.rflags & RFLAGS.TF
        msrs.kernel_gs = engine.kernel_gs(cpu.index)
        try:
            trap = execute(instruction, registers, msrs, machine.apics[cpu.index])
        except GuestFaultError as fault:
            self._raise(cpu, fault.vector, error_code_of(fault.vector, fault.error, False))
            return
        engine.set_registers(cpu.index, registers)
        engine.set_kernel_gs(cpu.index, msrs.kernel_gs)
        if stepped & registers.rflags:
            engine.note_single_step(cpu.index)
            trap = DEBUG
        if trap is not None:
            self._raise(cpu, trap, None)

    def _raise(self, cpu: Cpu, vector: int, error: int | None) -> None:
        registers = self._machine.engine.registers(cpu.index)
        self._machine.emit(Fault, cpu.index, vector=vector, error=error, rip=registers.rip, cr2=registers.cr2)
        self._deliver(cpu, registers, vector, error, "exception")

    def _take_interrupt(self, cpu: Cpu) -> None:
        """Enter the handler of the interrupt or NMI that is due on ``cpu``, if one is."""
        due = self._interrupts.deliverable(cpu)
        if due is None:
            return
        kind = self._interrupts.take(cpu)
        cpu.nmi_blocked |= kind == "nmi"
        if cpu.state is CpuState.HALTED:
            cpu.state = CpuState.RUNNING
            self._machine.emit(Woken, cpu.index, vector=due)
        entered = self._machine.engine.enter_handler(cpu.index, due)
        if entered is None:
            self._deliver(cpu, self._machine.engine.registers(cpu.index), due, None, kind)
            return
        rip, handler = entered
        self._machine.emit(Delivered, cpu.index, vector=due, source=kind, rip=rip, handler=handler)
        if kind == "interrupt":
            self._machine.observe("delivered", cpu.index, due, None)

    def enter_handler(self, cpu: Cpu) -> None:
        """Let ``cpu`` enter the handler of what :meth:`InterruptBus.deliverable` names, and execute nothing yet."""
        self._machine.current = cpu.index
        self._machine.engine.begin(cpu.index)
        self._take_interrupt(cpu)

    def _deliver(
        self, cpu: Cpu, registers: Registers, vector: int, error: int | None, kind: str, length: int = 0
    ) -> None:
        try:
            entered = deliver(self._machine.memory, registers, vector, error, kind, length)
        except TripleFaultError as fault:
            self._machine.power.shut_down(cpu, f"triple fault at {registers.linear_rip:#x}: {fault}")
            return
        after = entered.registers
        self._machine.engine.set_registers(cpu.index, after)
        rip = registers.rip - (length if entered.faults else 0)
        for raised in entered.faults:
            self._machine.emit(Fault, cpu.index, vector=raised.vector, error=raised.error, rip=rip, cr2=after.cr2)
        source = "exception" if entered.kind == "software" else entered.kind
        self._machine.emit(Delivered, cpu.index, vector=entered.vector, source=source, rip=rip, handler=after.rip)
        if entered.kind == "interrupt":
            self._machine.observe("delivered", cpu.index, vector, None)

    def _perform(self, call: Call) -> None:
        """One step of a kernel function in process context."""
        step, function = call.step, self._machine.functions.get(call.function)
        if function is None:
            raise MklabError(
                f"a call of {call.function} is under way, but no kernel knows it: make Host(machine) first"
            )
        try:
            detail = function.step(call)
        except KexecError as error:
            call.step, call.result, call.errno, call.reason = "", -error.errno, error.errno, error.reason
            call.function, detail = error.function, f"-{error.name}: {error.reason}"
        except (MklabError, ValueError) as error:
            # What it works on in guest RAM is corrupt. Linux would kill the caller and leave its locks as they are.
            call.step, call.reason = "", f"oops: {error}"
            detail = call.reason
        except BaseException:
            call.step = ""
            raise
        finally:
            if call.done:
                self._machine.calls.remove(call)
        self._machine.emit(Step, call.cpu, function=call.function, step=step, detail=detail)
