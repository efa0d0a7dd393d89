"""The choice of the CPU that a picture of one CPU shows: a list, by keyboard as by mouse."""

from collections.abc import Callable
from html import escape

from mklab.widgets.view import View

__all__ = ["cpu_choice"]


def cpu_choice(name: str, view: View, standing: Callable[[View, int], str]) -> str:
    """A list of the CPUs for the picture ``name``, each with how it stands; HTML."""
    shown = view.shown_cpu
    options = "".join(
        f'<option value="{cpu}"{" selected" if cpu == shown else ""}>CPU {cpu}: {escape(standing(view, cpu))}</option>'
        for cpu in range(len(view.film.recording.apic_ids))
    )
    return (
        f'<label class="mk-choice">CPU <select data-act="cpu" data-on="change" data-key="{name}-cpu">{options}</select>'
        "</label>"
    )
