"""How soon a lab shows its first picture, and what a student's session takes of memory. No test: it asserts nothing.

    python -m pytest -s tests/browser/measure_labs.py

Each student's notebook is opened in JupyterLab, run from top to bottom, and closed again with its kernel. Memory is
what the server, the kernel and the processes they start have for themselves and their share of the rest (PSS), at its
highest while the lab runs; the browser is not counted.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page

_PAUSE = 0.2
# Times count from the page's opening.
_WATCH = """() => {
    const watch = setInterval(() => {
        if (!document.querySelector('.jp-OutputArea-output .mklab')) return;
        window.firstPicture = performance.now();
        clearInterval(watch);
    }, 50);
}"""


def memory() -> float:
    """MiB that JupyterLab and all that it has started take now."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if not any("chrom" in part or "playwright" in part for part in process.cmdline()[:2]):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it has ended meanwhile
    return total / (1 << 20)


class Highest:
    """The most memory that was taken while it was entered, in MiB."""

    def __init__(self) -> None:
        self.most = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE):
            self.most = max(self.most, memory())

    def __enter__(self) -> "Highest":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_measure(lab: Any, pages: Callable[..., Page], repository: Path) -> None:
    """Print the figures."""
    shutil.copytree(repository / "labs", lab.folder / "labs", ignore=shutil.ignore_patterns("solutions", "src"))
    shutil.copytree(repository / "docs", lab.folder / "docs")
    print()
    for notebook in sorted((lab.folder / "labs").glob("*.ipynb")):
        page = pages(width=1280, height=1600)
        with Highest() as highest:
            lab.open(page, f"labs/{notebook.name}")
            page.evaluate(_WATCH)
            lab.run_all(page)
            whole, first = page.evaluate("() => [performance.now(), window.firstPicture]")
        took = f"{highest.most:4.0f} MiB at most"
        print(f"{notebook.stem:<40} first picture {first / 1000:5.1f} s, whole {whole / 1000:5.1f} s, {took}")
        page.evaluate("() => window.jupyterapp.commands.execute('kernelmenu:shutdown')")
        page.close()
