"""Exercise 07.2: a plan for the student's own machine, carried out there; the first conflict is told by its pair."""

from collections.abc import Callable, Mapping
from typing import Any

from mklab.guest.abi import NR_CPUS
from mklab.kernel.layout import HOST_END, TRAMPOLINE_BASE, WINDOW
from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.forms.assigned import MissingError, WrongValues, as_python, taken
from mklab.lab.lab07.site import CPUS, KERNELS, RAM_END, Carried, Plan, Site, carry_out, site
from mklab.lab.verdict import Outcome, Verdict
from mklab.trace import OwnerChange

__all__ = ["EXERCISE"]

_PAGE = 4096
_TRAMPOLINE = range(TRAMPOLINE_BASE, TRAMPOLINE_BASE + 9 * _PAGE)
_ADDRESSES = range(1 << 52)
"""SDM "Physical Address Space": no CPU has more bits."""
_NAMES = ("cpu", "base", "slot")
_OWN_SLOT = "A receiver finds its slot by its APIC id (arch_cpu_physical_id, patch 5). The text above gives the ids."


def judge(answer: Answer, seed: int) -> Verdict:
    """Conflicts first, each with what the machine did with such a plan; then what the machine did with this one."""
    values: dict[str, dict[str, int]] = {}
    for name in _NAMES:
        try:
            value = taken(answer, name)
        except MissingError as error:
            return not_yet(f"{error}.", next_step=f'Write it like {name} = {{"kernel 1": ..., "kernel 2": ...}}.')
        if not _is_whole(value):
            return not_yet(
                f"{name} is {as_python(value)}.", name, "It needs a number for 'kernel 1' and one for 'kernel 2'."
            )
        values[name] = value
    where, plan = site(seed), Plan(**values)
    if verdict := _no_window(plan):
        return verdict
    carried = carry_out(where, plan)
    for question in (_cpus, _windows, _trouble, _slots):
        verdict = question(where, plan, carried)
        if verdict is not None:
            return verdict
    entered = {one.owner: one.cpu for one in carried.machine.trace.of(OwnerChange)}
    runs = " and ".join(f"{kernel} on CPU {entered[kernel]} from {plan.base[kernel]:#x}" for kernel in KERNELS)
    return Verdict(
        Outcome.PASSED,
        f"Your plan was carried out: {runs}. Both took a message from their slots and answered.",
        next_step="Nobody but this check has compared plan and machine. Which step of the kernel should?",
    )


def _is_whole(value: Any) -> bool:
    whole = isinstance(value, dict) and set(value) == set(KERNELS)
    return whole and all(isinstance(one, int) and not isinstance(one, bool) for one in value.values())


def _so(carried: Carried) -> str:
    """What the machine said to a plan with a conflict."""
    if carried.machine.stopped is not None:
        return f" Carried out, it ended so: {carried.machine.stopped.detail}"
    if carried.trouble:
        return f" Carried out, it ended so: {carried.trouble}."
    return " Carried out, it ran, and every call returned 0: nobody in this machine looks for such a conflict."


def _cpus(where: Site, plan: Plan, carried: Carried) -> Verdict | None:
    for kernel in KERNELS:
        cpu = plan.cpu[kernel]
        if not 0 <= cpu < CPUS:
            hint = ""
            if cpu in where.apic_ids:
                hint = (
                    f" {cpu} is the APIC id of CPU {where.apic_ids.index(cpu)}; the host's calls take its own numbers."
                )
            return not_yet(
                f"{kernel} is to have CPU {cpu}, and the host knows CPUs 0 to {CPUS - 1}.{hint}{_so(carried)}",
                f"cpu, {kernel}",
                "cpu_down and reboot take the host's logical numbers.",
            )
        if cpu in (0, where.kept):
            return not_yet(
                f"CPU {cpu} is planned twice: for the host, which keeps it, and for {kernel}.{_so(carried)}",
                f"cpu, {kernel}",
                "Two CPUs are left when the host has what it keeps.",
            )
    if plan.cpu["kernel 1"] == plan.cpu["kernel 2"]:
        return not_yet(
            f"CPU {plan.cpu['kernel 1']} is planned for both kernels.{_so(carried)}",
            "cpu",
            "Each kernel needs a CPU of its own: an INIT for the second one would end the first.",
        )
    return None


def _no_window(plan: Plan) -> Verdict | None:
    """Not carried out: there is no such address, or a CPU would start in the middle of an image, which says nothing."""
    for kernel in KERNELS:
        own = plan.window(kernel)
        if plan.base[kernel] not in _ADDRESSES:
            return not_yet(
                f"The window of {kernel} is to begin at {own.start:#x}, which no CPU can put on its bus: a physical"
                " address has at most 52 bits, and is not negative.",
                f"base, {kernel}",
                f"Memory that is free lies from {HOST_END:#x} to {RAM_END:#x}.",
            )
        if _meet(own, _TRAMPOLINE):
            return not_yet(
                f"The window of {kernel}, {own.start:#x} to {own.stop:#x}, contains the trampoline at"
                f" {TRAMPOLINE_BASE:#x}, through which every CPU starts. kexec_load would copy the image over it, and"
                " return 0; the next CPU that gets a SIPI would execute the image's bytes in real mode.",
                f"base, {kernel}",
                f"Memory below {HOST_END:#x} is the host's.",
            )
    return None


def _windows(where: Site, plan: Plan, carried: Carried) -> Verdict | None:
    one, two = (plan.window(kernel) for kernel in KERNELS)
    for kernel, own in zip(KERNELS, (one, two), strict=True):
        words = f"The window of {kernel}, {own.start:#x} to {own.stop:#x},"
        if own.start % _PAGE:
            return not_yet(
                f"{words} does not begin at a page.{_so(carried)}", f"base, {kernel}", "A base is a multiple of 0x1000."
            )
        if own.start < HOST_END:
            return not_yet(
                f"{words} and the host's memory, which ends at {HOST_END:#x}, overlap.{_so(carried)}",
                f"base, {kernel}",
                f"The first address that is free is {HOST_END:#x}.",
            )
        if own.stop > RAM_END:
            return not_yet(
                f"{words} ends beyond the RAM, which ends at {RAM_END:#x}: what lies there reads as 0.{_so(carried)}",
                f"base, {kernel}",
                f"A window is {WINDOW >> 20} MiB long: {WINDOW:#x} bytes.",
            )
        if _meet(own, where.buffer):
            return _device(where, kernel, own, carried)
    if _meet(one, two):
        at = max(one.start, two.start)
        return not_yet(
            f"The windows of kernel 1 and kernel 2 overlap from {at:#x} on.{_so(carried)}",
            "base",
            f"Each is {WINDOW:#x} bytes long; what ends at one address and what begins there do not overlap.",
        )
    return None


def _device(where: Site, kernel: str, own: range, carried: Carried) -> Verdict:
    """A device writes, and a kernel's memory changes: tried on the machine."""
    at = max(own.start, where.buffer.start)
    seen = ""
    if not carried.trouble and carried.machine.stopped is None:
        carried.machine.poke(at, b"received")
        read = carried.machine.memory.read(at, 8)
        seen = (
            f" Then the device received something, and {kernel} reads {read.decode()!r} at {at:#x} in its own memory."
        )
    return not_yet(
        f"The window of {kernel}, {own.start:#x} to {own.stop:#x}, and the device's buffer overlap at {at:#x}."
        f"{_so(carried)}{seen}",
        f"base, {kernel}",
        f"The buffer is {where.buffer.start:#x} to {where.buffer.stop:#x}. Leave it out; a window may begin at any"
        f" page.",
    )


def _trouble(_where: Site, _plan: Plan, carried: Carried) -> Verdict | None:
    if not carried.trouble:
        return None
    return not_yet(
        f"The plan could not be carried out. {carried.trouble}.",
        next_step="Read the message from its end: which number of your plan does it speak of?",
    )


def _slots(where: Site, plan: Plan, carried: Carried) -> Verdict | None:
    for kernel in KERNELS:
        cpu, number = plan.cpu[kernel], plan.slot[kernel]
        own = where.apic_ids[cpu]
        if number == own and kernel in carried.answered:
            continue
        found = carried.found[kernel]
        if not 0 <= number < NR_CPUS:
            return not_yet(
                f"There is no slot {number}: mk_shared_data has {NR_CPUS}, numbered from 0. Nobody wrote to {kernel}.",
                f"slot, {kernel}",
                _OWN_SLOT,
            )
        saw = f"It looked into slot {own}, its physical id, and found type {found.type}" if found else "It saw nothing"
        placed = f"The message for {kernel} was put into slot {number}, and CPU {cpu} was interrupted."
        also = " The number is the host's for that CPU (defect 29)." if number == cpu else ""
        return not_yet(f"{placed} {saw}.{also}", f"slot, {kernel}", _OWN_SLOT)
    return None


def _meet(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def solve(seed: int) -> str:
    """A plan that works for the machine of ``seed``: the lowest CPUs and windows."""
    where = site(seed)
    free = [cpu for cpu in range(1, CPUS) if cpu != where.kept]
    bases = [base for base in range(HOST_END, RAM_END, WINDOW) if not _meet(range(base, base + WINDOW), where.buffer)]
    chosen = {
        "cpu": dict(zip(KERNELS, free, strict=True)),
        "base": dict(zip(KERNELS, bases, strict=False)),
        "slot": {kernel: where.apic_ids[cpu] for kernel, cpu in zip(KERNELS, free, strict=True)},
    }
    return "\n".join(f"{name} = {as_python(chosen[name])}" for name in _NAMES)


def _both(one: int, two: int) -> dict[str, int]:
    return dict(zip(KERNELS, (one, two), strict=True))


def _kept(right: Mapping[str, Any]) -> int:
    """The CPU that the host keeps: neither CPU 0 nor one of the plan's."""
    return next(one for one in range(1, CPUS) if one not in right["cpu"].values())


def _of_device(right: Mapping[str, Any]) -> int:
    """The window that the plan leaves out, because the device writes there."""
    return next(one for one in range(HOST_END, RAM_END, WINDOW) if one not in right["base"].values())


def _wrong(
    name: str, message: str, what: str, change: Callable[[Mapping[str, Any], tuple[int, int]], Any]
) -> WrongValues:
    """A known wrong answer: of ``what``, from all right values and those of the two kernels."""

    def changed(right: Mapping[str, Any]) -> Mapping[str, Any]:
        return {what: change(right, (right[what]["kernel 1"], right[what]["kernel 2"]))}

    return WrongValues(name, (), message, _NAMES, changed)


EXERCISE = Exercise(
    "07.2",
    "A plan for your machine",
    "python",
    judge,
    (
        "Your machine's numbers are printed above. Cross out first what is taken: two CPUs, all memory below"
        f" {HOST_END:#x}, the device's buffer.",
        "CPUs go by the host's numbers, slots by APIC ids. A window is 0x1000000 bytes long, begins at a page, and"
        " shares no byte with anything.",
        'Three lines of the form cpu = {"kernel 1": ..., "kernel 2": ...}; the two slots are the APIC ids of the two'
        " CPUs.",
    ),
    (
        _wrong(
            "the host's own CPU",
            "is planned twice: for the host",
            "cpu",
            lambda right, own: _both(_kept(right), own[1]),
        ),
        _wrong("the boot CPU", "CPU 0 is planned twice: for the host", "cpu", lambda _, own: _both(0, own[1])),
        _wrong("one CPU for both", "is planned for both kernels", "cpu", lambda _, own: _both(own[0], own[0])),
        _wrong("a CPU that there is not", "the host knows CPUs 0 to 3", "cpu", lambda _, own: _both(own[0], 10)),
        _wrong("slots of nobody", "was put into slot", "slot", lambda _, own: _both(own[0] + 20, own[1] + 20)),
        _wrong("slots swapped", "It looked into slot", "slot", lambda _, own: _both(own[1], own[0])),
        _wrong("a slot beyond the last", "There is no slot 64", "slot", lambda _, own: _both(own[0], 64)),
        _wrong("a slot before the first", "There is no slot -1", "slot", lambda _, own: _both(-1, own[1])),
        _wrong(
            "over the trampoline", "contains the trampoline at 0x96000", "base", lambda _, own: _both(0x90000, own[1])
        ),
        _wrong(
            "over the host",
            "the host's memory, which ends at 0x2000000",
            "base",
            lambda _, own: _both(0x1800000, own[1]),
        ),
        _wrong(
            "over the device's buffer",
            "and the device's buffer overlap",
            "base",
            lambda right, own: _both(_of_device(right), own[1]),
        ),
        _wrong("one over the other", "overlap from", "base", lambda _, own: _both(own[0], own[0])),
        _wrong("beyond the RAM", "ends beyond the RAM", "base", lambda _, own: _both(own[0], 0x4F00000)),
        _wrong(
            "no address",
            "which no CPU can put on its bus",
            "base",
            lambda _, own: _both(1 << 64, own[1]),
        ),
        _wrong("not at a page", "does not begin at a page", "base", lambda _, own: _both(own[0], own[1] + 0x80)),
        _wrong("a list", "It needs a number for 'kernel 1'", "base", lambda _, own: [own[0], own[1]]),
    ),
    alternatives=(
        WrongValues(
            "the other way round",
            (),
            "",
            _NAMES,
            lambda right: {name: _both(*reversed([right[name][kernel] for kernel in KERNELS])) for name in _NAMES},
        ),
    ),
    given=lambda seed: str(site(seed)),
    solve=solve,
)
