"""JupyterLab and Chromium for tests: a server on the loopback address, a browser, and a notebook's page to act on.

def test_it(lab: Lab, pages: Callable[..., Page]) -> None:
    lab.save("name.ipynb", ["from mklab.widgets import Dashboard", ...])      # or copy a notebook into lab.folder
    page = pages(width=1280, theme="dark")
    lab.open(page, "name.ipynb")
    lab.run_all(page)
    page.locator(".mklab").get_by_role("button", name="Step").click()
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mklab.lab.scenario import Scenario
from mklab.lab.serve import SETTINGS

_THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
# As root Chromium needs --no-sandbox; the rest keeps it from looking for hosts outside.
_FLAGS = [
    *("--no-sandbox", "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# What is waited for comes within a second; a machine that does other things as well takes its time.
expect.set_options(timeout=30_000)
_SETTLE = """() => new Promise((settled, fail) => {
    const shown = window.jupyterapp.shell.currentWidget;
    let last = performance.now();
    const observer = new MutationObserver(() => { last = performance.now(); });
    observer.observe(shown.node, {subtree: true, childList: true, characterData: true, attributes: true});
    const end = (tell, value) => { clearInterval(timer); observer.disconnect(); tell(value); };
    const began = last;
    const timer = setInterval(() => {
        const now = performance.now();
        if (shown.sessionContext.session.kernel.status !== 'idle') last = now;
        if (now - last > 1000) end(settled);
        else if (now - began > 30000) end(fail, new Error('the notebook goes on changing'));
    }, 50);
})"""


@dataclass
class Lab:
    """A running JupyterLab.

    Attributes:
        address: where it listens.
        token: what opens it.
        folder: the folder it shows.
        settings: the folder of its user settings.
    """

    address: str
    token: str
    folder: Path
    settings: Path

    def save(self, name: str, cells: list[str]) -> None:
        """Write a notebook of code cells into :attr:`folder`."""
        code: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        notebook = {
            "cells": [{**code, "id": f"cell-{number}", "source": cell} for number, cell in enumerate(cells)],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.folder / name).write_text(json.dumps(notebook))

    def open(self, page: Page, name: str) -> None:
        """Open a notebook of :attr:`folder` alone on ``page`` and wait for its kernel."""
        page.goto(f"{self.address}/lab/tree/{name}?token={self.token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=60_000,
        )

    def run_all(self, page: Page) -> None:
        """Run every cell of the open notebook and wait until the kernel has nothing to do; a failed cell fails."""
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(
            """() => [...window.jupyterapp.shell.currentWidget.content.widgets].every(
                cell => cell.model.type !== 'code' || cell.model.executionCount !== null)
                || document.querySelector(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")""",
            timeout=120_000,
        )
        errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
        assert errors.count() == 0, errors.all_inner_texts()

    def settle(self, page: Page) -> None:
        """Wait until the kernel has nothing to do and nothing in the notebook has changed for a second."""
        page.evaluate(_SETTLE)

    def use_theme(self, theme: str) -> None:
        """Let pages opened from now on be ``light`` or ``dark``."""
        _write_setting(self.settings, "themes", {"theme": _THEMES[theme]})


def _write_setting(settings: Path, name: str, values: dict[str, Any]) -> None:
    folder = settings / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jupyterlab-settings").write_text(json.dumps(values))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/api", timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}", pytrace=False)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Lab]:
    """A JupyterLab of the tests' own: its folders are temporary, its kernels import mklab from the repository."""
    home = tmp_path_factory.mktemp("jupyter")
    folder, settings, log = home / "notebooks", home / "settings", home / "log"
    folder.mkdir()
    _write_setting(settings, "notification", {"fetchNews": "false", "checkForUpdates": False})
    port, token = _free_port(), secrets.token_hex(16)
    own = {
        name: str(home / name.lower())
        for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")},
        **own,
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTER_CONFIG_PATH": str(SETTINGS),
        "PYTHONPATH": str(repository),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
        *(f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, log)
        yield Lab(address, token, folder, settings)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def chromium(require_tool: Callable[[str], Path]) -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    executable = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def pages(chromium: Browser, lab: Lab) -> Iterator[Callable[..., Page]]:
    """A function ``(width=1280, height=1000, theme="light")`` that opens an empty page; they close with the test."""
    opened: list[Page] = []

    def open_page(width: int = 1280, height: int = 1000, theme: str = "light") -> Page:
        lab.use_theme(theme)
        page = chromium.new_page(viewport={"width": width, "height": height})
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.close()


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[[Page, str], Path]:
    """A function that saves what ``page`` shows as ``name.png``: into $MKLAB_SCREENSHOTS or a temporary folder."""
    folder = Path(os.environ.get("MKLAB_SCREENSHOTS", tmp_path))

    def save(page: Page, name: str) -> Path:
        path = folder / f"{name}.png"
        page.screenshot(path=path)
        return path

    return save


_UNREADABLE = """() => {
    const found = [];
    const shown = (node) => {
        const box = node.getBoundingClientRect();
        return box.width && box.height && getComputedStyle(node).visibility !== 'hidden';
    };
    const own = (node) => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    const silent = ['STYLE', 'TITLE', 'DESC', 'OPTION'];
    const nodes = [...document.querySelectorAll('.mklab *')].filter(node =>
        own(node) && shown(node) && !silent.includes(node.tagName.toUpperCase()));
    for (const node of nodes) {
        const size = parseFloat(getComputedStyle(node).fontSize);
        if (size < 10.99) found.push(`${size} px: ${node.textContent.trim()}`);
        if (!node.closest('svg') && node.clientWidth && node.scrollWidth > node.clientWidth + 1
            && !['auto', 'scroll'].includes(getComputedStyle(node).overflowX))
            found.push(`cut: ${node.textContent.trim()}`);
    }
    for (const svg of document.querySelectorAll('.mklab svg')) {
        if (svg.parentElement.closest('svg') || !shown(svg)) continue;
        const paper = svg.getBoundingClientRect();
        const texts = [...svg.querySelectorAll('text')].filter(node => node.textContent.trim() && shown(node));
        const boxes = texts.map(node => node.getBoundingClientRect());
        const words = texts.map(node => node.textContent.trim());
        boxes.forEach((one, at) => {
            if (one.left < paper.left - 2 || one.right > paper.right + 2
                || one.top < paper.top - 4 || one.bottom > paper.bottom + 6)
                found.push(`beyond its picture: ${words[at]}`);
            for (let other = at + 1; other < boxes.length; other++) {
                const across = Math.min(one.right, boxes[other].right) - Math.max(one.left, boxes[other].left);
                const down = Math.min(one.bottom, boxes[other].bottom) - Math.max(one.top, boxes[other].top);
                if (across > -1 && down > 5) found.push(`over each other: ${words[at]} | ${words[other]}`);
            }
        });
    }
    return found;
}"""


@pytest.fixture
def unreadable() -> Callable[[Page], list[str]]:
    """What of a page's pictures cannot be read, as measured in the browser: text under 11 px, cut, over other text."""

    def look(page: Page) -> list[str]:
        found: list[str] = page.evaluate(_UNREADABLE)
        return found

    return look


@dataclass(frozen=True)
class Moments:
    """Events of the scenario that is steered here, as its driver tells them without a browser.

    Attributes:
        start: where it stands when the host has booted.
        step: where one step leads.
        back: where one step back from the end leads.
        time: virtual time of the end, in instructions.
    """

    start: int
    step: int
    back: int
    time: int


@pytest.fixture(scope="session")
def moments() -> Moments:
    """What is to be seen, from a run of its own."""
    driver = Scenario().driver

    def event() -> int:
        return driver.film.looks[driver.look].event

    start = event()
    driver.step()
    step = event()
    driver.run()
    time = driver.film.looks[-1].time
    driver.back()
    return Moments(start, step, event(), time)
