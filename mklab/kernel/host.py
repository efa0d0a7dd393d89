"""The host kernel: its guest code on the machine, and its process context, which user space calls.

Everything that changes lies in guest RAM or in the machine; a :class:`Host` can be made anew for a restored machine.
"""

import errno
import struct
from collections.abc import Sequence
from typing import Any

from mklab.errors import KexecError, OopsError, require
from mklab.guest import trampoline
from mklab.guest.abi import NR_CPUS
from mklab.kernel import command_line
from mklab.kernel.bootparam import E820_TYPE_RAM, E820_TYPE_RESERVED, BootParams
from mklab.kernel.description import PROC_MULTIKERNEL, description
from mklab.kernel.instance import Kernel
from mklab.kernel.kexec import KEXEC_MULTIKERNEL, KexecSegment, LoadedImage
from mklab.kernel.kexec_core import KernelKexec, MultikernelKexec, MultikernelKexecByEntry
from mklab.kernel.kexec_syscall import KexecLoad
from mklab.kernel.kimage import KimageList
from mklab.kernel.layout import (
    BOOT_PAGE_TABLES,
    BOOT_PARAMS,
    COMMAND_LINE,
    HOST_BASE,
    HOST_END,
    LOW_MEMORY_END,
)
from mklab.kernel.minikernel import minikernel_image
from mklab.kernel.multikernel import GuestWork, MessageObserver, MultikernelSendIpiData
from mklab.kernel.panic import Panic
from mklab.kernel.proc import proc_hostname, proc_interrupts, proc_iomem, proc_multikernel
from mklab.kernel.ptdump import ptdump_walk_pgd_level_checkwx
from mklab.kernel.reboot import LINUX_REBOOT_CMD_MULTIKERNEL, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, Reboot
from mklab.kernel.smpboot import CpuDown, CpuUp, Kick
from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.machine.power import entry_registers
from mklab.machine.process import Call

__all__ = ["Host", "identity_tables", "minikernel_image"]

_NAME = "host"
_PAGE = 4096
_MEMORY_MAP = [(0, LOW_MEMORY_END), (0x100000, HOST_END)]
"""What the host takes for RAM: below the BIOS's data area, and above 1 MiB what memmap= leaves it."""


class Host(Kernel):
    """The host kernel of a machine.

    Args:
        machine: with RAM up to 32 MiB at least; a host that runs there already is taken over as it is.

    Attributes:
        kimages: kexec_image_list, in guest RAM.
    """

    def __init__(self, machine: Machine) -> None:
        if not machine.memory.contains(0, HOST_END):
            raise ValueError(f"machine must have RAM from 0 to {HOST_END:#x}, not {machine.memory.ranges!r}")
        super().__init__(machine, _NAME)
        self.kimages = KimageList(machine.memory)
        self.kick = Kick(self)
        machine.install(
            _NAME,
            {
                "kexec_load": KexecLoad(self),
                "kernel_kexec": KernelKexec(self),
                "multikernel_kexec": MultikernelKexec(self),
                "multikernel_kexec_by_entry": MultikernelKexecByEntry(self),
                "panic": Panic(self),
                "reboot": Reboot(self),
                "multikernel_send_ipi_data": MultikernelSendIpiData(self),
                "work": GuestWork(self),
                "cpu_up": CpuUp(self),
                "cpu_down": CpuDown(self),
            },
            {"multikernel": MessageObserver(machine)},
        )
        machine.description = description()
        machine.texts[PROC_MULTIKERNEL] = self.proc_multikernel

    # Start-up

    def boot(self, cmdline: str = "", *, secondary: bool = True) -> None:
        """Load the host, enter it on the BSP, and bring up the other CPUs (unless ``secondary`` is False).

        Args:
            cmdline: its command line; ``mk_shared_memory=`` and ``crashkernel=`` are read.

        Raises:
            MklabError: the host did not come up; the message says where it stands.
        """
        self.start(cmdline)
        self.run_until(lambda _: self.cpu_online(0), "the host did not come up")
        base = self.machine.memory.read_u64(self.symbol("x86_trampoline_bsp_base"))
        symbols = trampoline().symbols
        size = symbols["x86_trampoline_bsp_end"] - symbols["x86_trampoline_bsp_start"]
        # At debug level: in the log, not on the console. So early, %p has no key to hide addresses with.
        self.printk(f"Base memory trampoline BSP at [(____ptrval____)] {base:x} size {size}")
        for line in ptdump_walk_pgd_level_checkwx(self.machine.memory, self.symbol("page_tables")):
            self.printk(line)
        if secondary:
            for cpu in range(1, self.nr_cpu_ids):
                self.cpu_up(cpu)

    def start(self, cmdline: str = "") -> None:
        """Put the host into memory and hand the BSP over to it, as a boot loader does; nothing runs yet.

        Raises:
            ValueError: ``cmdline`` does not fit into a page.
        """
        text = cmdline.encode("ascii", "replace") + b"\0"
        if len(text) > _PAGE:
            raise ValueError(f"cmdline must be shorter than {_PAGE} characters, not {len(text)!r}")
        machine, options = self.machine, command_line.parse(cmdline)
        apicids = [cpu.apic_id for cpu in machine.cpus][:NR_CPUS]
        image = minikernel_image(
            HOST_BASE,
            0,
            apicids,
            memory=_MEMORY_MAP,
            shared=options.mk_shared_memory,
            agreed=False,
            trampoline=True,
        )
        self._load_directly(image)
        for name in options.malformed:
            self.printk(f"Malformed early option '{name}'")
        self.kimages.initialise(options.crashkernel)
        machine.poke(COMMAND_LINE, text)
        machine.poke(BOOT_PARAMS, self._boot_params())
        machine.poke(BOOT_PAGE_TABLES, identity_tables(BOOT_PAGE_TABLES))
        for cpu in range(len(apicids)):
            machine.plan(cpu, _NAME)
        machine.enter_kernel(0, entry_registers(image.entry, HOST_BASE, BOOT_PARAMS, BOOT_PAGE_TABLES))

    def _load_directly(self, image: LoadedImage) -> None:
        for segment in image.segments:
            self.machine.poke(segment.mem, segment.buf.ljust(segment.memsz, b"\0"))
        ranges = [[segment.mem, segment.mem + segment.memsz] for segment in image.segments]
        self.machine.add_image(Image(_NAME, ranges, image.entry, dict(image.symbols)))

    def _boot_params(self) -> bytes:
        """The host's own, which every spawned kernel gets to see (defect 13)."""
        params = BootParams()
        params.hdr.header = int.from_bytes(b"HdrS", "little")
        params.hdr.cmd_line_ptr = COMMAND_LINE
        ranges = [(start, end, E820_TYPE_RAM) for start, end in _MEMORY_MAP]
        for start, size in self.machine.memory.ranges:
            if start + size > HOST_END:
                ranges.append((max(start, HOST_END), start + size, E820_TYPE_RESERVED))
        for entry, (start, end, kind) in zip(params.e820_table, ranges, strict=False):
            entry.addr, entry.size, entry.type = start, end - start, kind
            params.e820_entries += 1
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
        self.finish(self._begin_load(entry, segments, flags, symbols or {}, privileged, via))

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
        self.finish(self.submit("multikernel_kexec_by_entry", {"cpu": cpu, "entry": entry}, via=via))

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
        self.finish(self.submit("reboot", {**numbers, "privileged": privileged, "cpu": cpu}, via=via))

    def panic(self, reason: str, *, via: int = 0) -> None:
        """The host panics on CPU ``via``: it enters the crash image, where one is loaded, or stops its CPUs."""
        self.finish(self.submit("panic", {"reason": reason}, via=via))

    def proc_multikernel(self) -> str:
        """What reading /proc/multikernel gives."""
        return proc_multikernel(self.kimages)

    def proc_iomem(self) -> str:
        """What reading /proc/iomem gives."""
        return proc_iomem(self, self.crashk_res)

    def proc_interrupts(self) -> str:
        """What reading /proc/interrupts gives."""
        return proc_interrupts(self)

    def proc_hostname(self) -> str:
        """What reading /proc/sys/kernel/hostname gives."""
        return proc_hostname(self)

    # The same without waiting: the call begins, and the machine carries it out as it runs

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

    # Other kernels

    def kernel(self, name: str) -> Kernel:
        """A spawned kernel, to be looked at or to be asked for something in its own process context.

        Raises:
            ValueError: no image of that name was loaded.
        """
        if name not in self.machine.images:
            raise ValueError(f"name must be one of {list(self.machine.images)}, not {name!r}")
        return Kernel(self.machine, name)

    def is_up(self, kernel: str, cpu: int) -> bool:
        """Whether ``kernel`` has noted that the CPU with index ``cpu`` runs it."""
        flag = self.machine.images[kernel].symbols["cpu_online"] + self.machine.cpus[cpu].apic_id
        return self.machine.memory.read(flag, 1) == b"\1"

    def wait_online(self, kernel: str, cpu: int) -> None:
        """Run until ``kernel`` says that the CPU with index ``cpu`` is up.

        Raises:
            MklabError: it does not come up; the message says where the machine stands.
        """
        self.run_until(lambda _: self.is_up(kernel, cpu), f"{kernel} did not come up on CPU {cpu}")

    # What the steps of kernel functions use

    def kernel_write(self, paddr: int, data: bytes) -> None:
        """Store ``data`` as the host's process context does; where there is no memory, nothing is stored.

        Raises:
            OopsError: the host's own page tables forbid it; its log says so.
        """
        try:
            super().kernel_write(paddr, data)
        except OopsError as error:
            self.printk(f"BUG: {error}")
            raise

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


def identity_tables(base: int) -> bytes:
    """Six pages of tables at ``base`` that map 0 to 4 GiB to itself, in pages of 2 MiB."""
    pml4 = struct.pack("<Q", base + 0x1000 | 3).ljust(_PAGE, b"\0")
    pdpt = struct.pack("<4Q", *(base + 0x2000 + _PAGE * i | 3 for i in range(4))).ljust(_PAGE, b"\0")
    return pml4 + pdpt + struct.pack("<2048Q", *(i << 21 | 0x83 for i in range(2048)))
