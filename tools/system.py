"""Gets from Debian what the tests need beside Python: a browser, binutils, file, QEMU and a real kernel.

As root on Debian it installs what is missing; elsewhere it says what is missing and which tests that leaves out. With
CI=true a missing thing is a failure. What is there already is left alone, so that a second run does nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mklab.doctor import TOOLS

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / ".cache" / "kernel"
# A metapackage: it depends on the package of Debian's current kernel for virtual machines.
KERNEL_METAPACKAGE = "linux-image-cloud-amd64"


class DebianError(Exception):
    """A command of Debian's that did not do what it should."""


def say(text: str) -> None:
    """Tell what happens now."""
    print(f"system: {text}", flush=True)


def apt(*arguments: str, folder: Path = ROOT) -> str:
    """Run one of apt's or dpkg's commands and return what it printed.

    Raises:
        DebianError: it is not here, or it ended with an error.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise DebianError(f"{arguments[0]} is not here: this is not Debian") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise DebianError(f"`{' '.join(arguments)}` failed: {lines[-1]}")
    return done.stdout


def missing_packages() -> list[str]:
    """Debian's packages whose program or library is not here."""
    return sorted({tool.package for tool in TOOLS if tool.found is None})


def has_kernel() -> bool:
    """Whether a kernel is unpacked; the folder gets its name only when it is complete."""
    return any(KERNEL.glob("boot/vmlinuz-*"))


def fetch_kernel() -> None:
    """Download Debian's kernel package and unpack it into .cache/kernel; nothing is installed.

    Raises:
        DebianError: Debian's lists know no such kernel, or it could not be fetched.
    """
    depends = apt("apt-cache", "depends", "--important", KERNEL_METAPACKAGE)
    packages = [line.split()[1] for line in depends.splitlines() if line.strip().startswith("Depends: linux-image-")]
    if not packages:
        raise DebianError(f"Debian's lists know no kernel behind {KERNEL_METAPACKAGE}")
    partial = KERNEL.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    apt("apt-get", "download", packages[0], folder=partial)
    (archive,) = partial.glob("*.deb")
    apt("dpkg", "-x", archive.name, ".", folder=partial)
    archive.unlink()
    # The modules are most of it, and no test loads one.
    shutil.rmtree(partial / "lib", ignore_errors=True)
    shutil.rmtree(partial / "usr", ignore_errors=True)
    shutil.rmtree(KERNEL, ignore_errors=True)
    partial.rename(KERNEL)


def install() -> None:
    """Install and fetch what is missing, as root on Debian.

    Raises:
        DebianError: a step did not work.
    """
    packages = missing_packages()
    if not packages and has_kernel():
        return
    say("asking Debian for its lists of packages")
    apt("apt-get", "update")
    if packages:
        say(f"installing {', '.join(packages)} (some minutes)")
        apt("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    if not has_kernel():
        say(f"fetching the kernel behind {KERNEL_METAPACKAGE} into .cache/kernel")
        fetch_kernel()


def main() -> int:
    """Get what is missing; return 1 if something still is and CI=true asks for all of it."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        try:
            install()
        except DebianError as error:
            say(str(error))
    missing = {tool.command: tool.used_for for tool in TOOLS if tool.found is None}
    if not has_kernel():
        missing[KERNEL_METAPACKAGE] = "the tests with a real Debian kernel"
    for what, used_for in missing.items():
        say(f"{what} is missing: {used_for} are left out")
    return int(bool(missing) and os.environ.get("CI") == "true")


if __name__ == "__main__":
    sys.exit(main())
