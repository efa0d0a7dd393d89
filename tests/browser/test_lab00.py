"""Lab 00 in JupyterLab, in a real browser, as a student meets it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

NAME = "00-a-second-kernel.ipynb"
FORGOTTEN = """
def boot_second_kernel(host):
    host.load(minikernel_image(0x3000000, 1, [3, 0, 1, 2]))
    host.multikernel_kexec(3)
"""


@pytest.fixture
def opened(lab: Any, pages: Callable[..., Page], repository: Path) -> Callable[..., Page]:
    """A function that opens the student's notebook on a page of some size and theme, and runs it to its end."""

    def open_notebook(**options: Any) -> Page:
        shutil.copy(repository / "labs" / NAME, lab.folder)
        page = pages(**options)
        lab.open(page, NAME)
        lab.run_all(page)
        expect(page.locator(".mk-dashboard .bqplot")).to_be_visible()
        return page

    return open_notebook


def button(page: Page, name: str) -> Locator:
    return page.locator(".mk-dashboard").get_by_role("button", name=name, exact=True)


def owners(page: Page) -> Locator:
    """Who owns each CPU, in a sentence or a few."""
    return page.locator("[data-picture=ownership] p").first


def messages(page: Page) -> Locator:
    """Which messages there were, in a sentence or a few."""
    return page.locator("[data-picture=messages] p").first


def step_until(page: Page, where: Locator, words: str) -> None:
    """Press Step until ``where`` says ``words``; each step must lead to another event."""
    for _ in range(60):
        if words in where.inner_text():
            return
        status = page.locator(".mk-head [role=status]")
        before = status.inner_text()
        button(page, "Step").click()
        expect(status).not_to_have_text(before, use_inner_text=True)
        page.wait_for_timeout(150)
    pytest.fail(f"sixty steps, and the dashboard does not say {words!r}: {where.inner_text()}")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (800, "dark")])
def test_a_student_steps_runs_and_resets(
    opened: Callable[..., Page], screenshot: Callable[[Page, str], Path], width: int, theme: str
) -> None:
    page = opened(width=width, height=6000, theme=theme)
    name = f"lab00-{width}-{theme}"
    screenshot(page, f"{name}-opened")
    expect(owners(page)).to_contain_text("Host: CPUs 0 to 3.")
    step_until(page, owners(page), "Nobody: CPU 2.")
    step_until(page, owners(page), "Kernel 1: CPU 2.")
    expect(messages(page)).to_contain_text("No message has been sent yet.")
    screenshot(page, f"{name}-stepped")
    button(page, "Run").click()
    expect(messages(page)).to_contain_text("m1 and m2 delivered.", timeout=30_000)
    expect(owners(page)).to_contain_text("Host: CPUs 0, 1 and 3. Kernel 1: CPU 2.")
    screenshot(page, f"{name}-ran")
    button(page, "Reset").click()
    expect(owners(page)).to_contain_text("Host: CPUs 0 to 3.")


def answer(page: Page, exercise: str, cell: str) -> None:
    """Put ``cell`` into the cell of an exercise, run it, and run the check below it."""
    page.evaluate(
        """async ([stub, answer]) => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            const index = notebook.widgets.findIndex(cell => cell.model.sharedModel.getSource().startsWith(stub));
            notebook.widgets[index].model.sharedModel.setSource(answer);
            notebook.activeCellIndex = index;
            await window.jupyterapp.commands.execute('notebook:run-cell-and-select-next');
            await window.jupyterapp.commands.execute('notebook:run-cell-and-select-next');
        }""",
        [f"%%answer {exercise}", f"%%answer {exercise}\n{cell.strip()}"],
    )


def test_a_student_predicts_wrongly_and_reads_one_reason(opened: Callable[..., Page]) -> None:
    page = opened()
    reason = page.get_by_role("status").filter(has_text="That is what kexec has always meant")
    expect(reason).to_be_hidden()
    answer(page, "00.1", 'choice = "A"\nconfidence = "sure"')
    expect(reason).to_contain_text("Exercise 00.1: not yet")
    expect(reason).not_to_contain_text("Two kernels print on two consoles")


def test_a_student_errs_and_is_told(opened: Callable[..., Page], screenshot: Callable[[Page, str], Path]) -> None:
    page = opened(height=5600)
    expect(page.get_by_text("Exercise 00.3: not attempted yet")).to_be_visible()
    answer(page, "00.3", FORGOTTEN)
    expect(page.get_by_text("Exercise 00.3: not yet")).to_be_visible()
    verdict = page.get_by_role("status").filter(has_text="00.3: not yet")
    expect(verdict).to_contain_text("multikernel_kexec returned -EBUSY")
    expect(verdict).to_contain_text("line 3 of your cell: host.multikernel_kexec(3)")
    screenshot(page, "lab00-verdict")
