"""The dashboard in JupyterLab, in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

FILM = """
from mklab.recording import Film
from mklab.widgets import Dashboard, Player

dashboard = Dashboard(Player(Film.load("film.mkf")))
"""


@pytest.fixture
def shown(lab: Any, pages: Callable[..., Page], repository: Path) -> Callable[..., Page]:
    (lab.folder / "film.mkf").write_bytes(Path("/tmp/film-4-1.mkf").read_bytes())
    lab.save("film.ipynb", [FILM, "dashboard"])

    def show(**options: Any) -> Page:
        page = pages(**options)
        page.on("console", lambda message: print("CONSOLE", message.type, message.text))
        page.on("pageerror", lambda error: print("PAGEERROR", error))
        lab.open(page, "film.ipynb")
        lab.run_all(page)
        expect(page.locator(".mk-controls, .mk-scrub")).to_be_visible()
        return page

    return show


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800])
def test_buttons_change_the_pictures(
    shown: Callable[..., Page], screenshot: Callable[[Page, str], Path], width: int, theme: str
) -> None:
    page = shown(width=width, height=2000, theme=theme)
    status = page.get_by_role("status").filter(has_text="event")
    page.locator(".mklab").get_by_role("button", name="Step", exact=True).click()
    expect(status).to_contain_text("Stopped at event 822")
    screenshot(page, f"dashboard-{width}-{theme}-step")
    page.keyboard.press("r")
    expect(status).to_contain_text("the film ends here")
    cells = page.locator(".jp-Cell").count()
    page.keyboard.press("b")
    expect(status).to_contain_text("Stopped at event 1544")
    assert page.locator(".jp-Cell").count() == cells
    page.keyboard.press("u")
    screenshot(page, f"dashboard-{width}-{theme}-until")
