"""Lab 04, "The IPI vector": the IDT, the local APIC, ICR, IRR and ISR, EOI, priorities."""

from mklab.lab.lab04 import diagnosis, gates, handlers, predictions, priorities, sending
from mklab.lab.lab04.bench import program
from mklab.lab.lab04.demonstrations import fates, flood, gate_in_memory, irr_words, nesting, one_ipi, three_ipis
from mklab.lab.lab04.diagnosis import silent

__all__ = [
    "EXERCISES",
    "fates",
    "flood",
    "gate_in_memory",
    "irr_words",
    "nesting",
    "one_ipi",
    "program",
    "silent",
    "three_ipis",
]

EXERCISES = tuple(
    sorted(
        (
            *predictions.EXERCISES,
            *sending.EXERCISES,
            *gates.EXERCISES,
            *handlers.EXERCISES,
            *priorities.EXERCISES,
            *diagnosis.EXERCISES,
        ),
        key=lambda exercise: exercise.id,
    )
)
