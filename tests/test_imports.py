"""Imports go one way, and each outside library has its place."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "mklab"

BASE = {"errors", "packed", "stopping", "cluster", "trace", "structs", "paging", "recording"}
# For each part of mklab, the parts that it may import. A part is a module or package directly under mklab/.
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    "machine": BASE | {"machine"},
    "timeline": BASE | {"machine", "timeline"},
    "guest": BASE | {"machine", "guest"},
    "kernel": BASE | {"machine", "guest", "kernel"},
    "widgets": BASE | {"widgets"},
    "lab": BASE | {"machine", "timeline", "guest", "kernel", "widgets", "lab"},
    "doctor": set(),
}
# The commands stand on top: they may import everything, and only they and __init__ are not listed above.
TOP = {"cli", "__init__"}


def part_of(module: str) -> str:
    """The part a module lies in: `machine` for `mklab.machine` and `mklab.machine.engine`, `__init__` for `mklab`."""
    return [*module.split("."), "__init__"][1]


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """The absolute names of all modules that the code imports, inside functions and TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield module
            # `from mklab import machine` names a part, where `from mklab.machine import Machine` names a thing in it.
            yield from (f"{module}.{alias.name}" for alias in node.names if module == "mklab")


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What a module may not import, as sentences."""
    package = module if is_package else module.rpartition(".")[0]
    part = part_of(module)
    wrong = []
    for name in imported(ast.parse(source), package):
        root = name.split(".")[0]
        target = part_of(name)
        is_command = part in TOP or part.startswith("cli_")
        if name.startswith("mklab.") and not is_command and target in MAY_IMPORT | dict.fromkeys(TOP):
            if target not in MAY_IMPORT[part]:
                wrong.append(f"{module} imports {name}: {part} may not import {target}")
        elif root == "unicorn" and not f"{module}.".startswith("mklab.machine.engine."):
            wrong.append(f"{module} imports {name}: only mklab.machine.engine may")
        elif root in {"ipywidgets", "bqplot"} and part not in {"widgets", "lab"}:
            wrong.append(f"{module} imports {name}: only widgets and lab may")
    return wrong


def modules() -> list[tuple[str, Path]]:
    """The dotted name and the file of every module of mklab."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


@pytest.mark.parametrize(("module", "path"), [pytest.param(m, p, id=m) for m, p in modules()])
def test_module_imports_only_what_its_part_may(module: str, path: Path) -> None:
    part = part_of(module)
    assert part in MAY_IMPORT or part in TOP or part.startswith("cli_"), f"{part} has no row in MAY_IMPORT"
    assert violations(module, path.read_text(), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mklab.machine.cpu", "import mklab.kernel.kexec_core"),
        ("mklab.machine.cpu", "from mklab import kernel"),
        ("mklab.machine.cpu", "def f():\n    from mklab.timeline import snapshot"),
        ("mklab.machine.cpu", "from ..kernel import kexec_core"),
        ("mklab.machine.cpu", "import unicorn"),
        ("mklab.machine.engines", "import unicorn"),
        ("mklab.kernel.proc", "from unicorn.x86_const import UC_X86_REG_RAX"),
        ("mklab.kernel.proc", "from mklab import cli"),
        (
            "mklab.widgets.ownership",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mklab.machine.machine",
        ),
        ("mklab.guest.image", "import mklab.timeline"),
        ("mklab.trace", "from mklab.machine.cpu import Cpu"),
        ("mklab.kernel.proc", "import bqplot"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from mklab.errors import MklabError",
        "from mklab.machine.bus import Bus",
        "from mklab import __version__",
        "from . import kexec",
        "from ..guest import image",
    ],
)
def test_an_allowed_import_is_not(source: str) -> None:
    assert violations("mklab.kernel.proc", source) == []


def test_import_mklab_is_light() -> None:
    """In a process of its own: what other tests imported does not count. Its duration is not asserted."""
    code = "import sys, mklab; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "mklab" in loaded
    assert (
        loaded & {"IPython", "bqplot", "ipywidgets", "jupyterlab", "jupytext", "nbclient", "pandas", "ziglang"} == set()
    )


def test_a_machine_imports_no_disassembler_and_no_pictures() -> None:
    """They are loaded by those that ask for them."""
    code = "import sys, mklab.lab.capstone; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "mklab.machine.machine" in loaded
    assert loaded & {"capstone", "numpy", "rich", "mklab.recording.film", "mklab.recording.frame"} == set()
