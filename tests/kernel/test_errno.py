"""Every errno of RFC v1 (kexec_file_load apart): what each call leaves behind, byte for byte.

The list, the locks and RAM are as before, but for what a case names. Of RAM, only what the host's CPUs themselves work
on is left out: its image and stacks, its kimages and free pages.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mklab.errors import KexecError
from mklab.guest.abi import MK_IPI_DATA, MK_PFN_IPI_TYPE
from mklab.kernel.host import Host
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KEXEC_ON_CRASH, KexecSegment
from mklab.kernel.layout import FREE_PAGES, HOST_BASE, HOST_END, SHARED_MEMORY
from mklab.kernel.reboot import LINUX_REBOOT_CMD_KEXEC, LINUX_REBOOT_CMD_MULTIKERNEL
from mklab.machine.machine import Machine
from tests.kernel.kexectools import HALT, A, B, load, one, sound, tables

PAGE, MIB = 4096, 1 << 20
MK, CRASH = KEXEC_MULTIKERNEL, 0x3000000
Act = Callable[[Host], object]


def nothing(_: Host) -> None:
    """No preparation."""


@dataclass(frozen=True)
class Case:
    """A call that is refused: with which errno, after what, what it has written all the same, which lock it keeps."""

    errno: str
    act: Act
    before: Act = nothing
    written: tuple[int, bytes] | None = None
    held: str = ""


def segments(*rows: tuple[int, int, int], flags: int = MK, entry: int = A) -> Act:
    """kexec_load of segments given as (mem, memsz, bufsz)."""
    return lambda host: host.kexec_load(entry, [KexecSegment(b"\xc3" * size, mem, of) for mem, of, size in rows], flags)


def reboot(cmd: int = LINUX_REBOOT_CMD_MULTIKERNEL, cpu: int | None = 1, **extra: int) -> Act:
    return lambda host: host.reboot(cmd, cpu=cpu, **extra)  # type: ignore[arg-type]


def state(**values: int) -> Act:
    """Variables of the host that have these values."""

    def act(host: Host) -> None:
        for name, value in values.items():
            host.kimages.state.set(name, value)

    return act


def offline(cpu: int, apicid: int | None = None) -> Act:
    """A CPU that is offline, or not where the host's table says."""

    def act(host: Host) -> None:
        host.cpu_down(cpu)
        host.boot_info.set("apicid", cpu if apicid is None else apicid, cpu)

    return act


def slot(kind: int, size: int) -> Act:
    """What lies in the slot of CPU 0."""

    def act(host: Host) -> None:
        message = MK_IPI_DATA(host.machine.memory, SHARED_MEMORY)
        message.set("type", kind)
        message.set("data_size", size)

    return act


def send(cpu: int, size: int = 4) -> Act:
    return lambda host: host.multikernel_send_ipi_data(cpu, bytes(size))


def unload(**extra: bool) -> Act:
    return lambda host: host.kexec_load(0, [], MK, **extra)  # type: ignore[arg-type]


half_read = KexecSegment(b"\xc3" * 3 * PAGE, A, 3 * PAGE, readable=PAGE)
crashkernel = state(crashk_start=CRASH, crashk_end=CRASH + MIB)

CASES = {
    "kexec_load without CAP_SYS_BOOT": Case("EPERM", lambda host: host.kexec_load(A, one(), MK, privileged=False)),
    "kexec_load when it is disabled": Case("EPERM", segments((A, PAGE, 1)), state(kexec_load_disabled=1)),
    "unload without CAP_SYS_BOOT": Case("EPERM", unload(privileged=False)),
    "an unknown flag": Case("EINVAL", segments((A, PAGE, 1), flags=MK | 0x20)),
    "17 segments": Case("EINVAL", segments(*((A + i * PAGE, PAGE, 1) for i in range(17)))),
    "another architecture": Case("EINVAL", segments((A, PAGE, 1), flags=MK | 3 << 16)),
    "no CONFIG_KEXEC_JUMP": Case("EINVAL", segments((A, PAGE, 1)), state(config_kexec_jump=0)),
    "a bad array of segments": Case("EFAULT", lambda host: host.kexec_load(A, None)),
    "a load while the lock is held": Case("EBUSY", segments((A, PAGE, 1)), state(kexec_lock=1), held="kexec_lock"),
    "an unload while the lock is held": Case("EBUSY", unload(), state(kexec_lock=1), held="kexec_lock"),
    "a segment that wraps": Case("EADDRNOTAVAIL", segments((A, PAGE, 1), (2**64 - PAGE, PAGE, 1))),
    "a beginning inside a page": Case("EADDRNOTAVAIL", segments((A, PAGE, 1), (B + 8, PAGE, 1))),
    "an end inside a page": Case("EADDRNOTAVAIL", segments((A, PAGE, 1), (B, PAGE + 8, 1))),
    "an end at 2^46": Case("EADDRNOTAVAIL", segments((A, PAGE, 1), (2**46 - PAGE, PAGE, 1))),
    "two that overlap": Case("EINVAL", segments((A, 2 * PAGE, 1), (A + PAGE, PAGE, 1))),
    "more bytes than memory": Case("EINVAL", segments((A, PAGE, PAGE + 1))),
    "one over half of RAM": Case("EINVAL", segments((A, 32 * MIB + PAGE, 1))),
    "all over half of RAM": Case("EINVAL", segments((A, 32 * MIB, 1), (0, PAGE, 1))),
    "a crash image outside": Case(
        "EADDRNOTAVAIL", segments((A, PAGE, 1), flags=KEXEC_ON_CRASH, entry=CRASH), crashkernel
    ),
    "its entry outside": Case("EADDRNOTAVAIL", segments((CRASH, PAGE, 1), flags=KEXEC_ON_CRASH), crashkernel),
    "an ordinary image with no page left": Case("ENOMEM", segments((A, 6 * MIB, 1), flags=0)),
    "memory that cannot be mapped": Case(
        "ENOMEM", segments((A, PAGE, 1), (1 << 40, PAGE, 1)), written=(A, b"\xc3".ljust(PAGE, b"\0"))
    ),
    "a buffer that cannot be read to its end": Case(
        "EFAULT", lambda host: host.kexec_load(A, [half_read]), written=(A, b"\xc3" * PAGE + bytes(PAGE))
    ),
    "reboot without CAP_SYS_BOOT": Case("EPERM", reboot(privileged=False)),
    "a wrong magic1": Case("EINVAL", reboot(magic1=1)),
    "a wrong magic2": Case("EINVAL", reboot(magic2=1)),
    "an unknown command": Case("EINVAL", reboot(0x1234)),
    "a bad struct multikernel_boot_args": Case("EFAULT", reboot(cpu=None), held="system_transition_mutex"),
    "a kick of a CPU that is online": Case("EBUSY", reboot()),
    "a kick while the lock is held": Case("EBUSY", reboot(cpu=9), state(kexec_lock=1), held="kexec_lock"),
    "a kick without an image": Case("EINVAL", reboot(cpu=9), lambda host: host.kexec_load(0, [])),
    "a kick of no CPU": Case("EINVAL", reboot(cpu=9)),
    "a kick of an absent CPU": Case("EINVAL", reboot(cpu=2), offline(2, 77)),
    "a kick by an entry that none has": Case("EINVAL", lambda host: host.multikernel_kexec_by_entry(9, A + 1)),
    "a kexec without an image": Case("EINVAL", reboot(LINUX_REBOOT_CMD_KEXEC)),
    "a message to CPU -1": Case("EINVAL", send(-1)),
    "a message to CPU 4 of 4": Case("EINVAL", send(4)),
    "a message to CPU 64": Case("EINVAL", send(64)),
    "a message of 257 bytes": Case("EINVAL", send(1, 257)),
    "a page frame number to CPU 4": Case("EINVAL", lambda host: host.mk_send_pfn(4, 1)),
    "receiving another type": Case("EINVAL", lambda host: host.mk_receive_pfn(), slot(7, 8)),
    "receiving another size": Case("EINVAL", lambda host: host.mk_receive_pfn(), slot(MK_PFN_IPI_TYPE, 4)),
}


def seen(host: Host) -> bytearray:
    """All RAM, without what the host's own CPU works on."""
    (_, _, ram), *_ = host.machine.memory.buffers
    data = bytearray(ram)
    data[HOST_BASE : FREE_PAGES[1]] = bytes(FREE_PAGES[1] - HOST_BASE)
    return data


@pytest.mark.parametrize("name", CASES)
def test_what_a_refusal_leaves(host: Host, name: str) -> None:
    case = CASES[name]
    host.machine.poke(HOST_END, b"\x11" * 4 * PAGE)
    load(host, B, HALT)
    case.before(host)
    memory, before = seen(host), tables(host)
    free = host.kimages.state.get(case.held) if case.held else 0
    with pytest.raises(KexecError) as caught:
        case.act(host)
    assert caught.value.name == case.errno
    if case.written:
        at, data = case.written
        memory[at : at + len(data)] = data
    assert seen(host) == memory
    if case.held:
        assert host.kimages.state.get(case.held) == 1
        host.kimages.state.set(case.held, free)
    assert tables(host) == before
    host.kimages.state.set("kexec_lock", 0)
    sound(host)


def test_no_message_area() -> None:
    """ENOMEM: the area could not be mapped (h.reserved)."""
    host = Host(Machine(2))
    host.boot(f"mk_shared_memory={HOST_END:#x}")
    memory, before = seen(host), tables(host)
    for act in (send(1), lambda host: host.mk_send_pfn(1, 5)):
        with pytest.raises(KexecError) as caught:
            act(host)
        assert caught.value.name == "ENOMEM"
    assert (seen(host), tables(host)) == (memory, before)
