"""kexec_load, the list of images and /proc (RFC v1, patches 1, 6 and 7): defects 14, 15, 20 and 22 to 25."""

import struct

from mklab.kernel.host import Host
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KEXEC_ON_CRASH, KexecSegment
from mklab.lab.defects.defect import Defect, Finding
from mklab.lab.defects.stage import (
    SPIN,
    STOP,
    booted,
    held,
    kick_code,
    load_code,
    outcome,
    printed,
    window,
)
from mklab.trace import Step

__all__ = ["DEFECTS"]

_PAGE = 4096
_IN_A, _IN_B = "48c7c30a000000ebf7", "48c7c30b000000ebf7"
"""1: mov $0xa, %rbx; jmp 1b, and the same with 0xb."""
_COUNT = "48ffc3ebfb"
"""1: inc %rbx; jmp 1b."""


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
        outcome(load_code, host, STOP, window(1)),
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
            f"{'held' if held(host, 'kexec_lock') else 'free'}",
            later == ["-EBUSY"] * 3 and held(host, "kexec_lock"),
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
    free = window(2) + _PAGE
    twice = [KexecSegment(b"", free, 2 * _PAGE), KexecSegment(b"", free + _PAGE, _PAGE)]
    within = outcome(host.kexec_load, free, twice)
    return [
        Finding(f"with B loaded elsewhere, CPU 1 has RBX = {before:#x}", before == 0xA),
        Finding(
            f"B loaded over A: {over}; CPU 1, never kicked again, has RBX = {after:#x}", (over, after) == ("0", 11)
        ),
        Finding(f"an overlap within one image: {within}", within == "-EINVAL"),
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
        Finding(f"asked for {entry:#x}, multikernel_kexec_by_entry finds {found}", found == "kernel 1"),
        Finding(f"asked for {other:#x}, which is another's alone, it finds {distinct}", distinct == "kernel 3"),
    ]


def _ten_at_most() -> list[Finding]:
    """Run a payload that counts, load twelve images more, and unload twice."""
    host = booted(2)
    machine = host.machine
    host.cpu_down(1)
    load_code(host, _COUNT, window(1))
    host.multikernel_kexec(1)
    for _ in range(12):
        load_code(host, STOP, window(2))
    loaded = len(list(host.kimages))
    first = outcome(host.kexec_load, 0, [])
    left = len(list(host.kimages))
    line = printed(host)[-1]
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
    code = bytes.fromhex(STOP)
    outside = outcome(host.kexec_load, window(2), [KexecSegment(code, window(2), _PAGE)], both)
    alone = outcome(host.kexec_load, region, [KexecSegment(code, region, _PAGE)], KEXEC_ON_CRASH)
    at = region + 0x100000
    inside = outcome(host.kexec_load, at, [KexecSegment(code, at, _PAGE)], both)
    copied = host.machine.memory.read(at, len(code)) == code
    panics = [line for line in printed(host) if line.startswith("Kernel panic")]
    return [
        Finding(f"an entry outside the region: {outside}", outside == "-EADDRNOTAVAIL"),
        Finding(f"KEXEC_ON_CRASH alone, inside: {alone}", alone == "0"),
        Finding(
            f"both, inside: {inside}; the segment {'was copied' if copied else 'was not copied'}",
            copied and "oopsed" in inside,
        ),
        Finding(
            f"the host's log: '{' / '.join(panics)}'; CPU 0 {'runs it' if host.cpu_online(0) else 'has stopped'}",
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
        20,
        "A flag of another option",
        "patch 1, KEXEC_FLAGS: KEXEC_MULTIKERNEL is among the flags only with CONFIG_KEXEC_JUMP",
        _without_kexec_jump,
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
