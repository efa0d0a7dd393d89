"""What lab 06 shows: two images in the list, and what is started of them."""

from mklab.kernel.host import minikernel_image
from mklab.kernel.layout import HOST_END, WINDOW
from mklab.lab.scenario import Act, Scenario
from mklab.machine.process import Call

__all__ = ["Loaded", "Started"]

_CPUS = (2, 3)


class Loaded(Scenario):
    """CPUs 2 and 3 are taken offline; image 1 is loaded, meant for CPU 2, and image 2, meant for CPU 3."""

    def __init__(self) -> None:
        super().__init__(cpus=4, kernels=2)

    def _planned(self) -> list[Act]:
        return [*(self._offline(cpu) for cpu in _CPUS), *(self._loading(number) for number in (1, 2))]

    def _offline(self, cpu: int) -> Act:
        return Act(f"take CPU {cpu} offline", lambda: self.host.submit("cpu_down", {"cpu": cpu}), self._returned)

    def _loading(self, number: int) -> Act:
        image = minikernel_image(HOST_END + (number - 1) * WINDOW, number, _CPUS)

        def load() -> Call:
            self.machine.plan(_CPUS[number - 1], f"kernel {number}")
            return self.host.submit_load(image)

        return Act(f"load image {number} with kexec_load", load, self._returned)


class Started(Loaded):
    """The same; then CPU 2 is started, and, when a kernel is up there, CPU 3."""

    def _planned(self) -> list[Act]:
        return [*super()._planned(), *(act for cpu in _CPUS for act in self._starting(cpu))]

    def _starting(self, cpu: int) -> list[Act]:
        host = self.host

        def up() -> bool:
            return any(host.is_up(name, cpu) for name in self.kernels)

        return [
            Act(f"start CPU {cpu}", lambda: host.submit("multikernel_kexec", {"cpu": cpu}), self._returned),
            Act("wait until a kernel is up there", lambda: None, up),
            Act("let it finish", lambda: None),
        ]
