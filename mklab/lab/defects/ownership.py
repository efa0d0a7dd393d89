"""reboot(2) and whose CPU it is (RFC v1, patches 1 and 6): defects 16 to 19 and 21."""

from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.layout import HOST_END, LOW_MEMORY_END, WINDOW
from mklab.kernel.reboot import LINUX_REBOOT_CMD_CAD_OFF, LINUX_REBOOT_CMD_MULTIKERNEL
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import (
    SPIN,
    STOP,
    Starving,
    booted,
    held,
    kick_code,
    load_code,
    outcome,
    printed,
    spawn,
    window,
)
from mklab.trace import Init

__all__ = ["DEFECTS"]


def _wait_owned(host: Host, cpu: int) -> None:
    host.run_until(lambda machine: machine.cpus[cpu].owner is not None, f"CPU {cpu} did not come up")


def _online_kills() -> list[Finding]:
    """Bring CPU 1 online in the host while kernel 1 runs there.

    On another machine, let a spawned kernel that knows all CPUs start one of the host's.
    """
    host = booted(3)
    machine = host.machine
    spawn(host, 1, 1)
    kicked = outcome(host.multikernel_kexec, 2)
    lines, inits = len(printed(host)), len(machine.trace.of(Init))
    online = outcome(host.cpu_up, 1)
    said = printed(host)[lines:]
    init = machine.trace.of(Init)[inits:]

    child = booted(4)
    child.cpu_down(1)
    ranges = [(0, LOW_MEMORY_END), (HOST_END, HOST_END + WINDOW)]
    child.load(minikernel_image(HOST_END, 1, [1, 2, 3], memory=ranges, trampoline=True))
    child.multikernel_kexec(1)
    child.wait_online("kernel 1", 1)
    console = child.machine.console("host")
    taken = outcome(child.kernel("kernel 1").cpu_up, 2)
    owner = child.machine.cpus[3].owner
    return [
        Finding(
            f"online of CPU 1, which runs kernel 1: {online}; then it runs {machine.cpus[1].owner or 'nothing'}, after "
            f"{len(init)} INIT from CPU {init[0].from_cpu if init else '?'}",
            online == "0" and machine.cpus[1].owner == "host" and bool(init) and init[0].cpu == 1,
        ),
        Finding(
            f"all that the log says of it: '{' / '.join(said)}'",
            len(said) == 1 and said[0].startswith("smpboot: Booting Node"),
        ),
        Finding(f"a kick of CPU 2, which runs the host, is refused: {kicked}", kicked == "-EBUSY"),
        Finding(
            f"kernel 1 starts its logical CPU 2, the host's CPU 3: {taken}; CPU 3 runs {owner}",
            (taken, owner) == ("0", "kernel 1"),
        ),
        Finding(
            f"the host believes CPU 3 {'online' if child.cpu_online(3) else 'offline'}, and its console says nothing",
            child.cpu_online(3) and child.machine.console("host") == console,
        ),
    ]


def _unchecked_cpu() -> list[Finding]:
    """Kick CPU 63, which this machine does not have, then CPU 64, with an image loaded; then CPU -1."""
    host = booted(2)
    load_code(host, STOP, window(1))
    known, beyond = outcome(host.multikernel_kexec, 63), outcome(host.multikernel_kexec, 64)
    mask = host.symbol("cpu_online_mask")
    neighbour = int.from_bytes(host.machine.memory.read(mask + 8, 4), "little")
    free = not held(host, "system_transition_mutex")
    negative = outcome(host.multikernel_kexec, -1)
    later = outcome(host.reboot, LINUX_REBOOT_CMD_CAD_OFF)
    return [
        Finding(f"CPU 63: {known}; no such CPU", known == "-EINVAL"),
        Finding(
            f"CPU 64: {beyond}; the mask ends, and the variable behind it is {neighbour}",
            beyond == "-EBUSY" and neighbour & 1 == 1,
        ),
        Finding(f"CPU -1: {negative}", "page fault" in negative),
        Finding(
            f"then reboot(CAD_OFF): {later}", free and held(host, "system_transition_mutex") and "for ever" in later
        ),
    ]


def _checked_before_the_lock() -> list[Finding]:
    """Let multikernel_kexec(1) find CPU 1 offline, and bring CPU 1 online from CPU 2; then let the first call go on.

    Ask for the same CPU again.
    """
    host = booted(4)
    machine = host.machine
    kick_code(host, 3, SPIN, window(2))
    host.cpu_down(1)
    load_code(host, STOP, window(1))
    call = host.submit("multikernel_kexec", {"cpu": 1}, via=0)
    host.run_until(lambda _: call.step != "check", "the check was not made")
    passed = call.step == "lock" and not host.cpu_online(1)
    machine.schedule = Starving(0)
    up = outcome(host.cpu_up, 1, via=2)
    between = host.cpu_online(1) and not call.done and machine.cpus[1].owner == "host"
    machine.schedule = Starving(3)
    kick = outcome(host.finish, call)
    machine.run(100_000, lambda one: one.cpus[1].owner not in (None, "host"))
    again = outcome(host.multikernel_kexec, 1)
    return [
        Finding(f"CPU 1 is offline: the check {'passes' if passed else 'refuses'}", passed),
        Finding(
            f"before the lock is taken, cpu_up(1): {up}; CPU 1 {'runs the host' if between else 'does not'}",
            up == "0" and between,
        ),
        Finding(
            f"the kick goes on: {kick}; CPU 1 runs {machine.cpus[1].owner}, and the host believes it "
            f"{'online' if host.cpu_online(1) else 'offline'}",
            kick == "0" and machine.cpus[1].owner == "kernel 2" and host.cpu_online(1),
        ),
        Finding(f"a check that comes after it: {again}", again == "-EBUSY"),
    ]


def _bad_pointer() -> list[Finding]:
    """Call reboot(2) with a harmless command before and after one whose argument cannot be read."""
    host = booted(1)
    before = outcome(host.reboot, LINUX_REBOOT_CMD_CAD_OFF)
    refused = outcome(host.multikernel_kexec, 0)
    free = not held(host, "system_transition_mutex")
    bad = outcome(host.reboot, LINUX_REBOOT_CMD_MULTIKERNEL, cpu=None)
    kept = held(host, "system_transition_mutex")
    after = outcome(host.reboot, LINUX_REBOOT_CMD_CAD_OFF)
    return [
        Finding(
            f"reboot(CAD_OFF): {before}; a kick that is refused: {refused}; the mutex is {'free' if free else 'held'}",
            (before, refused, free) == ("0", "-EBUSY", True),
        ),
        Finding(
            f"a kick with a bad pointer: {bad}, the mutex {'is held' if kept else 'is free'}", bad == "-EFAULT" and kept
        ),
        Finding(f"reboot(CAD_OFF): {after}", "for ever" in after),
    ]


def _always_the_first() -> list[Finding]:
    """Load kernels 1 and 2, kick CPU 1 and then CPU 2.

    Then call multikernel_kexec_by_entry, which no system call does.
    """
    host = booted(3)
    machine = host.machine
    for cpu in (1, 2):
        host.cpu_down(cpu)
        load_code(host, SPIN, window(cpu))
    listed = host.proc_multikernel().count("multikernel  0x")
    for cpu in (1, 2):
        host.multikernel_kexec(cpu)
        _wait_owned(host, cpu)
    owners = [machine.cpus[cpu].owner for cpu in (1, 2)]
    by_entry = outcome(host.multikernel_kexec_by_entry, 2, window(2))
    _wait_owned(host, 2)
    return [
        Finding(
            f"/proc/multikernel lists {listed} images; CPUs 1 and 2 run {owners[0]} and {owners[1]}",
            listed == 2 and owners == ["kernel 1"] * 2,
        ),
        Finding(
            f"by entry, past the system calls: {by_entry}, and CPU 2 runs {machine.cpus[2].owner}",
            by_entry == "0" and machine.cpus[2].owner == "kernel 2",
        ),
    ]


DEFECTS: tuple[Defect, ...] = (
    Defect(
        16,
        "Nobody owns a CPU",
        "patch 1, multikernel_kick_ap: no record says that a CPU was given away, to the host or to other kernels",
        _online_kills,
    ),
    Defect(
        17,
        "A CPU number from user space",
        "patch 1, multikernel_kexec: cpu_online(cpu) with whatever number reboot(2) was given",
        _unchecked_cpu,
    ),
    Defect(
        18,
        "Checked before the lock",
        "patch 1, multikernel_kexec: cpu_online(cpu) is asked before kexec_trylock and cpus_read_lock",
        _checked_before_the_lock,
    ),
    Defect(
        19,
        "A mutex that is never released",
        "patch 1, reboot: return -EFAULT from within the switch, past mutex_unlock(&system_transition_mutex)",
        _bad_pointer,
    ),
    Defect(
        21,
        "Always the first image",
        "patch 6, multikernel_kexec: kimage_find_by_type, the oldest; multikernel_kexec_by_entry has no caller",
        _always_the_first,
    ),
)
