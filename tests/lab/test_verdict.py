"""Verdicts: the same in words and as HTML, and there and back as plain data."""

from html.parser import HTMLParser

import pytest

from mklab.lab.verdict import Outcome, Verdict


def test_a_passed_check_does_not_claim_that_the_answer_is_correct() -> None:
    text = repr(Verdict(Outcome.PASSED, "It is four.", exercise="99.1"))
    assert text.splitlines()[0] == "Exercise 99.1: passed the checks"
    assert "correct" not in text


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
    reader.feed(Verdict(outcome, "<script>alert(1)</script>", "a & b", "<img>", exercise="99.1")._repr_html_())
    assert reader.tags == {"div", "p", "b"}
    for text in (str(outcome), "<script>alert(1)</script>", "a & b", "<img>", "Exercise 99.1"):
        assert text in reader.text


def test_expected_and_got_stand_side_by_side() -> None:
    verdict = Verdict(Outcome.NOT_YET, "It differs.", expected="0x96", got="0x9600")
    assert repr(verdict).splitlines()[2:] == ["  Expected: 0x96", "  Got: 0x9600"]
    assert '<code style="white-space:pre-wrap">0x9600</code>' in verdict._repr_html_()


@pytest.mark.parametrize("outcome", Outcome)
def test_there_and_back_as_plain_data(outcome: Outcome) -> None:
    verdict = Verdict(outcome, "a", "b", "c", "d", "e", "99.1", "<svg/>")
    assert Verdict.from_dict(verdict.to_dict()) == verdict


@pytest.mark.parametrize("data", [{}, {"outcome": "perfect", "happened": ""}, {"outcome": "not yet", "score": 5}])
def test_what_is_no_verdict(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"outcome|verdict|perfect"):
        Verdict.from_dict(data)
