"""A trace is all that is needed to make a run again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mklab.errors import MklabError
from mklab.kernel.bootloader import boot
from mklab.kernel.host import Host
from mklab.lab.attack import KINDS, Attack
from mklab.lab.defects import DEFECTS
from mklab.lab.scenario import Scenario
from mklab.machine.engine import library
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.machine.schedule import RoundRobin, Schedule, Scripted, Seeded, choices_of
from mklab.timeline.journal import ReplayError
from mklab.timeline.replay import replay
from mklab.timeline.session import save
from mklab.trace import Input, Slice, Trace
from tests.kernel.boot_image import bzimage, elf64, multiboot
from tests.machine.guestcode import CODE, DATA, long_mode_registers
from tests.timeline.guests import PIECES, RACE, full_state, guest

INSTALLERS = {"host": Host}


def again(machine: Machine) -> Machine:
    """The machine that its trace makes, the trace having been text meanwhile."""
    return replay(Trace.from_json(machine.trace.to_json()), INSTALLERS)


def assert_replays(machine: Machine) -> None:
    made = again(machine)
    assert made.trace.sha256 == machine.trace.sha256
    assert full_state(made)[5:9] == full_state(machine)[5:9]
    assert full_state(made)[0] == full_state(machine)[0], "memory"


SCHEDULES = st.one_of(
    st.builds(RoundRobin, st.integers(1, 400)),
    st.builds(Seeded, st.integers(0, 1000), st.just(1), st.integers(1, 400)),
)


def refused(machine: Machine, cpu: int) -> None:
    """The local APIC has no such register in this mode: the act is in the journal all the same."""
    with pytest.raises(ValueError, match="what the local APIC takes"):
        machine.wrmsr(cpu, 0x80B, 0)


ACTS: dict[str, Callable[[Machine, int], object]] = {
    "poke": lambda machine, n: machine.poke(0xE000 + n % 0x700, bytes([n % 256, 1])),
    "write": lambda machine, n: machine.memory.write(0xE300 + n % 64, b"\5"),
    "nothing": lambda machine, n: machine.memory.write(0xE300, b""),
    "ipi": lambda machine, n: machine.store(n % 3, APIC_BASE + 0x300, (0x4041, 0xC4042, 0x84041, 0xC4500)[n % 4]),
    "ram": lambda machine, n: machine.store(n % 3, 0xE040, n),
    "wrmsr": lambda machine, n: refused(machine, n % 3),
    "out": lambda machine, n: machine.out(n % 3, 0x70, n % 256),
    "plan": lambda machine, n: machine.plan(n % 3, "kernel 1"),
    "image": lambda machine, n: machine.add_image(Image("kernel 1", [[CODE, CODE + 0x100 + n % 64]], CODE)),
    "input": lambda machine, n: machine.console_input("kernel 1", bytes([n % 256])),
    "printk": lambda machine, n: machine.printk("host", f"line {n}"),
    "registers": lambda machine, n: machine.patch_registers(n % 3, long_mode_registers(), running=n % 2 > 0),
    "enter": lambda machine, n: machine.enter_handler(n % 3) if machine.interrupt_due(n % 3) else None,
    "jump": lambda machine, n: machine.jump(n % 3, long_mode_registers()),
    "schedule": lambda machine, n: setattr(machine, "schedule", Seeded(n, 1, 50)),
}


@given(
    st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5), min_size=3, max_size=3),
    SCHEDULES,
    st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.integers(0, 999), st.integers(1, 700)), max_size=8),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_guests_schedules_and_acts_replay(
    pieces: list[list[str]], schedule: Schedule, acts: list[tuple[str, int, int]]
) -> None:
    machine = guest(pieces, schedule, on_shutdown="halt")
    machine.run(500)
    for name, number, budget in acts:
        ACTS[name](machine, number)
        machine.run(budget)
    assert_replays(machine)


@pytest.mark.parametrize("name", sorted(ACTS))
def test_each_act_replays(name: str) -> None:
    machine = guest(RACE)
    machine.run(2000)
    for number in (1, 6):
        ACTS[name](machine, number)
        machine.run(3000)
    assert_replays(machine)
    assert len(machine.trace.of(Slice)) > 4


def test_a_script_of_its_choices_makes_the_same_run() -> None:
    machine = guest(RACE, Seeded(5, 1, 90))
    machine.run(20_000)
    scripted = guest(RACE, Scripted(choices_of(machine.trace)))
    scripted.run(20_000)
    assert scripted.trace.sha256 == machine.trace.sha256
    other = guest(RACE, Seeded(6, 1, 90))
    other.run(20_000)
    assert other.trace.sha256 != machine.trace.sha256


def test_a_replayed_machine_goes_on_alike() -> None:
    machine = guest(RACE)
    machine.run(5000)
    made = again(machine)
    assert made.run(5000) == machine.run(5000)
    assert full_state(made) == full_state(machine)


@pytest.fixture(scope="module")
def three_kernels() -> Scenario:
    scenario = Scenario(4, 3)
    scenario.run()
    return scenario


def test_three_kernels_replay(three_kernels: Scenario) -> None:
    assert_replays(three_kernels.machine)


FRESH = """
import sys
from collections.abc import Callable
from pathlib import Path
from mklab.kernel.host import Host
from mklab.timeline.replay import replay
from mklab.trace import Trace
print(replay(Trace.from_json(Path(sys.argv[1]).read_text()), {"host": Host}).trace.sha256)
"""


def test_a_fresh_process_replays(three_kernels: Scenario, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(three_kernels.machine.trace.to_json())
    environment = {**os.environ, "PYTHONPATH": str(repository), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "trace.json")], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == three_kernels.machine.trace.sha256, done.stderr


FRESH_SESSION = """
import sys
from mklab.lab.session import load, replay
from mklab.machine.engine import library
machine = load(sys.argv[1])
made = replay(machine.trace)
print(library.load() is None, made.trace.sha256, made.time)
"""


def busy_guest() -> Machine:
    """Three CPUs that race, send IPIs, set timers and fault, but do not change the block that they are in."""
    machine = guest([[piece for piece in PIECES if "incb" not in piece], *RACE[1:]], Seeded(2, 1, 400))
    machine.run(3_000)
    machine.poke(DATA + 0x700, b"from outside")
    machine.run(3_000)
    return machine


def booted_host() -> Machine:
    machine = Machine(2)
    Host(machine).boot()
    return machine


@pytest.mark.parametrize("make", [busy_guest, booted_host])
@pytest.mark.parametrize(("recorded", "replayed"), [("", "count"), ("count", "")], ids=["native first", "count first"])
def test_a_session_replays_with_the_other_way_of_counting(
    make: Callable[[], Machine],
    recorded: str,
    replayed: str,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a fresh process, with the native library and without it, to the same digest."""
    monkeypatch.setenv("MKLAB_ENGINE", recorded)
    assert (library.load() is None) == bool(recorded)
    machine = make()
    save(machine, tmp_path / "session")
    done = subprocess.run(
        [sys.executable, "-c", FRESH_SESSION, str(tmp_path / "session")],
        env={**os.environ, "PYTHONPATH": str(repository), "MKLAB_ENGINE": replayed},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(bool(replayed)), machine.trace.sha256, str(machine.time)], done.stderr


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_attacks_replay(kind: str) -> None:
    attack = Attack(kind)
    attack.run()
    assert_replays(attack.machine)


def test_the_defects_scenarios_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machines they make."""
    made: list[Machine] = []
    initialise = Machine.__init__

    def noted(machine: Machine, *arguments: object, **named: object) -> None:
        initialise(machine, *arguments, **named)  # type: ignore[arg-type]
        made.append(machine)

    monkeypatch.setattr(Machine, "__init__", noted)
    for defect in DEFECTS:
        if defect.run is not None and defect.number in (1, 3, 18, 21, 24, 33):
            defect.run()
    machines = list(made)
    assert len(machines) > 5
    for machine in machines:
        assert again(machine).trace.sha256 == machine.trace.sha256


@pytest.mark.parametrize("image", [multiboot("leave"), bzimage("told"), elf64("told")], ids=["multiboot", "bz", "ELF"])
def test_the_boot_of_an_image_replays(image: bytes) -> None:
    machine = boot(image, cpus=2, memory=64 << 20)
    machine.run(200_000)
    assert len(machine.trace.of(Slice)) > 0
    assert_replays(machine)


def test_ctrl_c_leaves_a_run_that_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice that it cuts short counts as if the schedule had allowed no more."""
    machine = guest([["incl 0xe000", "mov $7, %al; out %al, $0x70"]] * 2)
    write = machine.board.ports.write

    def pressed(port: int, value: int) -> bool | None:
        signal.raise_signal(signal.SIGINT)
        return write(port, value)

    monkeypatch.setattr(machine.board.ports, "write", pressed)
    with pytest.raises(KeyboardInterrupt):
        machine.run(50_000)
    monkeypatch.undo()
    (cut,) = machine.trace.of(Slice)
    assert (cut.stop, cut.budget, cut.executed) == ("budget", 4, 4)
    machine.run(5000)
    assert_replays(machine)


# Refusals


def test_what_does_not_begin_at_power_on_is_refused() -> None:
    machine = guest(RACE)
    machine.trace.events.clear()
    with pytest.raises(ValueError, match="must begin at power-on, not None"):
        replay(machine.trace)
    machine.run(100)
    with pytest.raises(ValueError, match="must begin at power-on, not ApicWrite"):
        replay(machine.trace)


def test_a_kernel_that_is_not_installed_is_named() -> None:
    machine = Machine(2)
    Host(machine).start()
    with pytest.raises(MklabError, match="installers must have what installs 'host'"):
        replay(machine.trace)


def test_another_run_is_told_with_its_event() -> None:
    machine = guest(RACE)
    machine.run(5000)
    slices = [event for event in machine.trace if isinstance(event, Slice)]
    changed = Slice(**{**{k: v for k, v in slices[2].to_dict().items() if k != "kind"}, "registers": "0" * 16})
    machine.trace.events[changed.seq] = changed
    with pytest.raises(ReplayError, match=f"event {changed.seq} must be Slice"):
        replay(machine.trace)


def test_an_act_of_another_kind_is_refused() -> None:
    machine = guest(RACE)
    first = machine.trace.events[0]
    assert isinstance(first, Input)
    machine.trace.events[1:] = [Input(1, 0, None, "fly", {})]
    with pytest.raises(ReplayError, match="event 1, fly, cannot be done again"):
        replay(machine.trace)
    machine.trace.events[0] = Input(0, 0, None, "power_on", {**first.args, "cpus": 4})
    with pytest.raises(ValueError, match="apic_ids must be 4 different numbers"):
        replay(machine.trace)
    machine.trace.events[0] = Input(0, 0, None, "power_on", {**first.args, "wheels": 4})
    with pytest.raises(ValueError, match="arguments must be those of a machine"):
        replay(machine.trace)
