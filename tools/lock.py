"""Writes requirements.lock anew: the newest versions that pyproject.toml allows, for every Python and platform at once.

Then it asks pip, for each Python and platform, whether there is a wheel for every line; nothing is installed. The
resolver, uv, is used here only, so it has an environment of its own outside .venv.
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / ".cache" / "uv"
PYTHON = str(TOOL / "bin" / "python")
UV = "uv==0.13.8"

PYTHONS = ("3.11", "3.12", "3.13")
# What wheels call the platforms. Later systems take the wheels of earlier ones; some need macOS 14.
PLATFORMS = {
    "Linux x86_64": [f"manylinux{tag}_x86_64" for tag in ("1", "2010", "2014", "_2_5", "_2_12", "_2_17", "_2_28")],
    "Linux aarch64": [f"manylinux{tag}_aarch64" for tag in ("2014", "_2_17", "_2_28")],
    "macOS x86_64": [f"macosx_{tag}" for tag in ("10_9_x86_64", "11_0_x86_64", "14_0_x86_64", "10_9_universal2")],
    "macOS arm64": [f"macosx_{tag}" for tag in ("11_0_arm64", "12_0_arm64", "14_0_arm64", "11_0_universal2")],
}


def resolve() -> None:
    """Get uv, and have it write the lock."""
    venv.create(TOOL, clear=True, with_pip=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", UV], check=True)
    line = [str(TOOL / "bin" / "uv"), "pip", "compile", "--quiet", "pyproject.toml"]
    line += ["--extra", "lab", "--extra", "dask", "--group", "dev"]
    # One file for all (markers choose), each package at one version where one serves all Pythons.
    line += ["--universal", "--python-version", PYTHONS[0], "--fork-strategy", "fewest", "--upgrade"]
    # Names, versions, hashes and markers, but no addresses: those are the configuration of whoever installs.
    line += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate"]
    subprocess.run([*line, "--output-file", "requirements.lock"], cwd=ROOT, check=True)


def check_wheels() -> None:
    """Ask pip for a wheel of every locked package, for each Python and platform."""
    for platform, tags in PLATFORMS.items():
        for python in PYTHONS:
            print(f"lock: wheels for {platform}, Python {python}", flush=True)
            # --target is what pip demands with --platform; with --dry-run it stays empty.
            line = [PYTHON, "-m", "pip", "install", "--quiet", "--dry-run", "--target", str(TOOL / "nothing")]
            line += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version", python]
            line += [argument for tag in tags for argument in ("--platform", tag)]
            subprocess.run([*line, "-r", "requirements.lock"], cwd=ROOT, check=True)


if __name__ == "__main__":
    try:
        resolve()
        check_wheels()
    except subprocess.CalledProcessError as error:
        sys.exit(f"lock: {Path(error.cmd[0]).name} failed: see above")
