"""The trampoline and the kick (RFC v1, patches 1 and 2): defects 1 to 13."""

from mklab.lab.defects.defect import Defect

__all__ = ["DEFECTS"]

DEFECTS: tuple[Defect, ...] = ()
