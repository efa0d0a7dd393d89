"""One picture in a cell, and what is left of it in a saved notebook."""

import asyncio
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from mklab.recording import Film
from mklab.trace import Event
from mklab.widgets import Messages, Player


@pytest.fixture
def panel(events: list[Event]) -> Messages:
    film = Film([0, 1, 2, 3], [(0, 0x10000)])
    for event in events:
        film.extend([event])
        film.look(event.cpu)
    return Messages(Player(film))


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is shown and what is shown again, as kinds of data."""
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("mklab.widgets.still.display", lambda data, **_options: said.append(("display", data)))
    handle = "mklab.widgets.still.DisplayHandle"
    monkeypatch.setattr(f"{handle}.display", lambda _self, data, **_options: said.append(("still", data)))
    monkeypatch.setattr(f"{handle}.update", lambda _self, data, **_options: said.append(("update", data)))
    return said


def test_a_selection_is_that_of_all_parts_of_the_driver(panel: Messages) -> None:
    other = Messages(panel.stage.driver)
    panel.canvas._handle_custom_msg({"event": 3}, [])
    assert other.stage.view.selected == 3


def test_keys_act_in_a_part_alone(panel: Messages) -> None:
    panel.canvas._handle_custom_msg({"key": "r"}, [])
    assert panel.stage.view.event == panel.stage.view.film.count - 1
    assert "s" in panel.canvas.taken


def test_the_twin_opens_by_key_and_follows(panel: Messages) -> None:
    assert "<pre>" not in panel.canvas.markup, "what is closed is not sent"
    panel.canvas._handle_custom_msg({"key": "t"}, [])
    assert panel.canvas.opened == ["messages-twin"]
    assert "<pre>" in panel.canvas.markup
    panel.stage.steering.run()
    assert f"event {panel.stage.view.event} of" in panel.canvas.markup
    panel.stage.toggle_twins()
    assert panel.canvas.opened == []


def test_what_is_hidden_is_not_drawn_until_it_is_seen(panel: Messages) -> None:
    panel.canvas.visible = False
    before = panel.canvas.markup
    panel.stage.steering.run()
    assert panel.canvas.markup == before
    panel.canvas.visible = True
    assert panel.canvas.markup != before


def test_a_drawing_has_the_width_that_there_is(panel: Messages) -> None:
    panel.stage.steering.run()
    panel.canvas.width = 480
    assert 'width="480"' in panel.canvas.markup
    panel.canvas.width = 1220
    assert 'width="1220"' in panel.canvas.markup


def test_a_notebook_gets_the_widget_and_its_picture_apart(
    panel: Messages, displayed: list[tuple[str, dict[str, Any]]]
) -> None:
    panel._ipython_display_()
    (_, live), (_, still) = displayed
    assert "application/vnd.jupyter.widget-view+json" in live
    assert not {"image/svg+xml", "text/html"} & set(live), "a page without widgets would show the picture twice"
    assert "application/vnd.jupyter.widget-view+json" not in still
    assert ET.fromstring(still["image/svg+xml"]).get("role") == "img"
    assert '<img alt="' in still["text/html"]
    assert still["text/plain"].startswith(panel.picture.question)


def test_the_picture_follows_when_nothing_has_changed_for_a_while(
    panel: Messages, displayed: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mklab.widgets.still._REST", 0.05)

    async def scene() -> None:
        panel._ipython_display_()
        for _ in range(3):
            panel.stage.steering.step()
        panel.stage.steering.run()
        async with asyncio.timeout(30):
            while not (words := told()) or f"event {panel.stage.view.event} of" not in words[-1]:
                await asyncio.sleep(0.05)

    def told() -> list[str]:
        return [data["text/plain"] for kind, data in displayed if kind == "update"]

    asyncio.run(scene())
    assert len(told()) <= 3
