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
