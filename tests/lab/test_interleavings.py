"""What `mklab explore` offers: each race of v1 is found and replays, the right ring is free of them, wrong ones not."""

from collections.abc import Callable

import pytest

from mklab.lab.interleavings import EXPERIMENTS
from mklab.lab.rings import ring_machine, ring_messages
from mklab.machine.machine import Machine
from mklab.timeline.explore import AtTheEnd, Exploration, NoDeadlock, NoLostMessage, explore
from mklab.timeline.explore.invariants import Always

Look = Callable[[str], Exploration]


@pytest.fixture(scope="module")
def look() -> Look:
    """Explores the experiment of that name, once."""
    known: dict[str, Exploration] = {}

    def once(name: str) -> Exploration:
        if name not in known:
            function = EXPERIMENTS[name]
            known[name] = explore(f"{function.__module__}:{function.__name__}")
        return known[name]

    return once


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mailbox", "sent (7, 0), (8, 2), received (8, 2): (7, 0) was lost"),
        ("torn-message", "nobody has sent such a one"),
        ("two-kicks", "CPU 1 was kicked for kernel 1 and runs kernel 2"),
        ("checked-before-the-lock", "CPU 1 is online in the host, and runs kernel 1"),
        ("zeroed-area", "sent (77, 1), received (0, 0): (77, 1) was lost"),
    ],
)
def test_a_race_of_v1_is_found_and_replays_on_a_fresh_machine(look: Look, name: str, what: str) -> None:
    result = look(name)
    assert result.counterexample is not None
    assert what in result.counterexample.what
    fresh = EXPERIMENTS[name]()
    assert result.counterexample.replay(fresh.machine) is None
    (invariant,) = fresh.invariants
    assert words(invariant, fresh.machine) == result.counterexample.what


def words(invariant: object, machine: Machine) -> str | None:
    """What an invariant says of a machine, without the exploration."""
    if isinstance(invariant, NoLostMessage):
        return invariant.question(machine)
    assert isinstance(invariant, Always)
    return invariant.question(machine)


def test_nobody_waits_for_ever_for_a_mailbox() -> None:
    result = explore("mklab.lab.interleavings:three_senders", depth=20)
    assert result.holds
    assert result.coverage.states > 1000
    assert result.coverage.performed < result.coverage.states / 5, "most transitions are known"


def test_the_right_ring_is_free_of_everything(look: Look) -> None:
    result = look("ring")
    assert result.holds
    assert result.coverage.complete
    assert result.invariants == ("no data race", "no deadlock", "no lost message")


@pytest.mark.parametrize("name", ["ring-test-then-set", "ring-publish-before-fill", "ring-free-before-copy"])
def test_a_wrong_ring_has_a_data_race(look: Look, name: str) -> None:
    result = look(name)
    assert result.counterexample is not None
    assert result.counterexample.invariant == "no data race"
    assert len(result.counterexample.clocks) == len(result.counterexample.steps)


@pytest.mark.parametrize(
    ("senders", "receiver", "violated"),
    [
        (["send", "send"], "receive", None),
        (["send_test_then_set"] * 2, "receive", "no deadlock"),
        (["send_publish_before_fill"] * 2, "receive", "no lost message"),
        (["send", "send"], "receive_free_before_copy", "no lost message"),
    ],
)
def test_a_wrong_ring_loses_messages(senders: list[str], receiver: str, violated: str | None) -> None:
    """Also where nobody asks for data races; with a place claimed twice, the receiver waits for ever."""
    sent = ["0x101", "0x102", "0x201", "0x202"]
    lost = NoLostMessage(lambda _: sent, lambda machine: ring_messages(machine, 4))
    result = explore(ring_machine(senders, receiver, 2), [NoDeadlock(), lost])
    assert (result.counterexample.invariant if result.counterexample else None) == violated


def test_messages_come_in_the_order_of_each_sender() -> None:
    orders = set()

    def note(machine: Machine) -> None:
        orders.add(tuple(ring_messages(machine, 4)))

    explore(ring_machine(["send", "send"], "receive", 2), AtTheEnd(note))
    assert len(orders) == 6
    for order in orders:
        assert order.index("0x101") < order.index("0x102")
        assert order.index("0x201") < order.index("0x202")
