"""What the last lab builds: three kernels on four CPUs that exchange a hundred messages."""

from mklab.errors import MklabError
from mklab.guest.abi import MK_PING, MULTIKERNEL_VECTOR
from mklab.lab.scenario import Scenario
from mklab.trace import MessageTaken

__all__ = ["MESSAGES", "capstone"]

MESSAGES = 100
_PING = b"ping"


def capstone() -> Scenario:
    """The host and two spawned kernels; each in turn sends the next one a ping, which is answered.

    Raises:
        MklabError: a message was lost.
    """
    scenario = Scenario(4, 2)
    scenario.run()
    host, machine = scenario.host, scenario.machine
    kernels = [(host, 0), (host.kernel("kernel 1"), scenario.cpu_of(1)), (host.kernel("kernel 2"), scenario.cpu_of(2))]
    before = len(machine.trace.of(MessageTaken))
    for number in range(MESSAGES // 2):
        (sender, cpu), (_, target) = kernels[number % 3], kernels[(number + 1) % 3]
        sender.send_by_hand(
            MULTIKERNEL_VECTOR, target, slot=target, sender=cpu, type=MK_PING, size=len(_PING), data=_PING
        )
        host.settle()
    taken = len(machine.trace.of(MessageTaken)) - before
    if taken != MESSAGES:
        raise MklabError(f"{taken} of {MESSAGES} messages were taken")
    return scenario
