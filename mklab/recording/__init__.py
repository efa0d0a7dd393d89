"""What a picture draws from: who owned each CPU when, what became of each IPI, what each kernel printed.

A :class:`Recording` is plain data made from the events of a trace, and needs neither a machine nor its engine. It holds
no keyframes: a CPU's history is a list of spans, an IPI carries the moment of each of its stages, and a console knows
the event of each character. So any past moment is found by bisection or by leaving out what is later
(:meth:`Recording.upto`).

A recording begins at power-on, where every CPU waits for a SIPI in real mode and belongs to nobody (SDM
"Multiple-Processor Initialization").
"""

from mklab.recording.facts import MULTIKERNEL_VECTOR, Console, Incident, Ipi, Moment, Slot, Span
from mklab.recording.recording import Recording

__all__ = ["MULTIKERNEL_VECTOR", "Console", "Incident", "Ipi", "Moment", "Recording", "Slot", "Span"]
