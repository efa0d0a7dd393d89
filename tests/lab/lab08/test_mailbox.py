"""What lab 08 says of two messages in one slot: the kept endings are those that exploration finds, and ways replay."""

import pytest

from mklab.lab import lab08
from mklab.lab.interleavings import SENT, messages_taken, two_messages
from mklab.lab.lab08.endings import ENDINGS
from mklab.lab.lab08.mailbox import Mailbox, kind_of
from mklab.timeline.explore import follow


@pytest.fixture(scope="module")
def box() -> Mailbox:
    return lab08.look_through()


def test_the_kept_endings_are_those_that_are_found(box: Mailbox) -> None:
    found = [
        (taken, "".join(str(one.cpu) for one in end.way.operations))
        for taken, end in zip(box.taken, box.found.ends, strict=True)
    ]
    assert found == list(ENDINGS)


def test_the_texts_numbers(box: Mailbox) -> None:
    assert box.found.coverage.complete
    assert box.found.coverage.states == 921
    assert [box.kinds.count(kind) for kind in ("good", "lost", "torn")] == [2, 4, 8]


@pytest.mark.parametrize("number", range(0, len(ENDINGS), 3))
def test_a_kept_way_leads_to_its_ending_on_a_fresh_machine(number: int) -> None:
    taken, way = ENDINGS[number]
    machine = two_messages()
    follow(two_messages(), list(map(int, way))).replay(machine)
    assert tuple(messages_taken("kernel 1")(machine)) == taken


@pytest.mark.parametrize(
    ("taken", "kind"),
    [
        ([(8, 2), (7, 0)], "good"),
        ([(7, 0)], "lost"),
        ([(7, 0), (7, 0)], "lost"),
        ([], "lost"),
        ([(7, 2)], "torn"),
        ([(7, 0), (8, 2), (7, 2)], "torn"),
    ],
)
def test_kinds(taken: list[tuple[int, int]], kind: str) -> None:
    assert kind_of(SENT, taken) == kind


def test_a_replay_can_be_drawn(box: Mailbox) -> None:
    player = box.replay(box.first("torn"))
    assert player.look == len(player.film.looks) - 1
    assert len([one for one in player.film.recording.messages if one.vector == 0xEA]) == 2
    with pytest.raises(ValueError, match="number must be 0 to 13, not 14"):
        box.end(14)
    with pytest.raises(ValueError, match="kind must be"):
        box.first("fine")


def test_three_stores_each_have_twenty_orders_and_eight_endings() -> None:
    small = lab08.writers()
    assert small.found.orders == 20
    assert {end.told for end in small.found.ends} == {a + b + c for a in "AB" for b in "AB" for c in "AB"}


def test_a_dead_sender_stops_the_others() -> None:
    result = lab08.dead_sender_run()
    assert result.counterexample is not None
    assert "CPU 1" in result.counterexample.what
    assert "goes round for ever" in result.counterexample.what
