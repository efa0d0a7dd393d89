"""A moment, and what is selected there."""

from dataclasses import replace

from mklab.recording import Film
from mklab.widgets.view import View


def test_what_is_found_in_a_view_is_looked_for_once(told_film: Film) -> None:
    looked: list[int] = []

    def find(view: View) -> int | None:
        looked.append(view.event)
        return None

    view = View.at_event(told_film, 20)
    assert [view.once(find), view.once(find)] == [None, None]
    assert looked == [20]
    replace(view, selected=3).once(find)
    view.to(View.at_event(told_film, 21)).once(find)
    assert looked == [20, 20, 21]


def test_views_of_the_same_are_equal(told_film: Film) -> None:
    one, other = View.at_end(told_film), View.at_end(told_film)
    one.once(lambda _view: "found")
    assert one == other
