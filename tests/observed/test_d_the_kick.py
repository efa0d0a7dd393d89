"""reboot(LINUX_REBOOT_CMD_MULTIKERNEL): what it refuses, and the state in which a payload is entered."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from mklab.errors import MklabError
from mklab.guest import trampoline
from mklab.kernel.bootparam import BootParams
from mklab.kernel.host import Host
from mklab.kernel.layout import TRAMPOLINE_BASE, WARM_RESET_VECTOR
from mklab.kernel.reboot import LINUX_REBOOT_CMD_CAD_OFF, LINUX_REBOOT_CMD_MULTIKERNEL
from mklab.machine.schedule import RoundRobin
from tests.observed.reference import (
    BASE,
    DATA,
    action,
    boot,
    counted,
    kick,
    load,
    observed,
    outcome,
    printed,
    result,
    said,
    text,
)

STATUS = TRAMPOLINE_BASE + trampoline().symbols["trampoline_status_bsp"]
MARKER = 0xA5A5A5A5


def values(name: str) -> dict[str, str]:
    """What ``A=B=1`` in an observation says: A and B are ``1``."""
    found: dict[str, str] = {}
    for chain in re.findall(r"[\w\[\]]+=[\w=/]+", text(name)):
        *names, value = chain.split("=")
        found |= dict.fromkeys(names, value)
    return found


def number(host: Host, paddr: int, size: int = 8) -> int:
    return int.from_bytes(host.machine.memory.read(paddr, size), "little")


# Refusals


@observed("d.nocap")
def test_without_cap_sys_boot(host: Host) -> None:
    assert outcome(host.reboot, LINUX_REBOOT_CMD_MULTIKERNEL, cpu=1, privileged=False) == result("d.nocap")


@observed("d.magic")
def test_with_wrong_magic(host: Host) -> None:
    assert outcome(host.reboot, LINUX_REBOOT_CMD_MULTIKERNEL, cpu=1, magic2=1) == result("d.magic")


@observed("d.online")
@pytest.mark.parametrize("cpu", [1, 0])
def test_a_cpu_that_is_online(host: Host, cpu: int) -> None:
    assert outcome(host.multikernel_kexec, cpu) == result("d.online")
    assert printed(host)[-2:] == [line.replace("cpu 1", f"cpu {cpu}") for line in said("d.online")]


@observed("d.noimage")
def test_without_an_image(host: Host) -> None:
    host.cpu_down(1)
    assert outcome(host.multikernel_kexec, 1) == result("d.noimage")
    assert printed(host)[-1] == said("d.noimage")[0]


@observed("d.63")
def test_numbers_that_no_cpu_has(host: Host) -> None:
    load(host, "counter")
    numbers = re.findall(r"\d+", action("d.63").removesuffix(" with image"))
    assert len(numbers) == 9
    for cpu in numbers:
        assert outcome(host.multikernel_kexec, int(cpu)) == result("d.63"), cpu
        assert printed(host)[-1] == said("d.63")[0].replace("CPU 63", f"CPU {cpu}")


@observed("d.64")
def test_the_neighbours_bit(host: Host) -> None:
    """Defect 17."""
    load(host, "counter")
    assert outcome(host.multikernel_kexec, 64) == result("d.64")
    neighbour = host.symbol("cpu_online_mask") + 8
    assert number(host, neighbour, 4) == 1
    host.machine.poke(neighbour, bytes(4))
    assert outcome(host.multikernel_kexec, 64) == result("d.63"), "it was that variable"


def hangs(host: Host, *args: Any, **more: Any) -> None:
    """reboot(2) sleeps in state D, whatever it was to do."""
    with pytest.raises(MklabError, match="it sleeps in state D for ever: system_transition_mutex was never released"):
        host.reboot(*args, **more)


@observed("d.-1")
def test_cpu_minus_one(host: Host) -> None:
    """Defect 17."""
    with pytest.raises(MklabError, match="oops: page fault at") as caught:
        host.multikernel_kexec(-1)
    assert "Oops: page fault at ffffffffa18ca780 in multikernel_kexec" in text("d.-1")
    where = int(re.findall(r"page fault at (\w+)", str(caught.value))[0], 16)
    far = 0x20000000  # bit 2**32 - 1 of the mask: half a GiB on, as the real fault was beyond the kernel's image
    assert far - 64 <= where - 0xFFFF888000000000 - host.symbol("cpu_online_mask") < far
    assert "the next reboot(2) hangs in D state" in text("d.-1")
    hangs(host, LINUX_REBOOT_CMD_CAD_OFF)


@observed("d.badptr")
def test_a_bad_pointer(host: Host) -> None:
    """Defect 19."""
    assert outcome(host.reboot, LINUX_REBOOT_CMD_MULTIKERNEL, cpu=None) == result("d.badptr")
    assert "next reboot(CAD_OFF) and MKLI hang forever, state D" in text("d.badptr")
    hangs(host, LINUX_REBOOT_CMD_CAD_OFF)
    hangs(host, LINUX_REBOOT_CMD_MULTIKERNEL, cpu=1)


# The start


@observed("d.go")
def test_messages_of_a_kick(host: Host) -> None:
    load(host, "counter")
    host.cpu_down(1)
    before = len(printed(host))
    assert outcome(host.multikernel_kexec, 1) == result("d.go")
    assert printed(host)[before:] == said("d.go")
    host.machine.run(20_000)
    assert counted(host)[0] == 1
    assert counted(host)[1] > 100
    assert not host.cpu_online(1)
    assert "sysfs online stays 0" in text("d.go")


@observed("d.state")
def test_the_state_at_the_entry(host: Host) -> None:
    """As the payload itself has read it, instruction by instruction."""
    kick(host, "dump")
    data = BASE + DATA
    assert number(host, data + 0x118) == 1
    at = {"RCX": 0x10, "RDX": 0x18, "RSI": 0x20, "RDI": 0x28, "RBP": 0x30, "RSP": 0x38, "R8": 0x40, "R14": 0x48}
    at |= {"R15": 0x50, "RFLAGS": 0x58, "CR0": 0x60, "CR2": 0x68, "CR3": 0x70, "CR4": 0x78, "DR6": 0x80, "DR7": 0x88}
    at |= {"CS": 0x90, "SS": 0x98, "DS": 0xA0, "ES": 0xA8, "FS": 0xB0, "GS": 0xB8, "TR": 0xC0, "LDTR": 0xC8}
    at |= {"EFER": 0xF0, "APIC_BASE": 0xF8, "SVR": 0x100, "TPR": 0x108, "DFR": 0x110}
    seen = {name: number(host, data + offset) for name, offset in at.items()}
    expected = values("d.state")
    gdtr, idtr = (expected.pop(name).split("/") for name in ("GDTR", "IDTR"))
    expected["R14"] = expected["R14"].replace("entry", hex(BASE))
    assert seen == {name: int(value, 16) for name, value in expected.items()}
    assert (number(host, data + 0xD8), number(host, data + 0xD6, 2)) == (int(gdtr[0], 16), int(gdtr[1], 16))
    assert (number(host, data + 0xE8), number(host, data + 0xE6, 2)) == (int(idtr[0], 16), int(idtr[1], 16))


@observed("d.stack")
def test_stray_bytes(host: Host) -> None:
    """Defect 3."""
    host.machine.poke(0x1000, b"\xdd" * 0x1000)
    stack = TRAMPOLINE_BASE + 0x204
    own = host.machine.memory.read(stack, 4096)
    kick(host, "counter")
    words = dict(re.findall(r"(0x\w+) = (0x\w+)", text("d.stack")))
    assert len(words) == 2
    expected = bytearray(b"\xdd" * 0x1000)
    for where, word in words.items():
        offset = int(where, 16) - 0x1000
        expected[offset : offset + 4] = int(word, 16).to_bytes(4, "little")
    assert host.machine.memory.read(0x1000, 0x1000) == bytes(expected)
    assert host.machine.memory.read(stack, 4096) == own


@observed("d.pagetables")
def test_page_tables(host: Host) -> None:
    """The payload reads its APIC, as theirs did: so the fourth directory is accessed, too."""
    kick(host, "dump")
    found = re.search(
        r"PML4\[0\]=(\w+), PDPT\[0\.\.3\]=(\w+) (\w+) (\w+) (\w+), first directory entry (\w+)", text("d.pagetables")
    )
    assert found is not None
    tables = TRAMPOLINE_BASE + trampoline().symbols["pgtable"]
    seen = [
        number(host, tables),
        *(number(host, tables + 0x1000 + 8 * i) for i in range(4)),
        number(host, tables + 0x2000),
    ]
    assert seen == [int(value, 16) for value in found.groups()]


class Last(RoundRobin):
    """CPU 1 gets a turn only when no other CPU wants one."""

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        return super().choose([cpu for cpu in runnable if cpu != 1] or runnable)


@observed("d.status")
@pytest.mark.parametrize(("late", "marker"), [(True, MARKER), (False, 0)])
def test_the_marker(host: Host, late: bool, marker: int) -> None:
    """Defect 4. Which of the two happens is a matter of who is quicker, so there is a schedule for each.

    Time passes as instructions are executed: a payload on CPU 2 is what makes CPU 1 late.
    """
    assert "marker is 0 at return 40/40; 60 ms later 0xA5A5A5A5 in 14/40" in text("d.status")
    kick(host, "counter", cpu=2)
    host.cpu_down(1)
    host.machine.schedule = Last() if late else RoundRobin()
    host.multikernel_kexec(1)
    assert number(host, STATUS, 4) == 0
    host.machine.schedule = RoundRobin()
    host.machine.run(40_000)
    assert counted(host)[0] == 2
    assert number(host, STATUS, 4) == marker


@observed("d.warm")
def test_what_stays_behind(host: Host) -> None:
    kick(host, "counter")
    found = re.search(r"holds (\w+):(\w+) and CMOS 0x0F = (\w+)", text("d.warm"))
    assert found is not None
    ports = host.machine.board.ports
    assert number(host, WARM_RESET_VECTOR, 2) == int(found[2], 16)
    assert number(host, WARM_RESET_VECTOR + 2, 2) == int(found[1], 16)
    assert ports.cmos[0x0F] == int(found[3], 16)
    host.cpu_down(2)
    host.cpu_up(2)
    assert number(host, WARM_RESET_VECTOR, 4) == 0
    assert ports.cmos[0x0F] == 0


@observed("d.bootparams")
def test_the_hosts_boot_params() -> None:
    """Defect 13."""
    host = boot("root=/dev/vda quiet")
    kick(host, "dump")
    rsi = number(host, BASE + DATA + 0x20)
    assert text("d.bootparams").startswith(f"{rsi:#x} still holds the host boot_params (HdrS, ")
    params = BootParams.from_buffer_copy(host.machine.memory.read(rsi, 4096))
    assert params.hdr.header.to_bytes(4, "little") == b"HdrS"
    assert params.e820_entries > 0
    assert f"cmd_line_ptr {params.hdr.cmd_line_ptr:#x} = host command line" in text("d.bootparams")
    assert host.machine.memory.read(params.hdr.cmd_line_ptr, 20) == b"root=/dev/vda quiet\0"
