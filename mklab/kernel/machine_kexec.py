"""``arch/x86/kernel/machine_kexec_64.c`` and the ways there: page tables for the jump, the other CPUs' end, the jump.

Linux sends the other CPUs REBOOT_VECTOR, whose handler halts them; here they are asked to play dead, and woken. Which
CPUs those are, the host's own mask of online CPUs says: a spawned kernel's CPUs are not in it. They run on, and no
kernel knows about them any more (docs/fidelity.md).
"""

import errno
import struct
from typing import TYPE_CHECKING

from mklab.errors import KexecError
from mklab.guest import relocate_kernel
from mklab.guest.abi import RESCHEDULE_VECTOR, WorkState
from mklab.kernel import apicdef
from mklab.kernel.kexec import PAGE_SIZE
from mklab.kernel.kimage_pages import destinations, kimage_alloc_control_pages
from mklab.kernel.smpboot import leave_word
from mklab.kernel.steps import SteppedFunction
from mklab.machine.ownership import Image
from mklab.machine.process import Call
from mklab.machine.registers import RFLAGS
from mklab.structs import View

if TYPE_CHECKING:
    from mklab.kernel.host import Host

__all__ = ["MachineKexec", "machine_kexec_prepare"]

_TABLE, _LARGE = 0x63, 0xE3
"""Flags of a table and of a 2 MiB page: P, RW, accessed, dirty (and PS)."""

_PATIENCE = 100
"""How often it is looked whether the other CPUs have stopped, every 10 us; Linux waits a second, then goes on."""


def machine_kexec_prepare(host: "Host", image: View) -> None:
    """init_pgtable: tables that map RAM and the image to themselves.

    The first control page is the top table, the second one will hold ``relocate_kernel``.

    Raises:
        KexecError: ENOMEM, there is no control page left.
    """
    top = image.get("control_code_page")
    memory = host.machine.memory
    memory.write(top, bytes(PAGE_SIZE))
    ranges = [(start, start + size) for start, size in memory.ranges] + destinations(image)
    for gib in sorted({gib for start, end in ranges for gib in range(start >> 30, -(-end >> 30))}):
        slot = top + (gib >> 9) * 8
        if not memory.read_u64(slot):
            memory.write(slot, (_control_page(host, image) | _TABLE).to_bytes(8, "little"))
        upper = memory.read_u64(slot) & -PAGE_SIZE
        directory = _control_page(host, image)
        memory.write(upper + (gib & 511) * 8, (directory | _TABLE).to_bytes(8, "little"))
        memory.write(directory, struct.pack("<512Q", *((gib << 30 | i << 21) | _LARGE for i in range(512))))


def _control_page(host: "Host", image: View) -> int:
    page = kimage_alloc_control_pages(host.kimages, image, 0, host.crashk_res)
    if page is None:
        raise KexecError(errno.ENOMEM, "init_pgtable", "there is no page for the tables that the jump needs")
    host.machine.memory.write(page, bytes(PAGE_SIZE))
    return page


class MachineKexec(SteppedFunction):
    """The steps that end this kernel; ``call.values``: ``image``, the kimage to be entered, and ``then``."""

    def stop_other_cpus(self, call: Call) -> str:
        """native_stop_other_cpus: an IPI to every other CPU of the host. Their tasks end where they are."""
        self._end_other_calls(call)
        others = self._others(call)
        for cpu in others:
            self._ask(call, cpu)
        call.step = "wait_stopped"
        return f"CPUs {others} asked to stop"

    def nmi_shootdown_cpus(self, call: Call) -> str:
        """An NMI to all but this one, by shorthand: to a spawned kernel's CPUs too."""
        self._end_other_calls(call)
        others = self._others(call)
        for cpu in others:
            leave_word(self.host, cpu)
        low = apicdef.APIC_DEST_ALLBUT | apicdef.APIC_INT_ASSERT | apicdef.APIC_DM_NMI
        self.host.icr_write(call.cpu, low, 0)
        call.step = "wait_stopped"
        return f"NMI to every other CPU; {others} are this kernel's"

    def wait_stopped(self, call: Call) -> str:
        """Until they have, or it has lasted too long: then it goes on without them."""
        left = self._others(call)
        call.values["looks"] = call.values.get("looks", 0) + 1
        if left and call.values["looks"] <= _PATIENCE:
            for cpu in left:
                # A CPU that was about to finish other work has overwritten the word.
                if self.host.cpu_work(cpu).get("state") != WorkState.QUEUED:
                    self._ask(call, cpu)
            self.sleep(call, 10)
            return f"CPUs {left} still run"
        call.step = call.values["then"]
        return f"CPUs {left} do not answer" if left else "this CPU is alone"

    def lapic_shutdown(self, call: Call) -> str:
        """The local APIC of this CPU is software-disabled."""
        machine = self.host.machine
        value = machine.apics[call.cpu].read(apicdef.APIC_SPIV) & ~apicdef.APIC_SPIV_APIC_ENABLED
        self.host.apic_write(call.cpu, apicdef.APIC_SPIV, value)
        call.step = "machine_kexec"
        return f"SVR {value:#x}"

    def machine_kexec(self, call: Call) -> str:
        """Copy relocate_kernel into the control page and jump there, without IDT and GDT."""
        machine = self.host.machine
        image = self.host.kimages.at(call.values["image"])
        tables = image.get("control_code_page")
        code = tables + PAGE_SIZE
        self.host.kernel_write(code, relocate_kernel().data)
        self._announce(image)
        registers = machine.registers(call.cpu)
        # Linux's tables map the page where the kernel has it, too; here CR3 and RIP change at once.
        registers.rip, registers.cr3, registers.rflags = code, tables, RFLAGS.ONE
        registers.rdi, registers.rsi, registers.rdx, registers.rcx = image.get("head"), code, image.get("start"), tables
        registers.idtr.limit = registers.gdtr.limit = 0
        machine.jump(call.cpu, registers)
        call.step = ""
        return f"relocate_kernel at {code:#x} goes on; it will enter {image.get('start'):#x}"

    def _announce(self, image: View) -> None:
        """From here on the image's memory is its kernel's, for whoever observes it."""
        images = self.host.machine.images
        name = f"kernel {image.get('id')}"
        # The pointer that led here may have been written over: then this is no image that anybody has loaded.
        known = images.pop(name, None)
        ranges = [[start, end] for start, end in destinations(image)]
        symbols = known.symbols if known is not None else {}
        self.host.machine.add_image(Image(name, ranges, image.get("start"), symbols))

    def _others(self, call: Call) -> list[int]:
        cpus = range(len(self.host.machine.cpus))
        return [cpu for cpu in cpus if cpu != call.cpu and self.host.cpu_online(cpu)]

    def _ask(self, call: Call, cpu: int) -> None:
        leave_word(self.host, cpu)
        apicid = self.host.physical_id(cpu)
        self.host.icr_write(call.cpu, apicdef.APIC_DM_FIXED | RESCHEDULE_VECTOR, apicid)

    def _end_other_calls(self, call: Call) -> None:
        calls = self.host.machine.calls
        for other in [one for one in calls if one is not call]:
            other.step, other.reason = "", f"its kernel was ended by {call.function}"
            calls.remove(other)
