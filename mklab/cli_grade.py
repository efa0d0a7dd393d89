"""``mklab grade``: a folder of notebooks, graded."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from mklab.lab.grading.grade import Grades

__all__ = ["grade"]

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--csv", "table", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Write them here.")
@click.option("--pages", type=_FOLDER, help="Write a page for each student into this folder.")
@click.option("--checks", type=_FOLDER, help="Hidden checks and seeds, which you keep elsewhere.")
@click.option(
    "--jobs", type=click.IntRange(1, 1024), help="Answers examined at a time; default: as many as processors."
)
@click.option(
    "--dask",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="here",
    help="Let the workers of a Dask cluster examine: its scheduler's address; without one, processes of this computer.",
)
@click.option("--lab", "labs", multiple=True, metavar="NN", help="This lab only, can be repeated; default: all found.")
@click.option("--seed", type=click.IntRange(0), help="Grade all on the numbers of this seed; 0: those without a name.")
@click.option("--trust-names", is_flag=True, help="A student is who the notebook says.")
def grade(
    folder: Path,
    table: Path,
    pages: Path | None,
    checks: Path | None,
    jobs: int | None,
    dask: str | None,
    labs: tuple[str, ...],
    seed: int | None,
    trust_names: bool,
) -> None:
    """Grade the notebooks in DIR: one, or a folder of them, for each student.

    Answers are taken out of the notebooks and examined, each in a process of its own with limits; nothing else in a
    notebook counts, and nothing of it runs. Ctrl-C keeps what is graded so far. docs/grading.md says more.

    Exit status: 0 if every answer got a verdict, 1 if some could not be checked or Ctrl-C ended it.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mklab.errors import MklabError
    from mklab.lab.grading import grade as grading
    from mklab.lab.grading import report

    begun = time.monotonic()
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        if pages is not None:
            pages.mkdir(parents=True, exist_ok=True)
        # Whether it can be written is told now, not after an hour.
        report.write(table.with_name(f"{table.name}.new"), "")
        table.with_name(f"{table.name}.new").unlink()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            saved = [time.monotonic()]

            def graded(grades: "Grades", student: str) -> None:
                if pages is not None:
                    report.write(pages / report.page_name(student), report.page(grades, student))
                if time.monotonic() > saved[0] + 5:
                    report.write(table, report.table(grades))
                    saved[0] = time.monotonic()

            grades = grading.grade(
                folder,
                checks=checks,
                labs=labs,
                jobs=jobs or os.cpu_count() or 1,
                dask=dask,
                seed=seed,
                trust_names=trust_names,
                told=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
                graded=graded,
            )
        report.write(table, report.table(grades))
    except MklabError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    _show(Console(), grades, time.monotonic() - begun)
    if grades.interrupted or any(row.outcome == "could not be checked" for row in grades.rows.values()):
        raise SystemExit(1)


def _show(console: "Console", grades: "Grades", seconds: float) -> None:
    """A summary: by exercise, and what an instructor should look at."""
    from rich.table import Table

    from mklab.lab.grading.report import printable
    from mklab.lab.verdict import Outcome

    table = Table("exercise", "", *Outcome)
    for exercise in grades.exercises:
        rows = [grades.rows[name, exercise.id] for name in grades.students if (name, exercise.id) in grades.rows]
        count = Counter(row.outcome for row in rows)
        table.add_row(exercise.id, exercise.title, *(str(count[one]) for one in Outcome))
    console.print(table)
    done = sum(grades.is_complete(student) for student in grades.students) if grades.exercises else 0

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    if grades.interrupted:
        say(f"Interrupted: {len(grades.rows)} of {grades.expected} answers graded; the table holds these.")
    say(f"{done} of {len(grades.students)} students graded in {seconds:.0f} s.")
    for student, problems in grades.problems.items():
        for one in problems[:3]:
            say(f"{printable(student, 80)}: {printable(one, 200)}")
    for name in grades.others:
        say(f"No submission, left alone: {printable(name, 80)}")
    unnamed = sum("without a name" in row.note for row in grades.rows.values())
    if unnamed:
        say(
            f"{unnamed} answers would pass with the numbers of a notebook in which no name was given: if the class gave"
            " none, grade it with --seed 0."
        )
    if grades.missing:
        say(f"Could not be limited where answers ran: {', '.join(sorted(grades.missing))}. See docs/grading.md.")
