"""The host kernel: its guest code on the machine, and its process context, which user space calls.

Everything that changes lies in guest RAM or in the machine; a :class:`Host` can be made anew for a restored machine.
"""

import errno
import struct
from collections.abc import Callable, Sequence
from typing import Any

from mklab.errors import KexecError, MklabError, require
from mklab.guest import minikernel, trampoline
from mklab.guest.abi import BOOT_INFO, CPU_WORK, NR_CPUS
from mklab.kernel import kexec_elf
from mklab.kernel.bootparam import E820_TYPE_RAM, BootParams
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KexecSegment, LoadedImage
from mklab.kernel.kexec_core import KernelKexec, MultikernelKexec, MultikernelKexecByEntry
from mklab.kernel.kexec_syscall import KexecLoad
from mklab.kernel.kimage import KimageList
from mklab.kernel.layout import BOOT_PAGE_TABLES, BOOT_PARAMS, HOST_BASE, HOST_END, SHARED_MEMORY, TRAMPOLINE_BASE
from mklab.kernel.multikernel import MK_PING, MessageObserver, MultikernelSendIpiData
from mklab.kernel.panic import Panic
from mklab.kernel.proc import proc_multikernel
from mklab.kernel.reboot import LINUX_REBOOT_CMD_MULTIKERNEL, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, Reboot
from mklab.kernel.smpboot import CpuDown, CpuUp, Kick
from mklab.machine.machine import Machine, Stop
from mklab.machine.ownership import Image
from mklab.machine.power import entry_registers
from mklab.machine.process import Call
from mklab.structs import View

__all__ = ["Host", "minikernel_image"]

_NAME = "host"
_PAGE = 4096
_CALL_BUDGET = 1_000_000
"""Instructions within which a system call returns, unless a guest loops."""


def minikernel_image(base: int, kernel_id: int, apicids: Sequence[int]) -> LoadedImage:
    """The minikernel as kexec-tools would prepare it: placed at ``base``, told who it is.

    Args:
        base: physical address, page aligned.
        kernel_id: 0 for the host, 1, 2, ... for spawned kernels; what it calls itself.
        apicids: physical id of each of its logical CPUs, its own first CPU first.
    """
    if not 1 <= len(apicids) <= NR_CPUS:
        raise ValueError(f"apicids must name 1 to {NR_CPUS} CPUs, not {apicids!r}")
    ids = bytes(apicids).ljust(NR_CPUS, b"\xff")
    info = struct.pack("<IIQ", kernel_id, len(apicids), SHARED_MEMORY) + ids
    assert len(info) == BOOT_INFO.size
    return kexec_elf.load(minikernel(), base=base).patched("mk_boot_info", info)


class Host:
    """The host kernel of a machine.

    Args:
        machine: with RAM up to 32 MiB at least; a host that runs there already is taken over as it is.

    Attributes:
        kimages: kexec_image_list, in guest RAM.
    """

    def __init__(self, machine: Machine) -> None:
        if not machine.memory.contains(0, HOST_END):
            raise ValueError(f"machine must have RAM from 0 to {HOST_END:#x}, not {machine.memory.ranges!r}")
        self.machine = machine
        self.kimages = KimageList(machine.memory)
        self.kick = Kick(self)
        machine.functions.update(
            {
                "kexec_load": KexecLoad(self),
                "kernel_kexec": KernelKexec(self),
                "multikernel_kexec": MultikernelKexec(self),
                "multikernel_kexec_by_entry": MultikernelKexecByEntry(self),
                "panic": Panic(self),
                "reboot": Reboot(self),
                "multikernel_send_ipi_data": MultikernelSendIpiData(self),
                "cpu_up": CpuUp(self),
                "cpu_down": CpuDown(self),
            }
        )
        machine.observers["multikernel"] = MessageObserver(machine)

    # Start-up

    def boot(self, *, secondary: bool = True) -> None:
        """Load the host, enter it on the BSP, and bring up the other CPUs (unless ``secondary`` is False).

        Raises:
            MklabError: the host did not come up; the message says where it stands.
        """
        self.start()
        self._run_until(lambda _: self.cpu_online(0), "the host did not come up")
        if secondary:
            for cpu in range(1, len(self.machine.cpus)):
                self.cpu_up(cpu)

    def start(self) -> None:
        """Put the host into memory and hand the BSP over to it, as a boot loader does; nothing runs yet."""
        machine = self.machine
        apicids = [cpu.apic_id for cpu in machine.cpus]
        image = minikernel_image(HOST_BASE, 0, apicids)
        self._load_directly(image)
        self.kimages.initialise()
        machine.poke(BOOT_PARAMS, self._boot_params())
        machine.poke(BOOT_PAGE_TABLES, _identity_tables(BOOT_PAGE_TABLES))
        # setup_trampolines_bsp
        machine.poke(TRAMPOLINE_BASE, trampoline().data)
        for cpu in range(len(machine.cpus)):
            machine.plan(cpu, _NAME)
        machine.enter_kernel(0, entry_registers(image.entry, HOST_BASE, BOOT_PARAMS, BOOT_PAGE_TABLES))

    def _load_directly(self, image: LoadedImage) -> None:
        for segment in image.segments:
            self.machine.poke(segment.mem, segment.buf.ljust(segment.memsz, b"\0"))
        ranges = [[segment.mem, segment.mem + segment.memsz] for segment in image.segments]
        self.machine.add_image(Image(_NAME, ranges, image.entry, dict(image.symbols)))

    def _boot_params(self) -> bytes:
        params = BootParams()
        for index, (start, size) in enumerate(self.machine.memory.ranges):
            entry = params.e820_table[index]
            entry.addr, entry.size, entry.type = start, size, E820_TYPE_RAM
            params.e820_entries = index + 1
        return bytes(params)

    # System calls, each in process context on CPU `via`

    def kexec_load(
        self,
        entry: int,
        segments: Sequence[KexecSegment] | None,
        flags: int = KEXEC_MULTIKERNEL,
        *,
        symbols: dict[str, int] | None = None,
        privileged: bool = True,
        via: int = 0,
    ) -> None:
        """Load an image, as the system call of this name does.

        Args:
            entry: physical address at which the image is entered.
            segments: none unloads; None is a pointer that the kernel cannot read.
            flags: KEXEC_MULTIKERNEL; 0 for an ordinary image, KEXEC_ON_CRASH for one that a panic enters.
            symbols: addresses in the image, for looking at it later; Linux does not know them.
            privileged: whether the caller has CAP_SYS_BOOT.
            via: the host CPU it is called on.

        Raises:
            KexecError: Linux refuses, with its errno; the list and the memory are as before, but for pages copied, and
                for a crash image that was loaded before and is gone.
            MklabError: the call died in the kernel; the locks it held stay held.
        """
        self._finish(self._begin_load(entry, segments, flags, symbols or {}, privileged, via))

    def load(self, image: LoadedImage, flags: int = KEXEC_MULTIKERNEL) -> None:
        """kexec_load(2) with what a loader made of an image file."""
        self.kexec_load(image.entry, image.segments, flags, symbols=dict(image.symbols))

    def multikernel_kexec(self, cpu: int, *, via: int = 0) -> None:
        """reboot(LINUX_REBOOT_CMD_MULTIKERNEL): start the oldest multikernel image on ``cpu``.

        It returns as soon as the SIPIs are sent; the CPU comes up while the machine runs on.

        Raises:
            KexecError: EBUSY: the CPU is online here, or another kexec call is under way; EINVAL: no image is loaded,
                or there is no such CPU.
        """
        require("cpu", cpu, -(1 << 31), (1 << 31) - 1, " (an int)")
        self.reboot(LINUX_REBOOT_CMD_MULTIKERNEL, cpu=cpu, via=via)

    def multikernel_kexec_by_entry(self, cpu: int, entry: int, *, via: int = 0) -> None:
        """Start the multikernel image that is entered at ``entry`` on ``cpu``.

        No system call leads to this function of v1 (defect 21); here it can be called all the same.

        Raises:
            KexecError: as :meth:`multikernel_kexec`; EINVAL too where no image has that entry.
        """
        self._finish(self.submit("multikernel_kexec_by_entry", {"cpu": cpu, "entry": entry}, via=via))

    def reboot(
        self,
        cmd: int,
        *,
        cpu: int | None = None,
        magic1: int = LINUX_REBOOT_MAGIC1,
        magic2: int = LINUX_REBOOT_MAGIC2,
        privileged: bool = True,
        via: int = 0,
    ) -> None:
        """Call reboot as a process on CPU ``via`` does (man 2 reboot).

        Args:
            cmd: LINUX_REBOOT_CMD_MULTIKERNEL, LINUX_REBOOT_CMD_KEXEC, or _CAD_ON and _CAD_OFF, which do nothing here.
            cpu: what struct multikernel_boot_args says; None is a pointer that the kernel cannot read.
            magic1, magic2: the numbers that the system call asks for.
            privileged: whether the caller has CAP_SYS_BOOT.
            via: the host CPU it is called on.

        LINUX_REBOOT_CMD_KEXEC does not return in Linux. Here it does, as soon as the CPU stands at the first
        instruction of relocate_kernel: the new kernel comes up while the machine runs on, and this host is gone.

        Raises:
            KexecError: EPERM, EINVAL, EFAULT, EBUSY.
            MklabError: the call died in the kernel, or hangs.
        """
        numbers = {"magic1": magic1, "magic2": magic2, "cmd": cmd}
        for name, number in numbers.items():
            require(name, number, 0, (1 << 32) - 1, " (32 bits)")
        self._finish(self.submit("reboot", {**numbers, "privileged": privileged, "cpu": cpu}, via=via))

    def panic(self, reason: str, *, via: int = 0) -> None:
        """The host panics on CPU ``via``: it enters the crash image, where one is loaded, or stops its CPUs."""
        self._finish(self.submit("panic", {"reason": reason}, via=via))

    def multikernel_send_ipi_data(self, cpu: int, data: bytes, type: int = MK_PING, *, via: int = 0) -> None:  # noqa: A002
        """Let host CPU ``via`` send ``data`` to logical CPU ``cpu``: into its slot, then an IPI on vector 0xEA.

        Raises:
            KexecError: EINVAL, a CPU number out of range or more than 256 bytes.
        """
        self._finish(self.submit_message(cpu, data, type, via=via))

    def cpu_down(self, cpu: int, *, via: int = 0) -> None:
        """Take ``cpu`` offline: echo 0 > /sys/devices/system/cpu/cpuN/online."""
        self._finish(self.submit("cpu_down", {"cpu": cpu}, via=via))

    def cpu_up(self, cpu: int, *, via: int = 0) -> None:
        """Bring ``cpu`` online, whoever uses it (defect 16): echo 1 > /sys/devices/system/cpu/cpuN/online."""
        self._finish(self.submit("cpu_up", {"cpu": cpu}, via=via))

    def proc_multikernel(self) -> str:
        """What reading /proc/multikernel gives."""
        return proc_multikernel(self.kimages)

    # The same without waiting: the call begins, and the machine carries it out as it runs

    def submit(self, function: str, values: dict[str, Any], *, via: int = 0) -> Call:
        """Begin a kernel function of ``machine.functions`` in process context on CPU ``via``.

        Raises:
            ValueError: ``via`` is not online in the host, or an argument is not a number that a system call can carry.
            MklabError: the platform was reset; there is no host.
        """
        if self.machine.stopped:
            raise MklabError(self.machine.stopped.detail)
        if not self.cpu_online(via):
            raise ValueError(f"via must be a CPU that is online in the host, not {via!r}")
        if self.machine.cpus[via].owner not in (None, _NAME):
            raise MklabError(f"CPU {via} runs {self.machine.cpus[via].owner} now, and the host on it no longer")
        if values.get("cpu") is not None or function != "reboot":
            require("cpu", values.get("cpu", 0), -(1 << 31), (1 << 31) - 1, " (an int)")
        require("type", values.get("type", 0), 0, (1 << 32) - 1, " (a u32)")
        require("entry", values.get("entry", 0), 0, (1 << 64) - 1, " (a u64)")
        first: str = self.machine.functions[function].first
        return self.machine.submit(Call(function, via, first, values))

    def submit_load(self, image: LoadedImage, *, via: int = 0) -> Call:
        """Begin :meth:`load`."""
        return self._begin_load(image.entry, image.segments, KEXEC_MULTIKERNEL, dict(image.symbols), True, via)

    def _begin_load(
        self,
        entry: int,
        segments: Sequence[KexecSegment] | None,
        flags: int,
        symbols: dict[str, int],
        privileged: bool,
        via: int,
    ) -> Call:
        require("flags", flags, 0, (1 << 64) - 1, " (an unsigned long)")
        values = {
            "entry": entry,
            "segments": None if segments is None else self._describe(segments),
            "flags": flags,
        }
        return self.submit("kexec_load", values | {"privileged": privileged, "symbols": symbols}, via=via)

    def submit_message(self, cpu: int, data: bytes, type: int = MK_PING, *, via: int = 0) -> Call:  # noqa: A002
        """Begin :meth:`multikernel_send_ipi_data`."""
        if not isinstance(data, bytes | bytearray):
            raise TypeError(f"data must be bytes, not {data!r}")
        values = {"cpu": cpu, "data": data.hex(), "size": len(data), "type": type}
        return self.submit("multikernel_send_ipi_data", values, via=via)

    def _describe(self, segments: Sequence[KexecSegment]) -> list[dict[str, Any]]:
        keep = self.machine.trace.keep
        for one in segments:
            require("mem", one.mem, 0, (1 << 64) - 1, " (a u64)")
            require("memsz", one.memsz, 0, (1 << 64) - 1, " (a u64)")
            require("readable", one.bufsz if one.readable is None else one.readable, 0, one.bufsz, " (bytes of buf)")
        return [
            {
                "mem": one.mem,
                "memsz": one.memsz,
                "bufsz": one.bufsz,
                "sha256": keep(one.buf)["sha256"],
                "readable": one.readable,
            }
            for one in segments
        ]

    def _finish(self, call: Call) -> None:
        try:
            self._run_until(lambda _: call.done, f"{call.function} has not returned")
        except MklabError:
            if call in self.machine.calls:
                self.machine.calls.remove(call)
            raise
        if call.errno:
            raise KexecError(call.errno, call.function, call.reason)
        if call.reason:
            raise MklabError(f"{call.function} did not return: {call.reason}")

    def is_up(self, kernel: str, cpu: int) -> bool:
        """Whether ``kernel`` has noted that the CPU with index ``cpu`` runs it."""
        flag = self.machine.images[kernel].symbols["cpu_online"] + self.machine.cpus[cpu].apic_id
        return self.machine.memory.read(flag, 1) == b"\1"

    def wait_online(self, kernel: str, cpu: int) -> None:
        """Run until ``kernel`` says that the CPU with index ``cpu`` is up.

        Raises:
            MklabError: it does not come up; the message says where the machine stands.
        """
        self._run_until(lambda _: self.is_up(kernel, cpu), f"{kernel} did not come up on CPU {cpu}")

    def settle(self, budget: int = _CALL_BUDGET) -> Stop:
        """Run until every CPU waits."""
        return self.machine.run(budget)

    def _run_until(self, condition: Callable[[Machine], bool], failure: str) -> None:
        stop = self.machine.run(_CALL_BUDGET, condition)
        if stop.reason != "until":
            raise MklabError(f"{failure}: {stop.detail}")

    # What the steps of kernel functions use

    def symbol(self, name: str) -> int:
        """Physical address of a symbol of the host."""
        return self.machine.images[_NAME].symbols[name]

    def apicid(self, cpu: int) -> int | None:
        """arch_cpu_physical_id of logical CPU ``cpu``, or None: the host does not know it."""
        info = BOOT_INFO(self.machine.memory, self.symbol("mk_boot_info"))
        return info.get("apicid", cpu) if 0 <= cpu < min(info.get("nr_cpu_ids"), NR_CPUS) else None

    def cpu_online(self, cpu: int) -> bool:
        """Whether logical CPU ``cpu`` runs the host, as its guest code has noted."""
        apicid = self.apicid(cpu) if _NAME in self.machine.images else None
        if apicid is None:
            return False
        return self.machine.memory.read(self.symbol("cpu_online") + apicid, 1) == b"\1"

    def cpu_work(self, cpu: int) -> View:
        """What process context asks of logical CPU ``cpu``."""
        apicid = self.apicid(cpu)
        assert apicid is not None
        return CPU_WORK(self.machine.memory, self.symbol("cpu_work") + apicid * CPU_WORK.size)

    def write_trampoline(self, symbol: str, data: bytes) -> None:
        """Store ``data`` in the trampoline's copy below 1 MiB."""
        self.machine.memory.write(TRAMPOLINE_BASE + trampoline().symbols[symbol], data)

    def kernel_write(self, paddr: int, data: bytes) -> None:
        """Store ``data`` as the kernel's process context does; where there is no memory, nothing is stored."""
        if self.machine.memory.contains(paddr, len(data)):
            self.machine.memory.write(paddr, data)

    def set_memory_x(self, paddr: int, pages: int) -> None:
        """Let ``pages`` pages at ``paddr`` be executable. They are: the host maps all memory so."""

    @property
    def crashk_res(self) -> tuple[int, int] | None:
        """The region that crashkernel= has reserved, ``[start, end)``, or None."""
        start, end = self.kimages.state.get("crashk_start"), self.kimages.state.get("crashk_end")
        return (start, end) if end else None

    def kexec_trylock(self, function: str) -> None:
        """Take kexec_lock.

        Raises:
            KexecError: EBUSY, somebody holds it.
        """
        if self.kimages.state.get("kexec_lock"):
            raise KexecError(errno.EBUSY, function, "another kexec call is under way, or one died with the lock held")
        self.kimages.state.set("kexec_lock", 1)

    def kexec_unlock(self) -> None:
        """Release kexec_lock."""
        self.kimages.state.set("kexec_lock", 0)

    def printk(self, text: str) -> None:
        """A line of the host's log."""
        self.machine.printk(_NAME, text)


def _identity_tables(base: int) -> bytes:
    """Six pages of tables at ``base`` that map 0 to 4 GiB to itself, in pages of 2 MiB."""
    pml4 = struct.pack("<Q", base + 0x1000 | 3).ljust(_PAGE, b"\0")
    pdpt = struct.pack("<4Q", *(base + 0x2000 + _PAGE * i | 3 for i in range(4))).ljust(_PAGE, b"\0")
    return pml4 + pdpt + struct.pack("<2048Q", *(i << 21 | 0x83 for i in range(2048)))
