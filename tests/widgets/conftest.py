"""A story by hand: CPU 2 becomes kernel 1's and gets messages; CPU 3 starts against its plan and shuts down."""

import json
from pathlib import Path

import pytest

from mklab.recording import Recording
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
