"""%mk: short commands on the machine that the notebook names, and errors that say what to write."""

from typing import Any

import pytest

from mklab import Host, Machine, Scenario, minikernel_image
from mklab.lab.guestcode import compiled
from mklab.lab.guestrun import Place
from mklab.lab.mk import COMMANDS, Commands, MkError

TEXT = "start:\n  mov $1, %eax\n  mov $2, %ebx\n  mov $3, %ecx\n  hlt"


@pytest.fixture
def machine() -> Machine:
    """One CPU, about to execute three moves and a HLT at 0x20000."""
    return Place().begin(compiled(TEXT, "asm", Place().base))


@pytest.fixture
def commands(machine: Machine) -> Commands:
    return Commands({"machine": machine, "_": machine, "number": 3})


@pytest.fixture(scope="module")
def host() -> Host:
    host = Host(Machine(2))
    host.boot()
    host.load(minikernel_image(0x2000000, 1, [1, 0]))
    return host


def test_every_command_is_there_and_in_the_help(commands: Commands) -> None:
    told = commands.perform("help")
    for name in COMMANDS:
        assert f"%mk {name}" in told
        assert callable(getattr(commands, f"_{name}"))
    assert commands.perform("") == told
    assert commands.perform("help mem").startswith("%mk mem ADDRESS")


def test_step_back_run_and_reset(commands: Commands, machine: Machine) -> None:
    told = commands.perform("step")
    assert (machine.registers(0).rax, machine.registers(0).rbx) == (1, 0)
    assert "mov" in told.splitlines()[1]
    assert "0x20005" in told
    commands.perform("step 2")
    assert machine.registers(0).rcx == 3
    commands.perform("back 2")
    assert (machine.registers(0).rax, machine.registers(0).rcx) == (1, 0)
    assert "every CPU waits" in commands.perform("run")
    assert machine.registers(0).rcx == 3
    commands.perform("reset")
    assert (machine.registers(0).rax, machine.registers(0).rip) == (0, 0x20000)


def test_run_for_so_many_instructions(commands: Commands, machine: Machine) -> None:
    assert "2 instructions executed" in commands.perform("run 2")
    assert (machine.registers(0).rbx, machine.registers(0).rcx) == (2, 0)


def test_step_to_the_next_event(commands: Commands, machine: Machine) -> None:
    before = machine.trace.count
    commands.perform("step event")
    assert machine.trace.count > before


def test_registers(commands: Commands) -> None:
    commands.perform("step")
    told = commands.perform("regs 0")
    assert told.startswith("CPU 0: nobody, long, running")
    assert "rax 0000000000000001" in told
    assert "rip 0000000000020005" in told
    assert "cs   0010" in told


def test_memory_by_number_register_and_symbol(commands: Commands, host: Host) -> None:
    first = commands.perform("mem 0x20000 5")
    assert first.startswith("0x00020000  b8 01 00 00 00 ")
    assert commands.perform("mem rip 5") == first
    assert commands.perform("mem 131072 5") == first
    assert len(commands.perform("mem 0x20000").splitlines()) == 4
    entry = host.symbol("startup_64")
    told = Commands({"host": host}).perform("mem startup_64 16")
    assert told.startswith(f"{entry:#010x}  {host.machine.memory.read(entry, 16).hex(' ')}")


def test_disassembly(commands: Commands) -> None:
    lines = commands.perform("dis 0x20000 4").splitlines()
    assert [line.split()[2] for line in lines] == ["movl", "movl", "movl", "hlt"]
    assert commands.perform("dis rip 2").splitlines() == lines[:2]
    assert len(commands.perform("dis").splitlines()) == 8


def test_apic(commands: Commands, machine: Machine) -> None:
    machine.store(0, 0xFEE000F0, 0x1FF)
    machine.store(0, 0xFEE00300, 0x440EA)
    told = commands.perform("apic")
    assert "xapic, enabled" in told
    assert "IRR 0xea" in told
    assert "ISR empty" in told
    assert "vector 0xea would be delivered; the CPU takes no interrupt now" in told


@pytest.mark.parametrize("given", ["host", "machine"])
def test_kimages(host: Host, given: str) -> None:
    told = Commands({given: getattr(host, given, host)}).perform("kimages")
    assert "entry 0x2000000" in told
    assert told.endswith(host.proc_multikernel().rstrip("\n"))


def test_a_scenario_goes_on_until_there_is_something_to_see() -> None:
    scenario = Scenario()
    commands = Commands({"run": scenario})
    commands.perform("step 3")
    moment = (scenario.machine.trace.count, scenario.machine.time)
    commands.perform("step")
    commands.perform("back")
    assert (scenario.machine.trace.count, scenario.machine.time) == moment
    assert "the scenario is finished" in commands.perform("run")
    assert scenario.finished
    commands.perform("reset")
    assert not scenario.finished
    for line in ("run 5", "step slice"):
        with pytest.raises(MkError, match="a scenario"):
            commands.perform(line)


def test_which_machine(machine: Machine, host: Host) -> None:
    names: dict[str, Any] = {}
    commands = Commands(names)
    with pytest.raises(MkError, match="names no machine yet"):
        commands.perform("step")
    names |= {"one": host, "the_same": host.machine}
    assert "CPU" in commands.perform("regs")
    names["two"] = machine
    commands = Commands(names)
    with pytest.raises(MkError, match="names one, two: choose one, as in %mk use one"):
        commands.perform("regs")
    assert commands.perform("use two").startswith("two: t=")
    assert "CPU 0: nobody" in commands.perform("regs")
    del names["two"]
    assert "CPU 0: host" in commands.perform("regs")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stop", "there is no %mk stop; there are step, run"),
        ("help stop", "there is no %mk stop"),
        ("step x", "N must be a number, not 'x'"),
        ("step 0", "N must be 1 to"),
        ("regs 1", "CPU must be 0 to 0, not 1"),
        ("regs 0 0", "one CPU at a time"),
        ("mem", "write mem ADDRESS"),
        ("mem nowhere", "ADDRESS must be a number, a register or a symbol, not 'nowhere'"),
        ("mem 0xffffffffff", "there is no RAM at 0xffffffffff"),
        ("mem 0 99999", "BYTES must be 1 to 4,096"),
        ("dis 0xffffffffff", "sees no code at 0xffffffffff"),
        ("dis 1 2 3", "write dis"),
        ("kimages", "no host runs on this machine"),
        ("kimages all", "takes nothing more, not 'all'"),
        ("reset now", "takes nothing more"),
        ("use number", "number is no machine, host or scenario; there are machine"),
        ("use", "write %mk use NAME, with one of machine"),
        ("mem 'a", "No closing quotation"),
    ],
)
def test_errors_say_what_to_write(commands: Commands, line: str, words: str) -> None:
    with pytest.raises(MkError) as raised:
        commands.perform(line)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("re", ["regs", "reset"]),
        ("use ", ["machine"]),
        ("use x", []),
        ("step ev", ["event"]),
        ("mem rs", ["rsp", "rsi"]),
        ("help ki", ["kimages"]),
        ("regs ", []),
    ],
)
def test_completion(commands: Commands, line: str, found: list[str]) -> None:
    assert commands.completions(line) == found
    assert commands.completions("") == list(COMMANDS)
