"""``kernel/panic.c`` and ``kernel/crash_core.c``: the host's end, with a crash image or without one."""

from mklab.kernel.kexec import KEXEC_TYPE_CRASH
from mklab.kernel.machine_kexec import MachineKexec
from mklab.machine.process import Call

__all__ = ["Panic"]


class Panic(MachineKexec):
    """panic(). ``call.values``: ``reason``; ``oops``, what has led here, where a system call died of it."""

    first = "panic"

    def panic(self, call: Call) -> str:
        """The message."""
        reason: str = call.values["reason"]
        self.host.printk(f"Kernel panic - not syncing: {reason}")
        call.step = "crash_kexec"
        return reason

    def crash_kexec(self, call: Call) -> str:
        """kexec_trylock, without waiting: who holds the lock will not release it any more."""
        image = self.host.kimages.compat_pointer(KEXEC_TYPE_CRASH)
        state = self.host.kimages.state
        if image is None or state.get("kexec_lock"):
            call.values["then"] = "halt"
            call.step = "stop_other_cpus"
            return "no crash image is loaded" if image is None else "kexec_lock is held: the crash image stays unused"
        state.set("kexec_lock", 1)
        call.values |= {"image": image.paddr, "then": "lapic_shutdown"}
        call.step = "nmi_shootdown_cpus"
        return f"crash image: kernel {image.get('id')}, entry {image.get('start'):#x}"

    def halt(self, call: Call) -> str:
        """This CPU stops, too: it is asked like the others."""
        self.host.printk(f"---[ end Kernel panic - not syncing: {call.values['reason']} ]---")
        self._ask(call, call.cpu)
        call.step = "wait_halted"
        return f"CPU {call.cpu} asked to stop"

    def wait_halted(self, call: Call) -> str:
        """Until it has."""
        if self.host.cpu_online(call.cpu):
            return self.poll(call, f"CPU {call.cpu} does not stop")
        call.step = ""
        call.reason = call.values.get("oops", "")
        return "every CPU of the host has stopped"
