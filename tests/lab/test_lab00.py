"""Lab 00: the solution passes, the stub is not attempted, each known mistake gets its own message."""

from collections.abc import Callable
from typing import Any

import pytest

from mklab import Host, Scenario, minikernel_image
from mklab.lab import lab00
from mklab.lab.exercise import Exercise, Mistake, Outcome, Verdict
from mklab.trace import Eoi, IpiSent, OwnerChange

EXERCISE = lab00.second_kernel


def defined(source: str) -> Callable[..., Any]:
    """What the answer's cell defines, in a notebook whose first cell was run."""
    namespace: dict[str, Any] = {"Host": Host, "minikernel_image": minikernel_image}
    exec(source, namespace)
    function: Callable[..., Any] = namespace["boot_second_kernel"]
    return function


def check(source: str) -> Verdict:
    return EXERCISE.check(defined(source))


def test_the_solution_passes() -> None:
    verdict = check(EXERCISE.solution)
    assert verdict.outcome is Outcome.PASSED, repr(verdict)


def test_the_stub_is_not_attempted_yet() -> None:
    assert "..." in EXERCISE.stub
    assert "cpu_down" not in EXERCISE.stub
    assert check(EXERCISE.stub).outcome is Outcome.NOT_ATTEMPTED


@pytest.mark.parametrize("mistake", EXERCISE.mistakes, ids=lambda mistake: mistake.name)
def test_a_mistake_gets_its_message(mistake: Mistake) -> None:
    verdict = check(mistake.apply(EXERCISE.solution))
    assert verdict.outcome in (Outcome.NOT_YET, Outcome.NOT_CHECKED)
    assert mistake.message in verdict.happened + verdict.next_step
    assert verdict.next_step, "a verdict says what to do next"


def test_each_mistake_has_a_message_of_its_own() -> None:
    names = [mistake.name for mistake in EXERCISE.mistakes]
    assert len(set(names)) == len(names) >= 4
    # Three ways to load into the host's memory, or not at all, are one mistake each to us.
    messages = {mistake.message for mistake in EXERCISE.mistakes}
    assert len(messages) >= len(names) - 1


@pytest.mark.parametrize("answer", [None, 5, ..., "boot_second_kernel"])
def test_what_is_no_function_cannot_be_checked(answer: object) -> None:
    assert EXERCISE.check(answer).outcome is Outcome.NOT_CHECKED


def test_a_function_that_takes_no_host() -> None:
    verdict = EXERCISE.check(lambda: None)
    assert verdict.outcome is Outcome.NOT_YET
    assert "TypeError" in verdict.happened


def test_a_right_answer_in_other_words_passes() -> None:
    """Loading first is as good, and so is a message that is sent a second time."""

    def answer(host: Host) -> None:
        host.load(minikernel_image(0x3000000, 1, [3]))
        host.cpu_down(3)
        host.multikernel_kexec(3)
        host.settle()
        host.multikernel_send_ipi_data(3, b"hello")
        host.settle()
        host.multikernel_send_ipi_data(3, b"hello")

    assert EXERCISE.check(answer).passed


def test_an_endless_guest_ends_the_check() -> None:
    def answer(host: Host) -> None:
        host.machine.poke(host.symbol("asm_sysvec_multikernel"), b"\xeb\xfe")
        host.multikernel_send_ipi_data(1, b"hello")

    verdict = EXERCISE.check(answer)
    assert verdict.outcome is Outcome.NOT_YET
    assert "still running" in verdict.happened


def test_each_check_has_a_machine_of_its_own() -> None:
    hosts = []
    EXERCISE.check(lambda host: hosts.append(host))
    EXERCISE.check(lambda host: hosts.append(host))
    assert hosts[0].machine is not hosts[1].machine
    assert hosts[0].machine.trace.sha256 == hosts[1].machine.trace.sha256


def test_the_exercise_is_declared_whole() -> None:
    assert isinstance(EXERCISE, Exercise)
    assert (EXERCISE.id, EXERCISE.kind) == ("00.1", "python")
    assert all(EXERCISE.hints)


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
