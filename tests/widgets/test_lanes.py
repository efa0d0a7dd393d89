"""Lanes as data: what is drawn of a history, how little of a long one, and who shares a lane."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.recording import Film, Moment, Span
from mklab.trace import Event, Halted, Init, IpiSent, ModeChange, OwnerChange, Sipi, Woken
from mklab.widgets.boxes import SHORTEST, Box, Window, cut, stretches
from mklab.widgets.lanes import Group, end_of, groups, lane, plans, ticks
from mklab.widgets.view import View


def history(*ends: tuple[int, str], owner: str | None = "host") -> list[Span]:
    """Spans of CPU 0 in turn: when each ended and its state; the last one lasts."""
    found, start = [], 0
    for number, (end, state) in enumerate(ends):
        last = number == len(ends) - 1
        moment = Moment(number, end)
        found.append(
            Span(0, Moment(number - 1, start), None if last else moment, owner=owner, mode="long", state=state)
        )
        start = end
    return found


def drawn(boxes: list[Box]) -> list[tuple[float, float, str, int]]:
    return [(box.left, box.right, box.span.state, box.count) for box in boxes]


def test_a_span_that_took_no_time_is_not_drawn() -> None:
    spans = history((100, "running"), (100, "wait-for-SIPI"), (300, "halted"))
    assert drawn(stretches(spans, 0, 2, 0, 300, 10)) == [(0, 100, "running", 1), (100, 300, "halted", 1)]


def test_a_short_span_is_drawn_long_enough_to_be_seen_and_still_says_how_long_it_was() -> None:
    spans = history((100, "running"), (102, "wait-for-SIPI"), (300, "halted"))
    boxes = stretches(spans, 0, 2, 0, 300, 10)
    assert drawn(boxes) == [(0, 100, "running", 1), (100, 110, "wait-for-SIPI", 1), (110, 300, "halted", 1)]
    assert (boxes[1].start, boxes[1].end) == (100, 102)


def test_a_short_span_at_the_end_takes_room_from_the_one_before() -> None:
    spans = history((298, "running"), (300, "halted"))
    assert drawn(stretches(spans, 0, 1, 0, 300, 10)) == [(0, 290, "running", 1), (290, 300, "halted", 1)]


@given(
    lengths=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["running", "halted", "shut down"])), min_size=1),
    shortest=st.integers(1, 40),
    data=st.data(),
)
def test_boxes_stand_one_behind_the_other(lengths: list[tuple[int, str]], shortest: int, data: st.DataObject) -> None:
    """Whatever the lengths, and wherever they are cut: none is turned round, none lies over the next one."""
    ends, at = [], 0
    for length, state in lengths:
        at += length
        ends.append((at, state))
    if not at:
        return
    window = Window(0, at, at * SHORTEST / shortest)
    boxes = stretches(history(*ends), 0, len(ends) - 1, 0, at, shortest)
    moment = data.draw(st.integers(0, at))
    past, later = cut(boxes, moment, window)
    for some in (boxes, past):
        assert all(0 <= box.left < box.right for box in some)
        assert all(before.right <= after.left for before, after in pairwise(some))
    assert all(box.left <= box.right <= at for box in later)
    assert all(box.right <= moment for box in past)
    if past:
        assert past[-1].right == moment


def test_what_runs_and_halts_by_turns_is_one_box() -> None:
    turns = [(100 * number, "running" if number % 2 else "halted") for number in range(1, 1001)]
    boxes = stretches(history(*turns), 0, 999, 0, 100_000, 400)
    assert len(boxes) == 1
    assert (boxes[0].left, boxes[0].right, boxes[0].span.state) == (0, 100_000, "running")
    assert boxes[0].count == pytest.approx(1000, rel=0.25)


def test_a_long_span_among_short_ones_is_seen() -> None:
    turns = [(100 * number, "running" if number % 2 else "halted") for number in range(1, 301)]
    turns += [(60_000, "shut down"), *((60_000 + time, state) for time, state in turns)]
    boxes = stretches(history(*turns), 0, len(turns) - 1, 0, 90_000, 400)
    (seen,) = [box for box in boxes if box.span.state == "shut down"]
    assert (seen.start, seen.end, seen.count) == (30_000, 60_000, 1)


def test_boxes_are_few_and_do_not_overlap_however_long_the_run_is() -> None:
    time, turns = 0, []
    for number in range(50_000):
        time += (7 * number) % 53 + (40_000 if number % 1_000 == 0 else 1)
        turns.append((time, "shut down" if number % 1_000 == 0 else "running" if number % 2 else "halted"))
    boxes = stretches(history(*turns), 0, len(turns) - 1, 0, time, time / 250)
    assert 90 < len(boxes) <= 250
    assert all(before.right <= after.left + 1e-6 for before, after in pairwise(boxes))
    assert boxes[-1].right == time


def test_a_window_shows_what_lies_in_it() -> None:
    spans = history((100, "running"), (200, "halted"), (300, "running"))
    assert drawn(stretches(spans, 0, 2, 150, 250, 1)) == [(150, 200, "halted", 1), (200, 250, "running", 1)]


def test_what_is_recorded_beyond_the_moment_is_apart(told_film: Film) -> None:
    view = View.at_event(told_film, 45)
    shown, rest = groups(view)
    window = Window(0, end_of(view.film), 500)
    drawn_lane = lane(view, shown[2], window)
    assert rest == []
    assert view.time == 12_000
    assert (drawn_lane.past[-1].right, drawn_lane.later[0].left, drawn_lane.later[-1].right) == (12_000, 12_000, 18_000)
    assert lane(View.at_end(told_film), shown[2], window).later == []


def test_a_box_is_cut_at_the_moment() -> None:
    window = Window(0, 1_000, 1_000)
    boxes = stretches(history((400, "running"), (1_000, "halted")), 0, 1, 0, 1_000, 4)
    for moment, past, later in (
        (0, [], [(0, 400, "running"), (400, 1_000, "halted")]),
        (300, [(0, 300, "running")], [(300, 400, "running"), (400, 1_000, "halted")]),
        (400, [(0, 400, "running")], [(400, 1_000, "halted")]),
        (1_000, [(0, 400, "running"), (400, 1_000, "halted")], []),
    ):
        sides = cut(boxes, moment, window)
        assert [[(box.start, box.end, box.span.state) for box in side] for side in sides] == [past, later]
        assert all(box.right <= moment for box in sides[0])
        assert all(box.left >= moment for box in sides[1])


def test_a_cut_box_of_many_stands_for_fewer() -> None:
    turns = [(100 * number, "running" if number % 2 else "halted") for number in range(1, 1001)]
    boxes = stretches(history(*turns), 0, 999, 0, 100_000, 400)
    past, later = cut(boxes, 25_000, Window(0, 100_000, 1_000))
    assert past[0].count == pytest.approx(boxes[0].count / 4, abs=1)
    assert later[0].count == pytest.approx(boxes[0].count * 3 / 4, abs=1)


def test_going_to_and_fro_reads_no_history_anew(told_film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def note(spans: list[Span], *rest: float) -> list[Box]:
        read.append(spans[0].cpu)
        return stretches(spans, *rest)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr("mklab.widgets.lanes.stretches", note)
    window, other = Window(0, 18_000, 500), Window(0, 18_000, 960)
    for event in (64, 20, 45, -1, 64):
        view = View.at_event(told_film, event)
        for group in groups(view)[0]:
            lane(view, group, window)
    assert read == [0, 1, 2, 3]
    view = View.at_end(told_film)
    for wide in (other, window):
        lane(view, groups(view)[0][0], wide)
    assert read == [0, 1, 2, 3, 0], "a chart and a still picture are drawn by turns"
    read.pop()
    told_film.extend([Halted(told_film.count, 20_000, 0, True)])
    lane(View.at_end(told_film), groups(View.at_end(told_film))[0][0], window)
    assert read == [0, 1, 2, 3, 0]


def test_another_history_of_the_same_length_is_drawn(told_film: Film) -> None:
    window = Window(0, 18_000, 500)
    first = lane(View.at_end(told_film), groups(View.at_end(told_film))[0][0], window)
    count = told_film.count
    told_film.cut(count - 3)
    told_film.extend([Halted(count - 2, 17_000, 0, True), Init(count - 1, 18_000, 1, None)])
    other = lane(View.at_end(told_film), groups(View.at_end(told_film))[0][0], window)
    assert [box.end for box in first.past] == [18_000]
    assert [box.end for box in other.past] == [17_000, 18_000]


def test_a_broken_plan_is_framed_from_when_it_broke(told_film: Film) -> None:
    view = View.at_end(told_film)
    window = Window(0, 18_000, 18_000)
    lanes = [lane(view, group, window) for group in groups(view)[0]]
    assert [one.broken_plans() for one in lanes] == [[], [], [], [(14_300, 18_000)]]
    assert plans(lanes[3].past) == [(14_000, 18_000, "kernel 2")]
    assert plans(lanes[2].past) == [(2_000, 18_000, "kernel 1")]
    assert [one.has_trouble for one in lanes] == [False, False, False, True]


def boot(cpus: int, *, halt: tuple[int, ...] = ()) -> Film:
    """A film in which each CPU but the first starts, one after the other; some halt then."""
    film, seq = Film(list(range(cpus))), 0

    def note(kind: type[Event], cpu: int, **values: object) -> None:
        nonlocal seq
        film.extend([kind(seq, 10 * seq, cpu, **values)])
        seq += 1

    for cpu in range(1, cpus):
        note(Sipi, cpu, from_cpu=0, vector=0x96)
        note(ModeChange, cpu, mode="long")
        note(OwnerChange, cpu, owner="host", planned=None, address=0x1000)
        if cpu in halt:
            note(Halted, cpu, interruptible=True)
    return film


def names(view: View) -> list[str]:
    return [group.name for group in groups(view)[0]]


def test_a_dozen_cpus_have_a_lane_each() -> None:
    assert len(groups(View.at_end(boot(12)))[0]) == 12


def test_neighbours_that_fared_alike_share_a_lane_at_any_time() -> None:
    film = boot(64, halt=(5,))
    assert names(View.at_end(film)) == ["CPU 0", "CPU 1-4", "CPU 5", "CPU 6-63"]
    assert names(View.at_event(film, 8)) == ["CPU 0", "CPU 1-3", "CPU 4-63"]
    assert names(View.at_event(film, -1)) == ["CPU 0-63"]


def test_a_cpu_that_is_selected_has_its_own_lane() -> None:
    view = View.at_end(boot(64))
    assert names(replace(view, cpu=40)) == ["CPU 0", "CPU 1-39", "CPU 40", "CPU 41-63"]
    assert names(replace(view, selected=3)) == ["CPU 0", "CPU 1", "CPU 2", "CPU 3-63"]


def test_of_too_many_groups_troubles_and_small_ones_come_first() -> None:
    film = boot(60, halt=tuple(range(2, 60, 4)))
    shown, rest = groups(View.at_end(film))
    assert len(shown) == 12
    # 15 that halted, the 14 gaps between them, CPUs 0, 1 and 59.
    assert len(rest) == 32 - 12
    assert [group.cpus for group in shown[:3]] == [[0], [1], [2]]
    assert sorted(cpu for group in shown + rest for cpu in group.cpus) == list(range(60))
    assert groups(replace(View.at_end(film), cpu=58))[0][0].cpus == [58]


def test_a_film_that_grows_or_is_cut_is_read_anew() -> None:
    film = boot(20)
    assert names(View.at_end(film)) == ["CPU 0", "CPU 1-19"]
    film.extend([Halted(film.count, 10 * film.count, 7, True)])
    assert names(View.at_end(film)) == ["CPU 0", "CPU 1-6", "CPU 7", "CPU 8-19"]
    film.extend([Sipi(film.count, 10 * film.count, 9, 0, 0x97)])
    arrived = lane(View.at_end(film), Group([9], Span(9, Moment(-1, 0))), Window(0, 10_000, 500)).arrivals
    assert [one.words for one in arrived] == ["SIPI 0x96", "SIPI 0x97"]
    film.cut(film.count - 3)
    assert names(View.at_end(film)) == ["CPU 0", "CPU 1-19"]
    film.extend([Woken(film.count, 10 * film.count, 3, 0xEA), Halted(film.count + 1, 10 * film.count, 3, True)])
    assert names(View.at_end(film)) == ["CPU 0", "CPU 1-2", "CPU 3", "CPU 4-19"]


def test_inits_and_sipis_too_close_to_be_told_apart_are_one_mark(written: Callable[..., Film]) -> None:
    acts = [(Init, time, 1, {"from_cpu": 0}) for time in range(0, 1000, 10)]
    film = written(*acts, (Sipi, 1000, 1, {"from_cpu": 0, "vector": 0x96}), (IpiSent, 10_000, 0, SENT))
    view = View.at_end(film)
    marks = lane(view, groups(view)[0][1], Window(0, 10_000, 500)).arrivals
    assert [(one.time, one.words) for one in marks] == [
        *((time, "INIT") for time in (0, 160, 320, 480, 640, 800, 960)),
        (1000, "SIPI 0x96"),
    ]


SENT = {"vector": 0, "delivery": "init", "shorthand": "none", "level": True, "targets": [1]}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, [0]),
        (0, 7, [0, 1, 2, 3, 4, 5, 6, 7]),
        (0, 136_241, [0, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000]),
        (119_609.5, 124_000, [120_000, 121_000, 122_000, 123_000, 124_000]),
    ],
)
def test_ticks_are_round(start: float, end: float, expected: list[int]) -> None:
    assert ticks(start, end) == expected
