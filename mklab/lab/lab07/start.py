"""Exercise 07.3: start one kernel after the other, and go on only when there is evidence (defects 4 to 6 and 21)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mklab.errors import KexecError
from mklab.guest import trampoline
from mklab.kernel.host import minikernel_image
from mklab.kernel.kexec import LoadedImage
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab.checking.answer import Answer, AnswerError, Offer
from mklab.lab.checking.wire import Reference
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.lab07.runs import window
from mklab.lab.lab07.shell import MILLISECOND, ImpatientError, Shell, busy_machine
from mklab.lab.verdict import Outcome, Verdict
from mklab.trace import Init, OwnerChange, PlatformReset

__all__ = ["EXERCISE", "Trial"]

_CALLS = ("cpu_down", "cpu_up", "load", "unload", "multikernel_kexec", "msleep", "read")
_STATUS = TRAMPOLINE_BASE + trampoline().symbols["trampoline_status_bsp"]


@dataclass(frozen=True)
class Situation:
    """A machine on which two kernels are to be started.

    Attributes:
        name: in words.
        share: instructions that a CPU which comes up gets in its turn; a busy CPU of the host gets 10,000.
        patience: milliseconds that may be slept in all.
        cpus: which CPU kernel 1 gets, and which kernel 2.
    """

    name: str
    share: int
    patience: int
    cpus: tuple[int, int]


SITUATIONS = (
    Situation("CPUs that come up quickly", 10_000, 20, (1, 2)),
    Situation("CPUs that come up slowly", 200, 400, (2, 1)),
)


class Trial:
    """One situation, and what a student's function makes of it."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.machine = busy_machine(situation.share, situation.cpus)
        self.shell = Shell(self.machine, situation.patience)
        self.begin = self.machine.trace.count
        self.images = [self._image(number, cpu) for number, cpu in enumerate(situation.cpus, 1)]
        self.up: dict[str, int] = {}
        self.called: list[int] = []
        self.error: Exception | None = None
        self.line = ""

    def _image(self, number: int, cpu: int) -> LoadedImage:
        others = [one for one in range(4) if one != cpu]
        return minikernel_image(window(number).start, number, [cpu, *others])

    def run(self, answer: Answer) -> None:
        """Call the student's function for kernel 1, then for kernel 2; then give both time to come up.

        Raises:
            AnswerError: the function came to no end, or failed by itself.
        """
        for image, cpu in zip(self.images, self.situation.cpus, strict=True):
            self.called.append(self.machine.trace.count)
            try:
                answer.call("start", Reference("host"), image, cpu, host=Offer(self.shell, _CALLS))
            except AnswerError as error:
                if error.cause is None:
                    raise
                self.error, self.line = error.cause, error.where(answer.source)
                return
        limit = self.machine.time + self.situation.patience * MILLISECOND
        self.machine.run(limit - self.machine.time, lambda _: self.both_up)

    @property
    def both_up(self) -> bool:
        """Whether both kernels run where they were to."""
        if self.machine.stopped is not None:
            return False
        pairs = enumerate(self.situation.cpus, 1)
        return all(
            self.machine.cpus[cpu].owner == f"kernel {number}" and self.shell.is_up(f"kernel {number}", cpu)
            for number, cpu in pairs
        )

    def started(self, cpu: int) -> bool:
        """Whether ``cpu`` was sent an INIT."""
        return any(one.cpu == cpu for one in self._since(Init))

    @property
    def entered(self) -> dict[int, str | None]:
        """By CPU, whose memory it was seen to enter last."""
        return {one.cpu: one.owner for one in self._since(OwnerChange) if one.cpu is not None and one.owner}

    def _since(self, kind: type[Any]) -> Sequence[Any]:
        return [event for event in self.machine.trace.of(kind) if event.seq >= self.begin]

    @property
    def reset(self) -> PlatformReset | None:
        """Whether the platform was reset."""
        return next(iter(self._since(PlatformReset)), None)


def judge(answer: Answer, _seed: int) -> Verdict:
    """Each situation in its turn; the first that goes wrong is told."""
    slept = []
    for situation in SITUATIONS:
        trial = Trial(situation)
        trial.run(answer)
        for question in (_nothing, _reset, _wrong_image, _waited, _refused, _not_up):
            verdict = question(trial)
            if verdict is not None:
                return verdict
        slept.append(f"{trial.shell.slept} ms with {situation.name}")
    return Verdict(
        Outcome.PASSED,
        f"Both kernels run, each its own image, on both machines. Your function slept {' and '.join(slept)}.",
        next_step="What would your function do if the CPU never came up? Linux's own cpu_up gives up after a while.",
    )


def _nothing(trial: Trial) -> Verdict | None:
    if trial.machine.trace.count > trial.begin or trial.error is not None:
        return None
    return not_yet("Your function returned, and nothing has happened on the machine.", next_step="Which call is first?")


def _reset(trial: Trial) -> Verdict | None:
    reset = trial.reset
    if reset is None:
        return None
    first, second = trial.situation.cpus
    where = f"event {reset.seq}, at instruction {reset.time:,}, on CPU {reset.cpu}; with {trial.situation.name}"
    if len(trial.called) < 2:
        return not_yet(f"The platform was reset: {reset.why}.", where, "Which call came too early?")
    seen = "It had read the entry of kernel 1 already" if trial.shell.saw_entry else "It was still on its way"
    return not_yet(
        f"The platform was reset, every kernel with it: kernel 2 was started while CPU {first} still ran on the"
        f" trampoline's page tables, and CPU {second}, on its way through the trampoline, cleared them (defect 6)."
        f" {seen}; what you waited for came too early to mean that it is safe.",
        where,
        "Wait for something that only a kernel which is up has written: it has page tables of its own then.",
    )


def _waited(trial: Trial) -> Verdict | None:
    if not isinstance(trial.error, ImpatientError):
        return None
    number = len(trial.called)
    cpu = trial.situation.cpus[number - 1]
    where = f"{trial.line}; with {trial.situation.name}".removeprefix("; ")
    if _STATUS in trial.shell.reads:
        return not_yet(
            f"You waited for the trampoline's marker, and slept {trial.shell.slept} ms. CPU {cpu} had set it at"
            f" once, and"
            " do_multikernel_boot_cpu cleared it, unread, before it returned (defect 4): you will never see it.",
            where,
            "Wait for something that the new kernel itself writes, in its own memory.",
        )
    if not trial.started(cpu):
        return not_yet(
            f"Your function slept {trial.shell.slept} ms, and no INIT had been sent to CPU {cpu}. Waiting starts"
            f" nothing.",
            where,
            "Which call sends INIT and SIPI?",
        )
    owner = trial.machine.cpus[cpu].owner
    state = f"It runs {owner}" if owner else "It runs no kernel"
    asked = "What you read never became what you wait for." if trial.shell.reads else "You read nothing at all."
    return not_yet(
        f"Your function slept {trial.shell.slept} ms in all and more was to come, where {trial.situation.patience}"
        f" ms are"
        f" plenty. CPU {cpu} has no need of that: {state[0].lower()}{state[1:]}. {asked}",
        where,
        "Ask in small steps, and stop asking at the first sign of life: the byte cpu_online of that CPU, in the"
        " memory of the image that you have loaded.",
    )


def _refused(trial: Trial) -> Verdict | None:
    error = trial.error
    if error is None:
        return None
    what = f"Starting kernel {len(trial.called)}: "
    if isinstance(error, KexecError):
        known = {
            "EBUSY": "The CPU still belongs to the host, or a kexec call is under way.",
            "EINVAL": "Was there an image to start, and is the CPU one of the host's?",
        }
        return not_yet(
            f"{what}{error.function} returned -{error.name}: {error.reason}.",
            trial.line,
            known.get(error.name, "") or "Read the reason from its end.",
        )
    return not_yet(f"{what}{error}", trial.line, "Which order of the five calls did you mean?")


def _wrong_image(trial: Trial) -> Verdict | None:
    for number, cpu in enumerate(trial.situation.cpus, 1):
        owner = trial.entered.get(cpu)
        if owner in (None, "host", f"kernel {number}"):
            continue
        if number == 2:
            return not_yet(
                f"CPU {cpu} was to run kernel 2 and runs kernel 1: multikernel_kexec takes the oldest image of the list"
                " (defect 21), and kernel 1 was still there. Both CPUs now execute the same memory.",
                f"/proc/multikernel; with {trial.situation.name}",
                "What takes an image off the list without stopping the CPU that runs it?",
            )
        return not_yet(
            f"CPU {cpu} was to run kernel 1 and entered kernel 2: when it read the entry in the trampoline, the kick of"
            " kernel 2 had written its own there (defect 5).",
            f"the mailbox at {TRAMPOLINE_BASE + trampoline().symbols['kernel_phys_addr']:#x}; with"
            f" {trial.situation.name}",
            "Nothing may be kicked before the last CPU that was kicked has said that it is up.",
        )
    return None


def _not_up(trial: Trial) -> Verdict | None:
    if trial.both_up:
        return None
    for number, cpu in enumerate(trial.situation.cpus, 1):
        one = trial.machine.cpus[cpu]
        if one.owner != f"kernel {number}":
            state = f"belongs to {one.owner}" if one.owner else f"belongs to nobody, in {one.mode} mode"
            return not_yet(
                f"Kernel {number} never came up: CPU {cpu} {state}.",
                f"with {trial.situation.name}",
                "Three calls bring a kernel to life: which of them is missing?",
            )
    return not_yet("A kernel was entered and did not come up.", next_step="Was its memory written over?")


_DOWN, _LOAD = "    host.cpu_down(cpu)\n", "    host.load(image)\n"
_KICK, _UNLOAD = "    host.multikernel_kexec(cpu)\n", "    host.unload()"
_FLAG = '    flag = image.symbols["cpu_online"] + cpu\n'
_LOOP = '    while host.read(flag, 1) != b"\\1":\n        host.msleep(1)\n'

EXERCISE = Exercise(
    "07.3",
    "One after the other",
    "python",
    judge,
    (
        "Every kick goes through one mailbox and one set of page tables. Look at what the CPU of kernel 1 still needs"
        " when your function returns, and at what lies first in the list when it is called again.",
        "reboot returning 0 is no evidence, and neither is time. A kernel that is up has set the byte at"
        ' image.symbols["cpu_online"] + the APIC id of its CPU. unload() empties the list and stops nobody.',
        "cpu_down; load; multikernel_kexec; a while loop that reads one byte and sleeps 1 ms; unload.",
    ),
    (
        Mistake("no waiting", ((_LOOP, ""),), "cleared them (defect 6)"),
        Mistake("a fixed delay", ((_LOOP, "    host.msleep(5)\n"),), "with CPUs that come up slowly"),
        Mistake("a long delay", ((_LOOP, "    host.msleep(50)\n"),), "where 20 ms are plenty"),
        Mistake(
            "the trampoline's marker",
            (('host.read(flag, 1) != b"\\1"', 'host.read(0x961F8, 4) != b"\\xa5\\xa5\\xa5\\xa5"'),),
            "cleared it, unread",
        ),
        Mistake(
            "until it is entered",
            (
                ('"cpu_online"] + cpu', '"boot_params"]'),
                ('host.read(flag, 1) != b"\\1"', "host.read(flag, 8) == bytes(8)"),
            ),
            "It had read the entry of kernel 1 already",
        ),
        Mistake("the flag of CPU 0", (('"cpu_online"] + cpu', '"cpu_online"]'),), "never became what you wait for"),
        Mistake("not unloaded", ((_UNLOAD, ""),), "multikernel_kexec takes the oldest image"),
        Mistake(
            "unloaded before it is kicked",
            ((_KICK, _UNLOAD + "\n" + _KICK), (_LOOP + _UNLOAD, _LOOP)),
            "returned -EINVAL",
        ),
        Mistake("not taken offline", ((_DOWN, ""),), "returned -EBUSY"),
        Mistake("not loaded", ((_LOAD, ""),), "returned -EINVAL"),
        Mistake("waited for before it is kicked", ((_KICK, ""), (_LOOP, _LOOP + _KICK)), "Waiting starts nothing"),
        Mistake("brought online again", ((_UNLOAD, "    host.unload()\n    host.cpu_up(cpu)"),), "belongs to host"),
        Mistake("a misspelt symbol", (('"cpu_online"', '"cpu_onlin"'),), "raised KeyError"),
        Mistake("a call that there is not", (("host.msleep", "host.sleep"),), "AttributeError"),
    ),
    alternatives=(
        Mistake("unloaded first", ((_UNLOAD, ""), (_DOWN, "    host.unload()\n" + _DOWN)), ""),
        Mistake(
            "by the mask of logical CPUs",
            (('"cpu_online"] + cpu', '"cpu_online_mask"]'),),
            "",
        ),
        Mistake("a little every time", (("host.msleep(1)", "host.msleep(2)"),), ""),
    ),
)
