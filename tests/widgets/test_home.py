"""In which thread things happen."""

import asyncio
import threading
import time
from typing import Any

import pytest

from mklab.recording import Film
from mklab.widgets.controls import Controls
from mklab.widgets.home import at_home
from mklab.widgets.player import Player


def test_what_another_thread_calls_is_done_at_home() -> None:
    done: list[tuple[int, str]] = []

    async def scene() -> None:
        act = at_home(lambda words: done.append((threading.get_ident(), words)))
        await asyncio.to_thread(act, "from elsewhere")
        act("from here")
        await asyncio.sleep(0)

    asyncio.run(scene())
    assert sorted(done) == [(threading.get_ident(), "from elsewhere"), (threading.get_ident(), "from here")]


def test_another_thread_waits_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a kernel says that it is idle after what it has sent."""
    monkeypatch.setattr("mklab.widgets.home._PATIENCE", 30)
    done: list[str] = []

    async def scene() -> None:
        def draw() -> None:
            time.sleep(0.02)
            done.append("drawn")

        act = at_home(draw)

        def speak() -> None:
            act()
            done.append("idle")

        await asyncio.to_thread(speak)

    asyncio.run(scene())
    assert done == ["drawn", "idle"]


def test_another_thread_does_not_wait_for_one_that_has_no_time() -> None:
    """Nor do the messages after it, of which one may interrupt what keeps the first."""
    gone_on, done = threading.Event(), []

    async def scene() -> None:
        act = at_home(lambda: done.append(gone_on.is_set()))

        def speak() -> None:
            act()
            gone_on.set()

        threading.Thread(target=speak).start()
        assert gone_on.wait(30), "both would wait for each other"
        await asyncio.sleep(0)

    asyncio.run(scene())
    assert done == [True]


def test_without_a_loop_it_is_done_at_once() -> None:
    done: list[int] = []
    act = at_home(lambda: done.append(threading.get_ident()))
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    act()
    assert len(done) == 2
    assert done[1] == threading.get_ident()


def test_a_driver_is_steered_by_one_thread_though_a_widget_speaks_in_another() -> None:
    """JupyterLab sends what widgets say to a subshell of the kernel."""
    threads: list[int] = []

    class Told(Player):
        def step(self, unit: str = "event") -> str | None:
            threads.append(threading.get_ident())
            return super().step(unit)

    film = Film([0])
    film.look()

    async def scene() -> None:
        controls: Any = Controls(Told(film))
        await asyncio.to_thread(controls.canvas._handle_custom_msg, {"act": "step"}, [])
        await asyncio.to_thread(setattr, controls.canvas, "width", 500)
        await asyncio.sleep(0)

    asyncio.run(scene())
    assert threads == [threading.get_ident()]
