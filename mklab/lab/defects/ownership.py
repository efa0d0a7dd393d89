"""kexec_load, the list of images and who owns what (RFC v1, patches 1, 6 and 7): defects 14 to 25."""

import struct

from mklab.kernel.host import Host, minikernel_image
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KEXEC_ON_CRASH, KexecSegment
from mklab.kernel.layout import HOST_END, LOW_MEMORY_END, WINDOW
from mklab.kernel.reboot import LINUX_REBOOT_CMD_CAD_OFF, LINUX_REBOOT_CMD_MULTIKERNEL
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import SPIN, Starving, booted, kick_code, load_code, outcome, spawn, window
from mklab.trace import Init, Printk, Step

__all__ = ["DEFECTS"]

_PAGE = 4096
_IN_A, _IN_B = "48c7c30a000000ebf7", "48c7c30b000000ebf7"
"""1: mov $0xa, %rbx; jmp 1b, and the same with 0xb."""
_STOP = "faf4ebfd"
_COUNT = "48ffc3ebfb"
"""1: inc %rbx; jmp 1b."""


def _printed(host: Host) -> list[str]:
    return [event.text for event in host.machine.trace.of(Printk) if event.kernel == "host"]


def _held(host: Host, lock: str) -> bool:
    """Whether a lock of the host's process context is held, as its memory says."""
    return bool(host.kimages.state.get(lock))


def _wait_owned(host: Host, cpu: int) -> None:
    host.run_until(lambda machine: machine.cpus[cpu].owner is not None, f"CPU {cpu} did not come up")


def _loads_over_the_host() -> list[Finding]:
    """Load the page of the host's data that holds its number, with another number in it.

    Then load the host's own text over itself, unchanged.
    """
    host = booted(1)
    memory = host.machine.memory
    info = host.boot_info
    page = info.paddr & -_PAGE
    where = info.address("kernel_id") - page
    data = memory.read(page, _PAGE)
    data = data[:where] + struct.pack("<I", 7) + data[where + 4 :]
    over_data = outcome(host.kexec_load, page, [KexecSegment(data, page, _PAGE)])
    host.multikernel_send_ipi_data(0, b"who am I?")
    host.settle()
    line = host.machine.console("host").splitlines()[-1]

    text = host.symbol("startup_64") & -_PAGE
    over_text = outcome(host.kexec_load, text, [KexecSegment(memory.read(text, _PAGE), text, _PAGE)])
    later = [
        outcome(load_code, host, _STOP, window(1)),
        outcome(host.kexec_load, 0, []),
        outcome(host.multikernel_kexec, 1),
    ]
    return [
        Finding(
            f"a load over the host's data at {info.paddr:#x}: {over_data}; its mk_boot_info.kernel_id is "
            f"{info.get('kernel_id')} now",
            over_data == "0" and info.get("kernel_id") == 7,
        ),
        Finding(f"its console says {line!r}", line.startswith("kernel 7:")),
        Finding(f"a load over its text at {text:#x}: {over_text}", "write page fault" in over_text),
        Finding(
            f"then a load, an unload and a kick give {', '.join(later)}: kexec_lock is "
            f"{'held' if _held(host, 'kexec_lock') else 'free'}",
            later == ["-EBUSY"] * 3 and _held(host, "kexec_lock"),
        ),
    ]


def _load_over_a_running_kernel() -> list[Finding]:
    """Run payload A on CPU 1; load B elsewhere, then B over A; then an image of which two segments overlap."""
    host = booted(2)
    machine = host.machine
    kick_code(host, 1, _IN_A, window(1))
    host.run_until(lambda one: one.registers(1).rbx == 0xA, "payload A did not start")
    load_code(host, _IN_B, window(2))
    machine.run(5_000)
    before = machine.registers(1).rbx
    over = outcome(load_code, host, _IN_B, window(1))
    machine.run(5_000)
    after = machine.registers(1).rbx
    twice = [KexecSegment(b"", window(1), 2 * _PAGE), KexecSegment(b"", window(1) + _PAGE, _PAGE)]
    within = outcome(host.kexec_load, window(1), twice)
    return [
        Finding(f"with B loaded elsewhere, CPU 1 has RBX = {before:#x}", before == 0xA),
        Finding(
            f"B loaded over A: {over}; CPU 1, never kicked again, has RBX = {after:#x}", (over, after) == ("0", 11)
        ),
        Finding(f"an overlap within one image: {within}", within == "-EINVAL"),
    ]


def _online_kills() -> list[Finding]:
    """Bring CPU 1 online in the host while kernel 1 runs there.

    On another machine, let a spawned kernel that knows all CPUs start one of the host's.
    """
    host = booted(3)
    machine = host.machine
    spawn(host, 1, 1)
    lines, inits = len(_printed(host)), len(machine.trace.of(Init))
    running = outcome(host.cpu_up, 2)
    online = outcome(host.cpu_up, 1)
    said = _printed(host)[lines:]
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
            f"online of CPU 1, which runs kernel 1: {online}; it runs {machine.cpus[1].owner} after "
            f"{len(init)} INIT from CPU {init[0].from_cpu if init else '?'}",
            online == "0" and machine.cpus[1].owner == "host" and bool(init) and init[0].cpu == 1,
        ),
        Finding(f"all that the log says of it: {said}", len(said) == 1 and said[0].startswith("smpboot: Booting Node")),
        Finding(f"online of CPU 2, which runs the host: {running}", running == "-EBUSY"),
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
    load_code(host, _STOP, window(1))
    known, beyond = outcome(host.multikernel_kexec, 63), outcome(host.multikernel_kexec, 64)
    mask = host.symbol("cpu_online_mask")
    neighbour = int.from_bytes(host.machine.memory.read(mask + 8, 4), "little")
    free = not _held(host, "system_transition_mutex")
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
            f"then reboot(CAD_OFF): {later}", free and _held(host, "system_transition_mutex") and "for ever" in later
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
    load_code(host, _STOP, window(1))
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
    free = not _held(host, "system_transition_mutex")
    bad = outcome(host.reboot, LINUX_REBOOT_CMD_MULTIKERNEL, cpu=None)
    held = _held(host, "system_transition_mutex")
    after = outcome(host.reboot, LINUX_REBOOT_CMD_CAD_OFF)
    return [
        Finding(
            f"reboot(CAD_OFF): {before}; a kick that is refused: {refused}; the mutex is {'free' if free else 'held'}",
            (before, refused, free) == ("0", "-EBUSY", True),
        ),
        Finding(
            f"a kick with a bad pointer: {bad}, the mutex {'is held' if held else 'is free'}", bad == "-EFAULT" and held
        ),
        Finding(f"reboot(CAD_OFF): {after}", "for ever" in after),
    ]


def _without_kexec_jump() -> list[Finding]:
    """Load and unload on a host built with CONFIG_KEXEC_JUMP and on one built without."""
    host = booted(1)
    segments = [KexecSegment(b"", window(1), _PAGE)]
    results = {}
    for built in (1, 0):
        host.kimages.state.set("config_kexec_jump", built)
        results[built] = [
            outcome(host.kexec_load, window(1), one, flags)
            for one, flags in ((segments, KEXEC_MULTIKERNEL), ([], KEXEC_MULTIKERNEL), (segments, 0))
        ]
    text = "KEXEC_MULTIKERNEL gives {}, with no segments {}; an ordinary load {}"
    return [
        Finding(f"with it: {text.format(*results[1])}", results[1] == ["0", "0", "0"]),
        Finding(f"without it: {text.format(*results[0])}", results[0] == ["-EINVAL", "-EINVAL", "0"]),
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


def _chosen(host: Host, entry: int) -> str:
    """What multikernel_kexec_by_entry finds for ``entry``."""
    outcome(host.multikernel_kexec_by_entry, 1, entry)
    steps = [event for event in host.machine.trace.of(Step) if event.step == "choose"]
    return steps[-1].detail.split(",")[0]


def _equal_entries() -> list[Finding]:
    """Load two images that are entered at one address, and one with an entry of its own; ask for each by entry."""
    host = booted(2)
    host.cpu_down(1)
    entry, other = window(1), window(2)
    for start, mem in ((entry, entry), (entry, entry + _PAGE), (other, other)):
        host.kexec_load(start, [KexecSegment(bytes.fromhex(SPIN), mem, _PAGE)])
    ids = [image.get("id") for image in host.kimages if image.get("start") == entry]
    rows = [row for row in host.proc_multikernel().splitlines() if f"0x{entry:012x}" in row]
    found, distinct = _chosen(host, entry), _chosen(host, other)
    return [
        Finding(
            f"/proc/multikernel has {len(rows)} rows for kernels {' and '.join(map(str, ids))}: {rows[0]!r}",
            len(rows) == 2 and rows[0] == rows[1] and ids == [1, 2],
        ),
        Finding(f"asked for {entry:#x}, it finds {found}", found == "kernel 1"),
        Finding(f"asked for {other:#x}, it finds {distinct}", distinct == "kernel 3"),
    ]


def _ten_at_most() -> list[Finding]:
    """Run a payload that counts, load twelve images more, and unload twice."""
    host = booted(2)
    machine = host.machine
    host.cpu_down(1)
    load_code(host, _COUNT, window(1))
    host.multikernel_kexec(1)
    for _ in range(12):
        load_code(host, _STOP, window(2))
    loaded = len(list(host.kimages))
    first = outcome(host.kexec_load, 0, [])
    left = len(list(host.kimages))
    line = _printed(host)[-1]
    second = outcome(host.kexec_load, 0, [])
    none = len(list(host.kimages))
    before = machine.registers(1).rbx
    machine.run(5_000)
    after = machine.registers(1).rbx
    return [
        Finding(f"{loaded} images, unload: {first}, {line!r}; {left} are left", (first, loaded, left) == ("0", 13, 3)),
        Finding(f"unload again: {second}, {none} are left", (second, none) == ("0", 0)),
        Finding(
            f"the payload, whose image is gone, runs on: RBX {before:,} and then {after:,}",
            machine.cpus[1].owner == "kernel 1" and after > before,
        ),
    ]


def _crash_and_multikernel() -> list[Finding]:
    """On a host with crashkernel=, load with both flags outside the region, and an ordinary crash image inside it.

    Then load with both flags inside it.
    """
    region = window(1)
    host = booted(1, cmdline=f"crashkernel=4M@{region:#x}")
    both = KEXEC_ON_CRASH | KEXEC_MULTIKERNEL
    code = bytes.fromhex(_STOP)
    outside = outcome(host.kexec_load, window(2), [KexecSegment(code, window(2), _PAGE)], both)
    alone = outcome(host.kexec_load, region, [KexecSegment(code, region, _PAGE)], KEXEC_ON_CRASH)
    at = region + 0x100000
    inside = outcome(host.kexec_load, at, [KexecSegment(code, at, _PAGE)], both)
    copied = host.machine.memory.read(at, len(code)) == code
    panics = [line for line in _printed(host) if line.startswith("Kernel panic")]
    return [
        Finding(f"an entry outside the region: {outside}", outside == "-EADDRNOTAVAIL"),
        Finding(f"KEXEC_ON_CRASH alone, inside: {alone}", alone == "0"),
        Finding(
            f"both, inside: {inside}; the segment {'was copied' if copied else 'was not copied'}",
            copied and "oopsed" in inside,
        ),
        Finding(
            f"the host's log: {panics}; CPU 0 {'runs it' if host.cpu_online(0) else 'has stopped'}",
            len(panics) == 1 and not host.cpu_online(0),
        ),
    ]


def _proc() -> list[Finding]:
    """Load an ordinary image and a multikernel image, and read /proc/multikernel."""
    host = booted(1)
    for flags, mem in ((0, window(1)), (KEXEC_MULTIKERNEL, window(2))):
        host.kexec_load(mem, [KexecSegment(b"", mem, _PAGE)], flags)
    header, _, default, multikernel = host.proc_multikernel().splitlines()
    column = header.index("Start Address")
    start = next(image.get("start") for image in host.kimages if image.get("type") == 2)
    refused = outcome(host.kexec_load, 0, [], privileged=False)
    return [
        Finding(f"{header!r}: the addresses stand in column {column}", column == 12),
        Finding(f"{default!r}: in column {default.index('0x')}", default.index("0x") == column),
        Finding(f"{multikernel!r}: in column {multikernel.index('0x')}", multikernel.index("0x") == column + 1),
        Finding(
            f"the row gives the entry {start:#x} to every reader; without CAP_SYS_BOOT kexec_load gives {refused}",
            f"0x{start:012x}" in multikernel and refused == "-EPERM",
        ),
    ]


DEFECTS: tuple[Defect, ...] = (
    Defect(
        14,
        "Loads over the host",
        "patch 1, kimage_load_multikernel_segment: it copies anywhere; the check for memory in use is under #if 0",
        _loads_over_the_host,
    ),
    Defect(
        15,
        "Loads over a running kernel",
        "patch 1, kimage_load_multikernel_segment: it copies at load time; overlap is checked within one image",
        _load_over_a_running_kernel,
    ),
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
        20,
        "A flag of another option",
        "patch 1, KEXEC_FLAGS: KEXEC_MULTIKERNEL is among the flags only with CONFIG_KEXEC_JUMP",
        _without_kexec_jump,
    ),
    Defect(
        21,
        "Always the first image",
        "patch 6, multikernel_kexec: kimage_find_by_type, the oldest; multikernel_kexec_by_entry has no caller",
        _always_the_first,
    ),
    Defect(
        22,
        "Equal entries",
        "patch 6, kimage_find_multikernel_by_entry: an image is known by its entry, and the oldest wins",
        _equal_entries,
    ),
    Defect(
        23,
        "Ten at most",
        "patch 6, do_kexec_load: an unload takes the ten images that an array on the stack can hold, and returns 0",
        _ten_at_most,
    ),
    Defect(
        24,
        "A crash image without a control page",
        "patches 1 and 6, do_kexec_load: with both flags there is no control page, which the end of the load needs",
        _crash_and_multikernel,
    ),
    Defect(
        25,
        "A table out of line, for everybody",
        "patch 7, /proc/multikernel: a column of 10 for a name of 11, in a file of mode 0444",
        _proc,
    ),
)
