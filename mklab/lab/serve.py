"""JupyterLab on the first lab."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

__all__ = ["FIRST_LAB", "SETTINGS", "command", "environment", "has_display", "serve"]

ROOT = Path(__file__).resolve().parent.parent.parent
FIRST_LAB = Path("labs", "00-a-second-kernel.ipynb")
SETTINGS = Path(__file__).resolve().parent / "jupyter"
"""A folder of Jupyter's configuration. What a user has set wins.

Pages in Markdown open rendered, so that a link to the glossary shows its term, and not the page's source. The icon of
the browser's tab does not tell whether the kernel is busy (the toolbar does): it would be drawn twice for each moment
that a scrubber passes, and take the browser longer than a picture."""


def has_display() -> bool:
    """Whether a browser window can open here; a text browser would take the terminal away from the server."""
    if sys.platform == "darwin":
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def command(port: int | None, jupyter_args: Sequence[str], *, display: bool, root: bool) -> list[str]:
    """The command line that serves the labs on the loopback address.

    Args:
        port: TCP port, or None for Jupyter's own choice (8888, or the next free one). A port that was asked for and is
            taken is an error, since whoever asked expects the lab there.
        jupyter_args: further arguments for `jupyter lab`; they come last, and so win.
        display: whether to open a browser.
        root: whether the user is root, whom Jupyter refuses unless told otherwise.
    """
    line = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--ServerApp.root_dir={ROOT}"]
    line.append(f"--LabApp.default_url=/lab/tree/{FIRST_LAB.as_posix()}")
    # The versions are locked: no notice of a newer one, and no installing from the page.
    line += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.extension_manager=readonly"]
    if port is not None:
        line += [f"--port={port}", "--ServerApp.port_retries=0"]
    if not display:
        line.append("--no-browser")
    if root:
        line.append("--allow-root")
    return [*line, *jupyter_args]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """``variables`` of the environment, with :data:`SETTINGS` where Jupyter looks for settings, after those named."""
    named = variables.get("JUPYTER_CONFIG_PATH")
    return {**variables, "JUPYTER_CONFIG_PATH": os.pathsep.join([*([named] if named else []), str(SETTINGS)])}


def serve(port: int | None, jupyter_args: Sequence[str]) -> None:
    """Become a Jupyter server: this process is replaced, so that Ctrl-C and signals reach the server itself.

    Raises:
        click.ClickException: JupyterLab is not installed, or the labs are not here.
    """
    if find_spec("jupyterlab") is None:
        raise click.ClickException("JupyterLab is not installed: run `make setup`, or install mklab[lab]")
    if not (ROOT / FIRST_LAB).is_file():
        raise click.ClickException(f"{FIRST_LAB} is not in {ROOT}: run mklab from a checkout, which holds the labs")
    display = has_display()
    line = command(port, jupyter_args, display=display, root=os.geteuid() == 0)
    if not display:
        click.echo("No display here: open the http://127.0.0.1 address below in a browser. Ctrl-C stops the lab.")
    sys.stdout.flush()
    os.execve(line[0], line, environment(os.environ))
