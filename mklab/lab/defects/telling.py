"""Defects in words: what `mklab defect` prints, and the same as plain data."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mklab.lab.defects.defect import Defect, Finding

__all__ = ["describe", "tell", "tell_all", "verdict"]


def verdict(defect: Defect, findings: Sequence[Finding]) -> str:
    """``reproduced``, ``not reproduced``, or ``cannot show here``."""
    if defect.run is None:
        return "cannot show here"
    return "reproduced" if findings and all(one.seen for one in findings) else "not reproduced"


def describe(defect: Defect, findings: Sequence[Finding] | None = None) -> dict[str, Any]:
    """A defect as plain data for JSON; with ``findings``, what its scenario has shown, too."""
    data: dict[str, Any] = {"number": defect.number, "name": defect.name, "cause": defect.cause}
    data |= {"can_show": defect.run is not None, "why_not": defect.why_not}
    if findings is not None:
        data |= {
            "done": defect.done,
            "findings": [{"what": one.what, "seen": one.seen} for one in findings],
            "verdict": verdict(defect, findings),
        }
    return data


def tell_all(defects: Sequence[Defect], console: Console) -> None:
    """Print the list."""
    table = Table(title="Defects of RFC v1", title_justify="left", box=None, pad_edge=False)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("name")
    table.add_column("can it be shown here?")
    for defect in defects:
        answer = f"mklab defect {defect.number}" if defect.run is not None else f"no: {defect.why_not}"
        table.add_row(str(defect.number), Text(defect.name), Text(answer))
    console.print(table)


def tell(defect: Defect, findings: Sequence[Finding], console: Console) -> None:
    """Print one defect: its cause, what was done, each finding, the verdict."""
    console.print(Text(f"Defect {defect.number}: {defect.name}", style="bold"))
    rows = [("cause", defect.cause)]
    if defect.run is not None:
        rows.append(("done", defect.done))
    rows += [("seen" if one.seen else "NOT seen", one.what) for one in findings]
    rows.append(("verdict", verdict(defect, findings) + (f": {defect.why_not}" if defect.why_not else "")))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, text in rows:
        table.add_row(name, Text(text))
    console.print(table)
