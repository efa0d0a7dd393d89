"""``mklab exercises``: the exercises of the course."""

import json

import click

__all__ = ["exercises"]


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def exercises(as_json: bool) -> None:
    """List the exercises: id, lab, kind, and how many wrong answers are known to each."""
    from mklab.errors import MklabError

    try:
        from mklab.lab import exercises as course
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed: run `make setup`, or install mklab[lab]") from error
    try:
        found = list(course.every())
    except MklabError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        rows = [
            {"id": one.id, "lab": one.lab, "kind": one.kind, "mistakes": len(one.mistakes), "title": one.title}
            for one in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"{'id':<6}{'kind':<12}{'mistakes':>8}  title")
    for one in found:
        click.echo(f"{one.id:<6}{one.kind:<12}{len(one.mistakes):>8}  {one.title}")
    click.echo(f"{len(found)} exercises, {sum(len(one.mistakes) for one in found)} known mistakes")
