"""Every part of a dashboard by itself in a cell: it renders, it reacts, it goes back."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

PARTS = {
    "Ownership": "ownership",
    "Messages": "messages",
    "MemoryMap": "memory-map",
    "Details": "details",
    "Kimages": "kimages",
    "HexView": "hex-view",
    "Stepper": "stepper",
    "Apic": "apic",
    "Consoles": "consoles",
}
SETUP = f"""
from mklab.lab.scenario import Scenario
from mklab.widgets import Controls, {", ".join(PARTS)}

scenario = Scenario()
"""


@pytest.fixture(scope="module")
def page(chromium: Browser, lab: Any) -> Iterator[Page]:
    """A notebook with the controls and each part in a cell of its own, after a run to the end."""
    lab.use_theme("light")
    lab.save("parts.ipynb", [SETUP, "Controls(scenario)", *(f"{name}(scenario)" for name in PARTS)])
    page = chromium.new_page(viewport={"width": 1000, "height": 9000})
    lab.open(page, "parts.ipynb")
    lab.run_all(page)
    expect(page.locator("[data-picture]")).to_have_count(len(PARTS))
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".mk-head [role=status]")).to_contain_text("the scenario is finished", timeout=30_000)
    yield page
    page.close()


@pytest.fixture(autouse=True)
def at_the_end(page: Page) -> None:
    """Each test begins at the run's end."""
    page.locator(".mk-scrub input").focus()
    page.keyboard.press("End")
    expect(page.locator(".mk-where b")).to_have_text(re.compile(r"^event ([\d,]+) of \1$"))


def part(page: Page, name: str) -> Locator:
    """The whole output of a part."""
    return page.locator(".jp-OutputArea-output").filter(has=page.locator(f"[data-picture={PARTS[name]}]"))


def go_to(page: Page, event: int) -> None:
    page.locator(".mk-scrub input").fill(str(event))
    expect(page.locator(".mk-where b")).to_have_text(re.compile(f"^event {event:,} of "))


@pytest.mark.parametrize("name", PARTS)
def test_it_renders_and_goes_back(
    page: Page,
    lab: Any,
    name: str,
    screenshot: Callable[[Page, str], Path],
    unreadable: Callable[[Page], list[str]],
) -> None:
    shown = part(page, name)
    expect(shown.locator("h3")).to_be_visible()
    expect(shown.get_by_text("cannot be drawn")).to_have_count(0)
    lab.settle(page)
    now = shown.inner_text()
    go_to(page, 900)
    expect(shown).not_to_have_text(now, use_inner_text=True)
    page.locator(".mk-scrub input").focus()
    page.keyboard.press("End")
    expect(shown).to_have_text(now, use_inner_text=True)
    if name == list(PARTS)[-1]:
        screenshot(page, "parts")
        assert unreadable(page) == []


@pytest.mark.parametrize("name", PARTS)
def test_its_twin_is_reached_by_the_keyboard(page: Page, name: str) -> None:
    shown = part(page, name)
    shown.locator("summary").last.focus()
    page.keyboard.press("t")
    expect(shown.locator("pre").last).to_contain_text(re.compile(r"event (\d+) of \1"))
    page.keyboard.press("t")
    expect(shown.locator("details[open] pre")).to_have_count(0)


def test_an_event_is_chosen_in_one_part_and_told_in_another(page: Page) -> None:
    row = part(page, "Messages").locator("g[data-event]").last
    chosen = row.get_attribute("data-event")
    row.click()
    expect(part(page, "Details").get_by_text(f"e{chosen}").first).to_be_visible()
    expect(part(page, "Details").get_by_text("selected").first).to_be_visible()


def test_the_chart_follows_the_moment(page: Page, lab: Any) -> None:
    chart = part(page, "Ownership").locator(".bqplot")
    expect(chart).not_to_contain_text("recorded, later")
    lab.settle(page)
    drawn = chart.inner_html()
    go_to(page, 900)
    expect(chart).to_contain_text("recorded, later")
    page.locator(".mk-scrub input").focus()
    page.keyboard.press("End")
    expect(chart).not_to_contain_text("recorded, later")
    lab.settle(page)
    assert chart.inner_html() == drawn


def test_lanes_are_zoomed_by_key_and_brushed_by_mouse(page: Page, moments: Any) -> None:
    shown = part(page, "Ownership")
    whole = shown.get_by_text(f"Shown: t=0 to {moments.time:,} of {moments.time:,} instructions")
    expect(whole).to_be_visible()
    shown.get_by_role("button", name="Zoom in").focus()
    page.keyboard.press("+")
    expect(whole).to_have_count(0)
    shown.get_by_role("button", name="Whole run").click()
    expect(whole).to_be_visible()
    shown.locator(".bqplot").scroll_into_view_if_needed()
    box = shown.locator(".bqplot").bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    expect(shown.get_by_text("Chosen: t=")).to_be_visible()
    shown.get_by_role("button", name="Choose nothing").click()
    expect(shown.get_by_text("Chosen: t=")).to_have_count(0)


def test_a_place_in_memory_is_chosen_and_its_bytes_are_shown(page: Page) -> None:
    part(page, "MemoryMap").get_by_role("button", name="kimages").first.click()
    expect(part(page, "HexView").get_by_text("0x1a00000").first).to_be_visible()


@pytest.mark.parametrize("name", ["Stepper", "Apic"])
def test_the_cpu_is_chosen_from_a_list(page: Page, name: str) -> None:
    shown = part(page, name)
    shown.locator("select[data-act=cpu]").select_option("2")
    expect(shown.get_by_text("CPU 2").first).to_be_visible()
    expect(shown.locator("p").first).to_contain_text("CPU 2")


def test_consoles_are_searched(page: Page) -> None:
    shown = part(page, "Consoles")
    shown.locator("input[type=search]").fill("ping")
    expect(shown.locator("mark").first).to_be_visible()
    expect(shown.locator("input[type=search]")).to_be_focused()
    shown.locator("input[type=search]").fill("")
    expect(shown.locator("mark")).to_have_count(0)
