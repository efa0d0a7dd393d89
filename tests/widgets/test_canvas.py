"""The one widget of our own: Python decides, JavaScript draws."""

import asyncio
import re
import threading
from typing import Any

import pytest

from mklab.widgets.canvas import Canvas, together

# What the script would have to know if it decided anything.
DOMAIN = r"kernel|owner|kexec|kimage|apic|ipi|vector|interrupt|trampoline|memory|machine|run|reset"


def test_the_script_knows_nothing_of_what_it_shows() -> None:
    code = re.sub(r"//.*", "", str(Canvas._esm))
    words = set(re.findall(r"[A-Za-z]+", code))
    assert not {word for word in words if re.fullmatch(DOMAIN, word, re.IGNORECASE)}


def test_it_loads_nothing_from_anywhere() -> None:
    assert not re.search(r"https?:|import\s*\(|^import\s|fetch\(", str(Canvas._esm), re.MULTILINE)


def test_what_is_said_reaches_python() -> None:
    said: list[object] = []
    canvas = Canvas(said.append, ["s", "Escape"], leads=True)
    canvas._handle_custom_msg({"event": 7}, [])
    assert said == [{"event": 7}]
    assert (canvas.taken, canvas.leads, canvas.visible, canvas.width) == (["s", "Escape"], True, True, 0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Canvas, Any]]:
    """The messages to the browser, each with the canvas that sent it."""
    said: list[tuple[Canvas, Any]] = []
    monkeypatch.setattr(Canvas, "_send", lambda self, message, buffers=None: said.append((self, message)))
    return said


def test_what_canvases_show_together_goes_in_one_message(sent: list[tuple[Canvas, Any]]) -> None:
    one, two, three = (Canvas(lambda _said: None) for _ in range(3))
    sent.clear()
    with together():
        with together():
            one.markup = "a"
        two.markup = "b"
        one.markup = "c"
        assert sent == []
    assert sent == [
        (one, {"method": "custom", "content": {"markups": {one.model_id: "c", two.model_id: "b"}}}),
    ]
    assert three.get_state()["markup"] == ""


def test_what_is_shown_alone_goes_at_once(sent: list[tuple[Canvas, Any]]) -> None:
    canvas = Canvas(lambda _said: None)
    sent.clear()
    canvas.markup = "a"
    with together():
        canvas.opened = ["twin"]
    assert [message["state"] for _, message in sent] == [{"markup": "a"}, {"opened": ["twin"]}]


def test_what_is_put_off_is_sent_when_it_is_shown(sent: list[tuple[Canvas, Any]]) -> None:
    canvas = Canvas(lambda _said: None)
    sent.clear()

    async def scene() -> None:
        with together():
            asyncio.get_running_loop().call_soon(setattr, canvas, "markup", "later")
        await asyncio.sleep(0)

    asyncio.run(scene())
    assert [message["state"] for _, message in sent] == [{"markup": "later"}]


def test_what_another_thread_shows_waits_for_nobody(sent: list[tuple[Canvas, Any]]) -> None:
    canvas = Canvas(lambda _said: None)
    sent.clear()
    with together():
        thread = threading.Thread(target=setattr, args=(canvas, "markup", "a"))
        thread.start()
        thread.join()
        assert [message["state"] for _, message in sent] == [{"markup": "a"}]


def test_what_was_shown_before_something_went_wrong_is_sent(sent: list[tuple[Canvas, Any]]) -> None:
    canvas = Canvas(lambda _said: None)
    sent.clear()

    def draw() -> None:
        with together():
            canvas.markup = "a"
            canvas.markup = str(1 / 0)

    with pytest.raises(ZeroDivisionError):
        draw()
    assert [message["content"] for _, message in sent] == [{"markups": {canvas.model_id: "a"}}]
