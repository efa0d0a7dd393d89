"""Lab 02, "The INIT trampoline I": from reset to protected mode."""

from mklab.lab.lab02.descriptors import descriptor
from mklab.lab.lab02.diagnosis import far_jump
from mklab.lab.lab02.segments import segments
from mklab.lab.lab02.stack import repair, two_pushes
from mklab.lab.lab02.startup import second_sipi, sipi_icr_low
from mklab.lab.lab02.switch import in_order, to_protected_mode

__all__ = ["EXERCISES"]

EXERCISES = (
    two_pushes,
    sipi_icr_low,
    second_sipi,
    segments,
    descriptor,
    in_order,
    to_protected_mode,
    far_jump,
    repair,
)
