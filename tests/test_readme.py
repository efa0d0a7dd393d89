"""The README's examples run, and do what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", [0, 1])
def test_an_example_prints_what_is_below_it(repository: Path, number: int) -> None:
    text = (repository / "README.md").read_text()
    example, output = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)[2 * number :][:2]
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == output


def test_the_picture_is_what_the_demo_draws(repository: Path, mklab_command: Path, tmp_path: Path) -> None:
    """`mklab demo --svg docs/pictures/second-kernel.svg` makes it."""
    file = tmp_path / "second-kernel.svg"
    subprocess.run([mklab_command, "demo", "--svg", file], check=True, capture_output=True, env=os.environ)
    assert (repository / "docs" / "pictures" / "second-kernel.svg").read_text() == file.read_text()


def test_every_file_it_names_exists(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    for name in re.findall(r"`((?:labs|mklab|docs|binder)/[\w./]*|[A-Z]+\.md)`", text):
        assert (repository / name).exists(), name


def test_a_picture_that_cannot_be_written(mklab_command: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [mklab_command, "demo", "--svg", tmp_path / "no" / "x.svg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("x.svg: No such file or directory\n")
