"""What a saved notebook shows when it is opened again, and nothing runs."""

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
    page.wait_for_timeout(2500)  # until the picture has followed
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(500)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()

    page = pages(height=2400)
    lab.open(page, "still.ipynb")
    stills = page.locator(".mk-still img")
    expect(stills).to_have_count(2)
    for still in stills.all():
        expect(still).to_be_visible()
        assert still.evaluate("image => image.complete && image.naturalHeight > 100")
    source = stills.first.get_attribute("src") or ""
    assert f"e{moments.step - 1}" in source, "the picture is that of the last step"
    errors = page.get_by_text("Error displaying widget")
    expect(errors).to_have_count(2)
    for error in errors.all():
        expect(error).to_be_hidden()
    assert page.locator(".mklab").count() == 0
    screenshot(page, "still")
