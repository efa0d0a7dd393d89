"""What `mklab doctor` finds out about the environment.

A finding is required (mklab cannot work without it) or optional (some tests, or some labs, are left out without it).
Nothing here imports what it examines: a package with a wrong native library can kill the process that loads it, so the
engine and the assembler are tried in processes of their own.
"""

import ctypes
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "LOCK",
    "PROBES",
    "TOOLS",
    "Finding",
    "Probe",
    "Tool",
    "examine",
    "is_broken",
    "locked_requirements",
    "show",
    "to_json",
]

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
PYTHONS = ((3, 11), (3, 13))
_SETUP = "run `make setup`"
_SECONDS = 60

# Opens an engine and executes one instruction, mov eax, 42.
_TRY_UNICORN = """
import unicorn, unicorn.x86_const as x86
engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
engine.mem_map(0x1000, 0x1000)
engine.mem_write(0x1000, bytes([0xB8, 42, 0, 0, 0]))
engine.emu_start(0x1000, 0x1005)
assert engine.reg_read(x86.UC_X86_REG_RAX) == 42
print(unicorn.__version__)
"""

# Says how instructions are counted here: natively, or by Unicorn's own count.
_TRY_COUNTING = "from mklab.machine.engine.library import describe; print(describe())"


@dataclass(frozen=True)
class Probe:
    """Something required that is tried by running it.

    Attributes:
        subject: what is tried.
        arguments: what this environment's Python is given to run.
        found: what it means when it works, with {} for the first line that it prints.
    """

    subject: str
    arguments: tuple[str, ...]
    found: str


PROBES = (
    Probe("engine", ("-c", _TRY_UNICORN), "Unicorn {} executes"),
    Probe("counting", ("-c", _TRY_COUNTING), "the engine {}"),
    Probe("assembler", ("-m", "ziglang", "version"), "zig {}"),
    Probe("JupyterLab", ("-m", "jupyterlab", "--version"), "JupyterLab {} starts"),
)


@dataclass(frozen=True)
class Tool:
    """A program or a shared library that some tests need, and that mklab itself does without.

    Attributes:
        command: the name on the PATH; of a library its file name, as the linker asks for it.
        package: Debian's package that holds it.
        used_for: the tests that are left out without it.
    """

    command: str
    package: str
    used_for: str

    @property
    def found(self) -> str | None:
        """Where it is, or None: it is missing."""
        if ".so." not in self.command:
            return shutil.which(self.command)
        if sys.platform != "linux":
            return "not needed on this system"
        try:
            ctypes.CDLL(self.command)
        except OSError:
            return None
        return "it loads"


TOOLS = (
    Tool("chromium", "chromium", "the browser tests"),
    Tool("libatomic.so.1", "libatomic1", "the browser tests, whose driver needs this library,"),
    Tool("file", "file", "the tests that compare a kernel's header with `file`"),
    Tool("objdump", "binutils", "the tests that compare our listings with objdump"),
    Tool("readelf", "binutils", "the tests that compare our ELF reading with readelf"),
    Tool("qemu-system-x86_64", "qemu-system-x86", "the tests that run the same bytes under QEMU"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        subject: what was looked at.
        ok: whether it is as it should be.
        required: whether mklab is broken when it is not ok.
        found: what is there.
        advice: what to do when it is not ok, else empty.
    """

    subject: str
    ok: bool
    required: bool
    found: str
    advice: str = ""


def examine(lock: Path = LOCK) -> list[Finding]:
    """Look at everything, in the order in which one thing needs another.

    Args:
        lock: the lock file to compare the installed packages with.
    """
    return [
        _python(),
        *_packages(lock),
        *(_run(probe) for probe in PROBES),
        *(_tool(tool) for tool in TOOLS),
    ]


def is_broken(findings: Iterable[Finding]) -> bool:
    """Whether something required is not ok."""
    return any(finding.required and not finding.ok for finding in findings)


def to_json(findings: Iterable[Finding]) -> str:
    """The findings as one JSON object: ``ok``, and ``findings`` with the fields of :class:`Finding`."""
    rows = list(findings)
    return json.dumps({"ok": not is_broken(rows), "findings": [asdict(row) for row in rows]}, indent=2)


def show(findings: Iterable[Finding]) -> None:
    """Print the findings as a table, and a last line that says whether mklab can work."""
    from rich.console import Console
    from rich.table import Table

    rows = list(findings)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        state = "ok" if row.ok else ("BROKEN" if row.required else "missing")
        table.add_row(state, row.subject, row.found, row.advice)
    console = Console(markup=False, highlight=False)
    console.print(table)
    console.print()
    if is_broken(rows):
        console.print("mklab cannot work here: see the lines marked BROKEN.")
    elif all(row.ok for row in rows):
        console.print("Everything is in place.")
    else:
        console.print("mklab works here; what is marked missing is needed by some tests only.")


def locked_requirements(lock: Path = LOCK) -> "list[Requirement]":
    """The requirements of a lock file, in its order, each with its version and its environment marker.

    Raises:
        OSError: the file cannot be read.
        packaging.requirements.InvalidRequirement: a line is not a requirement.
    """
    from packaging.requirements import Requirement

    # A requirement starts at the left margin; its hashes follow on indented lines.
    starts = (line for line in lock.read_text(encoding="utf-8").splitlines() if line and line[0] not in " #")
    return [Requirement(line.removesuffix("\\").strip()) for line in starts]


def _python() -> Finding:
    here = sys.version_info[:2]
    low, high = (f"{major}.{minor}" for major, minor in PYTHONS)
    ok = PYTHONS[0] <= here <= PYTHONS[1]
    advice = "" if ok else f"install Python {low} to {high} and run `make setup PYTHON=/path/to/it`"
    return Finding("Python", ok, True, f"{sys.version.split()[0]} ({sys.prefix})", advice)


def _packages(lock: Path) -> list[Finding]:
    """One finding for each locked package that differs, or a single one if all agree."""
    try:
        requirements = locked_requirements(lock)
    except ImportError:
        return [Finding("packages", False, True, "the package `packaging` is not installed", _SETUP)]
    except OSError as error:
        found = f"no lock file: {error.strerror}"
        return [Finding("packages", False, True, found, "run mklab from a checkout that holds requirements.lock")]
    findings = []
    here = [requirement for requirement in requirements if not requirement.marker or requirement.marker.evaluate()]
    for requirement in here:
        name, version = requirement.name, str(requirement.specifier).removeprefix("==")
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "not installed"
        if installed != version:
            found = f"{installed}, locked is {version}"
            findings.append(Finding(f"package {name}", False, True, found, _SETUP))
    return findings or [Finding("packages", True, True, f"{len(here)} installed as locked")]


def _run(probe: Probe) -> Finding:
    command = [sys.executable, *probe.arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return Finding(probe.subject, False, True, f"no answer in {_SECONDS} s", f"try again; then {_SETUP}")
    if done.returncode < 0:
        found = f"killed by signal {-done.returncode}"
        return Finding(probe.subject, False, True, found, f"remove .venv, then {_SETUP}")
    if done.returncode > 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return Finding(probe.subject, False, True, said[-1], _SETUP)
    version = done.stdout.strip().partition("\n")[0]
    return Finding(probe.subject, True, True, probe.found.format(version))


def _tool(tool: Tool) -> Finding:
    if tool.found is None:
        advice = f"install Debian's package {tool.package}: {tool.used_for} need it"
        return Finding(tool.command, False, False, "missing", advice)
    return Finding(tool.command, True, False, tool.found)
