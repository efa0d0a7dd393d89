"""The chart of ownership without a browser: what it shows, what is sent when, and what its controls do."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import bqplot
import numpy as np
import pytest
from ipywidgets import Widget

from mklab.recording import Film
from mklab.trace import Event, Halted, Init, Shutdown, Woken
from mklab.widgets.lanes import end_of
from mklab.widgets.ownership_panel import OwnershipPanel
from mklab.widgets.palette import LIVE
from mklab.widgets.player import Player


@pytest.fixture
def panel(told_film: Film) -> OwnershipPanel:
    """A panel of the story, played; it stands at its end."""
    told_film.look(0, "host")
    made = OwnershipPanel(Player(told_film))
    made.stage.move(told_film.count - 1)
    return made


def curves(panel: OwnershipPanel, color: str) -> list[np.ndarray[Any, Any]]:
    """The curves of the chart in a colour: instructions and lanes of their points."""
    found = []
    for mark in panel.chart.figure.marks:
        if isinstance(mark, bqplot.Lines) and mark.x.size:
            # bqplot makes a flat array of a single curve.
            xs, ys = np.atleast_2d(mark.x), np.atleast_2d(mark.y)
            found += [np.stack([x, y], axis=1) for x, y, c in zip(xs, ys, mark.colors, strict=True) if c == color]
    return found


def words(panel: OwnershipPanel) -> Counter[str]:
    labels = [mark for mark in panel.chart.figure.marks if isinstance(mark, bqplot.Label)]
    return Counter(str(text) for mark in labels for text in mark.text)


def press(panel: OwnershipPanel, act: str) -> None:
    """What a click on a button of the chart sends."""
    assert f'data-act="{act}"' in panel.canvas.markup
    panel._act({"act": act, "value": None})


def shown_range(panel: OwnershipPanel) -> tuple[float, float]:
    return panel.range


def test_it_shows_what_the_picture_shows(panel: OwnershipPanel) -> None:
    assert "Kernel 1: CPUs 2 and 3. Nobody: CPU 1." in panel.head.markup
    assert "CPU 3" in panel._names.markup
    assert "planned kernel 2" in panel._standings.markup
    shown = words(panel)
    assert (shown["host"], shown["wait-for-SIPI"], shown["\u25bd"], shown["\u25bc"]) == (1, 2, 1, 2)
    # The frame of the broken plan lies around where CPU 3 belongs to kernel 1.
    (frame,) = curves(panel, LIVE.role("alert"))
    assert np.nanmin(frame[:, 0]) == pytest.approx(14_300, abs=250)
    assert np.nanmax(frame[:, 0]) == pytest.approx(18_000, abs=250)
    assert 3 < np.nanmin(frame[:, 1]) < np.nanmax(frame[:, 1]) < 4.1
    assert [np.nanmax(line[:, 0]) for line in curves(panel, LIVE.line("kernel 2"))] == [18_000]


def drawn(panel: OwnershipPanel, layer: str) -> bqplot.Lines:
    mark: bqplot.Lines = panel.chart._layers[layer].mark
    return mark


def test_the_moment_moves_and_what_is_later_is_covered_and_dotted(panel: OwnershipPanel) -> None:
    cover = drawn(panel, "cover")
    assert cover.x.size == 0
    panel.stage.move(45)
    assert np.nanmin(cover.x) == pytest.approx(12_000)
    assert np.nanmax(cover.x) >= 18_000
    assert np.nanmin(cover.y) <= 0
    assert np.nanmax(cover.y) == 4
    assert cover.fill_colors == [LIVE.role("paper")]
    moments = [np.nanmin(line[:, 0]) for line in curves(panel, LIVE.role("ink"))]
    assert pytest.approx(12_000) in moments
    # All that is not covered is drawn before the cover, what is later in outlines after it.
    order = [mark for mark in panel.chart.figure.marks if isinstance(mark, bqplot.Lines)]
    below, above = order[: order.index(cover)], order[order.index(cover) + 1 :]
    assert {drawn(panel, "boxes"), drawn(panel, "boxes strokes"), drawn(panel, "plans")} == set(below)
    dotted = drawn(panel, "outlines")
    assert dotted in above
    assert dotted.line_style == drawn(panel, "later").line_style == "dotted"
    assert np.nanmax(dotted.x) == pytest.approx(18_000)


def test_a_scrub_sends_no_box_of_the_whole_run_again(panel: OwnershipPanel, sent: Counter[str]) -> None:
    whole = [drawn(panel, layer).model_id for layer in ("plans", "boxes", "boxes strokes", "outlines")]
    for event in (45, 30, 45):
        sent.clear()
        panel.stage.move(event)
    assert sent[drawn(panel, "cover").model_id] == 1
    assert [sent[model] for model in whole] == [0, 0, 0, 0]
    press(panel, "zoom-in")
    assert [sent[model] for model in whole] == [1, 1, 1, 1]


def test_a_box_that_has_hardly_begun_is_drawn_long_enough(panel: OwnershipPanel) -> None:
    last = drawn(panel, "last")
    panel.stage.move(45)
    assert last.x.size == 0
    # Kernel 1 has had CPU 2 for 90 instructions of 18,000.
    panel.stage.move(next(event.seq for event in panel.stage.view.film.events if event.time == 9_100))
    assert np.nanmax(last.x) == pytest.approx(9_100)
    assert np.nanmin(last.x) < 9_100 - 60
    assert "transparent" not in last.fill_colors


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many messages each widget has sent, by its id."""
    count: Counter[str] = Counter()
    send = Widget._send

    def note(widget: Widget, message: dict[str, Any], buffers: Any = None) -> None:
        count[widget.model_id] += 1
        send(widget, message, buffers)

    monkeypatch.setattr(Widget, "_send", note)
    return count


def test_a_refresh_is_one_message_per_widget_and_none_where_nothing_changed(
    panel: OwnershipPanel, sent: Counter[str]
) -> None:
    panel.redraw()
    assert sent == {}
    panel.stage.move(45)
    assert len(sent) > 5
    assert set(sent.values()) == {1}
    sent.clear()
    panel.redraw()
    assert sent == {}
    press(panel, "zoom-in")
    assert set(sent.values()) == {1}


def test_zoom_and_back(panel: OwnershipPanel) -> None:
    assert shown_range(panel) == (0, 18_000)
    panel.stage.move(45)
    press(panel, "zoom-in")
    # The moment, at two thirds, stays there.
    assert shown_range(panel) == (6_000, 15_000)
    assert (panel.chart.time.min, panel.chart.time.max) == (6_000, 15_000)
    press(panel, "zoom-later")
    assert shown_range(panel) == (9_000, 18_000)
    press(panel, "zoom-later")
    assert shown_range(panel) == (9_000, 18_000)
    press(panel, "zoom-earlier")
    assert shown_range(panel) == (4_500, 13_500)
    assert "Shown: t=4,500 to 13,500 of 18,000 instructions." in panel.canvas.markup
    press(panel, "zoom-all")
    assert shown_range(panel) == (0, 18_000)
    for _ in range(30):
        press(panel, "zoom-in")
    start, end = panel.range
    assert end - start == 20


def test_the_same_by_keys(panel: OwnershipPanel) -> None:
    assert {"+", "-", "t", "s"} <= set(panel.canvas.taken)
    panel._act({"key": "+"})
    assert shown_range(panel) == (9_000, 18_000)
    panel._act({"key": "-"})
    assert shown_range(panel) == (0, 18_000)


def test_zooming_in_tells_apart_what_was_one_box(written: Callable[..., Film]) -> None:
    turns = [
        (Halted, 100 * turn, 0, {"interruptible": True}) if turn % 2 else (Woken, 100 * turn, 0, {"vector": 0xEA})
        for turn in range(2_000)
    ]
    film = written(*turns, cpus=2)
    film.look(0, "host")
    panel = OwnershipPanel(Player(film))
    panel.stage.move(film.count - 1)
    boxes = drawn(panel, "boxes")
    assert len(np.atleast_2d(boxes.x)) < 10
    panel.show_range(100_000, 102_000)
    assert len(np.atleast_2d(boxes.x)) == 20


def test_many_waits_for_a_sipi_are_one_box_with_teeth(written: Callable[..., Film]) -> None:
    acts: list[tuple[type[Event], int, int, dict[str, Any]]] = []
    for turn in range(1_000):
        acts.append((Init, 100 * turn, 1, {"from_cpu": 0}))
        acts.append((Shutdown, 100 * turn + 99, 1, {"why": "triple fault"}))
    film = written(*acts, cpus=2)
    film.look(0, "host")
    panel = OwnershipPanel(Player(film))
    panel.stage.move(film.count - 1)
    assert drawn(panel, "waiting").x.size > 0
    assert drawn(panel, "waiting strokes").x.size > 0


def test_the_mouse_zooms_when_it_is_told_to(panel: OwnershipPanel) -> None:
    assert isinstance(panel.chart.figure.interaction, bqplot.interacts.BrushIntervalSelector)
    press(panel, "zoom-mouse")
    assert isinstance(panel.chart.figure.interaction, bqplot.PanZoom)
    assert 'data-key="zoom-mouse" aria-pressed="true"' in panel.canvas.markup
    # As PanZoom does it in the browser: further out than there is anything.
    panel.chart.time.set_state({"min": -2_000.0, "max": 9_000.0})
    assert shown_range(panel) == (0, 9_000)
    assert panel.chart.time.min == 0
    panel.chart.time.set_state({"min": 3_000.0, "max": 7_000.0})
    assert shown_range(panel) == (3_000, 7_000)


def brush(panel: OwnershipPanel, start: float, end: float) -> None:
    """As the brush does it in the browser."""
    panel.chart.brush.set_state({"brushing": True})
    panel.chart.brush.selected = np.array([start, end])
    panel.chart.brush.set_state({"brushing": False})


def test_a_stretch_is_chosen_and_told_of(panel: OwnershipPanel) -> None:
    assert "mk-span" not in panel.canvas.markup
    brush(panel, 2_150.4, 9_100.2)
    assert panel.stage.view.span == (2_150, 9_100)
    told = re.sub("<[^>]+>", "", panel.canvas.markup)
    assert "Chosen: t=2,150 to 9,100, 6,950 instructions" in told
    assert "CPU 0: host, long" in told
    assert "CPU 2: nobody, real, then nobody, protected, then " in told
    assert 'data-event="61"' not in panel.canvas.markup
    press(panel, "span-none")
    assert "mk-span" not in panel.canvas.markup


def test_a_click_without_a_drag_chooses_nothing(panel: OwnershipPanel) -> None:
    brush(panel, 2_000, 9_000)
    brush(panel, 5_000, 5_000)
    assert panel.stage.view.span is None


def test_a_stretch_is_chosen_without_a_mouse(panel: OwnershipPanel) -> None:
    panel.show_range(14_000, 17_000)
    press(panel, "span-shown")
    assert panel.stage.view.span == (14_000, 17_000)
    assert "CPU 3</b>: " in panel.canvas.markup
    assert 'data-event="63"' in panel.canvas.markup


def test_what_is_selected_is_outlined(panel: OwnershipPanel) -> None:
    assert curves(panel, LIVE.role("focus")) == []
    panel._act({"event": 61})
    (outline,) = curves(panel, LIVE.role("focus"))
    assert 14_000 < np.nanmin(outline[:, 0]) < np.nanmax(outline[:, 0]) < 16_300
    panel._act({"cpu": 2})
    assert panel.stage.view.cpu == 2
    assert LIVE.role("focus") in panel._names.markup


def test_a_moment_out_of_sight_is_brought_into_it(panel: OwnershipPanel) -> None:
    panel.show_range(15_000, 17_000)
    panel.stage.move(45)
    start, end = panel.range
    assert end - start == 2_000
    assert start <= 12_000 <= end


def test_another_film_is_shown_as_a_whole(panel: OwnershipPanel, written: Callable[..., Film]) -> None:
    panel.show_range(15_000, 17_000)
    other = written(cpus=2)
    other.look(0, None, time=100)
    player: Any = panel.stage.driver
    player.film, player.look = other, 0
    panel.stage.follow()
    assert shown_range(panel) == (0, end_of(panel.stage.view.film)) == (0, 100)


def test_the_twin_opens(panel: OwnershipPanel) -> None:
    assert "<pre>" not in panel.canvas.markup
    panel.toggle_twin()
    assert "AGAINST THE PLAN: planned for kernel 2" in panel.canvas.markup


def test_past_a_dozen_cpus_the_grid_is_above(written: Callable[..., Film]) -> None:
    film = written(cpus=64)
    film.look(0, None)
    panel = OwnershipPanel(Player(film))
    assert panel.head.markup.count("ownership-cell-") == 64
    assert panel._names.markup.count("data-cpu") == 1


def test_static_pages_get_the_picture_and_readers_the_words(panel: OwnershipPanel) -> None:
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"].startswith("Who owns each CPU, and in which state? At t=18,000, event 64 of 64.")


@pytest.mark.parametrize("width", [500, 700, 1200])
def test_it_fills_its_column(panel: OwnershipPanel, width: int) -> None:
    panel.canvas.width = width
    left, right = (int(re.findall(r'width="(\d+)', one.markup)[0]) for one in (panel._names, panel._standings))
    assert width - left - right >= 250
    assert len(panel.chart._axis.tick_values) >= 3


def test_no_number_of_the_axis_is_cut(panel: OwnershipPanel) -> None:
    panel.canvas.width = 600
    panel.show_range(9_990, 15_010)
    times = [int(time) for time in panel.chart._axis.tick_values]
    # 10,000 and 15,000 are too near the edges.
    assert times
    assert min(times) > 10_000
    assert max(times) < 15_000


def test_no_words_of_the_chart_are_small(panel: OwnershipPanel) -> None:
    labels = [mark for mark in panel.chart.figure.marks if isinstance(mark, bqplot.Label)]
    assert labels
    assert min(mark.default_size for mark in labels) >= 11
