"""What a grading gives: a table for spreadsheets, and a page for each student, in which no text of a student acts."""

import base64
import csv
import html
import io
import os
import re
import zlib
from pathlib import Path

from mklab.lab.grading.grade import Grades, Row
from mklab.lab.verdict import MARKS, Outcome

__all__ = ["COLUMNS", "page", "page_name", "printable", "table", "write"]

COLUMNS = ("student", "exercise", "outcome", "points", "reason", "note", "notebook", "seconds")
_LONGEST_REASON = 1000
_LONGEST_ANSWER = 20_000
_FORMULA = ("=", "+", "-", "@")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .2em .8em .2em 0; text-align: left; vertical-align: top }
section { border-left: 4px solid; padding: .1em 1em; margin: 1.5em 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere } img { max-width: 100% }
"""
# Nothing is loaded, and nothing runs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def printable(text: str, limit: int = _LONGEST_REASON) -> str:
    """A text on one line, without anything that a terminal or a spreadsheet would carry out."""
    line = " ".join(text.split())
    line = line if len(line) <= limit else f"{line[:limit]} ..."
    line = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in line)
    return f"'{line}" if line.startswith(_FORMULA) else line


def table(grades: Grades) -> str:
    """The grades as CSV: a row for each student and exercise."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for student in grades.students:
        for row in grades.of(student):
            line = row.line
            points = int(row.outcome is Outcome.PASSED)
            told = (student, line.exercise.id, row.outcome, points, _reason(row), row.note, line.notebook)
            lines.writerow([*(printable(str(one)) for one in told), f"{row.examined.seconds:.2f}"])
    return text.getvalue()


def _reason(row: Row) -> str:
    verdict = row.examined.verdict
    parts = [("", verdict.happened), ("Expected: ", verdict.expected), ("Got: ", verdict.got), ("At: ", verdict.where)]
    return " ".join(f"{name}{text}" for name, text in parts if text)


def page_name(student: str) -> str:
    """The name of a student's page: any name becomes one that every system can have, and no two the same."""
    plain = re.sub(r"[^\w.@+ -]", "_", student).strip(". ")[:80]
    whole = plain and plain == student and plain.isascii()
    own = "" if whole else f"-{zlib.crc32(student.encode('utf-8', 'replace')):08x}"
    return f"{plain or 'page'}{own}.html"


def page(grades: Grades, student: str) -> str:
    """The page of a student: every verdict, with the answer that got it."""
    rows = grades.of(student)
    passed = sum(row.outcome is Outcome.PASSED for row in rows)
    name = _text(student)
    overview = "".join(
        f'<tr><td><a href="#e{row.line.exercise.id}">{row.line.exercise.id}</a></td>'
        f"<td>{html.escape(row.line.exercise.title)}</td><td>{MARKS[row.outcome]} {row.outcome}</td></tr>"
        for row in rows
    )
    heads = "".join(f'<th scope="col">{one}</th>' for one in ("number", "exercise", "outcome"))
    problems = "".join(f"<li>{_text(one)}</li>" for one in grades.problems.get(student, ()))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{name}</h1><p>{passed} of {len(rows)} exercises {Outcome.PASSED}.</p>"
        + (f"<h2>What could not be read</h2><ul>{problems}</ul>" if problems else "")
        + f"<table><tr>{heads}</tr>{overview}</table>"
        + "".join(_section(row) for row in rows)
        + "</main></body></html>\n"
    )


def _section(row: Row) -> str:
    verdict, line = row.examined.verdict, row.line
    parts = [("What happened", verdict.happened), ("Where", verdict.where), ("What to do next", verdict.next_step)]
    words = "".join(f"<p><b>{name}.</b> {_text(text)}</p>" for name, text in parts if text)
    for name, text in (("Expected", verdict.expected), ("Got", verdict.got)):
        words += f"<p><b>{name}.</b></p><pre>{_text(text)}</pre>" if text else ""
    if verdict.picture:
        # As an image it can run nothing, whatever it holds.
        data = base64.b64encode(verdict.picture.encode("utf-8", "replace")).decode()
        words += f'<p><img alt="what the machine did" src="data:image/svg+xml;base64,{data}"></p>'
    words += f"<p><b>Note.</b> {_text(row.note)}</p>" if row.note else ""
    if line.text:
        place = f" in {_text(line.notebook)}" if line.notebook else ""
        words += (
            f"<details><summary>The answer{place}</summary><pre>{_text(line.text[:_LONGEST_ANSWER])}</pre></details>"
        )
    title = f"{MARKS[row.outcome]} {line.exercise.id} {html.escape(line.exercise.title)}: {row.outcome}"
    return f'<section id="e{line.exercise.id}"><h2>{title}</h2>{words}</section>'


def _text(text: str) -> str:
    """A text for a page, its lines kept; what has no picture is written out."""
    return html.escape("".join(one if one.isprintable() or one in "\n\t" else f"\\x{ord(one):02x}" for one in text))


def write(path: Path, text: str) -> None:
    """Write a file: beside it first, so that what is there is always whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    beside.replace(path)
