"""What lab 01 shows: a kernel that runs, further images that are loaded, and what a load does step by step."""

from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import LoadedImage
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.lab.defects.stage import booted
from mklab.lab.scenario import Act, Scenario
from mklab.machine.machine import Machine
from mklab.trace import Step

__all__ = ["A", "Loading", "fresh_host", "image", "load_steps"]

A = HOST_END
"""Where kernel 1 lies: 32 MiB."""


def image(base: int, number: int, apicid: int) -> LoadedImage:
    """A minikernel of one CPU, placed at ``base``, that calls itself kernel ``number``."""
    return minikernel_image(base, number, [apicid])


def fresh_host(mebibytes: int = 64) -> Host:
    """A host that has booted on one CPU of a machine of its own."""
    return booted(1, ram=mebibytes << 20)


class Loading(Scenario):
    """Kernel 1 is loaded and started on CPU 2; then a second image is loaded where nothing lies, and not started."""

    def __init__(self) -> None:
        super().__init__(cpus=4, kernels=1)

    def _planned(self) -> list[Act]:
        second = image(A + WINDOW, 2, 3)
        return [
            *self._spawning(1),
            Act("load another image at 0x3000000", lambda: self.host.submit_load(second), self._returned),
        ]


def load_steps(machine: Machine) -> str:
    """The steps of the last kexec_load, a line each: event, step, and what it did."""
    steps = [event for event in machine.trace.of(Step) if event.function == "kexec_load"]
    first = max(number for number, event in enumerate(steps) if event.step == "check")
    return "\n".join(f"event {event.seq:>5}  {event.step:<9} {event.detail}" for event in steps[first:])
