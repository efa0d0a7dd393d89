"""The lab's sessions know the lab's kernels."""

from pathlib import Path

from mklab.kernel.host import Host
from mklab.lab.session import load, replay, save, timeline
from mklab.machine.machine import Machine


def test_a_host_goes_through_a_file_and_back_in_time(tmp_path: Path) -> None:
    machine = Machine(2)
    Host(machine).boot()
    save(machine, tmp_path / "session")
    loaded = load(tmp_path / "session")
    line = timeline(loaded)
    assert timeline(loaded) is line
    line.seek(0)
    line.forward(10**9)
    assert loaded.trace.sha256 == machine.trace.sha256 == replay(machine.trace).trace.sha256
    Host(loaded).cpu_down(1)
    assert Host(loaded).cpu_online(1) is False
