"""An attack told in words: what `mklab demo --attack` prints, and the same as plain data."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mklab.lab import telling
from mklab.lab.attack import ATTACKER, KINDS, Attack, Blow, Victim

__all__ = ["describe", "tell"]


def describe(attack: Attack) -> dict[str, Any]:
    """The attack as plain data for JSON, with what :func:`mklab.lab.telling.describe` says of the machine."""
    return {
        "attack": {
            "kind": attack.kind,
            "attacker": {"kernel": ATTACKER, "cpu": attack.attacker_cpu},
            "blows": [
                {
                    "means": blow.means,
                    "victims": [
                        {
                            "kernel": victim.kernel,
                            "cpu": victim.cpu,
                            "before": victim.before,
                            "after": victim.after,
                            "changed": victim.changed,
                        }
                        for victim in blow.victims
                    ],
                    "figures": blow.figures,
                }
                for blow in attack.blows
            ],
            "stopped_by": attack.stopped_by,
            "would_stop": KINDS[attack.kind],
        },
        **telling.describe(attack),
    }


def tell(attack: Attack, console: Console) -> None:
    """Print the attack: each blow, its victims before and after, and what stopped it."""
    console.print(Text(f"Attack: {attack.kind}", style="bold"))
    kernels = ", ".join(f"{name} on CPU {attack.cpu_of(number)}" for number, name in enumerate(attack.kernels, start=1))
    console.print(Text(f"Spawned: {kernels}; the host has the other CPUs. {ATTACKER} turns against them."))
    for number, blow in enumerate(attack.blows, start=1):
        console.print()
        console.print(Text(f"{number}. {ATTACKER} {blow.means}", style="bold"))
        for victim in blow.victims:
            console.print(Padding(_victim(victim), (1, 0, 0, 3)))
        if blow.figures:
            console.print(Padding(_figures(blow), (1, 0, 0, 3)))
    console.print()
    console.print(Text.assemble(("What stopped it: ", "bold"), attack.stopped_by))
    console.print(Text.assemble(("What would: ", "bold"), KINDS[attack.kind]))
    console.print()
    console.print(telling.cpu_table(attack))
    console.print(telling.trace_line(attack))


def _victim(victim: Victim) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(f"CPU {victim.cpu}, {victim.kernel}", no_wrap=True)
    for name in ("before", "after"):
        table.add_column(name, overflow="fold")
    table.add_column("")
    for name, value in victim.before.items():
        changed = name in victim.changed
        after = Text(victim.after[name], style="bold" if changed else "")
        table.add_row(name, Text(value), after, "changed" if changed else "")
    return table


def _figures(blow: Blow) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in blow.figures.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else Text(value))
    return table
