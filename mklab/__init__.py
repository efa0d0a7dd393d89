"""mklab: several Linux-like kernels side by side on one small x86 machine."""

__version__ = "0.1.0"
