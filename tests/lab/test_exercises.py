"""Every exercise of the course: the solution passes, the stub is not attempted, each known mistake gets its message."""

import re
from collections.abc import Iterator

import pytest

from mklab.lab import exercises
from mklab.lab.exercise import Exercise, Mistake
from mklab.lab.forms.assigned import Assigned
from mklab.lab.verdict import Outcome

EVERY = list(exercises.every())
_STRANGE = ("None", "10**400", "float('nan')", "'\\ud800'", "b'x' * 100_000", "[[]]", "{'a': {1: 2}}", "lambda: 1")


def mistakes() -> Iterator[object]:
    for exercise in EVERY:
        for mistake in exercise.mistakes:
            yield pytest.param(exercise, mistake, id=f"{exercise.id} {mistake.name}")


@pytest.mark.parametrize("exercise", EVERY, ids=lambda one: one.id)
class TestExercise:
    def test_the_solution_passes(self, exercise: Exercise) -> None:
        verdict = exercise.examine(exercise.solution())
        assert verdict.outcome is Outcome.PASSED, repr(verdict)
        assert verdict.exercise == exercise.id

    def test_the_stub_is_not_attempted_yet(self, exercise: Exercise) -> None:
        verdict = exercise.examine(exercise.stub)
        assert verdict.outcome is Outcome.NOT_ATTEMPTED
        assert "..." in exercise.stub

    def test_other_right_answers_pass(self, exercise: Exercise) -> None:
        for other in exercise.alternatives:
            text = other.apply(exercise.solution()) if isinstance(other, Mistake) else other
            verdict = exercise.examine(text)
            assert verdict.outcome is Outcome.PASSED, repr(verdict)

    def test_it_is_declared_whole(self, exercise: Exercise) -> None:
        names = [mistake.name for mistake in exercise.mistakes]
        least = 2 if exercise.kind == "prediction" else 4
        assert len(set(names)) == len(names) >= least
        assert all(len(mistake.message) >= 8 for mistake in exercise.mistakes)
        assert all(hint.strip() for hint in exercise.hints)
        assert len(set(exercise.hints)) == 3
        assert exercise.title

    def test_other_numbers_have_other_solutions_which_pass(self, exercise: Exercise) -> None:
        if exercise.given is None:
            return
        given = {seed: exercise.given(seed) for seed in range(8)}
        assert len(set(given.values())) > 1, "the seed changes nothing"
        for seed in range(3):
            verdict = exercise.examine(exercise.solution(seed), seed)
            assert verdict.outcome is Outcome.PASSED, (seed, repr(verdict))

    def test_mistakes_on_other_numbers_fail_too(self, exercise: Exercise) -> None:
        """Two seeds for each mistake, other ones for each: there it gets its own message, too.

        On some numbers two mistakes are one, which has the message of either. A wrong value that is the same on all
        numbers may on some of them be right, or be another mistake, which is then told: most are not.
        """
        if exercise.given is None:
            return
        own, right = [], 0
        for number, mistake in enumerate(exercise.mistakes):
            for seed in (1 + 2 * number, 2 + 2 * number):
                solution = exercise.solution(seed)
                answer = mistake.apply(solution)
                if isinstance(mistake, Assigned) and answer == solution:
                    continue
                verdict = exercise.examine(answer, seed)
                assert verdict.outcome in (Outcome.NOT_YET, Outcome.PASSED), (mistake.name, seed, repr(verdict))
                assert verdict.next_step, (mistake.name, seed, repr(verdict))
                if isinstance(mistake, Assigned):
                    own.append(mistake.message in verdict.message)
                    right += verdict.passed
                else:
                    same = [one for one in exercise.mistakes if one.apply(solution) == answer]
                    assert any(one.message in verdict.message for one in same), (mistake.name, seed, repr(verdict))
        assert right <= len(own) / 10, f"{right} of {len(own)} mistakes are none"
        assert 2 * sum(own) >= len(own), f"{sum(own)} of {len(own)} mistakes get their messages"

    def test_what_makes_no_sense_is_no_defect_of_the_check(self, exercise: Exercise) -> None:
        """A value of a type, or a size, that nobody asked for."""
        names = re.findall(r"^(\w+) = \.\.\.$", exercise.stub, re.MULTILINE)
        functions = re.findall(r"^def (\w+)\(", exercise.stub, re.MULTILINE)
        for value in _STRANGE if names or functions else ():
            lines = [f"{name} = {value}" for name in names] + [f"def {name}(*_): return {value}" for name in functions]
            verdict = exercise.examine("\n".join(lines))
            assert verdict.outcome in (Outcome.NOT_YET, Outcome.NOT_ATTEMPTED), (value, repr(verdict))


@pytest.mark.parametrize(("exercise", "mistake"), list(mistakes()))
def test_a_mistake_gets_its_message(exercise: Exercise, mistake: Mistake) -> None:
    verdict = exercise.examine(mistake.apply(exercise.solution()))
    assert verdict.outcome is Outcome.NOT_YET, repr(verdict)
    assert mistake.message in verdict.message, repr(verdict)
    assert verdict.next_step, "a verdict says what to do next"


def test_ids_are_those_of_the_scripts_and_count_up() -> None:
    ids = [exercise.id for exercise in EVERY]
    for lab in exercises.LABS:
        own = [one for one in ids if one.startswith(f"{lab}.")]
        assert own == [f"{lab}.{number}" for number in range(1, len(own) + 1)]
