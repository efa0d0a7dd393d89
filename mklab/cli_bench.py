"""``mklab bench``: how fast the machine is, beside other engines in the same run."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mklab.lab.bench import Row

__all__ = ["bench"]

_PAIRS = 5


@click.command
@click.argument("groups", nargs=-1, metavar="[GROUP]...")
@click.option(
    "--pairs", type=click.IntRange(1, 99), default=_PAIRS, show_default=True, help="Measurements of each row."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def bench(groups: tuple[str, ...], pairs: int, as_json: bool) -> None:
    """Measure speed: ratios against Unicorn by itself and QEMU, side by side, and what else costs time.

    Each figure is the median of several. Without a GROUP, all are measured, which takes some minutes; the computer
    should have nothing else to do.
    """
    from rich.console import Console

    from mklab.lab.bench import GROUPS, about, describe, tell
    from mklab.lab.bench.execution import QEMU, qemu

    for name in groups:
        if name not in GROUPS:
            raise click.BadParameter(f"{name} is none of {', '.join(GROUPS)}", param_hint="'GROUP'")
    chosen = groups or tuple(GROUPS)
    if "qemu" in chosen and qemu() is None:
        click.echo(f"mklab bench: {QEMU} is not installed; the comparison with it is left out", err=True)
    rows: list[Row] = []
    for name in chosen:
        click.echo(f"measuring: {name}", err=True)
        rows += GROUPS[name](pairs)
    if as_json:
        click.echo(json.dumps(describe(rows, about()), indent=2))
    else:
        tell(rows, about(), Console())
