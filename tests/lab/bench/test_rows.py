"""Figures, and whether they reach what they are to. What they are is not asserted: that is the computer's doing."""

import io
import json

import pytest
from rich.console import Console

from mklab.lab.bench import Row, about, describe, tell
from mklab.lab.bench.machines import in_fresh_process
from mklab.lab.bench.measure import median, ratio, seconds


@pytest.mark.parametrize(
    ("unit", "value", "ok"),
    [("x", 0.5, True), ("x", 0.49, False), ("s", 0.5, True), ("s", 0.51, False), ("states/s", 0.6, True)],
)
def test_more_is_better_for_ratios_and_rates(unit: str, value: float, ok: bool) -> None:
    assert Row("id", "what", value, unit, 0.5).ok is ok
    assert Row("id", "what", value, unit).ok is None


def test_ratios_are_medians_of_pairs() -> None:
    ours, other = iter([1.0, 8.0, 3.0]), iter([2.0, 2.0, 2.0])
    assert ratio(lambda: next(ours), lambda: next(other), 3) == (1.5, 3.0, 2.0)
    values = iter([5.0, 1.0, 2.0])
    assert median(lambda: next(values), 3) == 2.0


def test_seconds_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert seconds(lambda: None) == 2.5


def test_a_measurement_in_a_fresh_process_that_fails_is_told() -> None:
    assert in_fresh_process("print(1 + 1)") == 2
    assert in_fresh_process("import os; print(os.environ['NUMBER'])", {"NUMBER": "3"}) == 3
    with pytest.raises(Exception, match="a measurement has failed: ValueError: why"):
        in_fresh_process("raise ValueError('why')")


def test_as_data_and_as_a_table() -> None:
    rows = [Row("one", "the first", 0.75, "x", 0.5), Row("two", "the second", 12.0, "ms", 10), Row("three", "", 1, "s")]
    data = json.loads(json.dumps(describe(rows, about())))
    assert [(row["id"], row["value"], row["unit"], row["reach"], row["ok"]) for row in data["rows"]] == [
        ("one", 0.75, "x", 0.5, True),
        ("two", 12.0, "ms", 10, False),
        ("three", 1, "s", None, None),
    ]
    assert set(data["about"]) == {"processor", "system", "python", "mklab", "unicorn"}
    text = io.StringIO()
    tell(rows, about(), Console(file=text, width=80))
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert lines[1] == ["one", "the", "first", "0.75", "x", "≥", "0.5", "yes"]
    assert lines[2] == ["two", "the", "second", "12", "ms", "≤", "10", "NO"]
