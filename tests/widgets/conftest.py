"""A story by hand: CPU 2 becomes kernel 1's and gets messages; CPU 3 starts against its plan and shuts down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mklab.recording import Film, Recording
from mklab.trace import Event


@pytest.fixture(scope="session")
def events() -> list[Event]:
    """The story's events."""
    lines = (Path(__file__).parent / "story.jsonl").read_text().splitlines()
    return [Event.from_dict({**json.loads(line), "seq": seq}) for seq, line in enumerate(lines)]


@pytest.fixture
def story(events: list[Event]) -> Recording:
    """All of it, recorded."""
    recording = Recording([0, 1, 2, 3])
    recording.extend(events)
    return recording


@pytest.fixture
def told_film(events: list[Event]) -> Film:
    """The story as a film of events only: nobody looked at the machine."""
    film = Film([0, 1, 2, 3])
    film.extend(events)
    return film


@pytest.fixture
def written() -> Callable[..., Film]:
    """Makes a film of ``(kind, time, cpu, values)`` each, numbered in turn."""

    def write(*acts: tuple[type[Event], int, int | None, dict[str, Any]], cpus: int = 4) -> Film:
        film = Film(list(range(cpus)))
        film.extend([kind(seq, time, cpu, **values) for seq, (kind, time, cpu, values) in enumerate(acts)])
        return film

    return write
