"""What ``%mk`` does in a notebook: a machine is stepped, taken back and looked at, and the answer is text."""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mklab.errors import MklabError
from mklab.kernel.host import Host
from mklab.lab.scenario import Scenario
from mklab.lab.session import timeline
from mklab.machine.machine import Machine
from mklab.machine.registers import GPRS, RFLAGS
from mklab.paging import walk
from mklab.timeline.disassembly import code_bits, disassembled
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
_LONGEST = 16
"""Bytes of an instruction, and one to spare."""


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
        lines = self._lines(machine.registers(cpu.index).linear_rip, 1)
        return f"{place}\n{lines[0]}" if lines else place

    # Looking

    def _cpu(self, words: list[str]) -> int:
        if len(words) > 1:
            raise MkError(f"one CPU at a time, not {' '.join(words)}")
        most = len(self._machine.cpus) - 1
        return _number(words[0], "CPU", most=most) if words else self._machine.current

    def _regs(self, words: list[str]) -> str:
        number = self._cpu(words)
        cpu, r = self._machine.cpus[number], self._machine.registers(number)
        rows = [f"CPU {number}: {cpu.owner or 'nobody'}, {cpu.mode}, {cpu.state}; APIC id {cpu.apic_id}"]
        general = [f"{name:>3} {getattr(r, name):016x}" for name in GPRS]
        rows += ["  ".join(general[first : first + 4]) for first in range(0, 16, 4)]
        flags = [name for name, bit in _FLAGS.items() if r.rflags & bit]
        rows.append(f"rip {r.rip:016x}  rflags {r.rflags:08x} ({' '.join(flags) or 'none set'})")
        rows.append(f"cr0 {r.cr0:08x}  cr2 {r.cr2:x}  cr3 {r.cr3:x}  cr4 {r.cr4:x}  efer {r.efer:x}")
        for name in ("cs", "ss", "ds", "es", "gdtr", "idtr"):
            one = getattr(r, name)
            rows.append(f"{name:<4} {one.selector:04x}  base {one.base:x}  limit {one.limit:x}")
        return "\n".join(rows)

    def _mem(self, words: list[str]) -> str:
        if not 1 <= len(words) <= 2:
            raise MkError(f"write {COMMANDS['mem'].partition(':')[0]}")
        address = self._address(words[0])
        size = _number(words[1], "BYTES", least=1, most=_MOST_BYTES) if len(words) > 1 else 64
        if not self._machine.memory.contains(address, size):
            raise MkError(f"there is no RAM at {address:#x} to {address + size - 1:#x}")
        data, rows = self._machine.memory.read(address, size), []
        for offset in range(0, size, 16):
            row = data[offset : offset + 16]
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
            rows.append(f"{address + offset:#010x}  {row.hex(' '):<47}  {text}")
        return "\n".join(rows)

    def _dis(self, words: list[str]) -> str:
        if len(words) > 2:
            raise MkError(f"write {COMMANDS['dis'].partition(':')[0]}")
        machine = self._machine
        address = self._address(words[0]) if words else machine.registers(machine.current).linear_rip
        count = _number(words[1], "N", least=1, most=_MOST_LINES) if len(words) > 1 else 8
        lines = self._lines(address, count)
        if not lines:
            raise MkError(
                f"CPU {machine.current} sees no code at {address:#x}: no memory is mapped there, or no instruction"
            )
        return "\n".join(lines)

    def _lines(self, address: int, count: int) -> list[str]:
        machine = self._machine
        registers = machine.registers(machine.current)
        code = b""
        for page in range(math.ceil(count * _LONGEST / 4096) + 1):
            start = address if not page else (address & -4096) + page * 4096
            paddr = walk(machine.memory, registers, start).paddr
            size = 4096 - start % 4096
            if paddr is None or not machine.memory.contains(paddr, size):
                break
            code += machine.memory.read(paddr, size)
        found = disassembled(address, code[: count * _LONGEST], code_bits(registers), count)
        names = {paddr: name for name, paddr in self._symbols().items()}
        lines = []
        for one in found:
            if one.linear in names:
                lines.append(f"{names[one.linear]}:")
            lines.append(f"{one.linear:#10x}  {one.code:<20}  {one.text}")
        return lines

    def _apic(self, words: list[str]) -> str:
        number = self._cpu(words)
        apic = self._machine.apics[number]
        state = "enabled" if apic.enabled else "software-disabled: it takes INIT, SIPI and NMI only"
        rows = [f"CPU {number}: APIC id {apic.apic_id}, {apic.mode}, {state}"]
        rows.append(
            f"SVR {apic.svr:#x}  TPR {apic.tpr:#x}  PPR {apic.ppr:#x}  ICR {apic.icr_high:08x}:{apic.icr_low:08x}"
        )
        rows.append(f"IRR {_vectors(apic.irr)}")
        rows.append(f"ISR {_vectors(apic.isr)}")
        waits = f"vector {apic.pending:#x} would be delivered" if apic.pending is not None else "nothing to deliver"
        due = self._machine.interrupt_due(number)
        rows.append(f"{waits}; the CPU {'takes it next' if due else 'takes no interrupt now'}")
        return "\n".join(rows)

    def _kimages(self, words: list[str]) -> str:
        _no_more(words, "kimages")
        source = self._here.source
        if isinstance(source, Machine):
            if "host" not in source.images:
                raise MkError(
                    "no host runs on this machine, so it has no kexec_image_list: host = Host(machine); host.boot()"
                )
            source = Host(source)
        host = source if isinstance(source, Host) else source.host
        rows = [f"kexec_image_list at {host.kimages.head:#x}"]
        for image in host.kimages:
            kind, entry, segments = (image.get(name) for name in ("type", "start", "nr_segments"))
            rows.append(f"  kimage at {image.paddr:#x}: type {kind}, entry {entry:#x}, {segments} segments")
        return "\n".join([*rows, "/proc/multikernel:", host.proc_multikernel().rstrip("\n")])

    def _help(self, words: list[str]) -> str:
        if words and words[0] not in COMMANDS:
            raise MkError(f"there is no %mk {words[0]}; there are {', '.join(COMMANDS)}")
        return "\n".join(f"%mk {COMMANDS[name]}" for name in (words[:1] or COMMANDS))

    # Addresses

    def _symbols(self) -> dict[str, int]:
        """Symbols of the kernels in memory; a name that two have is the first one's."""
        try:
            images = self._machine.images.values()
        except MkError:
            return {}
        found: dict[str, int] = {}
        for image in images:
            for name, paddr in image.symbols.items():
                found.setdefault(name, paddr)
        return found

    def _address(self, word: str) -> int:
        registers = self._machine.registers(self._machine.current)
        if word == "rip":
            return registers.linear_rip
        if word in GPRS:
            return int(getattr(registers, word))
        symbols = self._symbols()
        return symbols[word] if word in symbols else _number(word, "ADDRESS", also=" a register or a symbol,")


_FLAGS = {"TF": RFLAGS.TF, "IF": RFLAGS.IF, "DF": RFLAGS.DF, "NT": RFLAGS.NT, "ZF": 1 << 6, "CF": 1, "SF": 1 << 7}


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


def _vectors(bits: int) -> str:
    return " ".join(f"{vector:#x}" for vector in range(256) if bits >> vector & 1) or "empty"
