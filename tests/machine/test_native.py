"""The native library: built from its source for every platform, loaded, and done without."""

import sys
from pathlib import Path

import pytest

from mklab.machine.engine import library
from mklab.machine.engine.build import SOURCE, build_all
from mklab.machine.engine.raw import Raw
from mklab.machine.machine import Machine
from tests.machine.guestcode import DATA, long_mode


def test_the_libraries_are_what_their_source_gives() -> None:
    """Byte for byte, for every platform."""
    built = build_all()
    assert {path.name: path.read_bytes() for path in library.NATIVE.iterdir()} == built
    assert SOURCE.is_file()


def test_the_library_loads_where_the_tests_run() -> None:
    assert library.file_here() is not None
    assert library.load() is not None
    assert Machine(1, ram=1 << 20).engine.native
    assert library.describe().startswith("counts natively (native/")


def test_the_environment_asks_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKLAB_ENGINE", "count")
    assert library.load() is None
    assert not Machine(1, ram=1 << 20).engine.native
    assert library.describe() == "counts by Unicorn's own count, some ten times slower, as MKLAB_ENGINE asks"


def test_another_wish_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKLAB_ENGINE", "fast")
    with pytest.raises(ValueError, match="MKLAB_ENGINE must be count or empty, not 'fast'"):
        library.load()


@pytest.mark.parametrize(("system", "why"), [("plan9", "there is no library for plan9"), ("win32", "does not load")])
def test_a_platform_without_a_library_does_without(system: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Windows library on this system stands for one that does not load."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    library._library.cache_clear()
    try:
        assert library.load() is None
        assert why in library.describe()
    finally:
        monkeypatch.undo()
        library._library.cache_clear()


def test_the_source_names_what_the_python_side_names() -> None:
    """Why run() returns: the same words in the same order, on both sides."""
    text = SOURCE.read_text()
    words = text[text.index("enum why {") :].partition("{")[2].partition("/*")[0].replace("= 1", "").split(",")
    python = Path(library.__file__).with_name("native.py").read_text()
    line = next(line for line in python.splitlines() if line.startswith("_HALT, "))
    names = [name.strip().removeprefix("_") for name in line.partition("=")[0].split(",")]
    assert names == ["HALT", *(word.strip() for word in words if word.strip())]


def test_the_bare_engine_for_comparison() -> None:
    source = f"mov $1000, %ecx; 1: add %rcx, %rax; mov %rax, {DATA}; dec %ecx; jnz 1b; hlt"
    machine, code = long_mode(source)
    raw = Raw(machine.memory, machine.registers(0))
    raw.run()
    assert raw.rip == code.base + len(code.data)
    assert machine.memory.read_u64(DATA) == 500_500
    counted = Raw(machine.memory, machine.registers(0))
    counted.run_counted(3)
    assert machine.memory.read_u64(DATA) == 1000
