"""``mklab exercises``: the exercises of the course."""

import json

import click

__all__ = ["exercises"]


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.option("--mutants", is_flag=True, help="Examine mutants of the solutions, and say how many are rejected.")
@click.option("--most", type=click.IntRange(1), help="With --mutants: how many of each exercise.  [default: 40]")
@click.argument("ids", nargs=-1, metavar="[EXERCISE]...")
def exercises(as_json: bool, mutants: bool, most: int | None, ids: tuple[str, ...]) -> None:
    """List the exercises, or those named: id, lab, kind, and how many wrong answers are known to each.

    A mutant is a solution with one change that a program has made: a constant, a line, an order, an operator. With
    --mutants it takes minutes, and exits with status 1 if fewer than 95 of 100 that change something are rejected.
    """
    from mklab.errors import MklabError

    try:
        from mklab.lab import exercises as course
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed: run `make setup`, or install mklab[lab]") from error
    try:
        found = [course.find(one) for one in ids] or list(course.every())
    except MklabError as error:
        raise click.ClickException(str(error)) from error
    if mutants:
        _show_mutants([one.id for one in found], most, as_json)
        return
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


def _show_mutants(ids: list[str], most: int | None, as_json: bool) -> None:
    from mklab.lab.mutants import trial

    tallies = []
    if not as_json:
        click.echo(f"{'id':<6}{'made':>6}{'examined':>10}{'rejected':>10}{'equivalent':>12}{'escaped':>9}")
    for one in trial.run(ids, most or trial.MOST):
        tallies.append(one)
        if not as_json:
            row = f"{one.exercise:<6}{one.made:>6}{len(one.fates):>10}{one.rejected:>10}{one.equivalent:>12}"
            click.echo(f"{row}{len(one.escaped):>9}")
            for fate in one.escaped:
                click.echo(f"      passes: {fate.mutant}")
    if as_json:
        click.echo(json.dumps([trial.to_dict(one) for one in tallies], indent=2))
    else:
        click.echo(trial.summary(tallies))
    if trial.rate(tallies) < trial.LEAST:
        raise SystemExit(1)
