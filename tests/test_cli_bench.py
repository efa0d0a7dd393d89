"""``mklab bench`` as it is used: a table, JSON, and refusals. Rounds are few; the figures are not looked at."""

import json

import pytest
from click.testing import CliRunner

from mklab.cli import main
from mklab.lab.bench import GROUPS, execution, machines


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rounds in (("_STORES", 2_000), ("_SORTS", 1), ("_BLOCKS", 1), ("_CPU_STORES", 50), ("_IPIS", 5)):
        monkeypatch.setattr(execution, name, rounds)
    monkeypatch.setattr(machines, "_LONG", 100_000)
    monkeypatch.setattr(machines, "_MILLION", 10_000)
    monkeypatch.setattr(machines, "_EXPERIMENT", "ring-publish-before-fill")


def bench(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["bench", "--pairs", "1", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_each_group_measures_something(group: str) -> None:
    code, out, err = bench("--json", group)
    assert (code, err) == (0, f"measuring: {group}\n")
    rows = json.loads(out)["rows"]
    assert rows
    assert all(row["value"] != 0 and row["what"] for row in rows)


def test_every_row_has_an_id_of_its_own() -> None:
    code, out, _ = bench("--json", *GROUPS)
    ids = [row["id"] for row in json.loads(out)["rows"]]
    assert (code, len(ids)) == (0, len(set(ids)))


def test_a_group_that_is_none() -> None:
    code, _, err = bench("speeed")
    assert code == 2
    assert "speeed is none of speed, " in err


def test_without_qemu_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    code, out, err = bench("--json", "qemu")
    assert (code, json.loads(out)["rows"]) == (0, [])
    assert "qemu-system-x86_64 is not installed" in err
