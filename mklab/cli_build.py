"""``mklab build``: the notebooks of the labs, from their scripts."""

import click

__all__ = ["build"]


@click.command
@click.option(
    "--check", is_flag=True, help="Write nothing; exit with status 1 if a notebook is not as its script has it."
)
def build(check: bool) -> None:
    """Build the student and solution notebooks from the scripts in labs/src."""
    from mklab.errors import MklabError

    try:
        from mklab.lab import build as building
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed: run `make setup`, or install mklab[lab]") from error
    try:
        changed = building.build(check)
    except MklabError as error:
        raise click.ClickException(str(error)) from error
    for path in changed:
        click.echo(f"{'differs from its script' if check else 'written'}: {path.name} in {path.parent.name}")
    if check and changed:
        raise click.ClickException("run `mklab build`, look at the difference, and commit both")
    if not changed:
        click.echo("every notebook is as its script has it")
