"""The magics in a real IPython shell."""

from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from mklab import Machine
from mklab.lab import course, exercises


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Any]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    shell: Any = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "mklab.lab.magics")
    monkeypatch.setattr(course, "ANSWERS", {})
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


def test_an_answer_runs_and_is_kept_as_text(shell: Any) -> None:
    shell.run_cell("%%answer 99.1\nx = 1 + 1")
    assert shell.user_ns["x"] == 2
    assert course.ANSWERS == {"99.1": "x = 1 + 1\n"}


def test_an_answer_without_a_number_is_not_run(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%%answer\nx = 1")
    assert "as in %%answer 04.1" in capsys.readouterr().err
    assert "x" not in shell.user_ns
    assert course.ANSWERS == {}


def test_an_answer_that_raises_is_kept(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%%answer 99.1\n1 / 0")
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert course.ANSWERS == {"99.1": "1 / 0\n"}


def test_assembly_is_built_and_kept(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%%asm 99.2\nnop\nret")
    assert capsys.readouterr().out == "2 bytes of machine code. The cell below checks them.\n"
    assert course.ANSWERS == {"99.2": "nop\nret\n"}


def test_a_cell_may_include_the_headers_of_its_exercise(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = '#include "kimage.h"\nvoid kimage_add_to_list(struct kimage *i, struct list_head *l) { i->list.next = l; }'
    shell.run_cell(f"%%c 06.2\n{text}")
    assert "bytes of machine code" in capsys.readouterr().out
    shell.run_cell(f"%%c\n{text}")
    assert "no other file but abi.h" in capsys.readouterr().err


def test_assembly_is_built_with_what_stands_around_it(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%%asm 02.7\nlgdtl LOW(tgdt)")
    assert capsys.readouterr().out == "36,864 bytes of machine code in all. The cell below checks them.\n"
    shell.run_cell("%%asm 02.7\nnop\nlgdtl LOW(no_such_label)")
    assert "no_such_label" in capsys.readouterr().err


def test_a_stub_is_not_built(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell(f"%%c 06.2\n{exercises.find('06.2').stub}")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("There is nothing to build yet: the cell is as it was given to you.\n", "")


def test_errors_at_their_line_and_no_traceback(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%%asm 99.2\nnop\nmov (, %eax")
    told = capsys.readouterr()
    assert told.err.startswith("line 2: ")
    assert "Traceback" not in told.out + told.err
    assert course.ANSWERS == {"99.2": "nop\nmov (, %eax\n"}


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%asm\nret", "1 bytes of machine code.\n"),
        ("%%asm --run\nmov $0x2a, %eax\nret", "It returned.\nrax 0x0 -> 0x2a"),
        ("%%asm --run --real\n.code16\nmov $0x2a, %ax\nhlt", "It halted.\nrax 0x0 -> 0x2a"),
        ("%%asm --run --protected\n.code32\nmov %cs, %eax\nret", "rax 0x0 -> 0x8"),
        ("%%asm --run\nnop\nud2", "invalid opcode, #UD"),
        ("%%asm --run\nnop\nud2", "line 2 of your cell: ud2"),
        ("%%asm --run\nnop", "ran on beyond its last instruction"),
        ("%%c --run\nlong f(void) { return 7; }", "rax 0x0 -> 0x7"),
        ("%%asm --run\n# nothing", "cannot be run"),
    ],
)
def test_a_cell_without_a_number(shell: Any, capsys: pytest.CaptureFixture[str], cell: str, words: str) -> None:
    shell.run_cell(cell)
    told = capsys.readouterr()
    assert words in told.out
    assert told.err == ""
    assert course.ANSWERS == {}


def test_an_unknown_option(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%%asm --walk\nret")
    assert "not '--walk'" in capsys.readouterr().err


def test_mk(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%mk regs")
    assert "names no machine yet" in capsys.readouterr().err
    shell.user_ns["pc"] = Machine(1)
    shell.run_cell("%mk regs")
    assert "CPU 0: nobody, real, wait-for-SIPI" in capsys.readouterr().out


def test_completion_behind_mk(shell: Any) -> None:
    shell.user_ns["pc"] = Machine(1)
    for line, found in (("%mk re", {"regs", "reset"}), ("%mk use ", {"pc"})):
        with provisionalcompleter():
            # IPython adds the words of Python.
            completions = {one.text for one in shell.Completer.completions(line, len(line))}
        assert found <= completions


def test_opening_a_lab_makes_them_known(shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from mklab import lab

    monkeypatch.setenv("MKLAB_PROGRESS", f"{tmp_path}/progress.json")
    shell.magics_manager.magics["cell"].pop("answer")
    shell.extension_manager.loaded.clear()
    lab.open("00")
    assert shell.find_cell_magic("answer") is not None
