"""Build the native library with the locked ziglang wheel, for every platform: the same bytes wherever it is built.

``python -m mklab.machine.engine.build`` rebuilds what lies in ``native/``; a test does the same and compares.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from mklab.errors import GuestBuildError
from mklab.machine.engine.library import FILES, NATIVE

__all__ = ["SOURCE", "build_all"]

SOURCE = Path(__file__).with_name("hook.c")
_SOURCES = (SOURCE, SOURCE.with_name("delivery.c"))
_COMPILE = (
    *("-O2", "-g0", "-s", "-std=c11", "-Wall", "-Wextra", "-Werror"),
    *("-shared", "-nostdlib", "-ffreestanding", "-fvisibility=hidden"),
    *(
        "-fomit-frame-pointer",
        "-fno-stack-protector",
        "-fno-sanitize=all",
        "-fno-unwind-tables",
        "-fno-asynchronous-unwind-tables",
    ),
)
_EXTRA = {"windows": ("-mno-stack-arg-probe",), "macos": ("-Wl,-install_name,mklab-hook",)}


def _compile(target: str, folder: Path, name: str) -> bytes:
    extra = next((flags for system, flags in _EXTRA.items() if system in target), ("-Wl,--build-id=none",))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *_COMPILE, *extra, "-o", name]
    command += [source.name for source in _SOURCES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuestBuildError(f"{target}: {done.stderr.strip()}")
    return (folder / name).read_bytes()


def build_all() -> dict[str, bytes]:
    """Every platform's library by its name in ``native/``.

    Raises:
        GuestBuildError: the compiler's message; or ziglang is missing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in _SOURCES:
            (folder / source.name).write_bytes(source.read_bytes())
        return {file: _compile(target, folder, file) for target, file in FILES.values()}


def main() -> None:
    """Rebuild ``native/``."""
    NATIVE.mkdir(exist_ok=True)
    for name, data in build_all().items():
        # Not in place: a process may have it mapped.
        (NATIVE / "new").write_bytes(data)
        (NATIVE / "new").replace(NATIVE / name)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
