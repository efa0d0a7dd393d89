"""The table and the pages say what was found, and nothing that a student wrote does anything in them."""

import csv
import io
from html.parser import HTMLParser

import pytest

from mklab.lab import exercises
from mklab.lab.grading.examination import Examined
from mklab.lab.grading.grade import Grades, Row
from mklab.lab.grading.plan import Line
from mklab.lab.grading.report import COLUMNS, page, page_name, printable, table
from mklab.lab.verdict import Outcome, Verdict

EVIL = "<script>alert(1)</script>\x1b[2J\u202e=1+1"


def grades(student: str, verdict: Verdict, **more: str) -> Grades:
    exercise = exercises.find("00.1")
    found = Grades([exercise], [student, "zz nobody"])
    found.add(Row(Line(student, exercise, **more), Examined(verdict, 1.25)))  # type: ignore[arg-type]
    return found


class Tags(HTMLParser):
    """Every tag and attribute of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_row_for_each_student_and_exercise() -> None:
    verdict = Verdict(Outcome.NOT_YET, "It\nfails.", "line 3", "Look.", "1", "2", "00.1")
    lines = list(csv.reader(io.StringIO(table(grades("ada", verdict, notebook="ada/1.ipynb", note="Twice.")))))
    assert lines == [
        list(COLUMNS),
        ["ada", "00.1", "not yet", "0", "It fails. Expected: 1 Got: 2 At: line 3", "Twice.", "ada/1.ipynb", "1.25"],
    ]
    assert '"passed the checks",1' in table(grades("a", Verdict(Outcome.PASSED, "x"))).replace(
        "passed the checks,1", '"passed the checks",1'
    )


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1", " =1"])
def test_no_formula(name: str) -> None:
    (_, row) = csv.reader(io.StringIO(table(grades(name, Verdict(Outcome.PASSED, name), notebook=name))))
    assert all(cell[:2] in ("'=", "'+", "'-", "'@") for cell in (row[0], row[4], row[6]))


def test_no_escape_sequences_and_no_endless_lines() -> None:
    assert printable("a\x1b[2J\u202eb\r\nc\ud800") == "a\\x1b[2J\\x202eb c\\xd800"
    assert len(printable("x" * 5000)) < 1010
    table(grades("a\ud800", Verdict(Outcome.PASSED, "\ud800"))).encode()


def test_a_page_says_all_and_runs_nothing() -> None:
    verdict = Verdict(Outcome.NOT_YET, EVIL, EVIL, EVIL, EVIL, EVIL, "00.1", f"<svg onload='alert(1)'>{EVIL}</svg>")
    found = grades(EVIL, verdict, text=EVIL, note=EVIL, notebook=EVIL)
    found.problems[EVIL] = (EVIL,)
    text = page(found, EVIL)
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.tags
    assert "svg" not in tags.tags
    assert not any(name.startswith("on") for name in tags.attributes)
    assert "default-src 'none'" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    for words in (
        "0 of 1 exercises passed the checks",
        exercises.find("00.1").title,
        "What happened",
        "Expected",
        "Got",
    ):
        assert words in tags.text
    assert tags.text.count("alert(1)") >= 9
    assert tags.tags.count("img") == 1


def test_pages_have_names_of_their_own() -> None:
    names = ["ada", "Ada", "ada/..", "..", "", "\xe9", "e\u0301", "x" * 250, "x" * 249 + "y", "con?", "con*", "a\ud800"]
    pages = [page_name(name) for name in names]
    assert len({one.casefold() for one in pages[1:]}) == len(pages) - 1
    assert pages[0] == "ada.html"
    assert all(one.isprintable() and "/" not in one and len(one.encode()) < 200 for one in pages)
    assert not any(one.startswith(".") for one in pages)
