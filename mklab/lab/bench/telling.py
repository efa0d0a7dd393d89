"""The benchmark's figures as JSON and as a table."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mklab.lab.bench.rows import Row

__all__ = ["describe", "tell"]


def describe(rows: Sequence[Row], about: dict[str, str]) -> dict[str, Any]:
    """The figures as plain data."""
    return {
        "about": about,
        "rows": [
            {
                "id": row.id,
                "what": row.what,
                "value": row.value,
                "unit": row.unit,
                "reach": row.reach,
                "ok": row.ok,
            }
            for row in rows
        ],
    }


def tell(rows: Sequence[Row], about: dict[str, str], console: Console) -> None:
    """Print the figures as a table, with what they belong to below."""
    table = Table(box=None, pad_edge=False)
    table.add_column("row")
    table.add_column("what", ratio=1)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("reach", justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        reach = "" if row.reach is None else f"{'≥' if row.more_is_better else '≤'} {row.reach:g}"
        verdict = {None: "", True: "yes", False: "NO"}[row.ok]
        table.add_row(row.id, row.what, f"{row.value:.3g}", row.unit, reach, verdict)
    console.print(table)
    console.print("; ".join(f"{name} {value}" for name, value in about.items()), soft_wrap=True)
