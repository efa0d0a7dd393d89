"""``mklab defect``: the defects of RFC v1, shown one by one on a machine."""

import json

import click

__all__ = ["defect"]


@click.command
@click.argument("number", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def defect(number: int | None, as_json: bool) -> None:
    """Show defect NUMBER of version 1 of the RFC on a machine; without NUMBER, list all of them.

    Exit status: 0 if it was reproduced or cannot show on this machine, 1 if a scenario did not show it, 2 for a number
    that no defect has.
    """
    from rich.console import Console

    from mklab.errors import MklabError
    from mklab.lab.defects import DEFECTS
    from mklab.lab.defects.telling import describe, tell, tell_all, verdict

    if number is None:
        if as_json:
            click.echo(json.dumps([describe(one) for one in DEFECTS], indent=2))
        else:
            tell_all(DEFECTS, Console())
        return
    chosen = next((one for one in DEFECTS if one.number == number), None)
    if chosen is None:
        raise click.BadParameter(f"must be {DEFECTS[0].number} to {DEFECTS[-1].number}, not {number}")
    try:
        findings = chosen.run() if chosen.run is not None else []
    except MklabError as error:
        raise click.ClickException(f"the scenario of defect {number} ended early: {error}") from error
    if as_json:
        click.echo(json.dumps(describe(chosen, findings), indent=2))
    else:
        tell(chosen, findings, Console())
    if verdict(chosen, findings) == "not reproduced":
        raise SystemExit(1)
