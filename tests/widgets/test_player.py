"""A film as a driver."""

import pytest

from mklab import trace
from mklab.recording import Film
from mklab.widgets.driver import Runner
from mklab.widgets.player import Player


@pytest.fixture
def player() -> Player:
    """Looks: 0 power-on, 1 nothing to see, 2 a line of a log, 3 an IPI, 4 a slice's end."""
    film = Film([0, 1])
    film.look(time=0)
    film.extend([trace.Slice(0, 5, 0, budget=5, executed=5, stop="budget", registers="")])
    film.look(0)
    film.extend([trace.Printk(1, 6, 0, kernel="host", text="hello")])
    film.look(0)
    film.extend([trace.Delivered(2, 7, 1, vector=0xEA, source="interrupt", rip=0x1000, handler=0x2000)])
    film.look(1)
    film.extend([trace.Slice(3, 9, 1, budget=5, executed=3, stop="ipi", registers="")])
    film.look(1)
    return Player(film)


def test_it_is_a_driver_that_runs(player: Player) -> None:
    assert isinstance(player, Runner)


@pytest.mark.parametrize(("unit", "looks"), [("instruction", [1, 2, 3, 4]), ("event", [2, 3, 4]), ("message", [3, 4])])
def test_steps_lead_to_what_can_be_seen_and_back(player: Player, unit: str, looks: list[int]) -> None:
    for look in looks:
        assert player.step(unit) is None
        assert player.look == look
    assert player.step(unit) == "the film ends here"
    for look in [*reversed(looks[:-1]), 0]:
        assert player.back(unit) is None
        assert player.look == look
    assert player.back(unit) == "the film begins here"


def test_a_run_ends_where_it_is_told_to(player: Player) -> None:
    player.stop_at(["vector 0xEA", "time 9"])
    assert player.run() == "vector 0xea"
    assert player.look == 3
    assert player.run() == "time 9"
    assert player.run() == "the film ends here"
    player.reset()
    player.stop_at([])
    assert player.run() == "the film ends here"
    assert (player.look, player.limit) == (4, 9)


def test_misuse_is_refused(player: Player) -> None:
    with pytest.raises(ValueError, match="unit must be one of instruction, event, message, not 'hour'"):
        player.step("hour")
    with pytest.raises(ValueError, match="look must be 0 to 4, not 5"):
        player.seek(5)
    with pytest.raises(ValueError, match="nothing runs here, not 'seed 1'"):
        player.reset("seed 1")
    with pytest.raises(ValueError, match="film must have been recorded with looks"):
        Player(Film([0]))
