"""The benchmark: how fast the machine is, beside other engines in the same run.

``mklab bench`` prints it; docs/performance.md holds a table and says how to repeat it.
"""

from mklab.lab.bench import execution, machines
from mklab.lab.bench.rows import GROUPS, Row, about
from mklab.lab.bench.telling import describe, tell

__all__ = ["GROUPS", "Row", "about", "describe", "execution", "machines", "tell"]
