"""A CPU's turn: what happens between the schedule's choice and the end of its slice."""

from typing import TYPE_CHECKING

from mklab.errors import KexecError, MklabError
from mklab.machine.cpu import Cpu, CpuState
from mklab.machine.delivery import TripleFaultError, deliver, error_code_of
from mklab.machine.execution import Exit
from mklab.machine.interruptible import Interruptible
from mklab.machine.interrupts import InterruptBus
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
        performing: whether a kernel function performs a step now.
    """

    def __init__(
        self, machine: "Machine", interrupts: InterruptBus, observation: Observation, interruptible: Interruptible
    ) -> None:
        self._machine = machine
        self._interrupts = interrupts
        self._observation = observation
        self._interruptible = interruptible
        self.running = False
        self.performing = False

    def take(self, cpu: Cpu, budget: int) -> None:
        """Let ``cpu`` run for up to ``budget`` instructions, or perform one step of a call that is ready on it."""
        self._machine.current = cpu.index
        start, stop = self._machine.time, "budget"
        call = self._machine.ready_call(cpu)
        if cpu.state is CpuState.HALTED and self._interrupts.deliverable(cpu) is None and call is not None:
            self._perform(call)
            stop, budget = "call", 0
        while self._machine.time - start < budget:
            self._take_interrupt(cpu)
            if cpu.state is not CpuState.RUNNING:
                break
            self._execute(cpu, budget - (self._machine.time - start))
            if self._machine.board.commands:
                stop = "ipi"
                break
            if self._interruptible.requested:
                stop = "asked"
            if self._interruptible.requested or self._machine.board.reset_request or self._machine.stopped:
                break
        self.carry_out_commands()
        if self._machine.board.reset_request:
            why, self._machine.board.reset_request = self._machine.board.reset_request, ""
            self._machine.power.reset_platform(why, cpu.index)
        if self._machine.stopped:
            stop = "reset"
        elif cpu.state is CpuState.HALTED and stop == "budget":
            stop = "halt"
        elif cpu.state is CpuState.SHUTDOWN:
            stop = "shutdown"
        registers = self._machine.engine.registers(cpu.index)
        self._observation.note_mode(cpu, registers.mode)
        self._machine.emit(
            Slice, cpu.index, budget=budget, executed=self._machine.time - start, stop=stop, registers=registers.digest
        )

    def carry_out_commands(self) -> None:
        """Send what ICR writes have asked for."""
        for sender, icr in self._machine.board.take_commands():
            self._interrupts.send(sender, icr)

    def _execute(self, cpu: Cpu, budget: int) -> None:
        self.running = True
        try:
            leave = self._machine.engine.run(cpu.index, budget, self._observation.watch(cpu))
        finally:
            self.running = False
        # A fetch that faults begins no instruction; time goes on all the same, or a fault that repeats would never end.
        self._machine.time += leave.executed or int(leave.reason == "exception")
        if leave.reason == "halt":
            interruptible = bool(self._machine.engine.registers(cpu.index).rflags & RFLAGS.IF)
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

    def _take_interrupt(self, cpu: Cpu) -> None:
        """Enter the handler of the interrupt or NMI that is due on ``cpu``, if one is."""
        due = self._interrupts.deliverable(cpu)
        if due is None:
            return
        kind = self._interrupts.take(cpu)
        if cpu.state is CpuState.HALTED:
            cpu.state = CpuState.RUNNING
            self._machine.emit(Woken, cpu.index, vector=due)
        self._deliver(cpu, self._machine.engine.registers(cpu.index), due, None, kind)

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
        self.performing = True
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
            self.performing = False
            if call.done:
                self._machine.calls.remove(call)
        self._machine.emit(Step, call.cpu, function=call.function, step=step, detail=detail)
