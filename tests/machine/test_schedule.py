"""Whose turn it is."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.machine.schedule import RoundRobin


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
