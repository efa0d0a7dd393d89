"""All ends of a machine and the ways to them, against an enumeration of its own."""

from math import factorial

import pytest

from mklab.timeline.explore import NoDataRace, explore, outcomes
from tests.timeline.explore.tiny import Op, address, interleavings, machine_of, outcome_of

STORES = [[Op("store", word, value=cpu + 1) for word in range(3)] for cpu in range(2)]
"""Two CPUs store three words each."""


def test_ends_are_those_of_every_interleaving_and_their_ways_lead_there() -> None:
    found = outcomes(machine_of(STORES), lambda machine: repr(outcome_of(machine)))
    assert {end.told for end in found.ends} == {repr(outcome) for _, _, outcome in interleavings(STORES)}
    assert len(found.ends) == 8
    for end in found.ends:
        fresh = machine_of(STORES)
        assert end.way.replay(fresh) is None
        assert repr(outcome_of(fresh)) == end.told
        assert [str(one) for one in end.way.operations] == list(end.way.steps)


def test_the_graph_is_whole() -> None:
    found = outcomes(machine_of(STORES), lambda _: "")
    assert len(found.edges) == found.coverage.states
    finals = [state for state, behind in enumerate(found.edges) if not behind]
    assert finals == [end.state for end in found.ends]
    for end in found.ends:
        state = 0
        for operation in end.way.operations:
            state = dict(found.edges[state])[operation.cpu]
        assert state == end.state


@pytest.mark.parametrize("lengths", [(1, 1), (3, 3), (2, 3), (1, 1, 1), (2, 1, 1)])
def test_orders_are_counted(lengths: tuple[int, ...]) -> None:
    code = [[Op("store", 0, value=cpu + 1)] * length for cpu, length in enumerate(lengths)]
    expected = factorial(sum(lengths))
    for length in lengths:
        expected //= factorial(length)
    # What stands before a CPU's first visible operation, and its HLT, are no steps here.
    assert outcomes(machine_of(code), lambda _: "").orders == expected


def test_what_goes_round_has_no_number_of_orders() -> None:
    machine = machine_of([[Op("load", 0)], [Op("store", 0, value=1)]])
    rip = machine.registers(0).rip
    machine.poke(rip + 8, b"\xeb\xf6")  # jmp to the load: it never ends
    assert outcomes(machine, lambda _: "").orders is None


def test_the_machine_stands_where_it_stood() -> None:
    machine = machine_of(STORES)
    before = outcome_of(machine), machine.trace.count, machine.time
    outcomes(machine, lambda _: "")
    assert (outcome_of(machine), machine.trace.count, machine.time) == before


def test_a_bound_on_states_ends_the_search_with_a_level() -> None:
    result = explore(machine_of(STORES), most=5)
    assert not result.coverage.complete
    assert 5 < result.coverage.states < explore(machine_of(STORES)).coverage.states
    assert "of up to" in result.coverage.statement
    assert explore(machine_of(STORES), most=10_000).coverage.complete
    with pytest.raises(ValueError, match="most must be"):
        explore(machine_of(STORES), most=0)


def test_memory_that_counts_as_shared_is_shared() -> None:
    one = [[Op("store", 0, value=1), Op("store", 0, value=2)], [Op("store", 1, value=1)]]
    found = explore(machine_of(one), shared=[(address(0), address(0) + 8)])
    assert found.coverage.shared == 8
    assert found.coverage.states > explore(machine_of(one)).coverage.states


@pytest.mark.parametrize(
    ("op", "races"),
    [
        (Op("inc"), True),
        (Op("lock inc"), False),
        (Op("xchg"), False),
        (Op("store", value=1), False),
        (Op("load"), False),
    ],
)
def test_an_update_without_lock_is_no_synchronisation(op: Op, races: bool) -> None:
    """Of a variable that both CPUs may store and load as they like."""
    sync = [(address(0), address(0) + 8)]
    result = explore(machine_of([[op], [op]]), NoDataRace(sync))
    assert (result.counterexample is not None) is races
