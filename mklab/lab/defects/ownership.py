"""kexec_load, the list of images and who owns what (RFC v1, patches 1, 6 and 7): defects 14 to 25."""

from mklab.lab.defects.defect import Defect

__all__ = ["DEFECTS"]

DEFECTS: tuple[Defect, ...] = ()
