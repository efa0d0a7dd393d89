"""Lab 00, "A second kernel in five minutes": its tables and its exercises."""

from mklab.lab.lab00.by_hand import second_kernel
from mklab.lab.lab00.order import in_order
from mklab.lab.lab00.predictions import second_kernel as predicted
from mklab.lab.lab00.predictions import taken_back
from mklab.lab.lab00.refusals import two_refusals
from mklab.lab.lab00.tables import message_steps, owners

__all__ = ["EXERCISES", "message_steps", "owners", "second_kernel"]

EXERCISES = (predicted, in_order, second_kernel, two_refusals, taken_back)
