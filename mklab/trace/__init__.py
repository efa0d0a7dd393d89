"""What happened, in order: typed events and the trace that holds them.

A trace is the whole story of a run: choices of the schedule (:class:`Slice`), acts from outside (:class:`Input`) and
everything the machine and its kernels did.

Times are virtual: instructions executed by all CPUs together since power-on, plus the gaps in which none could run.
"""

from mklab.trace.event import Event
from mklab.trace.kinds import (
    AbsentAccess,
    Accepted,
    ApicWrite,
    ConsoleByte,
    Delivered,
    Eoi,
    Fault,
    Halted,
    Ignored,
    Init,
    Input,
    IpiSent,
    Lost,
    Message,
    MessageTaken,
    ModeChange,
    OwnerChange,
    Planned,
    PlatformReset,
    Printk,
    Shutdown,
    Sipi,
    Slice,
    Step,
    TimerExpired,
    Woken,
)
from mklab.trace.trace import Trace

__all__ = [
    "AbsentAccess",
    "Accepted",
    "ApicWrite",
    "ConsoleByte",
    "Delivered",
    "Eoi",
    "Event",
    "Fault",
    "Halted",
    "Ignored",
    "Init",
    "Input",
    "IpiSent",
    "Lost",
    "Message",
    "MessageTaken",
    "ModeChange",
    "OwnerChange",
    "Planned",
    "PlatformReset",
    "Printk",
    "Shutdown",
    "Sipi",
    "Slice",
    "Step",
    "TimerExpired",
    "Trace",
    "Woken",
]
