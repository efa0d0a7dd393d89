"""The machine as the stage of an exploration: any of its states can be put onto it, and be read back."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.machine.process import Call
from mklab.machine.registers import Registers
from mklab.timeline.explore.stack import Dead
from mklab.timeline.explore.state import Local, State, cpu_fields, digest, set_cpu_fields
from mklab.timeline.explore.words import Words

__all__ = ["Stage"]


class Stage(Words):
    """Puts states onto a machine and reads them back.

    Args:
        machine: as it is at the beginning; :meth:`leave` makes it so again.
        shared: the words that CPUs share.
        forget: whether what lies below stack pointers is forgotten.

    Attributes:
        index: place of each shared word in ``State.shared``.
        first: the state at the beginning.
    """

    def __init__(self, machine: Machine, shared: Sequence[int], *, forget: bool = True) -> None:
        super().__init__(machine.memory)
        self.machine = machine
        self._forget = forget
        self.index = {word: place for place, word in enumerate(shared)}
        self._shared = list(shared)
        self._time, self._current = machine.time, machine.current
        self._calls = list(machine.calls)
        self._call_data = [copy.deepcopy(call.to_dict()) for call in machine.calls]
        for word in shared:
            self.before_write(word)
        self._locals: dict[bytes, Local] = {}
        self._apics: dict[bytes, dict[str, Any]] = {}
        self._platforms: dict[bytes, dict[str, Any]] = {}
        self._extended: dict[bytes, str] = {}
        self._msr_keys: dict[tuple[Any, ...], str] = {}
        self._image_keys: dict[int, tuple[Image, str]] = {}
        self._enabled: dict[tuple[int, bytes, bytes], bool] = {}
        cpus = range(len(machine.cpus))
        self._placed: list[Local] = []
        for cpu in cpus:
            self._placed.append(self._locals[self._read_local(cpu, None, {})])
        self._placed_apics = [self.read_apic(cpu) for cpu in cpus]
        self._placed_shared = tuple(self.base[word] for word in shared)
        self._placed_platform = self.read_platform()
        self.first = State(
            tuple(local.key for local in self._placed),
            tuple(self._placed_apics),
            self._placed_shared,
            self._placed_platform,
            tuple(self.read_wake(cpu) for cpu in cpus),
        )

    # From a state to the machine

    def knows(self, state: State) -> bool:
        """Whether every part of ``state`` was read here before."""
        return all(key in self._locals for key in state.locals) and all(key in self._apics for key in state.apics)

    def local(self, key: bytes) -> Local:
        """The part with that key."""
        return self._locals[key]

    def put(self, state: State) -> None:
        """Make the machine what ``state`` says. Virtual time is that of the beginning, whatever the state."""
        machine = self.machine
        changed: list[int] = []
        for cpu, key in enumerate(state.locals):
            if self._placed[cpu].key != key:
                self._put_local(cpu, self._locals[key], changed)
        if self._placed_shared is not state.shared:
            for place, (old, new) in enumerate(zip(self._placed_shared, state.shared, strict=True)):
                if old != new:
                    self.poke(self._shared[place], new)
                    changed.append(self._shared[place])
            self._placed_shared = state.shared
        if changed:
            self.dropped(changed)
        for cpu, apic in enumerate(state.apics):
            if self._placed_apics[cpu] != apic:
                machine.apics[cpu].restore(self._apics[apic])
                self._placed_apics[cpu] = apic
        if state.platform and self._placed_platform != state.platform:
            self.put_platform(self._platforms[state.platform])
            self._placed_platform = state.platform
        machine.time = self._time
        machine.stopped = None
        machine.calls[:] = [call for key in state.locals for call in self.calls_of(self._locals[key].calls)]
        if any(state.wakes):
            for call in machine.calls:
                call.wake = self._time + state.wakes[call.cpu] if state.wakes[call.cpu] else 0

    def _put_local(self, cpu: int, new: Local, changed: list[int]) -> None:
        old = self._placed[cpu].memory
        for word in old:
            if word not in new.memory:
                self.poke(word, self.base[word])
                changed.append(word)
        for word, value in new.memory.items():
            if old.get(word) != value:
                self.poke(word, value)
                changed.append(word)
        self.machine.engine.load_context(cpu, new.context)
        set_cpu_fields(self.machine.cpus[cpu], new.fields)
        self.put_msrs(cpu, new.msrs)
        self._placed[cpu] = new

    @staticmethod
    def calls_of(data: Iterable[dict[str, Any]]) -> list[Call]:
        """Calls as objects of their own."""
        return [Call(**copy.deepcopy(call)) for call in data]

    def msrs(self, cpu: int) -> tuple[dict[int, int], int]:
        """The model-specific registers of ``cpu``, and what its time stamp counter is ahead."""
        msrs = self.machine.board.msrs[cpu]
        return dict(msrs.values), msrs.tsc_offset

    def put_msrs(self, cpu: int, data: tuple[dict[int, int], int]) -> None:
        """The inverse of :meth:`msrs`."""
        msrs = self.machine.board.msrs[cpu]
        msrs.values, msrs.tsc_offset = dict(data[0]), data[1]

    def _msr_key(self, data: tuple[dict[int, int], int]) -> str:
        key = tuple(data[0].items()), data[1]
        if key not in self._msr_keys:
            self._msr_keys[key] = digest(sorted(data[0].items()), data[1]).hex()
        return self._msr_keys[key]

    def platform_data(self) -> dict[str, Any]:
        """What belongs to no CPU: plain data, and the known images, which nobody changes."""
        machine = self.machine
        consoles = {kernel: machine.board.console(kernel).state() for kernel in machine.images}
        return {"ports": machine.board.ports.state(), "consoles": consoles, "images": dict(machine.images)}

    def put_platform(self, data: dict[str, Any]) -> None:
        """The inverse of :meth:`platform_data`."""
        machine = self.machine
        machine.board.ports.restore(data["ports"])
        if machine.images != data["images"]:
            machine.images.clear()
            machine.images.update(data["images"])
        for kernel, values in data["consoles"].items():
            machine.board.console(kernel).restore(values)

    def disturbed(self, words: dict[int, int]) -> None:
        """The machine was left in the middle of something: put everything back as the last :meth:`put` had it.

        Args:
            words: what words of memory held then.
        """
        for word, value in words.items():
            self.poke(word, value)
        self.dropped(words)
        for cpu, local in enumerate(self._placed):
            self.machine.engine.load_context(cpu, local.context)
            set_cpu_fields(self.machine.cpus[cpu], local.fields)
            self.put_msrs(cpu, local.msrs)
            self.machine.apics[cpu].restore(self._apics[self._placed_apics[cpu]])
        self.put_platform(self._platforms[self._placed_platform])
        self.machine.board.take_commands()
        self.machine.board.reset_request = self.machine.board.exit_request = None
        self.machine.stopped = None

    def leave(self) -> None:
        """Make the machine what it was at the beginning."""
        self.put(self.first)
        self.machine.current = self._current
        for call, data in zip(self._calls, self._call_data, strict=True):
            for name, value in data.items():
                setattr(call, name, value)
        self.machine.calls[:] = self._calls
        self.release()

    # From the machine to a state

    def note_local(self, cpu: int, written: dict[int, int]) -> bytes:
        """Read the part of ``cpu`` and note it as what is on the machine.

        Args:
            cpu: which has run.
            written: what it has written: bytes of words, as bits.
        """
        key = self._read_local(cpu, self._placed[cpu], written)
        self._placed[cpu] = self._locals[key]
        return key

    def note_shared(self, words: Iterable[int]) -> list[tuple[int, int]]:
        """Those of ``words`` that are shared and have changed: place and value; noted as what is on the machine."""
        changed = []
        for word in words:
            place = self.index.get(word)
            if place is not None:
                value = self.peek(word)
                if value != self._placed_shared[place]:
                    changed.append((place, value))
        if changed:
            values = list(self._placed_shared)
            for place, value in changed:
                values[place] = value
            self._placed_shared = tuple(values)
        return changed

    def note_apic(self, cpu: int) -> bytes:
        """Read the local APIC of ``cpu``, and note it as what is on the machine."""
        self._placed_apics[cpu] = self.read_apic(cpu)
        return self._placed_apics[cpu]

    def note_platform(self) -> bytes:
        """Read what belongs to no CPU, and note it as what is on the machine."""
        self._placed_platform = self.read_platform()
        return self._placed_platform

    def _read_local(self, cpu: int, before: Local | None, written: dict[int, int]) -> bytes:
        machine = self.machine
        memory, dead = (dict(before.memory), before.dead) if before is not None else ({}, Dead())
        registers, context = machine.engine.registers(cpu), machine.engine.save_context(cpu)
        beyond = machine.engine.beyond_registers(context)
        extended = self._extended.get(beyond)
        if extended is None:
            extended = self._extended[beyond] = digest(machine.engine.extended(cpu)).hex()
        for word in written:
            if word in self.index:
                continue
            value = self.peek(word)
            if value == self.base[word]:
                memory.pop(word, None)
            else:
                memory[word] = value
        if self._forget and before is not None:
            dead = self._bury(registers, dead, memory, written)
        calls = [{**call.to_dict(), "wake": 0} for call in machine.calls if call.cpu == cpu]
        fields = cpu_fields(machine.cpus[cpu])
        msrs = self.msrs(cpu)
        parts = repr(registers), extended, fields, self._msr_key(msrs), calls, (dead.regions, dead.holes)
        key = digest(cpu, *parts, sorted(memory.items()))
        if key not in self._locals:
            self._locals[key] = Local(key, context, fields, msrs, copy.deepcopy(calls), dead, memory)
        return key

    def _bury(self, registers: Registers, dead: Dead, memory: dict[int, int], written: dict[int, int]) -> Dead:
        """Forget what lies below the stack pointer; RAM is given what it was at the beginning."""
        dead = dead.after(registers.ss.base + registers.rsp & (1 << 64) - 1, written)
        for start, end in dead.regions:
            gone = [word for word in memory if start <= word < end]
            for word in gone:
                del memory[word]
                self.poke(word, self.base[word])
        return dead

    def read_apic(self, cpu: int) -> bytes:
        """The key of the local APIC's registers."""
        data = self.machine.apics[cpu].state()
        key = digest(data)
        self._apics[key] = data
        return key

    def read_platform(self) -> bytes:
        """The key of what belongs to no CPU."""
        data = self.platform_data()
        names = [self._image_key(image) for image in data["images"].values()]
        key = digest(data["ports"], data["consoles"], names)
        self._platforms.setdefault(key, data)
        return key

    def _image_key(self, image: Image) -> str:
        if id(image) not in self._image_keys:
            self._image_keys[id(image)] = image, digest(image.to_dict()).hex()
        return self._image_keys[id(image)][1]

    def read_wake(self, cpu: int) -> int:
        """How long the call under way on ``cpu`` still sleeps."""
        for call in self.machine.calls:
            if call.cpu == cpu:
                return max(0, call.wake - self.machine.time)
        return 0

    # Who can run

    def enabled(self, state: State) -> list[int]:
        """The CPUs that can run in ``state``."""
        if not state.platform:
            return []
        return [cpu for cpu in range(len(state.locals)) if self._can_run(state, cpu)]

    def _can_run(self, state: State, cpu: int) -> bool:
        key = (cpu, state.locals[cpu], state.apics[cpu]) if not state.wakes[cpu] else None
        if key is None:
            return self._ask(state, cpu)
        known = self._enabled.get(key)
        if known is None:
            known = self._enabled[key] = self._ask(state, cpu)
        return known

    def _ask(self, state: State, cpu: int) -> bool:
        self.put(state)
        return self.machine._runnable(self.machine.cpus[cpu])
