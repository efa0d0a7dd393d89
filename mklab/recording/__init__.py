"""What pictures draw from: plain data that needs neither a machine nor its engine.

A :class:`Recording` is made from the events of a trace: who owned each CPU when, what became of each IPI, what each
kernel printed. It holds no keyframes: a CPU's history is a list of spans, an IPI carries the moment of each of its
stages, and a console knows the event of each character. So any past moment is found by bisection or by leaving out what
is later (:meth:`Recording.upto`).

A :class:`Film` holds a recording, and the machine's state wherever it was looked at: keyframes and changes of
registers, local APICs and memory. A :class:`Frame` is one of those moments. ``mklab.timeline.record`` makes a film of
a machine.

A recording begins at power-on, where every CPU waits for a SIPI in real mode and belongs to nobody (SDM
"Multiple-Processor Initialization").
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mklab.recording.bits import Descriptor
    from mklab.recording.contents import Write
    from mklab.recording.description import Description, Place
    from mklab.recording.facts import MULTIKERNEL_VECTOR, Console, Incident, Ipi, Moment, Slot, Span
    from mklab.recording.film import Film
    from mklab.recording.frame import Found, Frame, Node
    from mklab.recording.look import Line, Look
    from mklab.recording.recording import Recording
    from mklab.recording.source import Source, SourceLine
    from mklab.recording.translation import Level, Translation

__all__ = [
    "MULTIKERNEL_VECTOR",
    "Console",
    "Description",
    "Descriptor",
    "Film",
    "Found",
    "Frame",
    "Incident",
    "Ipi",
    "Level",
    "Line",
    "Look",
    "Moment",
    "Node",
    "Place",
    "Recording",
    "Slot",
    "Source",
    "SourceLine",
    "Span",
    "Translation",
    "Write",
]

_MODULES = {
    "Console": "facts",
    "Description": "description",
    "Descriptor": "bits",
    "Film": "film",
    "Found": "frame",
    "Frame": "frame",
    "Incident": "facts",
    "Ipi": "facts",
    "Level": "translation",
    "Line": "look",
    "Look": "look",
    "MULTIKERNEL_VECTOR": "facts",
    "Moment": "facts",
    "Node": "frame",
    "Place": "description",
    "Recording": "recording",
    "Slot": "facts",
    "Source": "source",
    "SourceLine": "source",
    "Span": "facts",
    "Translation": "translation",
    "Write": "contents",
}


def __getattr__(name: str) -> Any:
    """Load one of the names when it is first used: a machine needs one of these modules, and pictures need all."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
