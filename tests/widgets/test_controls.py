"""The controls: what they show, and what they do."""

import re
import xml.etree.ElementTree as ET
from html import unescape

import pytest

from mklab import trace
from mklab.recording import Film
from mklab.widgets.controls import Controls
from mklab.widgets.player import Player
from mklab.widgets.scrubber import marks


@pytest.fixture
def film() -> Film:
    """A hundred lines of a log; at event 50 something is sent, at 60 the platform is reset."""
    film = Film([0, 1])
    film.look(time=0)
    for number in range(100):
        event: trace.Event = trace.Printk(number, 10 * number, 0, kernel="host", text="x")
        if number == 50:
            event = trace.IpiSent(
                number, 500, 0, vector=0xEA, delivery="fixed", shorthand="none", level=False, targets=[1]
            )
        if number == 60:
            event = trace.PlatformReset(number, 600, 0, why="port 0xCF9")
        film.extend([event])
        film.look(0)
    return film


@pytest.fixture
def controls(film: Film) -> Controls:
    return Controls(Player(film))


def buttons(controls: Controls) -> dict[str, ET.Element]:
    """The buttons that are drawn, by the first word of their names."""
    found = re.findall(r"<button.*?</button>", controls.canvas.markup)
    return {re.split(r"[ :<]", unescape(re.sub(r"<button[^>]*>", "", one)))[0]: ET.fromstring(one) for one in found}


def act(controls: Controls, **said: object) -> None:
    """As the browser does."""
    controls.canvas._handle_custom_msg(said, [])


def status(controls: Controls) -> str:
    found = re.search(r'role="status"[^>]*>(.*?)</div>', controls.canvas.markup)
    assert found
    return re.sub(r"<[^>]+>", "", found[1])


def test_they_stand_in_the_order_of_the_design(controls: Controls) -> None:
    found = re.findall(r'data-key="(\w+)"', controls.canvas.markup)
    order = ["reset", "back", "step", "run", "until", "unit", "speed", "schedule", "stops", "export", "scrub"]
    assert found == order


def test_every_control_has_a_name_and_says_its_key(controls: Controls) -> None:
    keys = {name: button.get("aria-keyshortcuts") for name, button in buttons(controls).items()}
    assert keys["Reset"] == "0"
    assert (keys["Back"], keys["Step"], keys["Run"]) == ("B", "S", "U")  # "Run until" comes after "Run"
    assert all(button.get("title") for button in buttons(controls).values())
    selects = re.findall(r"<select[^>]*>", controls.canvas.markup)
    assert all("aria-label=" in one for one in selects)
    for key in ("0", "b", "s", "r", "u", "t", "Escape", "ArrowLeft", "ArrowRight", "Home", "End"):
        assert key in controls.canvas.taken


def test_buttons_steer(controls: Controls) -> None:
    act(controls, act="step")
    assert status(controls) == "\u25a0 Stopped at event 0."
    act(controls, act="run")
    assert status(controls) == "\u25a0 Stopped at event 99: the film ends here."
    act(controls, act="back")
    act(controls, act="scrub", value="10")
    assert status(controls) == "\u25a0 Stopped at event 98. Showing event 10."
    assert "<b>event 10 of 99</b><span>t = 100 of 990 instructions</span>" in controls.canvas.markup
    act(controls, act="reset")
    assert status(controls) == "\u25a0 Stopped at power-on."


def test_units_and_speeds(controls: Controls) -> None:
    act(controls, act="unit", value="message")
    act(controls, act="step")
    assert controls.stage.view.event == 50
    act(controls, act="speed", value="5")
    assert controls.stage.steering.speed == 5
    act(controls, act="unit", value="fortnight")
    assert "That failed: unit must be one of" in status(controls)
    assert "mklab-trouble" in controls.canvas.markup


def test_run_until(controls: Controls) -> None:
    act(controls, key="u")
    assert 'data-act="run-until"' in controls.canvas.markup
    act(controls, act="run-until", value={"words": "event 42"})
    assert status(controls) == "\u25a0 Stopped at event 42: event 42."
    act(controls, act="run-until", value={"words": "<b>"})
    assert "&lt;b&gt;" in status(controls)
    act(controls, key="Escape")
    assert "<form" not in controls.canvas.markup


def test_breakpoints_are_listed_and_removed(controls: Controls) -> None:
    act(controls, act="stops")
    act(controls, act="add-stop", value={"words": "event 7"})
    assert "Breakpoints: 1" in controls.canvas.markup
    act(controls, act="run")
    assert controls.stage.view.event == 7
    act(controls, act="remove-stop", value="event 7")
    assert "Breakpoints: 0" in controls.canvas.markup


def test_what_a_driver_cannot_do_is_dashed_but_can_be_focused(controls: Controls) -> None:
    for name in ("Schedule", "Export"):
        button = buttons(controls)[name]
        assert button.get("aria-disabled") == "true"
        assert button.get("data-act") is None
        assert button.get("disabled") is None


def test_export_is_a_hook(film: Film) -> None:
    controls = Controls(Player(film), lambda stage: f"saved, with {stage.view.film.count} events")
    act(controls, act="export")
    assert status(controls) == "\u25a0 Stopped at power-on: saved, with 100 events."


def test_marks_show_where_to_look(film: Film) -> None:
    root = ET.fromstring(marks(film, 1018))
    ticks = root.find("path")
    assert ticks is not None
    assert ticks.get("d") == "M519 8L519 15", "event 50 lies at 9 + 51 * 10"
    (cross,) = root.findall("g")
    assert (cross.get("data-event"), cross.get("data-look"), cross.get("role")) == ("60", "61", "button")
    assert "the platform was reset: port 0xCF9" in (cross.get("aria-label") or "")


def test_marks_follow_a_film_that_grows_or_is_cut(film: Film) -> None:
    whole = marks(film, 1018)
    film.extend([trace.PlatformReset(film.count, 2_000, 0, why="port 0xCF9")])
    assert marks(film, 1018).count("<g") == 2
    assert marks(film, 518) != marks(film, 1018)
    film.cut(99)
    assert marks(film, 1018) == whole
    looks = len(film.looks)
    film.cut(59)
    while len(film.looks) < looks:
        film.extend([trace.Printk(film.count, 10 * film.count, 0, kernel="host", text="otherwise")])
        film.look(0)
    assert "<g" not in marks(film, 1018), "as long as it was, and another one"


def test_a_long_run_has_no_more_marks_than_there_is_room_for() -> None:
    film = Film([0, 1])
    film.extend(
        trace.IpiSent(number, number, 0, vector=1, delivery="fixed", shorthand="none", level=False, targets=[1])
        for number in range(20_000)
    )
    assert marks(film, 400).count("M") <= 100


def test_redrawing_without_a_change_says_nothing_to_the_browser(
    controls: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(controls.canvas, "send_state", lambda key=None: sent.append(key))
    controls.redraw()
    assert sent == []
    act(controls, act="step")
    assert sent == ["markup"], "one message for one refresh"
