"""Forms of exercises: what exercises of one kind have in common, so that an author writes only what is special.

Each module makes an :class:`mklab.lab.exercise.Exercise`: :func:`prediction`, :func:`parsons`, :func:`values`,
:func:`python`, :func:`guest`.
"""

from mklab.lab.forms.guest import guest
from mklab.lab.forms.parsons import parsons
from mklab.lab.forms.prediction import prediction
from mklab.lab.forms.python import python
from mklab.lab.forms.values import values

__all__ = ["guest", "parsons", "prediction", "python", "values"]
