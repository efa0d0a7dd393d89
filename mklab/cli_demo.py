"""``mklab demo``: spawned kernels beside a host, and what one of them can do to the others."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mklab.lab.scenario import Scenario

__all__ = ["demo"]

_MOST_KERNELS = 15
_KINDS = ("memory", "ipi", "init", "reset")


@click.command
@click.option(
    "--cpus",
    type=click.IntRange(2, 64),
    help="How many CPUs the machine has.  [default: 4, or as many as the kernels need]",
)
@click.option(
    "--kernels",
    type=click.IntRange(1, _MOST_KERNELS),
    help="How many kernels to spawn.  [default: 1; 2 for an attack]",
)
@click.option("--attack", type=click.Choice(_KINDS), help="Let kernel 1 turn against the others, by these means.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw how it ended into this file, too.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="The same as PNG.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all pictures of the whole run to this file: a page with a scrubber that needs nothing else.",
)
def demo(
    cpus: int | None,
    kernels: int | None,
    attack: str | None,
    as_json: bool,
    svg: Path | None,
    png: Path | None,
    html: Path | None,
) -> None:
    """Boot further kernels, each on a CPU of its own, exchange messages with them, and tell how it went.

    With --attack, kernel 1 writes into the memory of others, floods them with IPIs, sends INIT to their CPUs or resets
    the platform; the report says who was hit, and what stopped it.
    """
    from rich.console import Console

    from mklab.lab import attack_telling, telling
    from mklab.lab.attack import Attack
    from mklab.lab.scenario import Scenario

    number = kernels or (2 if attack else 1)
    least = number + 2 if attack else number + 1
    if attack and number < 2:
        raise click.BadParameter("an attack needs two spawned kernels at least", param_hint="'--kernels'")
    if cpus is not None and cpus < least:
        why = f"{number} spawned kernel(s) and the host need {least} CPUs at least, not {cpus}"
        raise click.BadParameter(why, param_hint="'--cpus'")
    count = max(4, least) if cpus is None else cpus
    scenario = Attack(attack, count, number) if attack else Scenario(count, number)
    if html is None:
        scenario.run()
    else:
        from mklab.widgets.export import html as page

        # Recorded while it runs: a page shows registers and memory, too.
        scenario.driver.run()
        many = f"{number} kernels" if number > 1 else "A second kernel"
        title = f"{many} beside a host" if not attack else f"{many} beside a host, and an attack: {attack}"
        _write(html, page(scenario.driver.film, title))
    if svg is not None or png is not None:
        from mklab.widgets.raster import png as rasterized

        picture = _drawn(scenario)
        if svg is not None:
            _write(svg, picture)
        if png is not None:
            _write(png, rasterized(picture))
    if isinstance(scenario, Attack) and as_json:
        click.echo(json.dumps(attack_telling.describe(scenario), indent=2))
    elif isinstance(scenario, Attack):
        attack_telling.tell(scenario, Console())
    elif as_json:
        click.echo(json.dumps(telling.describe(scenario), indent=2))
    else:
        telling.tell(scenario, Console())


def _drawn(scenario: "Scenario") -> str:
    """Who owned which CPU, and what became of each message, as one SVG."""
    from mklab.recording import Film
    from mklab.widgets.dashboard import svg
    from mklab.widgets.view import View

    film = Film([cpu.apic_id for cpu in scenario.machine.cpus])
    film.extend(scenario.machine.trace)
    return svg(View.at_end(film), ("ownership", "messages"))


def _write(path: Path, content: str | bytes) -> None:
    """Write a file, or say in one line why not."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
