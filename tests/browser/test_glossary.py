"""A student clicks on a term: the glossary opens as a page, at that term."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

NAME = "00-a-second-kernel.ipynb"


def test_a_link_opens_the_glossary_at_its_term(
    lab: Any, pages: Callable[..., Page], repository: Path, screenshot: Callable[[Page, str], Path]
) -> None:
    shutil.copy(repository / "labs" / NAME, lab.folder)
    # Long before the term, so that it must be scrolled to.
    page_text = (repository / "labs" / "glossary.md").read_text()
    (lab.folder / "glossary.md").write_text(page_text.replace("- <a", "before\n\n" * 40 + "- <a", 1))
    page = pages(height=700)
    lab.open(page, NAME)
    page.get_by_role("link", name="SIPI", exact=True).first.click()
    glossary = page.locator(".jp-MarkdownViewer")
    expect(glossary).to_be_visible(timeout=30_000)
    expect(glossary.get_by_text("the start-up interrupt, which tells a CPU")).to_be_in_viewport()
    expect(glossary.locator("strong", has_text="SIPI").first).to_be_visible()
    expect(page.locator(".jp-FileEditor")).to_have_count(0)
    screenshot(page, "glossary")
