"""Terminals with many lines in JupyterLab: what is out of sight is laid out later, and nobody notices."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

CELLS = [
    """from mklab import trace
from mklab.recording import Film
from mklab.widgets import Consoles, Player

film = Film([0])
film.look()
for number in range(200):
    words = f"line {number}, " + "which is too long for its terminal " * (number % 7)
    film.extend([trace.Printk(number, 10 * number, 0, kernel="host", text=words)])
    film.look()
player = Player(film)
consoles = Consoles(player)
consoles.stage.move(150)
consoles""",
    "consoles.stage.move(160)",
]
_TOP = """node => {
    const top = node.getBoundingClientRect().top;
    const line = [...node.querySelectorAll('[data-event]')].find(one => one.getBoundingClientRect().bottom > top + 1);
    return [line.textContent, line.getBoundingClientRect().top - top];
}"""


def test_who_has_scrolled_up_stays_there_while_lines_are_added(lab: Any, pages: Callable[..., Page]) -> None:
    lab.save("consoles.ipynb", CELLS)
    page = pages(height=1000)
    lab.open(page, "consoles.ipynb")
    page.locator(".jp-Cell").first.click()
    page.keyboard.press("Shift+Enter")
    lines = page.locator(".mk-lines")
    expect(lines.get_by_text("line 150, which")).to_be_visible()
    lines.evaluate("node => { node.scrollTop = -600; }")
    lab.settle(page)
    before = lines.evaluate(_TOP)
    page.locator(".jp-Cell").nth(1).click()
    page.keyboard.press("Shift+Enter")
    expect(lines.locator("[data-event='160']")).to_have_count(1)
    lab.settle(page)
    words, top = lines.evaluate(_TOP)
    assert (words, round(top)) == (before[0], round(before[1]))
    lines.evaluate("node => { node.scrollTop = 0; }")
    expect(lines.get_by_text("line 160, which")).to_be_in_viewport()
