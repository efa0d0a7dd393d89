"""mklab: several Linux-like kernels side by side on one small x86 machine.

The names below are loaded when they are first used, so that ``import mklab`` is quick and needs no Jupyter.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Film": "mklab.recording",
    "GuestBuildError": "mklab.errors",
    "Host": "mklab.kernel.host",
    "ImageError": "mklab.errors",
    "KexecError": "mklab.errors",
    "Machine": "mklab.machine.machine",
    "MklabError": "mklab.errors",
    "Recording": "mklab.recording",
    "RoundRobin": "mklab.machine.schedule",
    "Scenario": "mklab.lab.scenario",
    "Scripted": "mklab.machine.schedule",
    "Seeded": "mklab.machine.schedule",
    "Stop": "mklab.machine.machine",
    "Timeline": "mklab.timeline.timeline",
    "Trace": "mklab.trace",
    "load": "mklab.lab.session",
    "minikernel_image": "mklab.kernel.host",
    "record": "mklab.timeline.record",
    "replay": "mklab.lab.session",
    "save": "mklab.lab.session",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Load one of the public names."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mklab' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*__all__, "__version__"]
