"""Lab 00 in JupyterLab, in a real browser, as a student meets it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

NAME = "00-a-second-kernel.ipynb"
MISTAKE = """\
def boot_second_kernel(host: Host) -> None:
    image = minikernel_image(0x3000000, 1, [3, 0, 1, 2])
    host.load(image)
    host.multikernel_kexec(3)
"""


@pytest.fixture
def opened(lab: Any, pages: Callable[..., Page], repository: Path) -> Callable[..., Page]:
    """A function that opens the student's notebook, on a page of some size and theme, and runs it from top to bottom."""

    def open_notebook(**options: Any) -> Page:
        shutil.copy(repository / "labs" / NAME, lab.folder)
        page = pages(**options)
        lab.open(page, NAME)
        lab.run_all(page)
        expect(page.locator(".mklab .bqplot")).to_be_visible()
        return page

    return open_notebook


def button(page: Page, name: str) -> Locator:
    return page.locator(".mklab").get_by_role("button", name=name)


def twin(page: Page) -> Locator:
    """The dashboard in words."""
    return page.locator(".mklab pre")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800])
def test_a_student_watches(
    opened: Callable[..., Page], screenshot: Callable[[Page, str], Path], width: int, theme: str
) -> None:
    page = opened(width=width, height=5000, theme=theme)
    button(page, "Text twin").click()
    expect(twin(page)).to_contain_text("Host: CPUs 0 to 3.")
    expect(twin(page)).not_to_contain_text("INIT to CPU 2 at 8")
    screenshot(page, f"lab00-{width}-{theme}-begin")
    owner = page.get_by_text("CPU 2 belongs to nobody").or_(page.get_by_text("Nobody: CPU 2")).first
    for _ in range(30):
        button(page, "Step").click()
        expect(button(page, "Step")).to_be_enabled()
        if owner.is_visible():
            break
    expect(twin(page)).not_to_contain_text("kernel 1:")
    screenshot(page, f"lab00-{width}-{theme}-step")
    button(page, "Run").click()
    expect(button(page, "Run")).to_be_enabled()
    screenshot(page, f"lab00-{width}-{theme}-end")
    print(twin(page).inner_text())
    button(page, "Reset").click()
    expect(twin(page)).to_contain_text("Host: CPUs 0 to 3.")
