"""The dashboard in JupyterLab, in a real browser, over a machine that runs and over a saved film."""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from mklab.lab.scenario import Scenario
from mklab.timeline.record import record

LIVE = ["from mklab.lab.scenario import Scenario\nfrom mklab.widgets import Dashboard\nscenario = Scenario()"]
MANY = ["from mklab.recording import Film\nfrom mklab.widgets import Dashboard, Player"]


@pytest.fixture
def opened(lab: Any, pages: Callable[..., Page]) -> Callable[..., Page]:
    """A function that runs cells on a page of some size and theme, and waits for the dashboard."""

    def show(cells: list[str], **options: Any) -> Page:
        lab.save("dashboard.ipynb", cells)
        page = pages(**options)
        lab.open(page, "dashboard.ipynb")
        lab.run_all(page)
        expect(page.locator(".mk-dashboard .mk-scrub")).to_be_visible()
        return page

    return show


@pytest.fixture(scope="module")
def many(lab: Any) -> str:
    """The name of a saved film of 64 CPUs and three kernels."""
    scenario = Scenario(64, 3)
    recorder = record(scenario.machine)
    scenario.run()
    recorder.stop().save(lab.folder / "many.mkf")
    return "many.mkf"


def button(page: Page, name: str) -> Locator:
    return page.locator(".mk-controls, .mk-buttons").get_by_role("button", name=name, exact=True).first


def status(page: Page) -> Locator:
    return page.locator(".mk-head [role=status]")


def picture(page: Page, name: str) -> Locator:
    return page.locator(f"[data-picture={name}]")


def dark(page: Page) -> bool:
    paper = page.locator(".mklab").first.evaluate("node => getComputedStyle(node).backgroundColor")
    return sum(map(int, re.findall(r"\d+", paper)[:3])) < 3 * 128


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (800, "light"), (800, "dark")])
def test_a_machine_is_steered(
    opened: Callable[..., Page],
    screenshot: Callable[[Page, str], Path],
    unreadable: Callable[[Page], list[str]],
    moments: Any,
    width: int,
    theme: str,
) -> None:
    page = opened([*LIVE, "Dashboard(scenario)"], width=width, height=3200, theme=theme)
    assert dark(page) == (theme == "dark")
    expect(status(page)).to_contain_text(f"Stopped at event {moments.start}.")
    button(page, "Step").click()
    expect(status(page)).to_contain_text(f"Stopped at event {moments.step}.")
    expect(picture(page, "messages").get_by_text(f"e{moments.step - 1}")).to_be_visible()
    button(page, "Run").click()
    expect(status(page)).to_contain_text(
        re.compile(r"Stopped at event \d+: the scenario is finished\."), timeout=30_000
    )
    expect(picture(page, "ownership").get_by_text("Host: CPUs 0, 1 and 3. Kernel 1: CPU 2.")).to_be_visible()
    expect(picture(page, "messages").get_by_text("m1 and m2 delivered.")).to_be_visible()
    expect(page.get_by_text("kernel 1: message from CPU 0: ping")).to_be_visible()
    # Which parts stand side by side is the container's business.
    left, right = picture(page, "messages").bounding_box(), picture(page, "memory-map").bounding_box()
    assert left
    assert right
    assert (right["x"] > left["x"] + left["width"]) == (width == 1280)
    screenshot(page, f"dashboard-4-{width}-{theme}")
    assert unreadable(page) == []
    event = picture(page, "messages").locator("g[data-event]").first
    chosen = event.get_attribute("data-event")
    event.click()
    expect(picture(page, "details").get_by_text(f"e{chosen}").first).to_be_visible()
    expect(page.locator(f"[data-event='{chosen}'][aria-pressed=true]").first).to_be_visible()
    button(page, "Back").click()
    expect(status(page)).to_contain_text(f"Stopped at event {moments.back}.")
    page.locator(".mk-scrub input").fill("900")
    expect(status(page)).to_contain_text("Showing event 900.")
    expect(page.get_by_text("kernel 1: message from CPU 0: ping")).to_have_count(0)
    button(page, "Reset").click()
    expect(status(page)).to_contain_text(f"Stopped at event {moments.start}.")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (800, "dark")])
def test_a_film_of_many_cpus_is_played(
    opened: Callable[..., Page],
    screenshot: Callable[[Page, str], Path],
    unreadable: Callable[[Page], list[str]],
    many: str,
    width: int,
    theme: str,
) -> None:
    page = opened([*MANY, f"Dashboard(Player(Film.load({many!r})))"], width=width, height=3200, theme=theme)
    button(page, "Run").click()
    expect(status(page)).to_contain_text("the film ends here")
    expect(picture(page, "ownership").get_by_text("Host: CPUs 0 and 4 to 63.")).to_be_visible()
    screenshot(page, f"dashboard-64-{width}-{theme}")
    assert unreadable(page) == []


def test_everything_is_done_by_the_keyboard(opened: Callable[..., Page], moments: Any) -> None:
    page = opened([*LIVE, "Dashboard(scenario)"], height=1400)
    cells = page.locator(".jp-Cell")
    count = cells.count()
    button(page, "Reset").focus()
    order = [page.evaluate("document.activeElement.dataset.key")]
    for _ in range(10):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.dataset.key"))
    assert order == [
        *("reset", "back", "step", "run", "until", "unit", "speed", "schedule", "stops", "export", "scrub"),
    ]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    page.keyboard.press("s")
    expect(status(page)).to_contain_text(f"Stopped at event {moments.step}.")
    page.keyboard.press("ArrowRight")
    expect(status(page)).to_contain_text(f"Showing event {moments.step + 1}.")
    page.keyboard.press("Home")
    expect(status(page)).to_contain_text("Showing event -1.")
    page.keyboard.press("End")
    page.keyboard.press("b")
    expect(status(page)).to_contain_text(re.compile(r"Stopped at event 8\d\d\."))
    page.keyboard.press("t")
    expect(page.locator("details[open] pre").first).to_be_visible()
    page.keyboard.press("t")
    expect(page.locator("details[open] pre")).to_have_count(0)
    page.keyboard.press("u")
    expect(page.locator(".mk-form input")).to_be_focused()
    page.keyboard.type("vector 0xEA")
    page.keyboard.press("Enter")
    expect(status(page)).to_contain_text("vector 0xea was delivered", timeout=30_000)
    page.keyboard.press("Escape")
    expect(page.locator(".mk-form")).to_have_count(0)
    # An event is reached by Tab, and chosen by Enter.
    page.locator("[data-picture=messages] g[data-event]").last.focus()
    page.keyboard.press("Enter")
    chosen = page.evaluate("document.activeElement.dataset.event")
    expect(picture(page, "details").get_by_text(f"e{chosen}").first).to_be_visible()
    button(page, "Reset").focus()
    page.keyboard.press("0")
    expect(status(page)).to_contain_text(f"Stopped at event {moments.start}.")
    # None of these keys was a shortcut of JupyterLab, nor is one that the dashboard does not know: A and B make cells.
    page.keyboard.press("a")
    page.wait_for_timeout(300)
    assert cells.count() == count
    page.locator(".jp-Cell").first.click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    expect(cells).to_have_count(count + 1)


def test_a_run_can_be_interrupted_and_parts_chosen(opened: Callable[..., Page], moments: Any) -> None:
    page = opened([*LIVE, "Dashboard(scenario, parts=['ownership'])"], height=1400)
    button(page, "Local APIC").click()
    expect(picture(page, "apic")).to_be_visible()
    button(page, "Local APIC").click()
    expect(picture(page, "apic")).to_have_count(0)
    page.locator("select[data-act=speed]").select_option("1")
    button(page, "Run").click()
    expect(status(page)).to_contain_text(re.compile(rf"event (?!{moments.start}\b)\d+\. Interrupt: Esc"))
    expect(button(page, "Step")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Escape")
    expect(status(page)).to_contain_text("interrupted by you")
    button(page, "Step").click()
    expect(status(page)).not_to_contain_text("interrupted")
    # So does Kernel > Interrupt.
    button(page, "Run").click()
    expect(status(page)).to_contain_text("Interrupt: Esc")
    page.evaluate("() => window.jupyterapp.commands.execute('kernelmenu:interrupt')")
    expect(status(page)).to_contain_text("interrupted by you")


def test_nothing_plays_in_a_hidden_tab(opened: Callable[..., Page]) -> None:
    page = opened([*LIVE, "Dashboard(scenario, parts=['ownership'])", "print(scenario.machine.time)"], height=1400)
    page.locator("select[data-act=speed]").select_option("2")
    button(page, "Run").click()
    expect(status(page)).to_contain_text("Interrupt: Esc")
    hide = """hidden => {
        Object.defineProperty(document, 'visibilityState', {value: hidden ? 'hidden' : 'visible', configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(600)
    words = status(page).inner_text()
    page.wait_for_timeout(800)
    assert status(page).inner_text() == words
    page.evaluate(hide, False)
    expect(status(page)).not_to_contain_text(words.removeprefix("\u25b6 "))


def test_nothing_plays_behind_another_tab(opened: Callable[..., Page]) -> None:
    page = opened([*LIVE, "Dashboard(scenario, parts=['ownership'])"], height=1400)
    page.locator("select[data-act=speed]").select_option("2")
    button(page, "Run").click()
    expect(status(page)).to_contain_text("Interrupt: Esc")
    page.evaluate("() => void window.jupyterapp.commands.execute('launcher:create')")
    expect(status(page)).to_be_hidden()
    page.wait_for_timeout(600)
    words = status(page).text_content()
    page.wait_for_timeout(800)
    assert status(page).text_content() == words
    page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text=".ipynb").click()
    expect(status(page)).to_be_visible()
    expect(status(page)).not_to_have_text(words or "")


def test_what_comes_into_sight_again_is_no_message(opened: Callable[..., Page], lab: Any) -> None:
    page = opened([*LIVE, "Dashboard(scenario, parts=['ownership'])"], height=1400)
    expect(status(page)).to_be_visible()
    told: list[bytes] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameSent", lambda one: told.append(base64.b64decode(one["response"]["payloadData"])))
    lab.settle(page)
    told.clear()
    page.evaluate("document.querySelector('.mk-dashboard').style.marginTop = '3000px'")
    expect(status(page)).not_to_be_in_viewport()
    lab.settle(page)
    page.evaluate("document.querySelector('.mk-dashboard').style.marginTop = ''")
    expect(status(page)).to_be_in_viewport()
    button(page, "Step").click()
    expect(status(page)).to_contain_text("Stopped at event")
    assert [b"visible" in one for one in told if b"comm_msg" in one] == [False], "the step alone was told"


def test_the_icon_of_the_tab_stands_still(opened: Callable[..., Page]) -> None:
    page = opened([*LIVE, "Dashboard(scenario, parts=['ownership'])"])
    page.evaluate("""() => {
        window.changes = 0;
        const icons = (nodes) => [...nodes].filter((node) => node.matches?.('link[rel~=icon]')).length;
        new MutationObserver((all) => {
            for (const one of all)
                window.changes += icons([one.target, ...one.addedNodes, ...one.removedNodes]);
        }).observe(document.head, {subtree: true, childList: true, attributes: true, attributeFilter: ['rel', 'href']});
    }""")
    button(page, "Step").click()
    expect(status(page)).to_contain_text("Stopped at event")
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible()
    assert page.evaluate("window.changes") == 0
