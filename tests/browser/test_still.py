"""What a saved notebook shows when it is opened again, and nothing runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

CELLS = [
    "from mklab.lab.scenario import Scenario\nfrom mklab.widgets import Consoles, Dashboard\nscenario = Scenario()",
    "Dashboard(scenario)",
    "Consoles(scenario)",
]


def test_a_notebook_that_is_opened_again_shows_the_last_picture(
    lab: Any, pages: Callable[..., Page], screenshot: Callable[[Page, str], Path], moments: Any
) -> None:
    lab.save("still.ipynb", CELLS)
    page = pages(height=2400)
    lab.open(page, "still.ipynb")
    lab.run_all(page)
    stills = page.locator(".mk-still img")
    page.get_by_role("button", name="Step", exact=True).click()
    expect(page.locator(".mk-head [role=status]")).to_contain_text(f"Stopped at event {moments.step}.")
    expect(stills).to_have_count(2)
    for still in stills.all():
        expect(still).to_be_hidden()
    picture = re.compile(f"e{moments.step - 1}")
    expect(stills.first).to_have_attribute("src", picture)
    lab.settle(page)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.model.dirty")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()

    page = pages(height=2400)
    lab.open(page, "still.ipynb")
    stills = page.locator(".mk-still img")
    expect(stills).to_have_count(2)
    for still in stills.all():
        expect(still).to_be_visible()
        still.evaluate("image => image.decode()")
        assert still.evaluate("image => image.naturalHeight > 100")
    expect(stills.first).to_have_attribute("src", picture)
    errors = page.get_by_text("Error displaying widget")
    expect(errors).to_have_count(2)
    for error in errors.all():
        expect(error).to_be_hidden()
    assert page.locator(".mklab").count() == 0
    screenshot(page, "still")
