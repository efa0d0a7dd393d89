"""/proc/multikernel, byte for byte."""

import re

from mklab.kernel.host import Host
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KEXEC_ON_CRASH, KexecSegment
from tests.observed.reference import BASE, OBSERVED, PAGE, RAM, boot, observed, printed, said, text

CRASH = "crashkernel=32M@0x1d000000"


def size(name: str) -> int:
    found = re.search(r"(\d+) bytes", OBSERVED[name])
    assert found is not None
    return int(found[1])


def load(host: Host, entry: int, flags: int = KEXEC_MULTIKERNEL, segments: int = 1) -> None:
    host.kexec_load(entry, [KexecSegment(b"\xf4", entry + PAGE * i, PAGE) for i in range(segments)], flags)


@observed("c.proc.empty")
def test_nothing_loaded(host: Host) -> None:
    assert host.proc_multikernel() == said("c.proc.empty")[0]
    assert len(host.proc_multikernel()) == size("c.proc.empty")


@observed("c.proc.1", "c.proc.2", "c.proc.3", "c.proc.default", "c.proc.crash", "b.nr0.mixed")
def test_images_one_after_the_other() -> None:
    host = boot(CRASH, RAM)
    header = said("c.proc.empty")[0].removesuffix("No kimages loaded\n")
    rows = ""

    def shows(name: str, row: str) -> None:
        nonlocal rows
        rows += row
        assert host.proc_multikernel() == header + rows
        assert len(host.proc_multikernel()) == size(name)

    load(host, BASE)
    shows("c.proc.1", said("c.proc.1")[0])
    assert f"({len(said('c.proc.1')[0])} bytes)" in text("c.proc.1")
    load(host, BASE)
    shows("c.proc.2", said("c.proc.1")[0])
    load(host, BASE + 0x100000, segments=2)
    shows("c.proc.3", said("c.proc.3")[0])
    load(host, 0x6000000, 0)
    shows("c.proc.default", said("c.proc.default")[0])
    load(host, 0x1D000000, KEXEC_ON_CRASH)
    shows("c.proc.crash", said("c.proc.crash")[0])

    host.kexec_load(0, [])
    assert printed(host)[-1] == said("b.nr0.mixed")[0]
    assert host.proc_multikernel() == header + said("c.proc.default")[0] + said("c.proc.crash")[0]


@observed("c.sysfs")
def test_the_two_old_pointers_know_nothing_of_multikernel_images(host: Host) -> None:
    """/sys/kernel/kexec_loaded is !!kexec_image, and kexec_crash_loaded !!kexec_crash_image (kernel/ksysfs.c)."""
    load(host, BASE)
    state = host.kimages.state
    assert [int(bool(state.get(name))) for name in ("kexec_image", "kexec_crash_image")] == [0, 0]
    assert text("c.sysfs") == "both 0"
    load(host, 0x1F00000, 0)
    assert state.get("kexec_image")
