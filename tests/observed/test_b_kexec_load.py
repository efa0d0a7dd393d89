"""kexec_load: what it refuses, what it takes, and what it destroys."""

import re
from typing import Any

import pytest

from mklab.errors import MklabError
from mklab.kernel.direct_map import PAGE_OFFSET
from mklab.kernel.host import Host
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KEXEC_ON_CRASH, KexecSegment
from tests.observed.reference import (
    BASE,
    PAGE,
    PLAIN_RAM,
    RAM,
    action,
    boot,
    observed,
    outcome,
    printed,
    result,
    said,
    text,
)

MIB = 1 << 20
CRASH = "crashkernel=32M@0x1d000000"


def segment(mem: int = BASE, memsz: int = PAGE, bufsz: int | None = None, fill: bytes = b"\xc3") -> KexecSegment:
    return KexecSegment(fill * (memsz if bufsz is None else bufsz), mem, memsz)


def many(number: int) -> list[KexecSegment]:
    return [segment(BASE + PAGE * index) for index in range(number)]


def load(host: Host, segments: Any, entry: int = BASE, flags: int = KEXEC_MULTIKERNEL, **more: Any) -> int:
    return outcome(host.kexec_load, entry, segments, flags, **more)


CALLS: dict[str, dict[str, Any]] = {
    "b.16": {"segments": many(16)},
    "b.17": {"segments": many(17)},
    "b.unaligned": {"segments": [segment(BASE + 0x800)]},
    "b.unalsz": {"segments": [segment(BASE, 0x800)]},
    "b.overlap": {"segments": [segment(BASE, 2 * PAGE), segment(BASE + PAGE)]},
    "b.bufsz": {"segments": [segment(bufsz=PAGE + 1)]},
    "b.bufsz0": {"segments": [segment(bufsz=0)]},
    "b.memsz0": {"segments": [segment(memsz=0)]},
    "b.entry": {"segments": [segment()], "entry": 0xDEADBEEF},
    "b.entry512": {"segments": [segment()], "entry": 0x8000000000},
    "b.2^52": {"segments": [segment(1 << 52)]},
    "b.wrap": {"segments": [segment((1 << 64) - PAGE)]},
    "b.archarm": {"segments": [segment()], "flags": KEXEC_MULTIKERNEL | 40 << 16},
    "b.arch386": {"segments": [segment()], "flags": KEXEC_MULTIKERNEL | 3 << 16},
    "b.arch64": {"segments": [segment()], "flags": KEXEC_MULTIKERNEL | 62 << 16},
    "b.flag20": {"segments": [segment()], "flags": KEXEC_MULTIKERNEL | 0x20},
    "b.flag8000": {"segments": [segment()], "flags": KEXEC_MULTIKERNEL | 0x8000},
    "b.segptr": {"segments": None},
    "b.nocap": {"segments": [segment()], "privileged": False},
    "b.ram": {"segments": [segment(PLAIN_RAM)]},
    "b.crashmk.out": {"segments": [segment()], "flags": KEXEC_MULTIKERNEL | KEXEC_ON_CRASH},
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=observed(name)) for name in CALLS])
def test_result(host: Host, name: str) -> None:
    """Refused with that errno, and nothing is loaded; or taken."""
    before = host.proc_multikernel()
    assert load(host, **CALLS[name]) == result(name)
    assert (host.proc_multikernel() == before) == (result(name) != 0)
    assert host.kimages.state.get("kexec_lock") == 0


@observed("b.half1", "b.half2")
def test_half_of_512_mib() -> None:
    host = boot(ram=RAM)
    assert load(host, [segment(BASE, 260 * MIB, 1)]) == result("b.half1")
    assert load(host, [segment(BASE, 130 * MIB, 1), segment(BASE + 130 * MIB, 130 * MIB, 1)]) == result("b.half2")
    assert "No kimages loaded" in host.proc_multikernel()


@observed("b.flags248")
def test_other_flags_beside_it(host: Host) -> None:
    for flag in re.findall(r"with (0x\w+)", action("b.flags248")):
        assert load(host, [segment()], flags=KEXEC_MULTIKERNEL | int(flag, 16)) == result("b.flags248")
    assert len(list(host.kimages)) == 3


@observed("b.ok")
def test_messages_of_a_load(host: Host) -> None:
    before = len(printed(host))
    assert load(host, [segment()]) == result("b.ok")
    assert printed(host)[before:] == said("b.ok")


@observed("b.nr0")
def test_unloading_nothing(host: Host) -> None:
    assert load(host, []) == result("b.nr0")
    assert printed(host)[-1] == said("b.nr0")[0]


@observed("b.above")
def test_memory_that_is_not_there(host: Host) -> None:
    assert load(host, [segment(1 << 30)]) == result("b.above")
    read = re.search(r"reads back (\w\w)", text("b.above"))
    assert read is not None
    assert host.load_memory(1 << 30, 16) == bytes.fromhex(read[1]) * 16


@observed("b.1T")
def test_memory_that_the_cpu_cannot_address(host: Host) -> None:
    assert load(host, [segment(1 << 40)]) == result("b.1T")
    assert printed(host)[-2:] == said("b.1T")


@observed("b.efault")
def test_a_fault_halfway(host: Host) -> None:
    found = re.search(r"were (\w\w), (\w\w); now (\w\w), (\w\w)", text("b.efault"))
    assert found is not None
    before, after = found.groups()[:2], found.groups()[2:]
    host.machine.poke(BASE, b"".join(bytes.fromhex(byte) * PAGE for byte in before))
    half = KexecSegment(b"\xc3" * 2 * PAGE, BASE, 2 * PAGE, readable=PAGE)
    assert load(host, [half]) == result("b.efault")
    assert host.machine.memory.read(BASE, 2 * PAGE) == b"".join(bytes.fromhex(byte) * PAGE for byte in after)
    assert "No kimages loaded" in host.proc_multikernel()


@observed("b.13")
def test_unloading_thirteen(host: Host) -> None:
    """Defect 23."""
    entries = [BASE + PAGE * index for index in range(13)]
    for entry in entries:
        assert load(host, [segment(entry)], entry) == 0
    assert load(host, []) == 0
    assert said("b.13")[0] in printed(host)[-1]
    left = [image.get("start") for image in host.kimages]
    assert left == entries[-3:]
    assert "3 left (the newest)" in text("b.13")
    assert load(host, []) == 0
    assert said("b.13")[1] in printed(host)[-1]


@observed("b.copy")
def test_copied_at_once_and_left_there(host: Host) -> None:
    found = re.match(r"memory (\w\w), (\w\w) at once, still (\w\w) after unload", text("b.copy"))
    assert found is not None
    seen = []
    for fill in found.groups()[:2]:
        assert load(host, [segment(fill=bytes.fromhex(fill))]) == 0
        seen.append(host.machine.memory.read(BASE, PAGE))
    assert load(host, []) == 0
    seen.append(host.machine.memory.read(BASE, PAGE))
    assert seen == [bytes.fromhex(byte) * PAGE for byte in found.groups()]


@observed("b.data")
def test_over_the_hosts_own_data(host: Host) -> None:
    """Defect 14."""
    found = re.search(r"changes from (\S+) to (\S+)", text("b.data"))
    assert found is not None
    assert host.proc_hostname() == found[1] + "\n"
    place = host.symbol("nodename")
    page = bytearray(host.machine.memory.read(place & -PAGE, PAGE))
    page[place % PAGE : place % PAGE + 65] = found[2].encode().ljust(65, b"\0")
    assert load(host, [KexecSegment(bytes(page), place & -PAGE, PAGE)]) == result("b.data")
    assert host.proc_hostname() == found[2] + "\n"


@observed("b.text")
def test_over_the_hosts_own_text(host: Host) -> None:
    """Defect 14: the direct map has it read-only, and the lock stays held."""
    oops = re.search(r"(write page fault at (\w+) \(error_code \d+\))", text("b.text"))
    assert oops is not None
    page = int(oops[2], 16) - PAGE_OFFSET
    host.cpu_down(1)
    with pytest.raises(MklabError, match=re.escape(oops[1])):
        load(host, [KexecSegment(host.machine.memory.read(page, PAGE), page, PAGE)])
    assert oops[1] in printed(host)[-1]
    assert "every kexec_load, unload and MKLI gives EBUSY" in text("b.text")
    again = [load(host, [segment()]), load(host, []), outcome(host.multikernel_kexec, 1)]
    assert again == [16, 16, 16]
    assert "No kimages loaded" in host.proc_multikernel()


@observed("b.crashmk")
def test_inside_the_crash_region() -> None:
    """Defect 24."""
    host = boot(CRASH, RAM)
    place = 0x1D000000
    with pytest.raises(MklabError, match="oopsed write-protecting the crashkernel region around a control page at 0"):
        load(host, [segment(place)], place, KEXEC_MULTIKERNEL | KEXEC_ON_CRASH)
    assert host.machine.memory.read(place, PAGE) == b"\xc3" * PAGE
    assert said("b.crashmk")[0] in printed(host)
    assert printed(host)[-1].startswith("---[ end Kernel panic")
    assert not any(host.cpu_online(cpu) for cpu in range(4))


@observed("b.nojump")
def test_a_kernel_without_kexec_jump(host: Host) -> None:
    """Defect 20."""
    host.kimages.state.set("config_kexec_jump", 0)
    assert load(host, [segment()]) == result("b.nojump")
    assert load(host, []) == result("b.nojump")
    assert load(host, [segment(PLAIN_RAM)], PLAIN_RAM, 0) == 0, "ordinary kexec is another matter"
