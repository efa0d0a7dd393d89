"""Lab 05, "Messages and CPU identity": slots, logical and physical numbers, handlers, page numbers."""

from mklab.lab.lab05 import areas, identity, pages, predictions, receiving, sending, slots
from mklab.lab.lab05.demonstrations import account, area, area_told, booting, host_with, sources
from mklab.lab.lab05.slots import filled

__all__ = ["EXERCISES", "account", "area", "area_told", "booting", "filled", "host_with", "sources"]

EXERCISES = tuple(
    sorted(
        (
            *predictions.EXERCISES,
            *slots.EXERCISES,
            *sending.EXERCISES,
            *identity.EXERCISES,
            *receiving.EXERCISES,
            *areas.EXERCISES,
            *pages.EXERCISES,
        ),
        key=lambda exercise: exercise.id,
    )
)
