"""The course: its exercises, their checks, and the notebooks.

A notebook begins with ``from mklab import lab`` and ``course = lab.open("04")``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mklab.lab.course import Lab

__all__ = ["open"]


def open(number: str, student: str | None = None) -> "Lab":  # noqa: A001  # what it is called in every notebook
    """Open a lab; see :func:`mklab.lab.course.open_lab`."""
    from mklab.lab.course import open_lab

    return open_lab(number, student)
