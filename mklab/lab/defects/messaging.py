"""Messages between kernels (RFC v1, patches 3 to 5): defects 26 to 44."""

from mklab.lab.defects.defect import Defect

__all__ = ["DEFECTS"]

DEFECTS: tuple[Defect, ...] = ()
