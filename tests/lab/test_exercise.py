"""Exercises: a verdict comes back, whatever the answer does."""

import linecache
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from mklab.lab.exercise import Exercise, LimitedRoundRobin, Mistake, Outcome, OutOfSlicesError, Verdict, attempt


def exercise(judge: Callable[[object], Verdict]) -> Exercise:
    return Exercise("99.1", "test", "python", judge, ("look", "rule", "shape"), ())


def raising(error: BaseException) -> Callable[[object], Verdict]:
    def judge(answer: object) -> Verdict:
        raise error

    return judge


def test_check_names_the_exercise_and_passes_the_answer_on() -> None:
    asked = []

    def judge(answer: object) -> Verdict:
        asked.append(answer)
        return Verdict(Outcome.PASSED, "It is four.")

    verdict = exercise(judge).check(4)
    assert asked == [4]
    assert verdict.passed
    assert verdict.exercise == "99.1"


def test_a_passed_check_does_not_claim_that_the_answer_is_correct() -> None:
    text = repr(Verdict(Outcome.PASSED, "It is four.", exercise="99.1"))
    assert text.splitlines()[0] == "Exercise 99.1: passed the checks"
    assert "correct" not in text


def test_an_interrupt_ends_the_check_with_a_verdict() -> None:
    verdict = exercise(raising(KeyboardInterrupt())).check(None)
    assert verdict.outcome is Outcome.NOT_CHECKED
    assert "interrupted" in verdict.happened


def test_a_defect_of_the_check_is_not_laid_on_the_student() -> None:
    verdict = exercise(raising(ZeroDivisionError("by zero"))).check(None)
    assert verdict.outcome is Outcome.NOT_CHECKED
    assert "ZeroDivisionError: by zero" in verdict.happened
    assert "not yours" in verdict.next_step


def test_verdict_as_text_leaves_empty_parts_out() -> None:
    verdict = Verdict(Outcome.NOT_YET, "It stopped.", next_step="Go on.", exercise="99.1")
    assert repr(verdict) == "Exercise 99.1: not yet\n  What happened: It stopped.\n  What to do next: Go on."


@pytest.mark.parametrize("outcome", Outcome)
def test_verdict_as_html_says_the_same_and_escapes(outcome: Outcome) -> None:
    """The parser is the oracle: what it reads is what was said, and nothing of it became a tag."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: set[str] = set()
            self.text = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.add(tag)

        def handle_data(self, data: str) -> None:
            self.text += data

    reader = Reader()
    reader.feed(Verdict(outcome, "<script>alert(1)</script>", "a & b", "<img>", "99.1")._repr_html_())
    assert reader.tags == {"div", "p", "b"}
    for text in (str(outcome), "<script>alert(1)</script>", "a & b", "<img>", "Exercise 99.1"):
        assert text in reader.text


def test_hints() -> None:
    one = exercise(raising(ValueError()))
    assert [repr(one.hint(level)) for level in (1, 2, 3)] == [
        "Hint 1 of 3: look",
        "Hint 2 of 3: rule",
        "Hint 3 of 3: shape",
    ]
    with pytest.raises(ValueError, match=r"^level must be 1, 2 or 3, not 4$"):
        one.hint(4)


def test_mistake_changes_the_solution() -> None:
    assert Mistake("swapped", (("a", "x"), ("b", "y")), "").apply("a b c") == "x y c"


@pytest.mark.parametrize("solution", ["b", "a a"])
def test_mistake_must_fit_the_solution(solution: str) -> None:
    with pytest.raises(ValueError, match=r"must hold 'a' once, not \d times"):
        Mistake("stale", (("a", "x"),), "").apply(solution)


def define(source: str) -> Callable[..., object]:
    """The function ``f`` of a cell; its source is known to linecache, as IPython makes it."""
    name = f"<cell {hash(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Callable[..., object]] = {}
    exec(compile(source, name, "exec"), namespace)
    return namespace["f"]


def test_attempt_finds_the_line_of_the_student_not_of_the_library() -> None:
    tried = attempt(define("import json\ndef f():\n    x = 1\n    json.loads('{')\n"))
    assert isinstance(tried.error, ValueError)
    assert tried.line == "line 4 of your cell: json.loads('{')"


@pytest.mark.parametrize("body", ["exit(3)", "raise SystemExit", "raise RuntimeError", "f()"])
def test_attempt_catches(body: str) -> None:
    assert attempt(define(f"def f():\n    {body}\n")).error is not None


def test_attempt_of_a_function_with_other_arguments_has_no_line() -> None:
    tried = attempt(define("def f(): pass\n"), "host")
    assert isinstance(tried.error, TypeError)
    assert tried.line == ""


def test_attempt_lets_an_interrupt_pass() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(define("def f():\n    raise KeyboardInterrupt\n"))


def test_limit_counts_slices() -> None:
    schedule = LimitedRoundRobin(2)
    assert [schedule.choose([0, 2])[0] for _ in range(2)] == [0, 2]
    with pytest.raises(OutOfSlicesError):
        schedule.choose([0, 2])
