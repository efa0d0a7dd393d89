"""``mklab explore``: every interleaving of a scenario, looked through for what must not happen."""

import json

import click

__all__ = ["explore"]


@click.command
@click.argument("scenario", required=False)
@click.option("--depth", type=click.IntRange(0), help="Visible operations of an interleaving at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--processes", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that share the work."
)
@click.option("--dask", metavar="ADDRESS", help="Let the workers of a Dask cluster share it: its scheduler's address.")
def explore(scenario: str | None, depth: int | None, as_json: bool, processes: int, dask: str | None) -> None:
    """Look through every interleaving of SCENARIO; without SCENARIO, list all of them.

    A violation is printed with a shortest way to it. Ctrl-C keeps what was found until then.

    Exit status: 0 if what is to hold holds in what was covered, 1 if it was violated, 2 for a scenario that there is
    not.
    """
    from rich.console import Console

    from mklab.errors import MklabError
    from mklab.lab.interleavings import EXPERIMENTS
    from mklab.timeline.explore import explore as look_through

    console = Console()
    if scenario is None:
        about = {name: (function.__doc__ or "").strip() for name, function in EXPERIMENTS.items()}
        if as_json:
            click.echo(json.dumps(about, indent=2))
        else:
            for name, text in about.items():
                console.print(f"[bold]{name}[/bold]: {text}", soft_wrap=True, highlight=False)
        return
    if scenario not in EXPERIMENTS:
        raise click.BadParameter(f"must be one of {', '.join(EXPERIMENTS)}, not {scenario}", param_hint="'SCENARIO'")
    function = EXPERIMENTS[scenario]
    factory = f"{function.__module__}:{function.__name__}"
    drawn = Console(stderr=True).is_terminal
    try:
        result = look_through(factory, depth=depth, processes=processes, dask=dask, progress=drawn)
    except MklabError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"scenario": scenario, "about": function.__doc__, **result.to_dict()}, indent=2))
    else:
        console.print(str(result), soft_wrap=True, markup=False, highlight=False)
    if not result.holds:
        raise SystemExit(1)
