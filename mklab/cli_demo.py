"""``mklab demo``: spawned kernels beside a host, and what one of them can do to the others."""

import json
from pathlib import Path

import click

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
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write the pictures to this file, too.")
def demo(cpus: int | None, kernels: int | None, attack: str | None, as_json: bool, svg: Path | None) -> None:
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
    scenario.run()
    if svg is not None:
        from mklab.recording import Film
        from mklab.widgets.dashboard import svg as draw
        from mklab.widgets.view import View

        film = Film([cpu.apic_id for cpu in scenario.machine.cpus])
        film.extend(scenario.machine.trace)
        try:
            svg.write_text(draw(View.at_end(film), ("ownership", "messages")), encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"cannot write {svg}: {error.strerror}") from None
    if isinstance(scenario, Attack) and as_json:
        click.echo(json.dumps(attack_telling.describe(scenario), indent=2))
    elif isinstance(scenario, Attack):
        attack_telling.tell(scenario, Console())
    elif as_json:
        click.echo(json.dumps(telling.describe(scenario), indent=2))
    else:
        telling.tell(scenario, Console())
