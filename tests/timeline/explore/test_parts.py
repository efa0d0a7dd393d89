"""The parts of the exploration that need no machine."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mklab.timeline.explore.progress import profile
from mklab.timeline.explore.stack import WHOLE, Dead, mask_of
from mklab.timeline.explore.stuck import first_stuck
from mklab.timeline.explore.touched import Touched

GRAPHS = st.integers(1, 7).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size)
)


class TestStuck:
    """States that go round for ever."""

    def test_every_state_reaches_an_end(self) -> None:
        assert first_stuck([[1], [0, 2], []], [2]) is None

    def test_a_cycle_without_a_way_out(self) -> None:
        assert first_stuck([[1, 3], [2], [1], []], [3]) == 1

    def test_what_leads_into_it_is_not_the_state_that_is_named(self) -> None:
        assert first_stuck([[1], [2], [3], [2]], []) == 2

    @given(GRAPHS)
    def test_as_by_brute_force(self, edges: list[list[int]]) -> None:
        ends = [state for state, behind in enumerate(edges) if not behind]
        reach = [{state} for state in range(len(edges))]
        for _ in edges:
            for state, behind in enumerate(edges):
                for other in behind:
                    reach[state] |= reach[other]
        stuck = [
            state
            for state in range(len(edges))
            if not reach[state] & set(ends) and all(state in reach[other] for other in reach[state])
        ]
        assert first_stuck(edges, ends) == min(stuck, default=None)


class TestDead:
    """What lies below a stack pointer."""

    def test_below_is_dead_and_above_is_not(self) -> None:
        dead = Dead().after(0x1700, {})
        assert dead.bytes_of(0x16F8 >> 3) == WHOLE
        assert dead.bytes_of(0x1700 >> 3) == 0
        assert dead.bytes_of(0xFF8 >> 3) == 0, "another block"

    def test_a_frame_is_alive_where_it_was_written(self) -> None:
        dead = Dead().after(0x1700, {}).after(0x16E0, {0x16E0 >> 3: WHOLE, 0x16E8 >> 3: 0x0F})
        assert dead.bytes_of(0x16E0 >> 3) == 0
        assert dead.bytes_of(0x16E8 >> 3) == 0xF0
        assert dead.bytes_of(0x16F0 >> 3) == WHOLE
        again = dead.after(0x16E0, {0x16E8 >> 3: 0xF0})
        assert again.bytes_of(0x16E8 >> 3) == 0

    def test_it_is_the_same_however_deep_it_was_before(self) -> None:
        deep = Dead().after(0x1700, {}).after(0x1600, dict.fromkeys(range(0x1600 >> 3, 0x1700 >> 3), WHOLE))
        assert deep.after(0x1700, {}) == Dead().after(0x1700, {})

    def test_a_stack_that_is_left_stays_dead(self) -> None:
        dead = Dead().after(0x1700, {}).after(0x2F00, {})
        assert dead.bytes_of(0x16F8 >> 3) == WHOLE
        assert dead.bytes_of(0x2EF8 >> 3) == WHOLE
        written = dead.after(0x2F00, {0x16F8 >> 3: WHOLE})
        assert written.bytes_of(0x16F8 >> 3) == 0
        assert written.bytes_of(0x16F0 >> 3) == WHOLE

    def test_masks(self) -> None:
        assert [mask_of(2, paddr, 4) for paddr in (14, 16, 20, 22)] == [0x03, 0x0F, 0xF0, 0xC0]


class TestTouched:
    """Who shares what."""

    def test_two_readers_share_nothing(self) -> None:
        touched = Touched()
        touched.add(5, 0b11, 0)
        assert touched.shared == set()
        assert not touched.by_others(5, 0, False)
        assert touched.by_others(5, 0, True)

    def test_a_writer_and_another(self) -> None:
        touched = Touched()
        touched.add(5, 0, 0b01)
        assert touched.shared == set()
        touched.add(5, 0b10, 0)
        assert touched.shared == {5}
        assert touched.by_others(5, 1, False)
        assert not touched.by_others(5, 0, False)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_the_profile_counts_the_points_of_a_grid(lengths: list[int]) -> None:
    points = [sum(point) for point in itertools.product(*(range(length + 1) for length in lengths))]
    assert profile(lengths) == [points.count(level) for level in range(sum(lengths) + 1)]
