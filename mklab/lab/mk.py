"""What ``%mk`` does in a notebook: a machine is stepped, taken back and looked at, and the answer is text."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mklab.errors import MklabError
from mklab.kernel.host import Host
from mklab.lab import looking
from mklab.lab.scenario import Scenario
from mklab.lab.session import timeline
from mklab.machine.machine import Machine
from mklab.machine.registers import GPRS
from mklab.timeline.travel import UNITS

__all__ = ["COMMANDS", "Commands", "MkError", "machine_of"]

Source = Machine | Host | Scenario

COMMANDS = {
    "step": "step [N] [instruction|event|slice]: go on; a scenario goes on until there is something to see",
    "run": "run [N]: go on until nothing can run, or for N instructions",
    "back": "back [N] [instruction|event|slice]: undo that much; of a scenario, what was last to be seen",
    "regs": "regs [CPU]: the registers of a CPU",
    "mem": "mem ADDRESS [BYTES]: physical memory; ADDRESS is a number, a register or a symbol",
    "dis": "dis [ADDRESS] [N]: N instructions at a linear address, as the current CPU sees it",
    "apic": "apic [CPU]: the local APIC of a CPU",
    "kimages": "kimages: kexec_image_list as it lies in the host's memory, and /proc/multikernel",
    "reset": "reset: back to where %mk began with this machine; a scenario starts again",
    "use": "use NAME: the machine, host or scenario that the notebook calls so",
    "help": "help [COMMAND]: this list",
}
_MOST_BYTES, _MOST_LINES = 4096, 200


class MkError(MklabError):
    """A command that cannot be carried out; the message says what to write instead."""


def machine_of(source: Source) -> Machine:
    """The machine behind a machine, host or scenario."""
    return source if isinstance(source, Machine) else source.machine


@dataclass
class _Used:
    """What commands act on.

    Attributes:
        name: as the notebook has it.
        source: what it is.
        begin: the number of the last event when the first command came.
    """

    name: str
    source: Source
    begin: int


class Commands:
    """The commands and what they act on.

    Args:
        names: the notebook's variables.
    """

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = names
        self._used: _Used | None = None

    def perform(self, line: str) -> str:
        """Carry out a command, and say what is to be seen.

        Raises:
            MkError: it is none, its arguments are wrong, or there is nothing to act on.
        """
        try:
            command, *words = shlex.split(line) or ["help"]
        except ValueError as error:
            raise MkError(f"%mk {line}: {error}") from None
        if command not in COMMANDS:
            raise MkError(f"there is no %mk {command}; there are {', '.join(COMMANDS)}")
        perform: Callable[[list[str]], str] = getattr(self, f"_{command}")
        try:
            return perform(words)
        except MkError:
            raise
        except (ValueError, MklabError) as error:
            raise MkError(f"%mk {line}: {error}") from None

    def candidates(self) -> dict[str, Source]:
        """The machines, hosts and scenarios that the notebook names, one name for each machine."""
        found: dict[str, Source] = {}
        order = (Scenario, Host, Machine)
        # A snapshot: the notebook may assign meanwhile.
        for kind in order:
            for name, value in list(self._names.items()):
                if isinstance(value, kind) and not name.startswith("_"):
                    machine = machine_of(value)
                    if all(machine_of(one) is not machine for one in found.values()):
                        found[name] = value
        return found

    def completions(self, line: str) -> list[str]:
        """What the last word of ``line`` (behind ``%mk``) could become."""
        words = line.split()
        last = "" if not words or line.endswith(" ") else words.pop()
        if not words:
            known = list(COMMANDS)
        elif words[0] == "use":
            known = [name for name, one in self._names.items() if isinstance(one, Source) and not name.startswith("_")]
        elif words[0] == "help":
            known = list(COMMANDS)
        elif words[0] in ("step", "back"):
            known = list(UNITS)
        elif words[0] in ("mem", "dis") and len(words) == 1:
            known = [*GPRS, "rip", *self._symbols()]
        else:
            known = []
        return [one for one in known if one.startswith(last)]

    # What is acted on

    @property
    def _here(self) -> _Used:
        used = self._used
        if used is not None and self._names.get(used.name) is used.source:
            return used
        found = self.candidates()
        if not found:
            raise MkError("this notebook names no machine yet; make one: run = Scenario(), or machine = Machine()")
        if len(found) > 1:
            raise MkError(f"this notebook names {', '.join(found)}: choose one, as in %mk use {next(iter(found))}")
        ((name, source),) = found.items()
        return self._begin(name, source)

    def _begin(self, name: str, source: Source) -> _Used:
        machine = machine_of(source)
        if isinstance(source, Scenario):
            assert source.driver is not None
        else:
            timeline(machine)
        self._used = _Used(name, source, machine.trace.count - 1)
        return self._used

    def _use(self, words: list[str]) -> str:
        if len(words) != 1:
            raise MkError(f"write %mk use NAME, with one of {', '.join(self.candidates()) or '(no machine yet)'}")
        value = self._names.get(words[0])
        if not isinstance(value, Source):
            raise MkError(
                f"{words[0]} is no machine, host or scenario; there are {', '.join(self.candidates()) or 'none'}"
            )
        self._begin(words[0], value)
        return f"{words[0]}: {self._where()}"

    @property
    def _machine(self) -> Machine:
        return machine_of(self._here.source)

    # Going

    def _amount(self, words: list[str], units: bool = True) -> tuple[int, str | None]:
        count, unit = 1, None
        for word in words:
            if units and word in UNITS:
                unit = word
            else:
                count = _number(word, "N", least=1)
        return count, unit

    def _step(self, words: list[str]) -> str:
        count, unit = self._amount(words)
        source, stopped = self._here.source, None
        for _ in range(count):
            if isinstance(source, Scenario):
                stopped = source.driver.step(_shown(unit))
            else:
                stopped = self._one_step(machine_of(source), unit or "instruction")
            if stopped:
                break
        return self._told(stopped)

    def _one_step(self, machine: Machine, unit: str) -> str | None:
        line = timeline(machine)
        if unit == "instruction":
            stop = line.step()
        else:
            position = line.position
            while True:
                if line.end > line.position:
                    line.forward(1, unit)
                    stop = None
                else:
                    stop = machine.step()
                if stop or unit == "slice" or line.position > position:
                    break
        return stop.detail if stop else None

    def _run(self, words: list[str]) -> str:
        source = self._here.source
        if isinstance(source, Scenario):
            if words:
                raise MkError("a scenario runs to its end: write %mk run, or %mk step N")
            return self._told(source.driver.run())
        budget = self._amount(words, units=False)[0] if words else 5_000_000
        return self._told(timeline(machine_of(source)).run(budget).detail)

    def _back(self, words: list[str]) -> str:
        count, unit = self._amount(words)
        source = self._here.source
        if not isinstance(source, Scenario):
            timeline(machine_of(source)).back(count, unit or "instruction")
            return self._told(None)
        stopped = None
        for _ in range(count):
            if stopped := source.driver.back(_shown(unit)):
                break
        return self._told(stopped)

    def _reset(self, words: list[str]) -> str:
        _no_more(words, "reset")
        here = self._here
        if isinstance(here.source, Scenario):
            here.source.driver.reset()
        else:
            timeline(machine_of(here.source)).seek(here.begin)
        return self._told(None)

    def _told(self, stopped: str | None) -> str:
        return f"{stopped}\n{self._where()}" if stopped else self._where()

    def _where(self) -> str:
        """Where the machine stands, in a line; and what its CPU is about to execute."""
        machine = self._machine
        cpu = machine.cpus[machine.current]
        place = f"t={machine.time:,}, {machine.trace.count:,} events. CPU {cpu.index} ({cpu.owner or 'nobody'},"
        place += f" {cpu.mode}, {cpu.state})"
        lines = looking.code(machine, machine.registers(cpu.index).linear_rip, 1)
        return f"{place}\n{lines[0]}" if lines else place

    # Looking

    def _cpu(self, words: list[str]) -> int:
        if len(words) > 1:
            raise MkError(f"one CPU at a time, not {' '.join(words)}")
        most = len(self._machine.cpus) - 1
        return _number(words[0], "CPU", most=most) if words else self._machine.current

    def _regs(self, words: list[str]) -> str:
        return looking.registers(self._machine, self._cpu(words))

    def _mem(self, words: list[str]) -> str:
        if not 1 <= len(words) <= 2:
            raise MkError(f"write {COMMANDS['mem'].partition(':')[0]}")
        address = self._address(words[0])
        size = _number(words[1], "BYTES", least=1, most=_MOST_BYTES) if len(words) > 1 else 64
        if not self._machine.memory.contains(address, size):
            raise MkError(f"there is no RAM at {address:#x} to {address + size - 1:#x}")
        return looking.memory(self._machine, address, size)

    def _dis(self, words: list[str]) -> str:
        if len(words) > 2:
            raise MkError(f"write {COMMANDS['dis'].partition(':')[0]}")
        machine = self._machine
        address = self._address(words[0]) if words else machine.registers(machine.current).linear_rip
        count = _number(words[1], "N", least=1, most=_MOST_LINES) if len(words) > 1 else 8
        lines = looking.code(machine, address, count)
        if not lines:
            raise MkError(
                f"CPU {machine.current} sees no code at {address:#x}: no memory is mapped there, or no instruction"
            )
        return "\n".join(lines)

    def _apic(self, words: list[str]) -> str:
        return looking.apic(self._machine, self._cpu(words))

    def _kimages(self, words: list[str]) -> str:
        _no_more(words, "kimages")
        source = self._here.source
        if isinstance(source, Machine):
            if "host" not in source.images:
                raise MkError(
                    "no host runs on this machine, so it has no kexec_image_list: host = Host(machine); host.boot()"
                )
            source = Host(source)
        return looking.kimages(source if isinstance(source, Host) else source.host)

    def _help(self, words: list[str]) -> str:
        if words and words[0] not in COMMANDS:
            raise MkError(f"there is no %mk {words[0]}; there are {', '.join(COMMANDS)}")
        return "\n".join(f"%mk {COMMANDS[name]}" for name in (words[:1] or COMMANDS))

    # Addresses

    def _symbols(self) -> Mapping[str, int]:
        try:
            return looking.symbols(self._machine)
        except MkError:
            return {}

    def _address(self, word: str) -> int:
        registers = self._machine.registers(self._machine.current)
        if word == "rip":
            return registers.linear_rip
        if word in GPRS:
            return int(getattr(registers, word))
        symbols = self._symbols()
        return symbols[word] if word in symbols else _number(word, "ADDRESS", also=" a register or a symbol,")


def _number(word: str, name: str, least: int = 0, most: int = (1 << 64) - 1, also: str = "") -> int:
    try:
        value = int(word.replace(",", "").replace("_", ""), 0)
    except ValueError:
        raise MkError(f"{name} must be a number,{also} not {word!r}") from None
    if not least <= value <= most:
        raise MkError(f"{name} must be {least} to {most:,}, not {word}")
    return value


def _no_more(words: list[str], command: str) -> None:
    if words:
        raise MkError(f"%mk {command} takes nothing more, not {' '.join(words)!r}")


def _shown(unit: str | None) -> str:
    """The driver of a scenario has no slices."""
    if unit == "slice":
        raise MkError("a scenario goes by instruction or event")
    return unit or "event"
