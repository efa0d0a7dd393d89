"""Session files: what was saved comes back, and a damaged or foreign file is refused without harm."""

import hashlib
import json
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from mklab.kernel.host import Host
from mklab.lab.scenario import Scenario
from mklab.machine.machine import Machine
from mklab.machine.schedule import RoundRobin, Seeded
from mklab.timeline import session as module
from mklab.timeline.replay import replay
from mklab.timeline.session import load, save
from mklab.timeline.timeline import Timeline
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
    assert_refused(small, data.replace(b"session 1\n", b"session 2\n", 1), "format '2', and this mklab reads '1'")
    with pytest.raises(FileNotFoundError):
        load(small.with_name("absent"))


def forged(path: Path, **changes: Any) -> bytes:
    """A file whose SHA-256 fits, with other contents."""
    data = path.read_bytes()[len(module._MAGIC) + 32 :]
    session = json.loads(zlib.decompress(data)) | changes
    return packed(json.dumps(session).encode())


def packed(text: bytes) -> bytes:
    body = zlib.compress(text)
    return module._MAGIC + hashlib.sha256(module._MAGIC + body).digest() + body


def opened(path: Path) -> dict[str, Any]:
    session: dict[str, Any] = json.loads(zlib.decompress(path.read_bytes()[len(module._MAGIC) + 32 :]))
    return session


def test_forged_contents_are_refused(small: Path) -> None:
    """Made by somebody who knows the format: still nothing but a ValueError."""
    session = opened(small)
    arguments, events, state = session["arguments"], session["events"], session["state"]
    forgeries = [
        packed(b"[" * 100_000),
        packed(b"\xff\xfe"),
        packed(b"[]"),
        packed(b"{}"),
        forged(small, arguments={}),
        forged(small, arguments=arguments | {"ram": [[0, 1 << 36]]}),
        forged(small, arguments=arguments | {"ram": 5}),
        forged(small, arguments=arguments | {"cpus": 2}),
        forged(small, arguments=arguments | {"schedule": {"kind": "os.system"}}),
        forged(small, events=events[:-1]),
        forged(small, events=[*events[:-1], events[-1] | {"budget": "many"}]),
        forged(small, events=[*events[:-1], events[-1] | {"kind": "Bang"}]),
        forged(small, events=[*events[:-1], events[-1] | {"executed": events[-1]["executed"] + 1}]),
        forged(small, events=7),
        forged(small, blobs={"0": "AA=="}),
        forged(small, blobs={"0": "?"}),
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


def test_a_bomb_does_not_go_off(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 1 << 20)
    assert_refused(small, packed(bytes(1 << 22)), "not whole, or more than 1048576 bytes")


def test_a_missing_kernel_is_named(tmp_path: Path) -> None:
    machine = Machine(2)
    Host(machine)
    save(machine, tmp_path / "session.mklab")
    with pytest.raises(ValueError, match="installers must have what installs 'host', not only"):
        load(tmp_path / "session.mklab")


def test_a_failed_saving_leaves_the_old_file(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.read_bytes()

    def full(path: Path, _: bytes) -> int:
        path.touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        save(guest(RACE), small)
    assert small.read_bytes() == data
    assert list(small.parent.iterdir()) == [small]
