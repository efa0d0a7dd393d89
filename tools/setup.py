"""Makes the environment in .venv: the locked packages, and mklab itself as an editable install.

Run by tools/setup.sh, which has found a Python of the right version. It needs nothing but the standard library. The
stamp that says "up to date" is written last, so that an interrupted run leaves none and the next one starts afresh.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
LOG = ROOT / ".cache" / "setup.log"
STAMP = VENV / "mklab-setup"


def say(text: str) -> None:
    """Tell what happens now."""
    print(f"setup: {text}", flush=True)


def fail(text: str) -> NoReturn:
    """End with one line that says what is wrong and what to do."""
    print(f"setup: {text}", file=sys.stderr)
    raise SystemExit(1)


def fingerprint() -> str:
    """What the environment depends on; when one of these changes, it is made again.

    The folder is among them, because the scripts in .venv hold its absolute path.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    parts = [LOCK.read_text(), project["project"], project["build-system"], sys.version, sys.base_prefix, str(ROOT)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_current() -> bool:
    """Whether .venv is complete and made from what is here now, and its Python still starts."""
    try:
        if STAMP.read_text() != fingerprint():
            return False
        subprocess.run([VENV / "bin" / "python", "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def can_make_venv() -> bool:
    """Whether this Python has both modules; asked in a new process, which sees what was just installed."""
    return subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def need_venv_module() -> None:
    """Debian splits ensurepip off its Python: install that package as root, or name it."""
    if can_make_venv():
        return
    default = shutil.which("python3", path="/usr/bin")
    is_default = default is not None and Path(default).resolve() == Path(sys.executable).resolve()
    package = "python3-venv" if is_default else f"python3.{sys.version_info[1]}-venv"
    if shutil.which("apt-get") is None:
        fail(f"{sys.executable} cannot make virtual environments: install its venv and ensurepip modules")
    if os.geteuid() != 0:
        fail(f"{sys.executable} cannot make virtual environments: run `sudo apt-get install {package}`, then try again")
    say(f"installing Debian's {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    logged(["apt-get", "update"], "apt-get could not update its lists", environment)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    logged(install, f"apt-get could not install {package}", environment)
    if not can_make_venv():
        fail(f"{sys.executable} cannot make virtual environments, even with {package}: name another one by PYTHON=")


def logged(command: Sequence[str | Path], failure: str, environment: dict[str, str] | None = None) -> None:
    """Run a command into the log; if it fails, end with its last word on why."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    if done.returncode:
        lines = LOG.read_text(errors="replace").splitlines() or ["it said nothing"]
        fail(f"{failure}: {reason(lines)} (all it said: {LOG.relative_to(ROOT)}); put that right, then try again")


def reason(lines: list[str]) -> str:
    """Which line of a log says why a command failed.

    Without a network pip ends with "No matching distribution found"; why is what it said while it tried again.
    """
    broken = [line.partition("connection broken by ")[2] for line in lines if "connection broken by " in line]
    if broken:
        return f"the package index cannot be reached: {broken[-1]}"
    errors = [line for line in lines if re.match(r"\s*(E|\w*Error|ERROR):", line)]
    return (errors or lines)[-1].strip()


def make() -> None:
    """Make .venv from nothing."""
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"making .venv with Python {version} ({sys.executable})")
    logged([sys.executable, "-m", "venv", "--clear", VENV], "Python could not make .venv")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--no-input", "--disable-pip-version-check", "install"]
    count = sum(line[:1].isalnum() for line in LOCK.read_text().splitlines())
    say(f"installing the {count} packages of {LOCK.name} (1.2 GB on disk; a few minutes, less when they are cached)")
    # Hashes pin every file; wheels only, so that no compiler is needed and no package's code runs while installing.
    logged([*pip, "--require-hashes", "--only-binary=:all:", "-r", LOCK], "pip could not install the locked packages")
    say("installing mklab itself, editable")
    logged([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT], "pip could not install mklab")
    STAMP.write_text(fingerprint())
    say("done: .venv is complete")


def main() -> None:
    """Make the environment unless it is there."""
    if is_current():
        return
    need_venv_module()
    make()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nsetup: interrupted; .venv is not complete, and the next run makes it again", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or ROOT}")
