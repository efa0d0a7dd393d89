"""`mklab explore`."""

import json

from click.testing import CliRunner

from mklab.cli import main
from mklab.lab.interleavings import EXPERIMENTS


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["explore", *arguments])
    return done.exit_code, done.output


def test_the_list() -> None:
    status, text = run()
    assert status == 0
    for name in EXPERIMENTS:
        assert f"{name}: " in text
    status, text = run("--json")
    assert list(json.loads(text)) == list(EXPERIMENTS)


def test_a_violation() -> None:
    status, text = run("two-kicks")
    assert status == 1
    assert "CPU 1 was kicked for kernel 1 and runs kernel 2" in text
    assert "  CPU 0: multikernel_kexec: mailbox" in text


def test_what_holds_as_json() -> None:
    status, text = run("mailbox", "--depth", "5", "--json")
    data = json.loads(text)
    assert status == 0
    assert (data["scenario"], data["holds"], data["counterexample"]) == ("mailbox", True, None)
    assert data["coverage"]["depth"] == data["coverage"]["bound"] == 5
    assert not data["coverage"]["complete"]
    assert "every interleaving of up to 5 visible operations" in data["coverage"]["statement"]


def test_a_scenario_that_there_is_not() -> None:
    status, text = run("nothing")
    assert status == 2
    assert "must be one of mailbox, " in text
