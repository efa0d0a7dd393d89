"""``arch/x86/kernel/smpboot.c``: the kick of a multikernel CPU (RFC v1), and a kernel's own CPUs going up and down."""

import errno

from mklab.errors import KexecError
from mklab.guest import trampoline
from mklab.guest.abi import RESCHEDULE_VECTOR, Work, WorkState
from mklab.kernel import apicdef
from mklab.kernel.instance import Kernel
from mklab.kernel.layout import BOOT_PARAMS, WARM_RESET_VECTOR
from mklab.kernel.steps import SteppedFunction
from mklab.machine.layout import CMOS_DATA, CMOS_INDEX
from mklab.machine.process import Call

__all__ = ["KICK_STEPS", "CpuDown", "CpuUp", "Kick", "leave_word"]

KICK_STEPS = ("kick", "mailbox", "warm_reset", "init_assert", "init_deassert", "sipi_1", "sipi_2", "clear_status")
_SHUTDOWN_CODE, _JUMP_WITHOUT_EOI = 0x0F, 0x0A
"""The CMOS byte that tells the BIOS after a reset what to do: jump through the warm-reset vector."""
_SIPI_DELAY = 10
"""Microseconds around a SIPI on CPUs since the Pentium 4 (wakeup_secondary_cpu_via_init)."""


def _trampoline(kernel: Kernel, symbol: str = "x86_trampoline_bsp_start") -> int:
    """Physical address of a symbol in the copy of the trampoline that ``kernel`` uses (x86_trampoline_bsp_base)."""
    base = kernel.machine.memory.read_u64(kernel.symbol("x86_trampoline_bsp_base"))
    if not base:
        raise KexecError(errno.ENODEV, "do_multikernel_boot_cpu", f"{kernel.name} has set up no trampoline")
    return base + trampoline().symbols[symbol]


def _target(kernel: Kernel, cpu: int, function: str) -> int:
    """The APIC id of logical CPU ``cpu``, as native_kick_ap wants it: known to the kernel, and to the firmware.

    Raises:
        KexecError: EINVAL, it is neither; the kernel's log says so.
    """
    apicid = kernel.apicid(cpu)
    if apicid is None:
        kernel.printk(f"smpboot: CPU {cpu} has invalid APIC ID ffff. Aborting bringup")
        raise KexecError(errno.EINVAL, function, f"this machine has no CPU {cpu}")
    if all(one.apic_id != apicid for one in kernel.machine.cpus):
        kernel.printk(f"smpboot: CPU {cpu} APIC ID {apicid:x} is not present. Aborting bringup")
        raise KexecError(errno.EINVAL, function, f"this machine has no CPU with the APIC id {apicid:#x}")
    return apicid


def leave_word(kernel: Kernel, cpu: int) -> None:
    """Logical CPU ``cpu`` of ``kernel`` finds, when it looks for work, that it is to stop."""
    work = kernel.cpu_work(cpu)
    work.set("function", Work.PLAY_DEAD)
    work.set("state", WorkState.QUEUED)


class Kick(SteppedFunction):
    """multikernel_kick_ap and do_multikernel_boot_cpu, each a step. ``call.values``: ``cpu``, ``start``."""

    def kick(self, call: Call) -> str:
        """From logical number to APIC id."""
        cpu, start = call.values["cpu"], call.values["start"]
        try:
            apicid = _target(self.host, cpu, "multikernel_kick_ap")
        except KexecError:
            self.host.kexec_unlock()
            raise
        self.host.printk(f"smpboot: ++++++++++++++++++++=_---CPU UP  {cpu}")
        self.host.printk(
            f"smpboot: do_multikernel_boot_cpu(apicid={apicid}, cpu={cpu}, kernel_start_address={start:x})"
        )
        call.values["apicid"] = apicid
        call.step = "mailbox"
        return f"CPU {cpu} has APIC id {apicid}"

    def mailbox(self, call: Call) -> str:
        """One place for all kicks: whoever is slow reads the next one's values (defect 5)."""
        kernel = self.kernel(call)
        kernel.kernel_write(_trampoline(kernel, "kernel_phys_addr"), call.values["start"].to_bytes(8, "little"))
        kernel.kernel_write(_trampoline(kernel, "boot_params_phys_addr"), BOOT_PARAMS.to_bytes(8, "little"))
        call.step = "warm_reset"
        return f"entry {call.values['start']:#x} and boot_params {BOOT_PARAMS:#x} written into the trampoline"

    def warm_reset(self, call: Call) -> str:
        """smpboot_setup_warm_reset_vector, in CMOS and below 1 MiB; it stays there (rfc-observed d.warm)."""
        kernel = self.kernel(call)
        segment = _trampoline(kernel) >> 4
        self._cmos_write(call, _JUMP_WITHOUT_EOI)
        kernel.kernel_write(WARM_RESET_VECTOR, (segment << 16).to_bytes(4, "little"))
        call.step = "init_assert"
        return f"warm reset vector {segment:04x}:0000, CMOS byte 0x0f {_JUMP_WITHOUT_EOI:#04x}"

    def init_assert(self, call: Call) -> str:
        """INIT, level-triggered, asserted."""
        low = apicdef.APIC_INT_LEVELTRIG | apicdef.APIC_INT_ASSERT | apicdef.APIC_DM_INIT
        return self._icr(call, low, "init_deassert")

    def init_deassert(self, call: Call) -> str:
        """INIT de-asserted."""
        return self._icr(call, apicdef.APIC_INT_LEVELTRIG | apicdef.APIC_DM_INIT, "sipi_1")

    def sipi_1(self, call: Call) -> str:
        """The SIPI that starts the CPU."""
        detail = self._icr(call, apicdef.APIC_DM_STARTUP | _trampoline(self.kernel(call)) >> 12, "sipi_2")
        self.sleep(call, _SIPI_DELAY)
        return detail

    def sipi_2(self, call: Call) -> str:
        """The second SIPI, which a CPU that runs ignores."""
        detail = self._icr(call, apicdef.APIC_DM_STARTUP | _trampoline(self.kernel(call)) >> 12, "clear_status")
        self.sleep(call, _SIPI_DELAY)
        return detail

    def clear_status(self, call: Call) -> str:
        """The marker is cleared without having been read (defect 4)."""
        kernel = self.kernel(call)
        kernel.kernel_write(_trampoline(kernel, "trampoline_status_bsp"), bytes(4))
        self.host.printk("smpboot: do_multikernel_boot_cpu end")
        call.step = "unlock"
        return "status cleared, not read"

    def _cmos_write(self, call: Call, value: int) -> None:
        self.kernel(call).machine.out(call.cpu, CMOS_INDEX, _SHUTDOWN_CODE)
        self.kernel(call).machine.out(call.cpu, CMOS_DATA, value)

    def _icr(self, call: Call, low: int, next_step: str) -> str:
        kernel, apicid = self.kernel(call), call.values["apicid"]
        kernel.icr_write(call.cpu, low, apicid)
        call.step = next_step
        if kernel.machine.apics[call.cpu].mode == "x2apic":
            return f"ICR {apicid << 32 | low:#018x}"
        return f"ICR {apicid << 24:#010x} {low:#06x}"


class CpuUp(Kick):
    """cpu_up: a kernel starts a CPU of its own, through the same trampoline (docs/fidelity.md). It waits for it."""

    def check(self, call: Call) -> str:
        """The CPU must exist and be offline."""
        kernel, cpu = self.kernel(call), call.values["cpu"]
        if kernel.apicid(cpu) is None:
            raise KexecError(errno.EINVAL, "cpu_up", f"this machine has no CPU {cpu}")
        if kernel.cpu_online(cpu):
            raise KexecError(errno.EBUSY, "cpu_up", f"CPU {cpu} is online")
        apicid = _target(kernel, cpu, "cpu_up")
        call.values |= {"start": kernel.symbol("secondary_startup_64"), "apicid": apicid}
        kernel.printk(f"smpboot: Booting Node 0 Processor {cpu} APIC 0x{apicid:x}")
        call.step = "mailbox"
        return f"CPU {cpu} is offline"

    def clear_status(self, call: Call) -> str:
        """Here Linux waits for the CPU to call in."""
        call.step = "wait"
        return self.wait(call)

    def wait(self, call: Call) -> str:
        """Until the CPU has set its bit; then smpboot_restore_warm_reset_vector."""
        kernel, cpu = self.kernel(call), call.values["cpu"]
        if not kernel.cpu_online(cpu):
            return self.poll(call, f"CPU {cpu} did not come up", errno.EIO)
        self._cmos_write(call, 0)
        kernel.kernel_write(WARM_RESET_VECTOR, bytes(4))
        call.step = ""
        return f"CPU {cpu} is online"


class CpuDown(SteppedFunction):
    """cpu_down: the CPU itself marks itself offline and halts with interrupts off (play_dead)."""

    def check(self, call: Call) -> str:
        """The CPU must be online, and not the one that asks."""
        kernel, cpu = self.kernel(call), call.values["cpu"]
        if not kernel.cpu_online(cpu):
            raise KexecError(errno.EINVAL, "cpu_down", f"CPU {cpu} is not online in the host")
        if cpu == call.values["via"]:
            raise KexecError(errno.EBUSY, "cpu_down", f"CPU {cpu} runs this very call")
        call.step = "ask"
        return f"CPU {cpu} is online"

    def ask(self, call: Call) -> str:
        """Leave word for the CPU, and wake it."""
        kernel, cpu = self.kernel(call), call.values["cpu"]
        leave_word(kernel, cpu)
        kernel.icr_write(call.cpu, apicdef.APIC_DM_FIXED | RESCHEDULE_VECTOR, kernel.physical_id(cpu))
        call.step = "wait"
        return f"CPU {cpu} asked to play dead"

    def wait(self, call: Call) -> str:
        """Until the CPU has cleared its bit."""
        kernel, cpu = self.kernel(call), call.values["cpu"]
        if kernel.cpu_online(cpu):
            return self.poll(call, f"CPU {cpu} did not die; it does not run the host's idle loop")
        kernel.cpu_work(cpu).set("state", WorkState.EMPTY)
        kernel.printk(f"smpboot: CPU {cpu} is now offline")
        call.step = ""
        return f"CPU {cpu} is offline"
