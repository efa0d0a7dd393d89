"""Lab 06, "Dynamic kimage tracking": the list of images in guest RAM, and what it does not know."""

from mklab.lab.lab06.finding import finding
from mklab.lab.lab06.kimage_h import KIMAGE_H
from mklab.lab.lab06.linking import linking
from mklab.lab.lab06.predictions import unloaded, which_runs
from mklab.lab.lab06.removal import removal
from mklab.lab.lab06.scene import Loaded, Started
from mklab.lab.lab06.spoilt import case, spoilt
from mklab.lab.lab06.table import table
from mklab.lab.lab06.walker import walker
from mklab.lab.lab06.walking import tangled, walking

__all__ = ["EXERCISES", "KIMAGE_H", "Loaded", "Started", "case", "tangled"]

EXERCISES = (which_runs, linking, finding, walking, table, unloaded, spoilt, walker, removal)
