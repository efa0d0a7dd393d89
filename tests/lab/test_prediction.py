"""Predictions: every option has a reason, and exactly one is right."""

from html.parser import HTMLParser

import pytest

from mklab.lab.prediction import Option, Prediction

RIGHT, WRONG = Option("four <b>", "It is.", right=True), Option("five", "Close.")


@pytest.mark.parametrize("options", [(RIGHT,), (WRONG, WRONG), (RIGHT, RIGHT), ()])
def test_exactly_one_is_right(options: tuple[Option, ...]) -> None:
    with pytest.raises(ValueError, match=r"^options must be two or more, one of them right, not \d of \d$"):
        Prediction("2 + 2?", options)


def test_an_option_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'five', not ' '$"):
        Option("five", " ")


def test_text_shows_no_reason_and_not_which_is_right() -> None:
    assert repr(Prediction("2 + 2?", (WRONG, RIGHT))) == "2 + 2?\n  A. five\n  B. four <b>"


def test_each_option_opens_on_its_own_reason() -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.said: dict[str, str] = {}

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.open.append(tag)
            if tag == "details":
                assert "open" not in dict(attrs)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            if "summary" in self.open:
                self.said[data] = ""
            elif "details" in self.open:
                self.said[list(self.said)[-1]] += data

    reader = Reader()
    reader.feed(Prediction("2 + 2?", (WRONG, RIGHT))._repr_html_())
    assert reader.open == []
    assert reader.said == {
        "A. five": "This is not what happens. Close.",
        "B. four <b>": "Yes, this is what happens. It is.",
    }
