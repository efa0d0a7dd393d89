"""What resets the whole machine."""

import pytest

from mklab.kernel.host import Host
from mklab.trace import PlatformReset
from tests.observed.reference import kick, observed, text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("triple", "triple fault", marks=observed("g.triple")),
        pytest.param("cf9", "wrote 0x6 to port 0xcf9", marks=observed("g.cf9")),
        pytest.param("breakpoint", "triple fault", marks=observed("g.int3")),
    ],
)
def test_a_payload_resets_the_machine(host: Host, name: str, words: str, request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("observed")
    assert text(marker.args[0]).startswith("machine reset")
    kick(host, name)
    assert host.machine.stopped is not None
    assert host.machine.stopped.reason == "reset"
    assert words in host.machine.stopped.detail
    assert [event.cpu for event in host.machine.trace.of(PlatformReset)] == [1]
    assert all(cpu.owner is None for cpu in host.machine.cpus), "every kernel with it"
    if name == "triple":
        host.boot()
        assert host.cpu_online(0), "the host boots again"
