"""Every observation is accounted for: shown by a test of this folder, or listed in docs/fidelity.md with the reason."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.observed.reference import OBSERVED

_CANNOT = "## Observations that cannot show here"
_PARTLY = "### Observations that show but for a part"
_LISTED = "tests.observed.listing"


@pytest.fixture(scope="module")
def shown(repository: Path) -> dict[str, set[str]]:
    """Each observation, and the test functions that say they show it; as pytest itself collects them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", _LISTED, "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "tests/observed"], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for name, test in re.findall(r"^observed (\S+) (\S+)$", done.stdout, re.MULTILINE):
        found.setdefault(name, set()).add(test)
    return found


def rows(repository: Path, heading: str) -> dict[str, list[str]]:
    """The rows of the first table below ``heading``, by id."""
    document = (repository / "docs" / "fidelity.md").read_text()
    assert document.count(f"\n{heading}\n") == 1
    table = re.search(r"((?:^\|.*\n)+)", document.split(f"\n{heading}\n")[1], re.MULTILINE)
    assert table is not None
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()[2:]]
    names = [row[0].strip("`") for row in cells]
    assert len(set(names)) == len(names)
    return {name: row[1:] for name, row in zip(names, cells, strict=True)}


def test_there_are_115() -> None:
    assert len(OBSERVED) == 115


def test_each_is_shown_or_listed_and_none_is_both(shown: dict[str, set[str]], repository: Path) -> None:
    cannot = rows(repository, _CANNOT)
    assert set(OBSERVED) - set(shown) - set(cannot) == set(), "neither shown nor listed"
    assert set(shown) & set(cannot) == set(), "shown and listed as what cannot be"
    assert (set(shown) | set(cannot)) - set(OBSERVED) == set(), "nobody has observed that"
    assert all(len(row) == 2 and all(row) for row in cannot.values()), "what was observed, and why it cannot show here"


def test_each_is_shown_by_one_test(shown: dict[str, set[str]]) -> None:
    assert {name: tests for name, tests in shown.items() if len(tests) != 1} == {}


def test_enough_are_shown(shown: dict[str, set[str]]) -> None:
    assert len(shown) >= 70


def test_what_shows_in_part_is_shown(shown: dict[str, set[str]], repository: Path) -> None:
    assert set(rows(repository, _PARTLY)) <= set(shown)
