"""The exploration, with and without reduction, against every interleaving of an interpretation of its own."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.machine.machine import Machine
from mklab.timeline.explore import Always, AtTheEnd, Exploration, NoDataRace, explore
from tests.timeline.explore.tiny import WORDS, Op, Outcome, address, interleavings, machine_of, outcome_of

MEMORY = ("store", "load", "save", "inc", "lock inc", "xchg")


def ops() -> st.SearchStrategy[Op]:
    word, register = st.integers(0, WORDS - 1), st.integers(0, 1)
    memory = st.builds(Op, st.sampled_from(MEMORY), word, register, st.integers(1, 3))
    own = st.builds(Op, st.sampled_from(("add", "skip")), st.just(0), register, st.integers(1, 2))
    return st.one_of(memory, memory, memory, own)


def programs(cpus: int, longest: int) -> st.SearchStrategy[list[list[Op]]]:
    return st.lists(st.lists(ops(), min_size=1, max_size=longest), min_size=cpus, max_size=cpus)


EITHER = st.one_of(programs(2, 5), programs(3, 2))


def finals(code: Sequence[Sequence[Op]], *, reduce: bool) -> tuple[set[Outcome], Exploration]:
    found = set()

    def look(machine: Machine) -> None:
        found.add(outcome_of(machine))

    result = explore(machine_of(code), AtTheEnd(look), reduce=reduce)
    assert result.coverage.complete
    return found, result


def has_race(code: Sequence[Sequence[Op]], sync: int | None) -> bool:
    """Whether some interleaving has two conflicting accesses that vector clocks leave unordered."""
    return any(_races([(step.cpu, step.op) for step in steps], len(code), sync) for steps, _, _ in interleavings(code))


def _synchronises(op: Op, sync: int | None) -> bool:
    """A locked instruction; a load or a store of ``sync``, but no update of it: that is two accesses."""
    return op.atomic or (op.word == sync and not (op.reads and op.writes))


def _races(steps: Sequence[tuple[int, Op]], cpus: int, sync: int | None) -> bool:
    now = [[0] * cpus for _ in range(cpus)]
    before: list[tuple[int, Op, list[int]]] = []
    for cpu, op in steps:
        now[cpu][cpu] += 1
        if not (op.reads or op.writes):
            continue
        synchronises = _synchronises(op, sync)
        conflicting = [
            (other, one, clock)
            for other, one, clock in before
            if one.word == op.word and (one.writes or op.writes) and other != cpu
        ]
        for other, one, clock in conflicting:
            if not (synchronises and _synchronises(one, sync)) and clock[other] > now[cpu][other]:
                return True
        for _, one, clock in conflicting:
            if synchronises and _synchronises(one, sync):
                now[cpu] = [max(pair) for pair in zip(now[cpu], clock, strict=True)]
        before.append((cpu, op, list(now[cpu])))
    return False


def shared_words(code: Sequence[Sequence[Op]]) -> set[int]:
    """Words that two CPUs have touched in some interleaving, one of them writing."""
    touched: dict[int, set[tuple[int, bool]]] = {}
    for steps, _, _ in interleavings(code):
        for step in steps:
            if step.op.reads or step.op.writes:
                touched.setdefault(step.op.word, set()).add((step.cpu, step.op.writes))
    return {
        word for word, who in touched.items() if any(writes and other != cpu for cpu, writes in who for other, _ in who)
    }


@settings(max_examples=60)
@given(EITHER)
def test_the_same_final_states_with_and_without_reduction(code: list[list[Op]]) -> None:
    expected = {outcome for _, _, outcome in interleavings(code)}
    reduced, with_reduction = finals(code, reduce=True)
    full, without = finals(code, reduce=False)
    assert reduced == full == expected
    assert with_reduction.finals == without.finals
    assert with_reduction.coverage.states == without.coverage.states
    assert with_reduction.coverage.transitions <= without.coverage.transitions


@settings(max_examples=60)
@given(EITHER, st.tuples(*[st.integers(0, 3)] * WORDS))
def test_a_violation_is_found_iff_some_interleaving_has_it(code: list[list[Op]], bad: tuple[int, ...]) -> None:
    words = shared_words(code)

    def is_bad(memory: Sequence[int]) -> bool:
        return bool(words) and all(memory[word] == bad[word] for word in words)

    def never(machine: Machine) -> str | None:
        return "there it is" if is_bad(outcome_of(machine)[0]) else None

    expected = any(is_bad(memory) for _, seen, _ in interleavings(code) for memory in [(0,) * WORDS, *seen])
    lengths = []
    for reduce in (True, False):
        result = explore(machine_of(code), Always(never), reduce=reduce)
        assert (result.counterexample is not None) == expected
        lengths.append(result.counterexample and len(result.counterexample.steps))
        if result.counterexample is not None:
            again = machine_of(code)
            result.counterexample.replay(again)
            assert never(again) == "there it is"
    assert lengths[0] == lengths[1], "the reduced search finds a shortest one, too"


@settings(max_examples=60)
@given(EITHER, st.one_of(st.none(), st.integers(0, WORDS - 1)))
def test_a_data_race_is_found_iff_vector_clocks_find_one(code: list[list[Op]], sync: int | None) -> None:
    ranges = [] if sync is None else [(address(sync), address(sync) + 8)]
    expected = has_race(code, sync)
    for reduce in (True, False):
        result = explore(machine_of(code), NoDataRace(ranges), reduce=reduce)
        assert (result.counterexample is not None) == expected


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ([[Op("inc")], [Op("inc")]], 1),
        ([[Op("load"), Op("add", value=1), Op("save")], [Op("load"), Op("add", value=1), Op("save")]], 3),
        ([[Op("lock inc")], [Op("lock inc")], [Op("lock inc")]], 1),
    ],
)
def test_known_cases(code: list[list[Op]], count: int) -> None:
    found, _ = finals(code, reduce=True)
    assert len(found) == count
