"""What is in the folder is found and read; what cannot be taken is told, and costs nobody else anything."""

import json
import os
from pathlib import Path

import pytest

from mklab.errors import MklabError
from mklab.lab.grading import submissions
from mklab.lab.grading.reader import LARGEST
from mklab.lab.grading.submissions import Submission, find, read


def notebook(place: Path, *sources: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"cell_type": "code", "metadata": {}, "source": source} for source in sources]
    place.write_text(json.dumps({"nbformat": 4, "cells": cells}))


def test_a_file_or_a_folder_for_each_student(tmp_path: Path) -> None:
    for name in ("bob.ipynb", "ada/04.ipynb", "ada/lab05/05.IPYNB", "ada/.ipynb_checkpoints/04.ipynb", "ada.ipynb"):
        notebook(tmp_path / name)
    for name in ("README.txt", ".hidden.ipynb", "ada/notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "eve").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    found, others = find(tmp_path)
    places = {one.student: [str(place.relative_to(tmp_path)) for place in one.notebooks] for one in found}
    assert places == {"ada": ["ada/04.ipynb", "ada/lab05/05.IPYNB", "ada.ipynb"], "bob": ["bob.ipynb"], "eve": []}
    assert others == ["README.txt"]
    assert {one.student: one.problems for one in found if one.problems} == {"eve": ("eve holds no notebook",)}


def test_links_and_fifos_are_left_alone(tmp_path: Path) -> None:
    folder, secret = tmp_path / "class", tmp_path / "secret"
    notebook(secret / "x.ipynb", "%%answer 04.1\nx")
    notebook(folder / "ada" / "good.ipynb", "%%answer 04.1\nx")
    (folder / "ada" / "bad.ipynb").symlink_to(secret / "x.ipynb")
    (folder / "ada" / "folder").symlink_to(secret)
    (folder / "eve.ipynb").symlink_to(secret / "x.ipynb")
    (folder / "mallory").symlink_to(secret)
    os.mkfifo(folder / "bob.ipynb")
    found, others = find(folder)
    assert {one.student: one.problems for one in found} == {
        "ada": ("ada/bad.ipynb is a link, which is not followed",),
        "bob": ("bob.ipynb is no file",),
        "eve": ("eve.ipynb is a link, which is not followed",),
    }
    assert others == ["mallory"]
    assert list(read(found[0], folder).answers) == ["04.1"]


def test_what_has_become_something_else_since(tmp_path: Path) -> None:
    """It is not followed, and not waited for."""
    os.mkfifo(tmp_path / "ada.ipynb")
    (tmp_path / "bob.ipynb").symlink_to("/etc/passwd")
    for name, words in (("ada", "ada.ipynb is no file"), ("bob", "bob.ipynb cannot be read"), ("eve", "No such file")):
        found = read(Submission(name, (tmp_path / f"{name}.ipynb",)), tmp_path)
        assert words in found.problems[0]
        assert not found.answers


def test_names_of_any_kind_are_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"b\xf6se.ipynb")).write_text("{}")
    (tmp_path / "Zoe\u0308.ipynb").write_text("{}")
    assert [one.student for one in find(tmp_path)[0]] == ["Zo\xeb", "b\ufffdse"]


def test_all_answers_with_their_notebooks(tmp_path: Path) -> None:
    notebook(tmp_path / "ada" / "1.ipynb", "%%answer 04.1\none", "%%answer 04.1\ntwo", "lab.open('04', 'Ada')")
    notebook(tmp_path / "ada" / "2.ipynb", "%%answer 04.1\nthree", "%%asm 04.2\nnop")
    (tmp_path / "ada" / "3.ipynb").write_text("hello")
    found = read(find(tmp_path)[0][0], tmp_path)
    assert found.name == "Ada"
    assert [name for name, _ in found.answers["04.1"]] == ["ada/1.ipynb", "ada/1.ipynb", "ada/2.ipynb"]
    assert [text.split()[-1] for _, text in found.answers["04.1"]] == ["one", "two", "three"]
    assert found.problems == ("ada/3.ipynb is no notebook: it is no JSON",)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "ada.ipynb").open("wb") as file:
        file.truncate(LARGEST + 1)
    assert read(find(tmp_path)[0][0], tmp_path).problems == ("ada.ipynb is larger than 64 MiB",)


def test_a_reader_that_does_not_come_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook(tmp_path / "ada.ipynb")
    monkeypatch.setattr(submissions, "_SECONDS", 0.0)
    assert read(find(tmp_path)[0][0], tmp_path).problems == (
        "ada.ipynb cannot be read: it takes too much time or memory",
    )


def test_a_folder_with_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "_MOST", 2)
    for number in range(3):
        notebook(tmp_path / "ada" / f"{number}.ipynb")
    (one,), _ = find(tmp_path)
    assert len(one.notebooks) == 2
    assert one.problems == ("there are more than 2 notebooks; the first 2 count",)


def test_nothing_to_grade(tmp_path: Path) -> None:
    with pytest.raises(MklabError, match="holds no submission"):
        find(tmp_path)
    with pytest.raises(MklabError, match="nowhere is no folder of submissions"):
        find(tmp_path / "nowhere")
