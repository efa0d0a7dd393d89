"""Named values over time: keyframes and changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.recording.track import Track

VALUES = st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 3)), max_size=4)


@given(st.lists(VALUES, max_size=120), st.integers(-1, 130))
def test_any_moment_and_any_cut(history: list[dict[str, int | None]], cut: int) -> None:
    """Against the plain way: every moment's values, kept."""
    track, kept, now = Track(), [], dict[str, int]()
    for look, values in enumerate(history):
        track.note(look, values)
        now = {name: value for name, value in {**now, **values}.items() if value is not None}
        kept.append(now)
    assert [track.at(look) for look in range(len(history))] == kept
    assert track.at(-1) == {}
    assert track.last == now
    track.cut(cut)
    assert track.last == (kept[min(cut, len(kept) - 1)] if kept and cut >= 0 else {})
    then = track.last
    for look in range(200, 240):
        track.note(look, {"a": look})
    assert [track.at(look) for look in range(200, 240)] == [{**then, "a": look} for look in range(200, 240)]


@given(st.lists(VALUES, min_size=2, max_size=120), st.lists(st.tuples(st.integers(0), VALUES), max_size=40))
def test_looks_put_in_between(
    history: list[dict[str, int | None]], later: list[tuple[int, dict[str, int | None]]]
) -> None:
    """Against the plain way: every moment's values, kept."""
    track, kept, now = Track(), [], dict[str, int]()
    for look, values in enumerate(history):
        track.note(look, values)
        now = {name: value for name, value in {**now, **values}.items() if value is not None}
        kept.append(now)
    for place, values in later:
        look = place % len(kept)
        track.insert(look, values)
        before = kept[look - 1] if look else {}
        kept.insert(look, {name: value for name, value in {**before, **values}.items() if value is not None})
        assert [track.at(one) for one in range(len(kept))] == kept
        assert track.last == kept[-1]
    for look in range(len(kept)):
        old, new = track.at(look - 1), kept[look]
        names = {name for name in {**old, **new} if old.get(name) != new.get(name)}
        if later:
            assert names <= track.changed(look).keys()


def test_what_comes_after_a_cut() -> None:
    """Long enough for keyframes on both sides of it."""
    track = Track()
    for look in range(100):
        track.note(look, {"a": look, "b": look // 9})
    track.cut(20)
    for look in range(21, 100):
        track.note(look, {"a": -look})
    assert [track.at(look) for look in range(21, 100)] == [{"a": -look, "b": 2} for look in range(21, 100)]


def test_only_what_changes_is_held() -> None:
    track = Track()
    for look in range(3):
        track.note(look, {"rip": look // 2, "rax": 5})
    assert (track.looks, track.changes) == ([0, 2], [{"rip": 0, "rax": 5}, {"rip": 1}])


def test_old_and_new() -> None:
    track = Track()
    track.note(0, {"rip": 1, "rax": 5})
    track.note(4, {"rip": 2, "rbx": 7})
    assert track.changed(4) == {"rip": (1, 2), "rbx": (None, 7)}
    assert track.changed(3) == {}


def test_looks_come_in_order() -> None:
    track = Track()
    track.note(4, {"rip": 1})
    with pytest.raises(ValueError, match="look must be 4 or later, not 3"):
        track.note(3, {"rip": 2})
