"""What `mklab explore` looks through: races of RFC v1 on its minikernel, and rings, right and wrong."""

from collections.abc import Callable, Sequence

from mklab.guest import trampoline
from mklab.guest.abi import MULTIKERNEL_VECTOR
from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.instance import Kernel
from mklab.lab.defects.stage import STOP, Starving, booted, load_code, spawn, trampoline_base, window
from mklab.lab.rings import ring_machine, ring_messages, ring_sync
from mklab.machine.machine import Machine
from mklab.timeline.explore import Always, AtTheEnd, Experiment, NoDataRace, NoDeadlock, NoLostMessage

__all__ = ["EXPERIMENTS", "SENT", "messages_taken", "two_messages"]

SENT = ((7, 0), (8, 2))
"""Type and sender of the two messages that kernel 1 is sent."""


def messages_taken(kernel: str) -> Callable[[Machine], list[tuple[int, int]]]:
    """Reads what a recording handler of ``kernel`` was handed: type and sender of each message."""

    def taken(machine: Machine) -> list[tuple[int, int]]:
        return [(one["type"], one["sender_cpu"]) for one in Kernel(machine, kernel).handler_records()]

    return taken


def two_messages(sent: Sequence[tuple[int, int]] = SENT) -> Machine:
    """Two CPUs of the host each begin to send a message of one byte to kernel 1, which runs on CPU 1.

    Args:
        sent: type and sender of each.
    """
    host = booted(1 + max(cpu for _, cpu in sent))
    spawn(host, 1, 1)
    host.kernel("kernel 1").multikernel_register_handler(1)
    host.settle()
    for type_, cpu in sent:
        host.submit_message(1, b"A", type_, via=cpu)
    return host.machine


def mailbox() -> Experiment:
    """Defect 26: two host CPUs send kernel 1 a message each, and one may be overwritten before it is read."""
    return Experiment(two_messages(), [NoLostMessage(lambda _: SENT, messages_taken("kernel 1"))])


def three_senders() -> Experiment:
    """Three host CPUs send kernel 1 a message each: nobody waits for ever. For measuring, too."""
    host = booted(4)
    spawn(host, 1, 1)
    for type_, cpu in ((7, 0), (8, 2), (9, 3)):
        host.submit_message(1, b"A", type_, via=cpu)
    return Experiment(host.machine, [NoDeadlock()])


def torn_message() -> Experiment:
    """Defect 26: two host CPUs send kernel 1 a message each, and it may take one that is made of both."""
    return Experiment(two_messages(), [AtTheEnd(_whole)])


def _whole(machine: Machine) -> str | None:
    for type_, sender in messages_taken("kernel 1")(machine):
        if type_ and sender in (0, 2) and (type_, sender) not in SENT:
            return f"kernel 1 takes a message of type {type_} from CPU {sender}; nobody has sent such a one"
    return None


def _mailbox_words(host: Host) -> tuple[int, int]:
    """Where the trampoline has the entry that a kick writes, and its boot_params."""
    symbols = trampoline().symbols
    places = [trampoline_base(host) + symbols[name] for name in ("kernel_phys_addr", "boot_params_phys_addr")]
    return min(places), max(places) + 8


def two_kicks() -> Experiment:
    """Defect 5: CPU 1, kicked for kernel 1, is still in the trampoline when the host kicks CPU 2 for kernel 2."""
    host = booted(3)
    machine = host.machine
    for cpu in (1, 2):
        host.cpu_down(cpu)
        machine.plan(cpu, f"kernel {cpu}")
    machine.schedule = Starving(1)
    load_code(host, STOP, window(1))
    host.multikernel_kexec(1)
    host.kexec_load(0, [])
    load_code(host, STOP, window(2))
    host.submit("multikernel_kexec", {"cpu": 2})
    return Experiment(machine, [Always(_enters_its_own)], at=("interrupts", _mailbox_words(host)))


def _enters_its_own(machine: Machine) -> str | None:
    for cpu in machine.cpus:
        if cpu.owner not in (None, "host", cpu.planned):
            return f"CPU {cpu.index} was kicked for {cpu.planned} and runs {cpu.owner}"
    return None


def checked_before_the_lock() -> Experiment:
    """Defect 18: multikernel_kexec(1) on CPU 0, while CPU 2 brings CPU 1 online for the host."""
    host = booted(3)
    host.cpu_down(1)
    load_code(host, STOP, window(1))
    host.submit("multikernel_kexec", {"cpu": 1}, via=0)
    host.submit("cpu_up", {"cpu": 1}, via=2)
    online, mask = host.symbol("cpu_online") + 1, host.symbol("cpu_online_mask")
    at = ("interrupts", _mailbox_words(host), (online, online + 1), (mask, mask + 8))
    return Experiment(host.machine, [Always(_online_is_the_hosts)], at=at)


def _online_is_the_hosts(machine: Machine) -> str | None:
    if Kernel(machine, "host").cpu_online(1) and machine.cpus[1].owner not in (None, "host"):
        return f"CPU 1 is online in the host, and runs {machine.cpus[1].owner}"
    return None


def zeroed_area() -> Experiment:
    """Defect 31: kernel 1 sends the host's CPU 3 a message, while kernel 2 boots on CPU 2."""
    host = booted(4)
    host.multikernel_register_handler(1)
    spawn(host, 1, 1)
    host.cpu_down(2)
    host.load(minikernel_image(window(2), 2, [2]))
    host.multikernel_kexec(2)
    host.run_until(lambda one: "Using specified" in one.console("kernel 2"), "kernel 2 does not begin")
    host.kernel("kernel 1").submit_by_hand(MULTIKERNEL_VECTOR, 3, slot=3, sender=1, type=77, size=1, data=b"A")
    return Experiment(host.machine, [NoLostMessage(lambda _: [(77, 1)], messages_taken("host"))])


def _ring(senders: list[str], receiver: str, messages: int) -> Experiment:
    count = messages * len(senders)
    sent = [hex(0x100 * (cpu + 1) + 1 + number) for cpu in range(len(senders)) for number in range(messages)]
    lost = NoLostMessage(lambda _: sent, lambda machine: ring_messages(machine, count))
    machine = ring_machine(senders, receiver, messages)
    return Experiment(machine, [NoDataRace(ring_sync()), NoDeadlock(), lost])


def ring() -> Experiment:
    """Two CPUs send two messages each through a ring of two entries to a third."""
    return _ring(["send", "send"], "receive", 2)


def ring_test_then_set() -> Experiment:
    """The same, where a place in the ring is tested and then taken, in two steps."""
    return _ring(["send_test_then_set", "send_test_then_set"], "receive", 2)


def ring_publish_before_fill() -> Experiment:
    """The same, where an entry is published before it is filled."""
    return _ring(["send_publish_before_fill", "send_publish_before_fill"], "receive", 2)


def ring_free_before_copy() -> Experiment:
    """The same, where an entry is freed before it is copied."""
    return _ring(["send", "send"], "receive_free_before_copy", 2)


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(mailbox, three_senders, torn_message, two_kicks, checked_before_the_lock, zeroed_area),
        *(ring, ring_test_then_set, ring_publish_before_fill, ring_free_before_copy),
    )
}
"""By the name that `mklab explore` takes."""
