"""Session files: what was saved comes back, and a damaged or foreign file is refused without harm."""

import io
import random
from pathlib import Path
from typing import Any

import pytest

from mklab.kernel.host import Host
from mklab.lab.scenario import Scenario
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin, Seeded
from mklab.packed import LINE, leaves, pack, tree, unpack
from mklab.timeline import session as module
from mklab.timeline.replay import replay
from mklab.timeline.session import FORMAT, load, save
from mklab.timeline.timeline import Timeline
from mklab.trace import Event
from tests.packing import opened, sealed
from tests.timeline.guests import PIECES, RACE, full_state, guest

INSTALLERS = {"host": Host}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    made = Scenario(3, 1)
    while not made.machine.calls or made.machine.trace.count < made.booted + 40:
        made.step()
    return made


@pytest.fixture
def small(tmp_path: Path) -> Path:
    machine = guest(RACE, Seeded(1, 1, 50))
    machine.run(200)
    save(machine, tmp_path / "small.mklab")
    return tmp_path / "small.mklab"


def test_a_loaded_machine_is_the_one_saved(tmp_path: Path, scenario: Scenario) -> None:
    machine = scenario.machine
    path = tmp_path / "session.mklab"
    save(machine, path)
    loaded = load(path, INSTALLERS)
    assert full_state(loaded) == full_state(machine)
    assert loaded.trace.events == machine.trace.events
    assert loaded.trace.blobs == machine.trace.blobs
    assert [one.name for one in tmp_path.iterdir()] == ["session.mklab"]
    assert loaded.calls, "in the middle of a call"


def test_it_goes_on_back_and_is_replayed(tmp_path: Path, scenario: Scenario) -> None:
    save(scenario.machine, tmp_path / "session.mklab")
    loaded, other = (load(tmp_path / "session.mklab", INSTALLERS) for _ in range(2))
    line = Timeline(loaded, INSTALLERS)
    line.back(2000)
    line.seek(0)
    line.forward(10**9)
    assert full_state(loaded) == full_state(other)
    loaded.run()
    other.run()
    assert full_state(loaded) == full_state(other)
    assert replay(loaded.trace, INSTALLERS).trace.sha256 == loaded.trace.sha256


def test_every_schedule_and_a_second_saving(tmp_path: Path) -> None:
    machine = guest([list(PIECES), *RACE[1:]], Seeded(4, 1, 100), on_shutdown="halt")
    machine.run(3000)
    machine.schedule = RoundRobin(17)
    machine.run(300)
    save(machine, tmp_path / "one")
    loaded = load(tmp_path / "one")
    save(loaded, tmp_path / "one")
    loaded = load(tmp_path / "one")
    loaded.run(1000)
    machine.run(1000)
    assert full_state(loaded) == full_state(machine)


# Damage


def assert_refused(path: Path, data: bytes, why: str = "") -> None:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^path must be a session file, not '") as caught:
        load(path)
    assert why in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    machine, path = Machine(1, 4096), tmp_path / "tiny.mklab"
    machine.poke(0, b"tiny")
    save(machine, path)
    data = path.read_bytes()
    for size in range(len(data)):
        assert_refused(path, data[:size])
    path.write_bytes(data)
    assert load(path).memory.read(0, 4) == b"tiny"


def test_a_flipped_bit_is_refused(small: Path) -> None:
    data, chance = small.read_bytes(), random.Random(1)
    places = {*range(60), *chance.sample(range(len(data)), 400)}
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= 1 << chance.randrange(8)
        assert_refused(small, bytes(damaged))
    assert_refused(small, data + b"\0", "damaged")


def test_foreign_and_newer_files_are_told_apart(small: Path) -> None:
    data = small.read_bytes()
    assert_refused(small, b"\x7fELF", "does not begin as one")
    assert_refused(small, b"", "does not begin as one")
    assert_refused(small, data.replace(b"session 2\n", b"session 3\n", 1), "format '3', and this mklab reads '2'")
    with pytest.raises(FileNotFoundError):
        load(small.with_name("absent"))


def parts(path: Path) -> dict[str, list[Any]]:
    return {part: list(rows) for part, rows in unpack(FORMAT, path.read_bytes())}


def forged(path: Path, **changes: Any) -> bytes:
    """A file whose SHA-256 fits, with other contents."""
    whole = {name: leaves(value) if name in ("head", "state") else value for name, value in changes.items()}
    return pack(FORMAT, {**parts(path), **whole}.items())


def test_forged_contents_are_refused(small: Path) -> None:
    """Made by somebody who knows the format: still nothing but a ValueError."""
    found = parts(small)
    head, state, kinds, events = tree(found["head"]), tree(found["state"]), found["kinds"], found["events"]
    arguments, slices = head["arguments"], [name for name, _ in kinds].index("Slice")
    executed = 1 + kinds[slices][1].index("executed")
    assert events[-1][0] == slices
    spoiled = {value: [*events[-1][:executed], value, *events[-1][executed + 1 :]] for value in ("many", 1000)}
    forgeries = [
        sealed(FORMAT, b"[" * 100_000 + b"\n"),
        sealed(FORMAT, b"\xff\xfe\n"),
        sealed(FORMAT, b"[]\n"),
        pack(FORMAT, []),
        *(
            pack(FORMAT, [one for one in found.items() if one[0] != left])
            for left in ("head", "state", "kinds", "events")
        ),
        forged(small, more=[1]),
        forged(small, head=7),
        forged(small, head=head | {"first": 1}),
        forged(small, head=head | {"first": -1}),
        forged(small, head=head | {"arguments": {}}),
        forged(small, head=head | {"arguments": arguments | {"ram": [[0, 1 << 36]]}}),
        forged(small, head=head | {"arguments": arguments | {"ram": 5}}),
        forged(small, head=head | {"arguments": arguments | {"cpus": 2}}),
        forged(small, head=head | {"arguments": arguments | {"schedule": {"kind": "os.system"}}}),
        forged(small, kinds=[["Bang", []], *kinds[1:]]),
        forged(small, kinds=[[name, [*fields, "more"]] for name, fields in kinds]),
        forged(small, events=events[:-1]),
        forged(small, events=[*events[:-1], spoiled["many"]]),
        forged(small, events=[*events[:-1], spoiled[1000]]),
        forged(small, events=[*events[:-1], [99, *events[-1][1:]]]),
        forged(small, events=[*events[:-1], events[-1][:-1]]),
        forged(small, events=[7]),
        forged(small, blobs=[["0", "AA=="]]),
        forged(small, blobs=[["0", "?"]]),
        forged(small, state={}),
        forged(small, state=state | {"installed": ["host"]}),
        forged(small, state=state | {"memory": []}),
        forged(small, state=state | {"time": -1}),
        forged(small, state=state | {"schedule": {"kind": "RoundRobin"}}),
        forged(small, state=state | {"registers": []}),
        forged(small, state=state | {"trace": {"count": -5, "sha256": ""}}),
    ]
    for data in forgeries:
        assert_refused(small, data)


def test_a_large_file_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORMAT", FORMAT._replace(most=1 << 10))
    assert_refused(small, small.read_bytes(), "it holds more than 1024 bytes")


def test_no_line_is_longer_than_the_bound_whatever_lies_in_memory(tmp_path: Path) -> None:
    machine, path = Machine(255), tmp_path / "large"
    data = random.Random(5).randbytes(3 * LINE)
    machine.poke(0x100000, data)
    for number in range(3000):
        machine.poke(number, b"x")
    save(machine, path)
    lines = opened(path.read_bytes()).splitlines(keepends=True)
    assert max(map(len, lines)) <= LINE
    loaded = load(path)
    assert full_state(loaded) == full_state(machine)
    assert loaded.trace.blobs == machine.trace.blobs


def test_ctrl_c_while_the_digest_is_made_leaves_the_trace_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, same = (guest(RACE, Seeded(1, 1, 50)) for _ in range(2))
    machine.run(200)
    same.run(200)
    made = []

    def interrupted(event: Event) -> str:
        made.append(event)
        if len(made) == 5:
            raise KeyboardInterrupt
        return line(event)

    line = Event.to_line
    with monkeypatch.context() as patched:
        patched.setattr(Event, "to_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(machine, "never")
    assert machine.trace.sha256 == same.trace.sha256


def test_a_missing_kernel_is_named(tmp_path: Path) -> None:
    machine = Machine(2)
    Host(machine)
    save(machine, tmp_path / "session.mklab")
    with pytest.raises(ValueError, match="installers must have what installs 'host', not only"):
        load(tmp_path / "session.mklab")


def test_a_failed_saving_leaves_the_old_file(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.read_bytes()

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError("no space left on device")

    def opened_full(path: Path, *_: Any) -> Full:
        path.touch()
        return Full()

    monkeypatch.setattr(Path, "open", opened_full)
    with pytest.raises(OSError, match="no space left"):
        save(guest(RACE), small)
    monkeypatch.undo()
    assert small.read_bytes() == data
    assert list(small.parent.iterdir()) == [small]
