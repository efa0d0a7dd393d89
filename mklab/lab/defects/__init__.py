"""The 44 defects of RFC v1, each with a scenario that shows it on a machine, or with the reason why none can."""

from mklab.lab.defects import messaging, ownership, trampoline
from mklab.lab.defects.defect import Defect, Finding

__all__ = ["DEFECTS", "Defect", "Finding"]

DEFECTS: tuple[Defect, ...] = trampoline.DEFECTS + ownership.DEFECTS + messaging.DEFECTS
"""All of them, by number."""
