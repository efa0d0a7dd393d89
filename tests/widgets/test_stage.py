"""What parts share: the moment, the selection, steering, and when they are drawn again. Nothing runs here."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import ref

import pytest

from mklab import trace
from mklab.recording import Film
from mklab.widgets.player import Player
from mklab.widgets.stage import Stage


class Drawn:
    """A part that counts."""

    def __init__(self, stage: Stage) -> None:
        self.events: list[int] = []
        self.visible = True
        self.stage = stage
        stage.add(self)

    def redraw(self) -> None:
        self.events.append(self.stage.view.event)


def film_of(events: int) -> Film:
    """A log of so many lines, with a look after each."""
    film = Film([0, 1])
    film.look(time=0)
    for number in range(events):
        film.extend([trace.Printk(number, 10 * number, 0, kernel="host", text=str(number))])
        film.look(0)
    return film


@pytest.fixture
def stage() -> Stage:
    return Stage(Player(film_of(9)))


@pytest.fixture
def part(stage: Stage) -> Drawn:
    return Drawn(stage)


class Slow(Player):
    """A film whose run takes as many stretches as it has looks, and can go wrong."""

    def __init__(self, film: Film) -> None:
        super().__init__(film)
        self.error: BaseException | None = None

    def advance(self, seconds: float) -> str | None:
        assert seconds < 0.1
        if self.error:
            raise self.error
        return super().step("instruction")


class Plain:
    """The least that a driver can be: no seek, no places to stop."""

    def __init__(self) -> None:
        self.film, self.look = film_of(3), 0

    def step(self, unit: str = "event") -> None:
        self.look += 1

    def back(self, unit: str = "event") -> None:
        self.look -= 1

    def run(self) -> None:
        self.look = 3

    def reset(self) -> None:
        self.look = 0


def test_parts_of_a_driver_share_a_stage_and_leave_with_it() -> None:
    player = Player(film_of(2))
    stage = Stage.of(player)
    assert Stage.of(player) is stage
    assert Stage.of(stage) is stage
    assert Stage.of(type("Named", (), {"driver": player})()) is stage
    assert Stage.of(Player(film_of(2))) is not stage
    gone = ref(stage)
    del stage
    gc.collect()
    assert gone() is None


def test_the_driver_stands_still_while_moments_are_looked_at(stage: Stage, part: Drawn) -> None:
    stage.act({"key": "End"})
    stage.act({"key": "ArrowLeft"})
    assert stage.view.event == 7
    assert stage.driver.look == 0
    assert stage.steering.status == "Stopped at power-on. Showing event 7."
    stage.act({"key": "Home"})
    stage.act({"key": "ArrowLeft"})
    assert stage.view.event == -1
    assert part.events == [8, 7, -1, -1]


def test_a_step_goes_on_from_the_moment_that_is_shown(stage: Stage) -> None:
    stage.move(4)
    stage.act({"key": "s"})
    assert (stage.view.event, stage.driver.look) == (5, 6)
    stage.move(2)
    stage.act({"key": "b"})
    assert (stage.view.event, stage.driver.look) == (1, 2)
    stage.act({"key": "0"})
    assert stage.view.event == -1


def test_what_is_selected_stays_and_goes_with_the_film(stage: Stage) -> None:
    stage.act({"event": 3, "look": 4})
    stage.act({"cpu": 1})
    stage.act({"act": "address", "value": "0x96000"})
    stage.act({"act": "search", "value": "up"})
    view = stage.view
    assert (view.event, view.selected, view.cpu, view.address, view.search) == (3, 3, 1, 0x96000, "up")
    stage.driver.film.cut(1)
    stage.driver.look = 0  # type: ignore[misc]  # a player's can be set
    stage.follow()
    assert stage.view.selected is None, "it has not happened any more"


@pytest.mark.parametrize("said", [{"act": "address", "value": "nowhere"}, {"look": 99}, {"act": "cpu", "value": "x"}])
def test_nonsense_is_said_and_changes_nothing(stage: Stage, said: dict[str, Any]) -> None:
    before = stage.view
    stage.act(said)
    assert stage.steering.trouble
    assert stage.steering.status.startswith("That failed: ")
    assert stage.view == before
    stage.steering.step()
    assert not stage.steering.trouble


def test_a_driver_that_can_do_little_is_steered_too() -> None:
    stage = Stage(Plain())
    for key, look in (("s", 1), ("s", 2), ("b", 1), ("r", 3), ("0", 0)):
        stage.act({"key": key})
        assert stage.driver.look == look
    assert stage.steering.status == "Stopped at power-on."


def test_a_run_without_a_loop_goes_to_its_end() -> None:
    stage = Stage(Slow(film_of(5)))
    stage.steering.set("speed", "10")
    stage.steering.run()
    assert stage.steering.status == "Stopped at event 4: the film ends here."
    stage.steering.reset()
    stage.steering.set("speed", "0")
    stage.steering.run()
    assert (stage.driver.look, stage.steering.running) == (5, False)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "Stopped at power-on: interrupted by you; Step and Run go on from here."),
        (ValueError("it is <broken>"), "Run failed: it is <broken>. Stopped at power-on."),
        (RuntimeError("it burns"), "Run failed: it burns (RuntimeError). Stopped at power-on."),
    ],
)
def test_what_goes_wrong_in_a_run_is_said_and_the_dashboard_goes_on(error: BaseException, said: str) -> None:
    driver = Slow(film_of(5))
    stage = Stage(driver)
    driver.error = error
    stage.steering.run()
    assert stage.steering.status == said
    driver.error = None
    stage.steering.run()
    assert stage.view.event == 4
    assert not stage.steering.trouble


def test_places_to_stop() -> None:
    stage = Stage(Player(film_of(9)))
    steering = stage.steering
    steering.add_stop("event 3")
    steering.add_stop(" EVENT 3 ")
    steering.add_stop("event three")
    assert steering.stops == ["event 3"]
    assert steering.status.startswith("Add failed: a place to stop must be like ")
    steering.run(until="time 20")
    assert steering.status == "Stopped at event 2: time 20."
    steering.run()
    assert steering.status == "Stopped at event 3: event 3."
    steering.remove_stop("event 3")
    steering.run()
    assert steering.status == "Stopped at event 8: the film ends here."


def in_a_loop(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 30))


def test_a_run_leaves_room_for_esc() -> None:
    async def scene() -> None:
        stage = Stage(Slow(film_of(2000)))
        stage.steering.run()
        assert stage.steering.running
        while stage.driver.look < 2:
            await asyncio.sleep(0)
        assert "Interrupt: Esc" in stage.steering.status
        assert stage.steering.status.startswith("Running: ")
        assert " of 19,990 instructions, event " in stage.steering.status
        stage.act({"key": "s"})  # nothing else while it runs
        stage.act({"key": "Escape"})
        look = stage.driver.look
        assert look < 2000
        await asyncio.sleep(0.05)
        assert stage.driver.look == look
        assert "interrupted by you" in stage.steering.status

    in_a_loop(scene)


@pytest.mark.parametrize("speed", ["0", "1"])
def test_ctrl_c_interrupts_a_run_and_is_then_what_it_was(speed: str) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a Jupyter kernel between two messages

    async def scene() -> None:
        stage = Stage(Slow(film_of(2000)))
        stage.steering.set("speed", speed)
        stage.steering.run()
        await asyncio.sleep(0.02)
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.02)
        assert not stage.steering.running
        assert "interrupted by you" in stage.steering.status
        await asyncio.sleep(0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    try:
        in_a_loop(scene)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_was_interrupted_does_not_go_on_beside_the_next() -> None:
    async def scene() -> None:
        stage = Stage(Slow(film_of(2000)))
        stage.steering.set("speed", "1")
        before = asyncio.all_tasks()
        stage.steering.run()
        await asyncio.sleep(0)
        stage.steering.interrupt()
        stage.steering.run()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks() - before) == 1
        stage.steering.interrupt()

    in_a_loop(scene)


def test_redraws_are_joined_and_the_last_one_is_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mklab.widgets.stage.SECONDS", 0.5)
    stage = Stage(Player(film_of(9)))
    part = Drawn(stage)

    async def scene() -> None:
        for event in (0, 1, 2, 3, 8):
            stage.move(event)
        assert len(part.events) <= 1
        async with asyncio.timeout(30):
            while part.events[-1:] != [8]:
                await asyncio.sleep(0.05)
        assert len(part.events) <= 2

    in_a_loop(scene)


def test_nothing_plays_where_nobody_looks(stage: Stage, part: Drawn) -> None:
    async def scene() -> None:
        stage.steering.set("speed", "10")
        stage.steering.run()
        part.visible = False
        await asyncio.sleep(0.35)
        stood = stage.driver.look
        assert stood <= 2
        await asyncio.sleep(0.35)
        assert stage.driver.look == stood
        part.visible = True
        stage.steering.wake()
        await asyncio.sleep(0.25)
        assert stage.driver.look > stood
        stage.steering.interrupt()

    in_a_loop(scene)
