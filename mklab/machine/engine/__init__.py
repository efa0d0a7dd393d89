"""The engine: one Unicorn instance that carries every CPU of the machine. Only this package imports unicorn."""

from mklab.machine.engine.engine import Engine
from mklab.machine.engine.probe import native_cpuid, probe_context

__all__ = ["Engine", "native_cpuid", "probe_context"]
