"""``arch/x86/kernel/smpboot.c``: the kick of a multikernel CPU (RFC v1), and the host's own CPUs going up and down."""

import errno

from mklab.errors import KexecError
from mklab.guest.abi import RESCHEDULE_VECTOR, Work
from mklab.kernel import apicdef
from mklab.kernel.layout import BOOT_PARAMS, TRAMPOLINE_BASE, WARM_RESET_VECTOR
from mklab.kernel.steps import SteppedFunction
from mklab.machine.process import Call

__all__ = ["KICK_STEPS", "CpuDown", "CpuUp", "Kick"]

KICK_STEPS = ("kick", "mailbox", "warm_reset", "init_assert", "init_deassert", "sipi_1", "sipi_2", "clear_status")
_SIPI_DELAY = 10
"""Microseconds around a SIPI on CPUs since the Pentium 4 (wakeup_secondary_cpu_via_init)."""


class Kick(SteppedFunction):
    """multikernel_kick_ap and do_multikernel_boot_cpu, each a step. ``call.values``: ``cpu``, ``start``."""

    def kick(self, call: Call) -> str:
        """From logical number to APIC id."""
        cpu = call.values["cpu"]
        apicid = self.host.apicid(cpu)
        if apicid is None:
            self.host.printk(f"smpboot: CPU {cpu} has invalid APIC ID ffff. Aborting bringup")
            self.host.kexec_unlock()
            raise KexecError(errno.EINVAL, "multikernel_kick_ap", f"this machine has no CPU {cpu}")
        start = call.values["start"]
        self.host.printk(f"smpboot: ++++++++++++++++++++=_---CPU UP  {cpu}")
        self.host.printk(
            f"smpboot: do_multikernel_boot_cpu(apicid={apicid}, cpu={cpu}, kernel_start_address={start:x})"
        )
        call.values["apicid"] = apicid
        call.step = "mailbox"
        return f"CPU {cpu} has APIC id {apicid}"

    def mailbox(self, call: Call) -> str:
        """One place for all kicks: whoever is slow reads the next one's values (defect 5)."""
        self.host.write_trampoline("kernel_phys_addr", call.values["start"].to_bytes(8, "little"))
        self.host.write_trampoline("boot_params_phys_addr", BOOT_PARAMS.to_bytes(8, "little"))
        call.step = "warm_reset"
        return f"entry {call.values['start']:#x} and boot_params {BOOT_PARAMS:#x} written into the trampoline"

    def warm_reset(self, call: Call) -> str:
        """smpboot_setup_warm_reset_vector; it stays there (rfc-observed d.warm)."""
        segment = TRAMPOLINE_BASE >> 4
        self.host.machine.memory.write(WARM_RESET_VECTOR, (segment << 16).to_bytes(4, "little"))
        call.step = "init_assert"
        return f"warm reset vector {segment:04x}:0000"

    def init_assert(self, call: Call) -> str:
        """INIT, level-triggered, asserted."""
        low = apicdef.APIC_INT_LEVELTRIG | apicdef.APIC_INT_ASSERT | apicdef.APIC_DM_INIT
        return self._icr(call, low, "init_deassert")

    def init_deassert(self, call: Call) -> str:
        """INIT de-asserted."""
        return self._icr(call, apicdef.APIC_INT_LEVELTRIG | apicdef.APIC_DM_INIT, "sipi_1")

    def sipi_1(self, call: Call) -> str:
        """The SIPI that starts the CPU."""
        detail = self._icr(call, apicdef.APIC_DM_STARTUP | TRAMPOLINE_BASE >> 12, "sipi_2")
        self.sleep(call, _SIPI_DELAY)
        return detail

    def sipi_2(self, call: Call) -> str:
        """The second SIPI, which a CPU that runs ignores."""
        detail = self._icr(call, apicdef.APIC_DM_STARTUP | TRAMPOLINE_BASE >> 12, "clear_status")
        self.sleep(call, _SIPI_DELAY)
        return detail

    def clear_status(self, call: Call) -> str:
        """The marker is cleared without having been read (defect 4)."""
        self.host.write_trampoline("trampoline_status_bsp", bytes(4))
        self.host.printk("smpboot: do_multikernel_boot_cpu end")
        call.step = "unlock"
        return "status cleared, not read"

    def _icr(self, call: Call, low: int, next_step: str) -> str:
        for paddr, value in apicdef.icr_write(low, call.values["apicid"]):
            self.host.machine.store(call.cpu, paddr, value)
        call.step = next_step
        return f"ICR {call.values['apicid'] << 24:#010x} {low:#06x}"


class CpuUp(Kick):
    """cpu_up: the host starts a CPU of its own, through the same trampoline (docs/fidelity.md). It waits for it."""

    def check(self, call: Call) -> str:
        """The CPU must exist and be offline."""
        cpu = call.values["cpu"]
        if self.host.apicid(cpu) is None:
            raise KexecError(errno.EINVAL, "cpu_up", f"this machine has no CPU {cpu}")
        if self.host.cpu_online(cpu):
            raise KexecError(errno.EBUSY, "cpu_up", f"CPU {cpu} is online")
        call.values |= {"start": self.host.symbol("secondary_startup_64"), "apicid": self.host.apicid(cpu)}
        self.host.printk(f"smpboot: Booting Node 0 Processor {cpu} APIC 0x{call.values['apicid']:x}")
        call.step = "mailbox"
        return f"CPU {cpu} is offline"

    def clear_status(self, call: Call) -> str:
        """Here Linux waits for the CPU to call in."""
        call.step = "wait"
        return self.wait(call)

    def wait(self, call: Call) -> str:
        """Until the CPU has set its bit."""
        cpu = call.values["cpu"]
        if not self.host.cpu_online(cpu):
            return self.poll(call, f"CPU {cpu} did not come up")
        call.step = ""
        return f"CPU {cpu} is online"


class CpuDown(SteppedFunction):
    """cpu_down: the CPU itself marks itself offline and halts with interrupts off (play_dead)."""

    def check(self, call: Call) -> str:
        """The CPU must be online, and not the one that asks."""
        cpu = call.values["cpu"]
        if not self.host.cpu_online(cpu):
            raise KexecError(errno.EINVAL, "cpu_down", f"CPU {cpu} is not online in the host")
        if cpu == call.cpu:
            raise KexecError(errno.EBUSY, "cpu_down", f"CPU {cpu} runs this very call")
        call.step = "ask"
        return f"CPU {cpu} is online"

    def ask(self, call: Call) -> str:
        """Leave word for the CPU, and wake it."""
        cpu = call.values["cpu"]
        apicid = self.host.apicid(cpu)
        assert apicid is not None
        work = self.host.cpu_work(cpu)
        work.set("function", Work.PLAY_DEAD)
        work.set("state", Work.QUEUED)
        for paddr, value in apicdef.icr_write(apicdef.APIC_DM_FIXED | RESCHEDULE_VECTOR, apicid):
            self.host.machine.store(call.cpu, paddr, value)
        call.step = "wait"
        return f"CPU {cpu} asked to play dead"

    def wait(self, call: Call) -> str:
        """Until the CPU has cleared its bit."""
        cpu = call.values["cpu"]
        if self.host.cpu_online(cpu):
            return self.poll(call, f"CPU {cpu} did not die; it does not run the host's idle loop")
        self.host.cpu_work(cpu).set("state", Work.EMPTY)
        self.host.printk(f"smpboot: CPU {cpu} is now offline")
        call.step = ""
        return f"CPU {cpu} is offline"
