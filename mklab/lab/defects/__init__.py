"""The 44 defects of RFC v1, each with a scenario that shows it on a machine, or with the reason why none can."""

from mklab.lab.defects import kick, loading, messaging, ownership, trampoline
from mklab.lab.defects.defect import Defect, Finding

__all__ = ["DEFECTS", "Defect", "Finding"]

_GROUPS = (trampoline, kick, loading, ownership, messaging)

DEFECTS: tuple[Defect, ...] = tuple(
    sorted((one for group in _GROUPS for one in group.DEFECTS), key=lambda one: one.number)
)
"""All of them, by number."""
