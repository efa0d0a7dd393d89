"""Lab 00: its tables, and answers beyond those that every exercise is tried with (test_exercises.py)."""

import pytest

from mklab import Scenario
from mklab.lab import lab00
from mklab.lab.verdict import Outcome, Verdict
from mklab.trace import Eoi, IpiSent, OwnerChange


def check(source: str) -> Verdict:
    return lab00.second_kernel.examine(source)


def test_a_function_that_takes_no_host() -> None:
    verdict = check("def boot_second_kernel():\n    pass")
    assert verdict.outcome is Outcome.NOT_YET
    assert "TypeError" in verdict.happened


def test_a_right_answer_in_other_words_passes() -> None:
    """Loading first is as good, and so is a message that is sent a second time."""
    verdict = check("""
def boot_second_kernel(host):
    host.load(minikernel_image(0x3000000, 1, [3]))
    host.cpu_down(3)
    host.multikernel_kexec(3)
    host.settle()
    host.multikernel_send_ipi_data(3, b"hello")
    host.settle()
    host.multikernel_send_ipi_data(3, b"hello")
""")
    assert verdict.passed, repr(verdict)


def test_an_answer_reaches_the_host_only() -> None:
    verdict = check("def boot_second_kernel(host):\n    host.machine.poke(0, b'x')")
    assert "host offers no 'machine'" in verdict.happened


@pytest.fixture(scope="module")
def run() -> Scenario:
    scenario = Scenario()
    scenario.run()
    return scenario


def test_owners_are_those_of_the_trace(run: Scenario) -> None:
    rows = [line.split() for line in lab00.owners(run.recording, 2, run.booted).splitlines()[1:]]
    jump = [event for event in run.machine.trace.of(OwnerChange) if event.cpu == 2 and event.owner == "kernel 1"]
    init = [event for event in run.machine.trace.of(OwnerChange) if event.cpu == 2 and event.owner is None]
    assert [row[1] for row in rows] == ["host", "nobody", "nobody", "nobody", "nobody", "kernel"]
    assert [row[2] for row in rows[1:5]] == ["real", "real", "protected", "long"]
    assert rows[1][0] == f"{init[-1].time:,}"
    assert rows[5][0] == f"{jump[0].time:,}"


def test_message_steps_are_those_of_the_trace(run: Scenario) -> None:
    lines = lab00.message_steps(run.recording, 0).splitlines()
    sent = next(event for event in run.machine.trace.of(IpiSent) if event.vector == 0xEA)
    eoi = next(event for event in run.machine.trace.of(Eoi) if event.vector == 0xEA)
    words = ["slot", "ICR", "IRR", "handler", "find 'ping'", "EOI"]
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))
    assert lines[1].split()[0] == f"{sent.time:,}"
    assert lines[-1].split()[0] == f"{eoi.time:,}"


def test_a_message_that_does_not_exist(run: Scenario) -> None:
    with pytest.raises(ValueError, match=r"^number must be 0 to 1, not 2$"):
        lab00.message_steps(run.recording, 2)
