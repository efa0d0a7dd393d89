"""Lab 03, "The INIT trampoline II": page tables, long mode, the jump."""

from mklab.lab.lab03.diagnosis import beyond
from mklab.lab.lab03.mapping import crossing, map_image
from mklab.lab.lab03.modes import which_mode
from mklab.lab.lab03.switch import in_order, to_long_mode
from mklab.lab.lab03.tables import directories, entries
from mklab.lab.lab03.walk import walk

__all__ = ["EXERCISES"]

EXERCISES = (
    which_mode,
    walk,
    entries,
    directories,
    in_order,
    to_long_mode,
    crossing,
    map_image,
    beyond,
)
