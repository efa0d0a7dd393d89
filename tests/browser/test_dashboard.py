"""The dashboard in JupyterLab, in a real browser, over a hand-made story."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

CELLS = [
    """
import json
from mklab.recording import Recording
from mklab.trace import Event
from mklab.widgets import Dashboard


class Story:
    def __init__(self):
        lines = open("story.jsonl").read().splitlines()
        self.events = [Event.from_dict({**json.loads(line), "seq": seq}) for seq, line in enumerate(lines)]
        self.reset()

    def reset(self):
        self.recording = Recording([0, 1, 2, 3])

    def step(self):
        count = self.recording.count
        if count == len(self.events):
            raise RuntimeError("the story is over")
        self.recording.extend(self.events[count : count + 16])

    def run(self):
        self.recording.extend(self.events[self.recording.count :])


dashboard = Dashboard(Story())
""",
    "dashboard",
]


@pytest.fixture
def shown(lab: Any, pages: Callable[..., Page], repository: Path) -> Callable[..., Page]:
    """A function that opens a page of some width and theme with the dashboard on it."""
    shutil.copy(repository / "tests" / "widgets" / "story.jsonl", lab.folder)
    lab.save("story.ipynb", CELLS)

    def show(**options: Any) -> Page:
        page = pages(**options)
        lab.open(page, "story.ipynb")
        lab.run_all(page)
        expect(page.locator(".mklab .bqplot")).to_be_visible()
        return page

    return show


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800])
def test_buttons_change_the_pictures(
    shown: Callable[..., Page], screenshot: Callable[[Page, str], Path], width: int, theme: str
) -> None:
    page = shown(width=width, height=2000, theme=theme)
    status = page.get_by_role("status").filter(has_text="events")
    step = page.locator(".mklab").get_by_role("button", name="Step")
    expect(page.get_by_text("Nothing recorded yet")).to_be_visible()
    for _ in range(2):
        step.click()
    expect(status).to_contain_text("Stopped after 32 events")
    expect(page.locator(".mklab-sequence tbody tr")).to_have_count(3)
    expect(page.get_by_text("SIPI 0x96 to CPU 2").first).to_be_visible()
    screenshot(page, f"dashboard-{width}-{theme}-step")
    page.locator(".mklab").get_by_role("button", name="Run").click()
    expect(page.get_by_text("m1 delivered; m3 merged; m2 overwritten; m4 lost.")).to_be_visible()
    expect(page.get_by_text("shut down; planned: kernel 2")).to_be_visible()
    screenshot(page, f"dashboard-{width}-{theme}-run")
    page.locator(".mklab").get_by_role("button", name="Text twin").click()
    expect(page.locator(".mklab pre")).to_contain_text("AGAINST THE PLAN: planned for kernel 2")
    step.click()
    expect(status).to_contain_text("Step failed: the story is over (RuntimeError)")
    page.locator(".mklab").get_by_role("button", name="Reset").click()
    expect(page.get_by_text("Nothing recorded yet").first).to_be_visible()


def test_every_control_is_reached_by_the_keyboard(shown: Callable[..., Page]) -> None:
    page = shown()
    page.locator(".mklab").get_by_role("button", name="Reset").focus()
    for name in ("Step", "Run", "Text twin"):
        page.keyboard.press("Tab")
        expect(page.locator(".mklab").get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("m4 lost").first).to_be_visible()


@pytest.mark.parametrize("width", [1280, 800])
def test_words_are_legible(shown: Callable[..., Page], width: int) -> None:
    """Nothing under 11 px, and nothing cut off; measured in the browser."""
    page = shown(width=width)
    page.locator(".mklab").get_by_role("button", name="Run").click()
    expect(page.get_by_text("m4 lost").first).to_be_visible()
    small = page.evaluate(
        """() => [...document.querySelectorAll('.mklab *')]
            .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
            .filter(node => node.getClientRects().length && !['STYLE', 'TITLE', 'DESC'].includes(node.tagName))
            .filter(node => parseFloat(getComputedStyle(node).fontSize) < 11)
            .map(node => node.textContent)"""
    )
    assert small == []
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.mklab td, .mklab p, .mklab b, .mklab small, .mklab button')]
            .filter(node => node.scrollWidth > node.clientWidth + 1 && node.clientWidth)
            .map(node => node.textContent)"""
    )
    assert cut == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_follow_the_theme(shown: Callable[..., Page], theme: str) -> None:
    page = shown(theme=theme)
    paper = page.locator(".mklab").first.evaluate("node => getComputedStyle(node).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", paper)[:3])) < 3 * 128
    assert dark == (theme == "dark")
