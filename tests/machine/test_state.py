"""A machine as plain data: a restored one goes on with the same trace, wherever the run was cut."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import HOST_END
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin
from mklab.machine.state import restore, state
from tests.machine.guestcode import RAM, long_mode

CPUS, SPAWNED = 3, 2
EVERY = 12
"""A snapshot is taken at every so many slices."""


@dataclass
class Drive:
    """A host boots, a second kernel is started and answers a message; where it stands is two numbers.

    Attributes:
        act: which act it is in.
        begun: whether that act has begun.
    """

    machine: Machine
    act: int = 0
    begun: bool = False

    def __post_init__(self) -> None:
        self.host = Host(self.machine)

    def _begin(self) -> None:
        host, cpu = self.host, SPAWNED
        image = minikernel_image(HOST_END, 1, [cpu, *(one for one in range(CPUS) if one != cpu)])

        def up(number: int) -> Callable[[], object]:
            return lambda: host.submit("cpu_up", {"cpu": number})

        acts: list[Callable[[], object]] = [
            host.start,
            *(up(number) for number in range(1, CPUS)),
            lambda: host.submit("cpu_down", {"cpu": cpu}),
            lambda: host.submit_load(image),
            lambda: host.submit("multikernel_kexec", {"cpu": cpu}),
            lambda: None,
            lambda: host.submit_message(cpu, b"ping"),
            lambda: None,
        ]
        acts[self.act]()
        self.begun = True

    @property
    def _last(self) -> int:
        return CPUS + 5

    def _over(self, stopped: bool) -> bool:
        if self.act == 0:
            return self.host.cpu_online(0)
        if self.act == CPUS + 3:
            return self.host.is_up("kernel 1", SPAWNED)
        return stopped if self.act == self._last else not self.machine.calls

    def step(self) -> bool:
        """Go on by a slice; whether there is more."""
        if not self.begun:
            self._begin()
            return True
        stop = self.machine.step()
        if self._over(stop is not None):
            self.act, self.begun = self.act + 1, False
        return self.act <= self._last

    def finish(self) -> str:
        """Go on to the end; the digest of the trace there."""
        while self.step():
            pass
        return self.machine.trace.sha256

    def save(self) -> str:
        return json.dumps({"act": self.act, "begun": self.begun, "machine": state(self.machine)})


def resumed(text: str) -> Drive:
    data = json.loads(text)
    machine = Machine(CPUS)
    restore(machine, data["machine"])
    return Drive(machine, data["act"], data["begun"])


def run_in_a_process(code: str, repository: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole() -> tuple[Machine, str, list[str]]:
    """The run in one piece, the digest at its end, and snapshots along it."""
    drive, saved, steps = Drive(Machine(CPUS)), [], 0
    while drive.step():
        if steps % EVERY == 0:
            saved.append(drive.save())
        steps += 1
    return drive.machine, drive.machine.trace.sha256, saved


def test_the_run_is_worth_cutting(whole: tuple[Machine, str, list[str]]) -> None:
    machine, _, saved = whole
    assert "kernel 1 up" in machine.console("kernel 1")
    assert "host: answer from CPU 2: ping" in machine.console("host")
    assert len(saved) > 8
    assert {bool(json.loads(text)["machine"]["calls"]) for text in saved} == {True, False}, "also between two steps"


def test_every_snapshot_goes_on_with_the_same_trace(whole: tuple[Machine, str, list[str]]) -> None:
    machine, digest, saved = whole
    memory = hashlib.sha256(machine.memory.read(0, machine.memory.size)).hexdigest()
    for text in saved:
        drive = resumed(text)
        assert drive.finish() == digest, f"cut in act {json.loads(text)['act']}"
        assert hashlib.sha256(drive.machine.memory.read(0, drive.machine.memory.size)).hexdigest() == memory


def test_a_snapshot_of_a_restored_machine_is_the_same(whole: tuple[Machine, str, list[str]]) -> None:
    for text in whole[2]:
        assert resumed(text).save() == text


def test_a_fresh_process_goes_on(whole: tuple[Machine, str, list[str]], repository: Path, tmp_path: Path) -> None:
    _, digest, saved = whole
    (tmp_path / "state.json").write_text(saved[len(saved) // 2])
    code = "import sys; from tests.machine.test_state import resumed; print(resumed(open(sys.argv[1]).read()).finish())"
    assert run_in_a_process(code, repository, str(tmp_path / "state.json")).strip() == digest


def test_the_scenario_is_the_same_in_every_process(repository: Path) -> None:
    """Whatever Python's hashes are, and whatever ran before in the process."""
    code = """
from mklab.lab.scenario import Scenario
scenario = Scenario(3)
scenario.run()
print(scenario.machine.trace.sha256)
"""
    twice = "from mklab.lab.scenario import Scenario; Scenario(2).run()\n" + code
    digests = {
        run_in_a_process(code, repository, PYTHONHASHSEED="0"),
        run_in_a_process(code, repository, PYTHONHASHSEED="12345"),
        run_in_a_process(twice, repository, PYTHONHASHSEED="7"),
    }
    assert len(digests) == 1


SOURCE = """
mov $1000, %ecx
1: add %rcx, %rax
fninit
fld1
cvtsi2sd %eax, %xmm2
loop 1b
hlt
cpu1: rdtsc
cvtsi2sd %eax, %xmm4
xor %rax, 0xe000
jmp cpu1
"""


@pytest.mark.parametrize("budget", [1, 137, 1001])
def test_everything_a_guest_changes_is_in_it(budget: int) -> None:
    """Cut again and again, each time into a new machine."""
    machine, _ = long_mode(SOURCE, cpus=2, schedule=RoundRobin(50))
    uncut, _ = long_mode(SOURCE, cpus=2, schedule=RoundRobin(50))
    for _ in range(5):
        machine.run(budget)
        uncut.run(budget)
        saved = json.loads(json.dumps(state(machine)))
        machine = Machine(2, ram=RAM)
        restore(machine, saved)
    assert state(machine) == state(uncut)
    for cpu in range(2):
        assert machine.registers(cpu) == uncut.registers(cpu)
        assert machine.engine.extended(cpu) == uncut.engine.extended(cpu)
    assert machine.trace.count == uncut.trace.count


def test_a_restored_machine_forgets_what_it_was() -> None:
    """Into a machine that has run something else, at the same addresses."""
    machine, _ = long_mode("mov $7, %esi; hlt")
    saved = state(machine)
    other, _ = long_mode("mov $9, %esi; ud2", handlers=False)
    assert other.run().reason == "reset"
    restore(other, saved)
    assert other.run().reason == "idle"
    assert other.registers(0).rsi == 7


def test_a_stop_for_good_is_kept() -> None:
    machine, _ = long_mode("ud2", handlers=False)
    stop = machine.run()
    other = Machine(1, ram=RAM)
    restore(other, json.loads(json.dumps(state(machine))))
    assert other.run() == stop


def changed(**values: Any) -> dict[str, Any]:
    return state(Machine(2, ram=RAM)) | values


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(format="other"), "the state must be a dict of the format mklab-machine-1, not "),
        ({}, "the state must be a dict of the format mklab-machine-1, not '{}'"),
        (changed(registers=[]), "the state must be one that state() made, not one damaged at "),
        (
            state(Machine(3, ram=RAM)),
            "the state must be of CPUs with the APIC ids [0, 1], not [0, 1, 2]",
        ),
        (
            state(Machine(2, ram=RAM, apic_ids=[0, 9])),
            "the state must be of CPUs with the APIC ids [0, 1], not [0, 9]",
        ),
        (
            state(Machine(2, ram=1 << 20)),
            f"the state must be of RAM [(0, {RAM})], not [(0, 1048576)]",
        ),
    ],
)
def test_the_state_of_another_machine_is_refused(data: dict[str, Any], message: str) -> None:
    machine, _ = long_mode("mov $7, %esi; hlt", cpus=2)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        restore(machine, data)
    machine.run()
    assert machine.registers(0).rsi == 7, "it is as it was"


def test_the_debug_exit_and_the_other_base_of_gs_are_in_it() -> None:
    """Cut behind the WRMSR: SWAPGS finds what it wrote, and the device is there."""
    source = "mov $0xc0000102, %ecx; mov $0x1234, %eax; xor %edx, %edx; wrmsr; nop; swapgs; mov $5, %al; out %al, $0xf4"
    machine, _ = long_mode(source, debug_exit=True)
    machine.run(5)
    saved = json.loads(json.dumps(state(machine)))
    machine = Machine(1, ram=RAM)
    restore(machine, saved)
    stop = machine.run()
    assert (stop.reason, stop.code, machine.registers(0).gs.base) == ("exit", 11, 0x1234)
