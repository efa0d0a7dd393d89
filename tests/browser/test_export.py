"""An exported page in a real browser: opened from disk, with the network switched off, it scrubs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from mklab.lab.attack import Attack
from mklab.lab.scenario import Scenario
from mklab.recording import Film
from mklab.widgets.export import html, stops


@pytest.fixture(scope="module")
def film() -> Film:
    scenario = Scenario()
    scenario.driver.run()
    return scenario.driver.film


@pytest.fixture(scope="module")
def file(film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(html(film, "A run"), encoding="utf-8")
    return path


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """Without a network, in a dark system."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000}, offline=True, color_scheme="dark")
    yield context
    context.close()


def opened(context: BrowserContext, file: Path) -> tuple[Page, list[str]]:
    """The page, and a list to which its errors and requests are added."""
    page, troubles = context.new_page(), []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else troubles.append(request.url))
    page.goto(file.as_uri())
    expect(page.get_by_role("group", name="Moment shown")).to_be_visible()
    return page, troubles


def test_it_is_small_and_opens_without_a_network(context: BrowserContext, file: Path, film: Film) -> None:
    assert file.stat().st_size < 3 << 20
    page, troubles = opened(context, file)
    expect(page.locator("#where")).to_have_text(f"event {film.count - 1:,} of {film.count - 1:,}")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    for name in (
        "ownership",
        "messages",
        "memory-map",
        "details",
        "kimages",
        "hex-view",
        "stepper",
        "apic",
        "consoles",
    ):
        shown = page.locator(f'section[data-picture="{name}"]').locator("visible=true")
        expect(shown).to_have_count(1)
        assert shown.locator("svg, pre, .mk-lines").count(), name
    assert troubles == []


def test_it_scrubs_steps_and_is_selected_in(context: BrowserContext, file: Path, film: Film) -> None:
    page, troubles = opened(context, file)
    events = [view.event for view in stops(film)]
    status = page.locator("#where")
    page.keyboard.press("Home")
    expect(status).to_have_text(f"event {events[0]:,} of {film.count - 1:,}")
    assert "Kernel 1" not in page.locator('section[data-picture="ownership"] p').locator("visible=true").inner_text()
    page.keyboard.press("s")
    page.get_by_role("button", name="Step S").click()
    expect(status).to_have_text(re.compile(f"^event {events[2]:,} "))
    page.get_by_role("button", name="Back B").click()
    expect(status).to_have_text(re.compile(f"^event {events[1]:,} "))
    scrubber = page.get_by_role("slider", name="Moment of the run")
    scrubber.fill(str(len(events) - 1))
    expect(page.get_by_text("m1 and m2 delivered.").first).to_be_visible()
    row = page.locator('section[data-picture="messages"] g[data-event]').locator("visible=true").last
    wanted = int(row.get_attribute("data-event") or "")
    row.click()
    expect(status).to_have_text(f"event {next(one for one in events if one >= wanted):,} of {film.count - 1:,}")
    page.keyboard.press("t")
    expect(page.locator('section[data-picture="apic"] pre').locator("visible=true")).to_contain_text("IRR")
    assert troubles == []


@pytest.mark.parametrize("width", [1280, 800])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_or_too_small(
    chromium: Browser, file: Path, width: int, theme: str, screenshot: Callable[..., Path]
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 1000}, offline=True)
    page, _ = opened(context, file)
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.reload()
    expect(page.get_by_role("group", name="Moment shown")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        """() => [...document.querySelectorAll('main *')]
            .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
            .filter(node => node.getClientRects().length && !['SCRIPT', 'STYLE'].includes(node.tagName))
            .filter(node => parseFloat(getComputedStyle(node).fontSize) < 11).map(node => node.textContent)"""
    )
    assert small == []
    screenshot(page, f"export-{width}-{theme}")
    context.close()


def test_trouble_is_marked_on_the_scrubber(context: BrowserContext, tmp_path: Path) -> None:
    attack = Attack("reset")
    attack.driver.run()
    path = tmp_path / "reset.html"
    path.write_text(html(attack.driver.film, "A reset"), encoding="utf-8")
    page, troubles = opened(context, path)
    expect(page.locator("#marks text")).not_to_have_count(0)
    assert troubles == []


def test_without_javascript_the_end_is_shown(chromium: Browser, file: Path) -> None:
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    # Playwright looks for no text in it.
    assert page.locator("noscript").bounding_box()
    expect(page.get_by_text("m1 and m2 delivered.").first).to_be_visible()
    context.close()
