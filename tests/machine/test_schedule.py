"""Whose turn it is."""

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.machine.schedule import RoundRobin, Schedule, Scripted, Seeded, schedule_of

SEVEN = [(3, 426), (2, 229), (0, 175), (3, 86), (1, 132)]


@given(st.sets(st.integers(0, 63), min_size=1), st.integers(1, 3))
def test_everybody_has_a_turn_before_anybody_has_two(runnable: set[int], rounds: int) -> None:
    schedule, cpus = RoundRobin(7), sorted(runnable)
    turns = [schedule.choose(cpus) for _ in range(len(cpus) * rounds)]
    assert turns == [(cpu, 7) for cpu in cpus] * rounds


def test_who_comes_and_goes_does_not_change_the_order() -> None:
    schedule = RoundRobin()
    chosen = [schedule.choose(runnable)[0] for runnable in ([0, 1, 2], [0, 2], [0, 1, 2], [0, 1], [1, 3])]
    assert chosen == [0, 2, 0, 1, 3]


def test_a_restored_schedule_chooses_alike() -> None:
    schedule, other = RoundRobin(5), RoundRobin()
    schedule.choose([0, 1, 2])
    other.restore(json.loads(json.dumps(schedule.state())))
    assert [other.choose([0, 1, 2]) for _ in range(4)] == [schedule.choose([0, 1, 2]) for _ in range(4)]


@pytest.mark.parametrize("quantum", [0, -5, 100_000_001, 1.5, None])
def test_a_quantum_that_cannot_be_is_refused(quantum: int) -> None:
    message = f"quantum must be 1 to 100000000 instructions, not {quantum!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RoundRobin(quantum)


@given(st.integers(0, 1 << 64), st.integers(1, 50), st.integers(0, 100))
def test_chance_keeps_to_its_bounds_and_comes_again(seed: int, shortest: int, more: int) -> None:
    seed %= 1 << 64
    schedule, again = (Seeded(seed, shortest, shortest + more) for _ in range(2))
    made = [schedule.choose([1, 4, 6]) for _ in range(40)]
    assert made == [again.choose([1, 4, 6]) for _ in range(40)]
    assert {cpu for cpu, _ in made} == {1, 4, 6}
    assert all(shortest <= budget <= shortest + more for _, budget in made)


def test_chance_is_the_same_on_every_host() -> None:
    schedule = Seeded(7, 10, 500)
    assert [schedule.choose(range(4)) for _ in range(5)] == SEVEN


def test_a_script_and_what_comes_after_it() -> None:
    schedule = Scripted([(2, 7), (0, 1)])
    assert [schedule.choose([0, 2]) for _ in range(4)] == [(2, 7), (0, 1), (0, 1000), (2, 1000)]
    schedule = Scripted([(2, 7), (1, 1)])
    schedule.choose([0, 2])
    with pytest.raises(ValueError, match=re.escape("choice 1 of the script must be one of [0, 2], not 1")):
        schedule.choose([0, 2])


@pytest.mark.parametrize("schedule", [RoundRobin(5), Seeded(9, 2, 90), Scripted([(1, 5), (0, 2), (2, 2)])])
def test_each_kind_is_made_from_its_state(schedule: Schedule) -> None:
    schedule.choose([0, 1, 2])
    other = schedule_of(json.loads(json.dumps(schedule.state())))
    assert type(other) is type(schedule)
    assert [other.choose([0, 1, 2]) for _ in range(6)] == [schedule.choose([0, 1, 2]) for _ in range(6)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Seeded(-1), "seed must be 0 to"),
        (lambda: Seeded(1, 5, 4), "shortest must be 1 to 4 instructions (longest), not 5"),
        (lambda: Seeded(1, 0, 4), "shortest must be 1 to 4"),
        (lambda: Scripted([(0, 0)]), "each budget of choices must be 1 to"),
        (lambda: schedule_of({"kind": "Lottery"}), "the schedule must be one of ["),
        (lambda: Seeded().restore(RoundRobin().state()), "the state must be of a Seeded schedule, not 'RoundRobin'"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
