"""Answers are taken out of any notebook, and of what is none nothing but a reason."""

import json
from typing import Any

import pytest

from mklab.lab.grading.reader import LONGEST, answers


def notebook(*cells: Any, **more: Any) -> bytes:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **more}).encode()


def code(source: Any, **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], **more}


def built(exercise: Any) -> dict[str, Any]:
    return {"metadata": {"mklab": {"exercise": exercise, "lang": "python"}}}


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (code("%%answer 04.1\nx = 1"), [("04.1", "%%answer 04.1\nx = 1")]),
        (code(["%%asm 04.2 \n", "nop"]), [("04.2", "%%asm 04.2 \nnop")]),
        (code("\n\n%%c 04.3\nint x;"), [("04.3", "%%c 04.3\nint x;")]),
        (code("%%answer 04.10"), [("04.10", "%%answer 04.10")]),
        (code("x = 1", **built("04.1")), [("04.1", "x = 1")]),
        # The line that the notebook obeys comes before what the cell was built as.
        (code("%%answer 04.2\nx", **built("04.1")), [("04.2", "%%answer 04.2\nx")]),
        (code("x = 1"), []),
        (code("# %%answer 04.1\nx"), []),
        (code("%%answer 4.1\nx"), []),
        (code("%%answers 04.1\nx"), []),
        (code("x", **built("../../etc")), []),
        (code("x", **built(["04.1"])), []),
        (code("x", metadata=None), []),
        (code("x", metadata={"mklab": "04.1"}), []),
        (code(None, **built("04.1")), []),
        (code(["a", 1], **built("04.1")), []),
        ({"cell_type": "markdown", "source": "%%answer 04.1\nx", **built("04.1")}, []),
        ("%%answer 04.1", []),
        (None, []),
    ],
)
def test_which_cells_answer_what(cell: Any, found: list[tuple[str, str]]) -> None:
    assert answers(notebook(code("import os"), cell)) == {"answers": found, "student": None}


def test_halves_of_characters_become_question_marks() -> None:
    """What JSON can hold and no file can."""
    data = notebook(code("%%answer 04.1\nx = '?'")).replace(b"?", b"\\ud800")
    assert answers(data)["answers"] == [("04.1", "%%answer 04.1\nx = '?'")]


def test_of_a_huge_answer_a_little_more_than_is_allowed() -> None:
    ((_, text),) = answers(notebook(code("%%answer 04.1\n" + "x" * (LONGEST * 2))))["answers"]
    assert len(text) == LONGEST + 1


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ('course = lab.open("04", student="Ada L.")', "Ada L."),
        ("course = lab.open('04', 'Ada')", "Ada"),
        ('lab.open(\n    "04",\n    student = "O\'Neill",\n)', "O'Neill"),
        ('lab.open("04")', None),
        ('xlab.open("04", student="Ada")', None),
    ],
)
def test_the_name_that_a_notebook_gives(source: str, name: str | None) -> None:
    assert answers(notebook(code(source)))["student"] == name


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON"),
        (b"hello", "no JSON"),
        (b"\xff\xfe\x00", "not in UTF-8"),
        (b'{"nbformat": 4, "cells": [\xe9]}', "not in UTF-8"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "of something else"),
        (b'{"cells": []}', "of something else"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3, not 4"),
        (b'{"nbformat": 4, "cells": {}}', "format 4"),
        (b'{"nbformat": 1' + b"0" * 10_000 + b"}", "no JSON"),
    ],
)
def test_what_is_no_notebook(data: bytes, words: str) -> None:
    assert words in answers(data)["problem"]


def test_other_encodings_that_json_allows() -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert answers(notebook(code("%%answer 04.1\nx")).decode().encode(encoding))["answers"]
