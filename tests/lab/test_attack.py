"""One spawned kernel against the others: what is seen of each victim, and that a barrier would be seen, too."""

from typing import Any

import pytest

from mklab.kernel.instance import Kernel
from mklab.lab.attack import KINDS, Attack, Victim
from mklab.lab.attack_telling import describe
from mklab.machine.interrupts import InterruptBus
from mklab.machine.ports import PlatformPorts
from mklab.recording import Recording
from mklab.trace import Init, PlatformReset


@pytest.fixture(scope="module")
def attacks() -> dict[str, Attack]:
    """Each attack, carried out once."""
    done = {}
    for kind in KINDS:
        done[kind] = Attack(kind)
        done[kind].run()
    return done


def victims(attack: Attack) -> list[Victim]:
    return [victim for blow in attack.blows for victim in blow.victims]


def test_before_it_every_victim_is_well(attacks: dict[str, Attack]) -> None:
    for attack in attacks.values():
        first = victims(attack)[0]
        assert first.before["owner"] == first.kernel
        assert first.before["state"] == "halted"
        assert first.before["answer"] == f"'alive?', as {first.kernel}"


def test_memory(attacks: dict[str, Attack]) -> None:
    renamed, broken, host = victims(attacks["memory"])
    assert renamed.after["answer"] == "'alive?', as kernel 99"
    assert broken.after["answer"] == "none"
    assert "kernel 99: exception 6" in broken.after["last line"]
    assert host.before["/proc/multikernel"] == "1 image(s)"
    assert host.after["/proc/multikernel"].startswith("oops: kexec_image_list leads to 0xdead0000")
    assert host.changed == ["/proc/multikernel"]


def test_ipi(attacks: dict[str, Attack]) -> None:
    kernel, host = attacks["ipi"].blows
    for blow, cpu in ((kernel, 2), (host, 0)):
        *counts, urgent = blow.figures.values()
        sent, accepted, merged, taken, lines, attacker, victim = map(int, counts)
        assert sent == accepted == 200
        assert taken - (accepted - merged) in (0, 1), "somebody else has sent one meanwhile"
        assert 0 < taken < 200
        assert lines == 2 * taken
        assert victim > 5 * attacker
        assert urgent == "was overwritten, unread"
        assert blow.victims[0].cpu == cpu
        assert blow.victims[0].after["answer"] == blow.victims[0].before["answer"], "once it is over"


def test_init(attacks: dict[str, Attack]) -> None:
    kernel, host = victims(attacks["init"])
    assert (kernel.kernel, kernel.cpu, host.kernel, host.cpu) == ("kernel 2", 2, "host", 3)
    for victim in (kernel, host):
        assert (victim.after["owner"], victim.after["state"]) == ("nobody", "wait-for-SIPI")
        assert victim.after["answer"] == "none"
    assert host.after["host counts it"] == "online", "nobody has told the host"
    inits = [(e.cpu, e.from_cpu) for e in attacks["init"].machine.trace.of(Init)][-2:]
    assert inits == [(2, 1), (3, 1)]


def test_reset(attacks: dict[str, Attack]) -> None:
    attack = attacks["reset"]
    assert [(one.kernel, one.cpu) for one in victims(attack)] == [
        ("host", 0),
        ("host", 3),
        ("kernel 2", 2),
        ("kernel 1", 1),
    ]
    assert {one.after["owner"] for one in victims(attack)} == {"nobody"}
    assert [event.why for event in attack.machine.trace.of(PlatformReset)] == ["CPU 1 wrote 0x6 to port 0xcf9"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stopped_it(attacks: dict[str, Attack], kind: str) -> None:
    report = describe(attacks[kind])["attack"]
    assert report["stopped_by"] == "nothing"
    assert report["attacker"] == {"kernel": "kernel 1", "cpu": 1}
    assert "Not an IOMMU" in report["would_stop"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_recording_has_all_of_it(attacks: dict[str, Attack], kind: str) -> None:
    attack = attacks[kind]
    whole = Recording([cpu.apic_id for cpu in attack.machine.cpus])
    whole.extend(attack.machine.trace)
    assert attack.recording == whole


def stop_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "store", lambda self, paddr, data, via=0: None)


def stop_ipis(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = InterruptBus.targets

    def fixed(self: InterruptBus, sender: int, icr: Any) -> Any:
        owner = self._machine.cpus[sender].owner
        cell = [cpu for cpu in targets(self, sender, icr) if cpu.owner == owner]
        return cell if owner == "kernel 1" else targets(self, sender, icr)

    monkeypatch.setattr(InterruptBus, "targets", fixed)


def stop_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlatformPorts, "write", lambda self, port, value: None)


@pytest.mark.parametrize(
    ("kind", "barrier"),
    [("memory", stop_stores), ("init", stop_ipis), ("reset", stop_resets)],
    ids=["memory", "init", "reset"],
)
def test_where_something_stops_it_the_report_says_so(kind: str, barrier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    barrier(monkeypatch)
    attack = Attack(kind)
    attack.run()
    assert attack.stopped_by.startswith("something: no effect is seen where it ")


def test_with_more_kernels_and_step_by_step() -> None:
    attack = Attack("init", cpus=6, kernels=3)
    titles = []
    while not attack.finished:
        titles.append(attack.title)
        attack.step()
    assert "attack (1 of 2)" in titles
    assert [(one.kernel, one.cpu) for one in victims(attack)] == [("kernel 2", 2), ("host", 5)]
    assert attack.machine.cpus[3].owner == "kernel 3"
    attack.reset()
    assert attack.blows == []


def test_arguments() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of \['memory', 'ipi', 'init', 'reset'\], not 'rootkit'"):
        Attack("rootkit")
    with pytest.raises(ValueError, match=r"kernels must be 2 to 15 .*, not 1"):
        Attack("ipi", kernels=1)
    with pytest.raises(ValueError, match=r"cpus must be 5 to 64 .*, not 4"):
        Attack("ipi", 4, 3)
