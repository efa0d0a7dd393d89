"""How fast a long run is scrubbed in JupyterLab, and what it costs the browser. No test: it asserts nothing.

    python -m pytest -s tests/browser/measure_pictures.py

The run: three kernels on four CPUs, messages until there are 100,000 events. The dashboard shows its default parts on a
page of 1280 x 1600 pixels. A scrub lasts from the slider's event until the moment is told in words, and to the last
change of the page that it causes.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from mklab.guest.abi import MK_PING, MULTIKERNEL_VECTOR
from mklab.lab.scenario import Scenario
from mklab.recording import Film
from mklab.timeline.record import record
from mklab.widgets import Dashboard, Player

_EVENTS = 100_000
_SCRUBS = 20
# Nothing is asked of the page but to note its changes: who looked at it in each frame would have it make frames.
_SCRUB = """async (event) => {
    const input = document.querySelector('.mk-scrub input');
    const words = `event ${event.toLocaleString('en')} `;
    const begun = performance.now();
    let last = begun, told = 0;
    const observer = new MutationObserver(() => {
        last = performance.now();
        if (document.querySelector('.mk-where b').textContent.startsWith(words)) told ||= last;
    });
    const all = {subtree: true, childList: true, attributes: true, characterData: true};
    observer.observe(document.querySelector('.mk-dashboard'), all);
    input.value = event;
    input.dispatchEvent(new Event('input', {bubbles: true}));
    while (performance.now() - begun < 5000 && !(told && performance.now() - last > 400))
        await new Promise((resolve) => setTimeout(resolve, 100));
    observer.disconnect();
    return [told - begun, last - begun];
}"""
_DRAG = """async (steps) => {
    const input = document.querySelector('.mk-scrub input'), words = document.querySelector('.mk-where b');
    let redraws = 0;
    const observer = new MutationObserver(() => redraws++);
    observer.observe(words, {subtree: true, childList: true, characterData: true});
    const begun = performance.now();
    for (let at = 0; at < steps; at++) {
        input.value = 20000 + 500 * at;
        input.dispatchEvent(new Event('input', {bubbles: true}));
        await new Promise((resolve) => setTimeout(resolve, 16));
    }
    const over = performance.now(), end = `event ${(20000 + 500 * (steps - 1)).toLocaleString('en')} `;
    while (!words.textContent.startsWith(end) && performance.now() - over < 5000)
        await new Promise(requestAnimationFrame);
    observer.disconnect();
    return [redraws, over - begun, performance.now() - over];
}"""


def long_run() -> Film:
    """The run, as a film."""
    scenario = Scenario(4, 2)
    recorder = record(scenario.machine)
    scenario.run()
    host, machine = scenario.host, scenario.machine
    kernels = [(host, 0), *((host.kernel(f"kernel {one}"), scenario.cpu_of(one)) for one in (1, 2))]
    number = 0
    while machine.trace.count < _EVENTS:
        (sender, cpu), (_, target) = kernels[number % 3], kernels[(number + 1) % 3]
        values = {"slot": target, "sender": cpu, "type": MK_PING, "size": 4}
        sender.send_by_hand(MULTIKERNEL_VECTOR, target, data=b"ping", **values)
        host.settle()
        number += 1
    return recorder.stop()


def drawing(film: Film, events: list[int]) -> float:
    """Milliseconds of processor time that Python needs for one moment, drawn without a browser."""
    dashboard = Dashboard(Player(film))
    begun = time.process_time()
    for event in events:
        dashboard.stage.move(event)
        for part in (dashboard.controls, *dashboard.panels.values()):
            part.redraw()
    return (time.process_time() - begun) / len(events) * 1000


def test_measure(lab: Any, pages: Callable[..., Page]) -> None:
    """Print the figures."""
    film = long_run()
    film.save(lab.folder / "long.mkf")
    code = "from mklab.recording import Film\nfrom mklab.widgets import Dashboard, Player\nfilm = Film.load('long.mkf')"
    lab.save("long.ipynb", [code, "Dashboard(Player(film))"])
    page = pages(width=1280, height=1600)
    lab.open(page, "long.ipynb")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def metric(name: str) -> float:
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics[name])

    def heap() -> float:
        session.send("HeapProfiler.collectGarbage")
        return metric("JSHeapUsedSize") / (1 << 20)

    before = heap()
    lab.run_all(page)
    page.locator(".mk-scrub").wait_for()
    page.wait_for_timeout(3000)
    shown = heap()
    chance = random.Random(1)
    times, busy = [], 0.0
    for _ in range(_SCRUBS):
        begun = metric("ThreadTime")
        times.append(page.evaluate(_SCRUB, chance.randrange(film.count)))
        busy += metric("ThreadTime") - begun
        page.wait_for_timeout(2000)
    redraws, lasted, late = page.evaluate(_DRAG, 120)
    told, drawn = (sorted(one) for one in zip(*times, strict=True))
    print(f"\n{film.count:,} events, {len(film.looks):,} looks")
    python = drawing(film, [chance.randrange(film.count) for _ in range(_SCRUBS)])
    print(f"processor time of a scrub: {python:.0f} ms in Python, {busy / _SCRUBS * 1000:.0f} ms in the browser")
    for what, taken in (("told", told), ("all drawn", drawn)):
        half, most = statistics.quantiles(taken)[1:]
        parts = f"half of {_SCRUBS} within {half:.0f} ms, three quarters within {most:.0f} ms"
        print(f"a scrub: {what}: {parts}, all within {taken[-1]:.0f} ms")
    rate = redraws / lasted * 1000
    print(f"a drag of {lasted / 1000:.1f} s: {rate:.1f} refreshes a second, the last {late:.0f} ms later")
    print(f"JavaScript heap: {shown - before:.1f} MiB with the dashboard, {heap() - before:.1f} MiB after scrubbing")
