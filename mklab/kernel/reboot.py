"""``kernel/reboot.c``: reboot(2), as far as kexec is concerned (RFC v1 patch 1/7 adds a command)."""

import errno

from mklab.errors import KexecError
from mklab.kernel.steps import SteppedFunction
from mklab.machine.process import Call

__all__ = [
    "LINUX_REBOOT_CMD_CAD_OFF",
    "LINUX_REBOOT_CMD_CAD_ON",
    "LINUX_REBOOT_CMD_KEXEC",
    "LINUX_REBOOT_CMD_MULTIKERNEL",
    "LINUX_REBOOT_MAGIC1",
    "LINUX_REBOOT_MAGIC2",
    "Reboot",
    "RebootCommand",
]

LINUX_REBOOT_MAGIC1 = 0xFEE1DEAD
LINUX_REBOOT_MAGIC2 = 0x28121969
_MAGIC2 = (LINUX_REBOOT_MAGIC2, 85072278, 369367448, 537993216)

LINUX_REBOOT_CMD_CAD_OFF = 0
LINUX_REBOOT_CMD_CAD_ON = 0x89ABCDEF
LINUX_REBOOT_CMD_KEXEC = 0x45584543
LINUX_REBOOT_CMD_MULTIKERNEL = 0x4D4B4C49  # v1

_PATIENCE = 100
"""How often a call looks for system_transition_mutex before it is said to hang: a millisecond."""


class RebootCommand(SteppedFunction):
    """What reboot(2) calls with system_transition_mutex held: when it returns, refused or not, so does reboot.

    An oops is neither: then the mutex stays held (defect 17).
    """

    def step(self, call: Call) -> str:
        """Perform one step; the last one, or a refusal, releases the mutex."""
        try:
            detail = self.perform(call)
        except KexecError:
            self._return(call)
            raise
        if call.done:
            self._return(call)
        return detail

    def perform(self, call: Call) -> str:
        """Perform the step that ``call`` names."""
        return super().step(call)

    def _return(self, call: Call) -> None:
        if call.values.get("reboot"):
            self.host.kimages.state.set("system_transition_mutex", 0)


class Reboot(SteppedFunction):
    """reboot(2). ``call.values``: ``magic1``, ``magic2``, ``cmd``, ``privileged``, ``cpu`` (None: a bad pointer)."""

    def check(self, call: Call) -> str:
        """CAP_SYS_BOOT and the magic numbers."""
        if not call.values["privileged"]:
            raise KexecError(errno.EPERM, "reboot", "it takes CAP_SYS_BOOT")
        if call.values["magic1"] != LINUX_REBOOT_MAGIC1 or call.values["magic2"] not in _MAGIC2:
            numbers = f"{call.values['magic1']:#x} and {call.values['magic2']:#x}"
            raise KexecError(errno.EINVAL, "reboot", f"{numbers} are not the magic numbers")
        call.step = "lock"
        return "magic numbers right"

    def lock(self, call: Call) -> str:
        """mutex_lock(&system_transition_mutex): it waits, if need be for ever."""
        state = self.host.kimages.state
        if state.get("system_transition_mutex"):
            call.values["looks"] = call.values.get("looks", 0) + 1
            if call.values["looks"] <= _PATIENCE:
                self.sleep(call, 10)
                return "system_transition_mutex is held: waits"
            call.step, call.reason = "", "it sleeps in state D for ever: system_transition_mutex was never released"
            return call.reason
        state.set("system_transition_mutex", 1)
        call.step = "command"
        return "system_transition_mutex taken"

    def command(self, call: Call) -> str:
        """The switch over commands."""
        cmd = call.values["cmd"]
        if cmd == LINUX_REBOOT_CMD_MULTIKERNEL:
            if call.values["cpu"] is None:
                # v1 returns from within the switch, past the mutex_unlock (defect 19).
                raise KexecError(errno.EFAULT, "reboot", "struct multikernel_boot_args cannot be read")
            return self._call(call, "multikernel_kexec")
        if cmd == LINUX_REBOOT_CMD_KEXEC:
            return self._call(call, "kernel_kexec")
        self.host.kimages.state.set("system_transition_mutex", 0)
        if cmd not in (LINUX_REBOOT_CMD_CAD_ON, LINUX_REBOOT_CMD_CAD_OFF):
            raise KexecError(errno.EINVAL, "reboot", f"there is no command {cmd:#x} here")
        call.step = ""
        return f"Ctrl-Alt-Del {'restarts' if cmd else 'sends a signal'}; returns 0"

    def _call(self, call: Call, function: str) -> str:
        call.values["reboot"] = True
        call.function = function
        call.step = self.host.machine.functions[function].first
        return f"calls {function}"
