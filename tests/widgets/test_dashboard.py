"""The dashboard over a hand-made film; nothing runs here."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from mklab.recording import Film
from mklab.trace import Event
from mklab.widgets import Dashboard, Player
from mklab.widgets.canvas import Canvas
from mklab.widgets.dashboard import TITLE, svg
from mklab.widgets.parts import DEFAULT, PARTS
from mklab.widgets.view import View


@pytest.fixture
def film(events: list[Event]) -> Film:
    """The story, looked at after every event."""
    film = Film([0, 1, 2, 3], [(0, 0x10000)])
    film.look(time=0)
    for event in events:
        film.extend([event])
        film.look(event.cpu)
    return film


@pytest.fixture
def dashboard(film: Film) -> Dashboard:
    return Dashboard(Player(film))


def test_every_part_is_moved_by_the_controls(film: Film) -> None:
    dashboard = Dashboard(Player(film), list(PARTS))
    assert list(dashboard.panels) == list(PARTS)
    before = {name: panel.canvas.markup for name, panel in dashboard.panels.items()}
    dashboard.stage.steering.run()
    for name, panel in dashboard.panels.items():
        assert "cannot be drawn" not in panel.canvas.markup, panel.canvas.markup
        assert panel.canvas.markup != before[name] or name in ("hex", "apic", "stepper", "memory", "kimages"), name


def test_a_moment_is_one_message_of_all_parts(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard = Dashboard(Player(film), list(PARTS))
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(Canvas, "_send", lambda _self, message, buffers=None: sent.append(message))
    dashboard.stage.move(20)
    (message,) = sent
    markups = message["content"]["markups"]
    drawn = {one.canvas.model_id: one.canvas.markup for one in (dashboard.controls, *dashboard.panels.values())}
    assert dashboard.controls.canvas.model_id in markups
    assert len(markups) > len(PARTS) / 2
    assert {model: markup for model, markup in markups.items() if model in drawn}.items() <= drawn.items()


def test_t_opens_all_twins_and_closes_them(dashboard: Dashboard) -> None:
    for opened in (True, False):
        dashboard.controls.canvas._handle_custom_msg({"key": "t"}, [])
        assert [panel.has_twin for panel in dashboard.panels.values()] == [opened] * len(DEFAULT)
    dashboard.panels["messages"].toggle_twin()
    dashboard.controls.canvas._handle_custom_msg({"key": "t"}, [])
    assert not any(panel.has_twin for panel in dashboard.panels.values()), "one that is open is closed"


def test_parts_can_be_chosen(dashboard: Dashboard) -> None:
    assert dashboard.shown == list(DEFAULT)
    assert "apic" not in dashboard.panels, "what nobody wants to see is not made"
    dashboard._act({"act": "part", "value": "apic"})
    assert dashboard.shown == [name for name in PARTS if name in (*DEFAULT, "apic")]
    assert "apic" in dashboard.panels
    dashboard._act({"act": "part", "value": "messages"})
    assert "messages" not in dashboard.shown
    dashboard.choose(["consoles", "ownership"])
    assert dashboard.shown == ["ownership", "consoles"]
    with pytest.raises(ValueError, match=r"parts must be some of ownership, .*, not 'owners'"):
        dashboard.choose(["owners"])


def test_every_part_has_a_place_on_a_wide_page(film: Film) -> None:
    dashboard = Dashboard(Player(film), list(PARTS))
    placed = [child for column in dashboard._columns.values() for child in column.children]
    assert sorted(map(id, placed)) == sorted(map(id, dashboard.panels.values()))
    orders = [int(panel.layout.order) for panel in dashboard.panels.values()]
    assert orders == sorted(orders)


def test_a_part_with_nobody_beside_has_the_whole_page(dashboard: Dashboard) -> None:
    def whole() -> list[str]:
        return [place for place, one in dashboard._columns.items() if "mk-whole" in one._dom_classes and one.children]

    assert whole() == []
    dashboard.choose(["ownership", "memory"])
    assert whole() == ["right"]
    assert [one.layout.display for one in dashboard._columns.values()] == [None, "none", None, "none"]
    dashboard.choose(["stepper"])
    assert whole() == ["left"]
    dashboard.choose(["stepper", "memory"])
    assert whole() == []


def test_static_pages_get_the_pictures_and_readers_the_words(dashboard: Dashboard) -> None:
    dashboard.stage.steering.run()
    bundle = dashboard._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    root = ET.fromstring(bundle["image/svg+xml"])
    assert root.get("role") == "img"
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == TITLE
    for name in DEFAULT:
        assert PARTS[name].picture.question in titles
        assert PARTS[name].picture.question in bundle["text/plain"]
    assert bundle["text/plain"].isascii()


def test_pictures_below_each_other_do_not_overlap(film: Film) -> None:
    root = ET.fromstring(svg(View.at_end(film), ("ownership", "consoles")))
    groups = [one for one in root if one.get("transform")]
    heights = [int(one[0].get("height", "0")) for one in groups]
    assert [one.get("transform") for one in groups] == ["translate(0 0)", f"translate(0 {heights[0]})"]
    assert int(root.get("height", "0")) == sum(heights)


def test_a_picture_that_fails_says_so_and_the_others_go_on(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_view: View) -> str:
        raise RuntimeError("it <burns>")

    monkeypatch.setattr(PARTS["details"].picture, "answer", fail, raising=False)
    dashboard.stage.steering.run()
    assert "This moment cannot be drawn: it &lt;burns&gt; (RuntimeError)" in dashboard.panels["details"].canvas.markup
    assert "cannot be drawn" not in dashboard.panels["messages"].canvas.markup
    assert dashboard.stage.view.event == film_end(dashboard)


def film_end(dashboard: Dashboard) -> int:
    return dashboard.stage.view.film.count - 1


def test_pictures_need_no_machine() -> None:
    code = "import sys, mklab.widgets; print([one for one in sys.modules if one.split('.')[0] == 'unicorn'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
