"""The thread's dispute as scenarios, `mklab demo --attack`: a spawned kernel turns against the others.

Each :class:`Blow` is dealt by guest code of kernel 1: stores, ICR writes and OUT, as any kernel can do them. Victims
are looked at before and after: what became of them is observed, never assumed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from mklab.errors import MklabError, require
from mklab.guest.abi import MK_PING, MK_PONG, MULTIKERNEL_VECTOR, NR_CPUS
from mklab.kernel import apicdef
from mklab.kernel.instance import Kernel
from mklab.lab.scenario import MOST_KERNELS, Act, Scenario
from mklab.machine.layout import RESET_PORT
from mklab.machine.schedule import Schedule
from mklab.trace import Accepted, Delivered, IpiSent, MessageTaken, Slice

__all__ = ["KINDS", "Attack", "Blow", "Victim"]

ATTACKER, TARGET = "kernel 1", "kernel 2"
_ALIAS = 99
"""What kernel 2 is made to call itself."""
_UD2 = b"\x0f\x0b"
_FLOOD = 200
_ACCEPTED = "accepted by its local APIC"
_WILD_POINTER = 0xDEAD0000
_RESET = 6
"""Full reset, CPU reset: what Linux's reboot=pci writes."""

_NOT_IOMMU = "Not an IOMMU: it filters what devices reach, and this is"
KINDS = {
    "memory": "VT-x with EPT, as Jailhouse uses it: memory that is not the kernel's own is not mapped for it. "
    f"{_NOT_IOMMU} a store of a CPU.",
    "ipi": "VT-x with writes to ICR intercepted, as by Jailhouse: an IPI that leaves the cell is dropped. "
    f"{_NOT_IOMMU} an IPI of a CPU.",
    "init": "VT-x with writes to ICR intercepted, as by Jailhouse: an INIT that leaves the cell is dropped. "
    f"{_NOT_IOMMU} an IPI of a CPU.",
    "reset": "VT-x with a bitmap of I/O ports, as Jailhouse uses it: writes to ports that are not its own are stopped. "
    f"{_NOT_IOMMU} an OUT of a CPU.",
}
"""The kinds of attack, and for each what would stop it."""


@dataclass(frozen=True)
class Victim:
    """A CPU of another kernel, as it was seen before a blow and after it.

    Attributes:
        kernel, cpu: whose CPU it was, and its index.
        before, after: what was seen, in words, under the same names: ``owner``, ``state``, ``answer``, ...
    """

    kernel: str
    cpu: int
    before: dict[str, str]
    after: dict[str, str]

    @property
    def changed(self) -> list[str]:
        """The names of what is not as it was."""
        return [name for name, value in self.before.items() if self.after[name] != value]


@dataclass
class Blow:
    """One thing that the attacker does.

    Attributes:
        means: what its guest code does, in words.
        victims: who was looked at.
        figures: what was counted meanwhile, by its name in words.
    """

    means: str
    victims: list[Victim]
    figures: dict[str, int | str] = field(default_factory=dict)


class Attack(Scenario):
    """Two or more kernels are spawned, and the first one turns against the others.

    Args:
        kind: one of :data:`KINDS`.
        cpus: how many CPUs: at least two more than ``kernels``.
        kernels: how many spawned kernels, 2 to 15.

    Attributes:
        kind: as given.
        blows: what the attacker has done so far.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, kind: str, cpus: int = 4, kernels: int = 2) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}, not {kind!r}")
        require("kernels", kernels, 2, MOST_KERNELS, " (an attack needs a victim)")
        require("cpus", cpus, kernels + 2, NR_CPUS, " (each kernel needs a CPU, and the host two)")
        self.kind = kind
        self.blows: list[Blow] = []
        super().__init__(cpus, kernels)

    def reset(self, schedule: Schedule | None = None) -> None:
        """Power off and on again; the host boots."""
        self.blows = []
        super().reset(schedule)

    @property
    def attacker_cpu(self) -> int:
        """The CPU of kernel 1."""
        return self.cpu_of(1)

    @property
    def host_cpu(self) -> int:
        """The last CPU of the host's."""
        return self._count - 1

    @property
    def stopped_by(self) -> str:
        """What stopped the attack: ``nothing``, if each blow changed each of its victims or interrupted it."""
        failed = [blow.means for blow in self.blows if not all(_has_hit(blow, victim) for victim in blow.victims)]
        return f"something: no effect is seen where it {failed[0]}" if failed else "nothing"

    def _planned(self) -> list[Act]:
        dealt: dict[str, list[Callable[[], None]]] = {
            "memory": [self._rename, self._break, self._spoil_list],
            "ipi": [lambda: self._flood(TARGET, self.cpu_of(2)), lambda: self._flood("host", 0)],
            "init": [lambda: self._init(TARGET, self.cpu_of(2)), lambda: self._init("host", self.host_cpu)],
            "reset": [self._reset],
        }
        blows = dealt[self.kind]
        return super()._planned() + [
            Act(f"attack ({number} of {len(blows)})", deal) for number, deal in enumerate(blows, start=1)
        ]

    # Looking

    def look(self, kernel: str, cpu: int) -> dict[str, str]:
        """What can be seen of ``cpu``, which is ``kernel``'s: it is sent a message, and has time to answer."""
        one, answer = self.machine.cpus[cpu], self._ask(cpu, kernel)
        seen = {"owner": one.owner or "nobody", "state": str(one.state), "answer": answer}
        if kernel == "host":
            return seen | {"host counts it": "online" if self.host.cpu_online(cpu) else "offline"}
        return seen | {"last line": (self.machine.console(kernel).splitlines() or [""])[-1]}

    def _ask(self, cpu: int, kernel: str) -> str:
        """The answer of ``cpu`` to a message of the host's, and what the kernel calls itself in its log then."""
        begin = self.machine.trace.count
        printed = len(self.machine.console(kernel))
        try:
            self.host.multikernel_send_ipi_data(cpu, b"alive?", MK_PING)
            self.host.settle()
        except MklabError:
            pass  # the host cannot ask any more, which is an answer, too
        apicid = self.machine.cpus[cpu].apic_id
        answers = [
            bytes.fromhex(event.payload).decode("ascii", "replace")
            for event in self.machine.trace.of(MessageTaken)
            if event.seq >= begin and (event.cpu, event.type, event.sender) == (0, MK_PONG, apicid)
        ]
        said = [line for line in self.machine.console(kernel)[printed:].splitlines() if ": message from CPU" in line]
        return f"{answers[-1]!r}, as {said[-1].split(':')[0]}" if answers and said else "none"

    def _strike(self, means: str, targets: list[tuple[str, int]], deal: Callable[[], dict[str, int | str]]) -> None:
        before = [self.look(*target) for target in targets]
        figures = deal()
        victims = [
            Victim(kernel, cpu, seen, self.look(kernel, cpu))
            for (kernel, cpu), seen in zip(targets, before, strict=True)
        ]
        self.blows.append(Blow(means, victims, figures))

    def _store(self, paddr: int, data: bytes) -> dict[str, int | str]:
        self._attacker.store(paddr, data)
        self.host.settle()
        return {}

    @property
    def _attacker(self) -> Kernel:
        return self.host.kernel(ATTACKER)

    # Memory

    def _rename(self) -> None:
        at = self.host.kernel(TARGET).boot_info.address("kernel_id")
        means = f"stores {_ALIAS} at {at:#x}: mk_boot_info.kernel_id, in {TARGET}'s data"
        self._strike(means, [(TARGET, self.cpu_of(2))], lambda: self._store(at, bytes([_ALIAS])))

    def _break(self) -> None:
        code = self.host.kernel(TARGET).symbol("answer")
        means = f"stores the instruction UD2 at {code:#x}: the function answer, in {TARGET}'s code"
        self._strike(means, [(TARGET, self.cpu_of(2))], lambda: self._store(code, _UD2))

    def _spoil_list(self) -> None:
        head = self.host.kimages.state.address("list_next")
        means = f"stores the pointer {_WILD_POINTER:#x} at {head:#x}: kexec_image_list, in the host's data"
        before = self._proc_multikernel()
        self._strike(means, [("host", 0)], lambda: self._store(head, _WILD_POINTER.to_bytes(8, "little")))
        (victim,) = self.blows[-1].victims
        victim.before["/proc/multikernel"] = before
        victim.after["/proc/multikernel"] = self._proc_multikernel()

    def _proc_multikernel(self) -> str:
        try:
            return f"{len(list(self.host.kimages))} image(s)"
        except MklabError as error:
            return f"oops: {error}"

    # IPIs

    def _flood(self, kernel: str, cpu: int) -> None:
        means = f"writes slot {cpu} and sends 0xEA to CPU {cpu}, {_FLOOD} times in a row"
        self._strike(means, [(kernel, cpu)], lambda: self._count_flood(kernel, cpu))

    def _count_flood(self, kernel: str, cpu: int) -> dict[str, int | str]:
        machine, begin = self.machine, self.machine.trace.count
        apicid = machine.cpus[cpu].apic_id
        lines = len(machine.console(kernel).splitlines())
        flood = self._attacker.submit_by_hand(
            MULTIKERNEL_VECTOR, apicid, slot=apicid, sender=self.attacker_cpu, type=5, times=_FLOOD
        )
        # Somebody else has something to say meanwhile.
        other = self.host if kernel != "host" else self.host.kernel(TARGET)
        values = {"slot": apicid, "sender": 0 if kernel != "host" else self.cpu_of(2), "type": MK_PING, "size": 6}
        self.host.run_until(lambda _: flood.done or self._interrupted(cpu, begin) > 0, "the flood does not begin")
        urgent = other.submit_by_hand(MULTIKERNEL_VECTOR, apicid, data=b"urgent", **values)
        self.host.finish(flood)
        self.host.finish(urgent)
        self.host.settle()
        seen = [event for event in machine.trace if event.seq >= begin]
        taken = [event for event in seen if isinstance(event, MessageTaken) and event.cpu == cpu]
        read = any(bytes.fromhex(event.payload) == b"urgent" for event in taken)
        flooding = [event for event in seen if getattr(event, "vector", None) == MULTIKERNEL_VECTOR]
        sent = [e for e in flooding if isinstance(e, IpiSent) and e.cpu == self.attacker_cpu]
        accepted = [e for e in flooding if isinstance(e, Accepted) and (e.cpu, e.from_cpu) == (cpu, self.attacker_cpu)]
        spent = {
            one: sum(event.executed for event in seen if isinstance(event, Slice) and event.cpu == one)
            for one in (self.attacker_cpu, cpu)
        }
        return {
            "IPIs sent": len(sent),
            _ACCEPTED: len(accepted),
            "of these, merged with one that waited": sum(event.merged for event in accepted),
            "interrupts taken": self._interrupted(cpu, begin),
            "lines printed for them": len(machine.console(kernel).splitlines()) - lines,
            "instructions of the attacker": spent[self.attacker_cpu],
            f"instructions of CPU {cpu} meanwhile, which was idle": spent[cpu],
            f"the message 'urgent' from {other.name} meanwhile": "was read" if read else "was overwritten, unread",
        }

    def _interrupted(self, cpu: int, begin: int) -> int:
        """How often 0xEA has interrupted ``cpu`` since event number ``begin``."""
        events = self.machine.trace.of(Delivered)
        return sum(e.seq >= begin and (e.cpu, e.vector) == (cpu, MULTIKERNEL_VECTOR) for e in events)

    # INIT and reset

    def _init(self, kernel: str, cpu: int) -> None:
        apicid = self.machine.cpus[cpu].apic_id

        def deal() -> dict[str, int | str]:
            self._attacker.send_by_hand(apicdef.APIC_INT_ASSERT | apicdef.APIC_DM_INIT, apicid)
            self.host.settle()
            return {}

        self._strike(f"sends an INIT to CPU {cpu}", [(kernel, cpu)], deal)

    def _reset(self) -> None:
        def deal() -> dict[str, int | str]:
            self._attacker.out(RESET_PORT, _RESET)
            return {"how it ends": self.host.settle().detail}

        targets = [("host", 0), ("host", self.host_cpu), (TARGET, self.cpu_of(2)), (ATTACKER, self.attacker_cpu)]
        self._strike(f"writes {_RESET} to port {RESET_PORT:#x}, the chipset's reset control", targets, deal)


def _has_hit(blow: Blow, victim: Victim) -> bool:
    return bool(victim.changed) or bool(blow.figures.get(_ACCEPTED))
