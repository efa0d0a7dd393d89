"""The dashboard without a browser: what its buttons do to what it shows."""

import xml.etree.ElementTree as ET

import bqplot
import numpy as np
import pytest

from mklab.recording import Moment, Recording, Span
from mklab.trace import Event
from mklab.widgets import Dashboard, chart
from mklab.widgets.ownership import Arrival, Lane


class Story:
    """A driver that tells a story, 16 events a step."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.reset()

    def reset(self) -> None:
        self.recording = Recording([0, 1, 2, 3])

    def step(self) -> None:
        count = self.recording.count
        self.recording.extend(self.events[count : count + 16])

    def run(self) -> None:
        self.recording.extend(self.events[self.recording.count :])


@pytest.fixture
def dashboard(events: list[Event]) -> Dashboard:
    return Dashboard(Story(events))


def shown(dashboard: Dashboard) -> str:
    """All HTML on the dashboard."""
    found, waiting = [], [dashboard]
    while waiting:
        widget = waiting.pop(0)
        waiting = [*getattr(widget, "children", ()), *waiting]
        found.append(getattr(widget, "value", ""))
    return "\n".join(str(value) for value in found)


def boxes(dashboard: Dashboard) -> int:
    """Number of solid boxes in the chart: CPUs that have left wait-for-SIPI."""
    (chart,) = [child for child in dashboard.children if type(child).__name__ == "OwnershipChart"]
    figure = chart.children[0].children[1]
    lines = [mark for mark in figure.marks if isinstance(mark, bqplot.Lines)]
    (solid,) = [mark for mark in lines if mark.fill == "inside" and mark.line_style == "solid"]
    # bqplot makes a flat array of a single box.
    return len(np.atleast_2d(solid.x)) if solid.x.size else 0


def test_step_run_and_reset(dashboard: Dashboard) -> None:
    assert "Nothing recorded yet" in shown(dashboard)
    assert boxes(dashboard) == 0
    dashboard.step.click()
    assert "Stopped after 16 events, t = 2,000 instructions." in shown(dashboard)
    assert boxes(dashboard) == 1
    dashboard.run.click()
    assert "Stopped after 65 events, t = 18,000 instructions." in shown(dashboard)
    assert "m1 delivered; m3 merged; m2 overwritten; m4 lost." in shown(dashboard)
    assert boxes(dashboard) > 5
    dashboard.reset.click()
    assert "Nothing recorded yet" in shown(dashboard)
    assert boxes(dashboard) == 0


def test_words_beside_arrivals_keep_apart() -> None:
    """As in a narrow chart: to the right where there is room before the next one, else to the left, else nowhere."""
    now = Span(2, Moment(-1, 0))
    arrivals = [Arrival(time, "INIT, SIPI 0x96") for time in (50_000, 84_000, 130_000, 131_000)]
    lane = Lane([2], "CPU 2", [], arrivals, now)
    assert [(time, side) for time, _, side in chart._beside(lane, 136_000)] == [
        (50_000, "left"),
        (84_000, "right"),
    ]


def test_the_text_twin_is_shown_on_demand_and_follows(dashboard: Dashboard) -> None:
    assert "<pre>" not in shown(dashboard)
    dashboard.text.value = True
    assert "At t=0, event -1." in shown(dashboard)
    dashboard.run.click()
    assert "At t=18,000, event 64." in shown(dashboard)
    dashboard.text.value = False
    assert "<pre>" not in shown(dashboard)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("it is <broken>"), "Step failed: it is &lt;broken&gt; (ValueError). Stopped after 0 events"),
        (KeyboardInterrupt(), "Interrupted by you; Step or Run goes on from here. Stopped after 0 events"),
    ],
)
def test_what_goes_wrong_is_said_and_the_dashboard_goes_on(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    def fail() -> None:
        assert dashboard.run.disabled
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(dashboard.driver, "step", fail)
        dashboard.step.click()
    assert said in shown(dashboard)
    assert not dashboard.run.disabled
    dashboard.step.click()
    assert "Stopped after 16 events" in shown(dashboard)


def test_every_control_has_a_name_and_a_hint(dashboard: Dashboard) -> None:
    controls = (dashboard.reset, dashboard.step, dashboard.run, dashboard.text)
    assert [control.description for control in controls] == ["Reset", "Step", "Run", "Text twin"]
    assert all(control.tooltip for control in controls)


def test_static_pages_get_the_picture_and_readers_the_words(dashboard: Dashboard) -> None:
    dashboard.run.click()
    bundle = dashboard._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert ET.fromstring(bundle["image/svg+xml"]).get("role") == "img"
    assert bundle["text/plain"].startswith("Who owns each CPU, and in which state? At t=18,000, event 64.")


def test_redraws_wait_for_the_browser(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that stands still, each redraw asks for a fifteenth of a second."""
    waited: list[float] = []
    monkeypatch.setattr("mklab.widgets.dashboard.time.monotonic", lambda: 1000.0)
    monkeypatch.setattr("mklab.widgets.dashboard.time.sleep", waited.append)
    dashboard.step.click()
    dashboard.step.click()
    assert waited[-1] == pytest.approx(1 / 15)
