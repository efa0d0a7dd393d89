"""The check of exercise 00.1: a student's function is called with a host of its own, and what it leaves is judged.

Each question looks for one thing that can go wrong and gives the verdict for it, or None; the first verdict counts.
"""

from typing import Any

from mklab.errors import KexecError, MklabError
from mklab.guest.abi import MK_PING, MK_PONG
from mklab.kernel.host import Host
from mklab.kernel.layout import HOST_END
from mklab.lab.checking.answer import Answer, AnswerError, Offer
from mklab.lab.exercise import LimitedRoundRobin, OutOfSlicesError
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.machine import Machine
from mklab.recording import Ipi, Recording
from mklab.trace import Init, PlatformReset, Sipi

__all__ = ["judge"]

CPU = 3
BASE = 0x3000000
TEXT = b"hello"
KERNEL = "kernel 1"

_SLICES = 800
"""Slices that a check runs after the host has booted: many times what the solution takes."""
_CALLS = ("cpu_down", "cpu_up", "load", "multikernel_kexec", "wait_online", "multikernel_send_ipi_data", "settle")
"""What a student's function may ask of the host."""


class _Trial:
    """A machine with a host on four CPUs, on which a student's function is tried."""

    def __init__(self) -> None:
        self.machine = Machine(cpus=4)
        self.host = Host(self.machine)
        self.host.boot()
        self.begin = 0
        self.error: Exception | None = None
        self.line = ""
        self.overran = False

    def run(self, answer: Answer) -> None:
        """Call the student's function, then let the machine settle.

        Raises:
            AnswerError: the function came to no end, or failed by itself.
        """
        self.machine.schedule = LimitedRoundRobin(_SLICES, self.machine.trace)
        self.begin = self.machine.trace.count
        try:
            answer.call("boot_second_kernel", host=Offer(self.host, _CALLS))
        except AnswerError as error:
            if error.cause is None:
                raise
            self.error, self.line = error.cause, error.where(answer.source)
        self.overran = isinstance(self.error, OutOfSlicesError)
        try:
            self.host.settle()
        except OutOfSlicesError:
            self.overran = True
        self.recording = Recording([cpu.apic_id for cpu in self.machine.cpus])
        self.recording.extend(self.machine.trace.events)

    def since(self, kind: type[Any]) -> list[Any]:
        """The events of one kind since the student's function was called."""
        return [event for event in self.machine.trace.of(kind) if event.seq >= self.begin]


def judge(answer: Answer, _seed: int) -> Verdict:
    """What became of calling the student's function with a host that has booted on four CPUs."""
    trial = _Trial()
    trial.run(answer)
    for question in (
        _nothing,
        _reset,
        _oopsed,
        _misplaced,
        _refused,
        _raised,
        _endless,
        _not_started,
        _wrong_cpu,
        _others,
        _message,
    ):
        verdict = question(trial)
        if verdict is not None:
            return verdict
    ping = _sent(trial)[0]
    assert ping.sent is not None
    assert ping.taken is not None
    entered = next(span.start.time for span in trial.recording.spans[CPU] if span.owner == KERNEL)
    return Verdict(
        Outcome.PASSED,
        f"CPU {CPU} left the host and entered {KERNEL} at instruction {entered:,}. Your message was sent at"
        f" {ping.sent.time:,}, found by {KERNEL} at {ping.taken.time:,}, and answered to CPU 0.",
        next_step="Compare your steps with the list under 'What Linux does'.",
    )


def _not_yet(happened: str, where: str, next_step: str) -> Verdict:
    return Verdict(Outcome.NOT_YET, happened, where, next_step)


def _nothing(trial: _Trial) -> Verdict | None:
    if trial.machine.trace.count > trial.begin or trial.error is not None:
        return None
    return Verdict(
        Outcome.NOT_ATTEMPTED,
        "Your function returned and the machine is as it was before.",
        next_step="Put calls in place of the three dots. The hint below says where to begin.",
    )


def _reset(trial: _Trial) -> Verdict | None:
    resets = trial.since(PlatformReset)
    if not resets:
        return None
    return _not_yet(
        f"The whole platform was reset, the host with it, because {resets[0].why}.",
        f"event {resets[0].seq}, at instruction {resets[0].time:,}, on CPU {resets[0].cpu}",
        "kexec_load accepts an image that lies where there is no RAM: Linux does not check it. This machine has"
        f" {trial.machine.memory.size >> 20} MiB from address 0. Which address did you give to minikernel_image?",
    )


def _oopsed(trial: _Trial) -> Verdict | None:
    if "oops: write page fault" not in str(trial.error):
        return None
    return _not_yet(
        f"The image was to go into memory that belongs to the host, and met its code: {trial.error}."
        " A kernel's own code is read-only, so the call was killed. It died with kexec_lock held: this host will never"
        " load anything again.",
        trial.line or "kexec_load",
        f"Memory from {HOST_END:#x} on is free. This exercise asks for {BASE:#x}.",
    )


def _misplaced(trial: _Trial) -> Verdict | None:
    for image in trial.machine.images.values():
        if image.name == "host" or image.entry == BASE:
            continue
        first = min(start for start, _ in image.ranges)
        if first < HOST_END:
            return _not_yet(
                f"The image was loaded at {first:#x}, into memory that belongs to the host. The load returned 0: the"
                " RFC's first version has no check against it, and copies at once.",
                trial.line or f"kexec_load, segment 0 at {first:#x}",
                f"Memory from {HOST_END:#x} on is free. This exercise asks for {BASE:#x}.",
            )
        return _not_yet(
            f"The image was loaded at {first:#x}; the exercise asks for {BASE:#x}.",
            f"kexec_load, segment 0 at {first:#x}",
            "The first argument of minikernel_image is the physical address.",
        )
    return None


_REFUSALS = {
    ("multikernel_kexec", "EBUSY"): (
        "The host refuses to start another kernel on a CPU that runs the host itself. No INIT was sent.",
        "Take the CPU away from the host first: cpu_down.",
    ),
    ("multikernel_kexec", "EINVAL"): (
        "Nothing was there to be started: kexec_image_list is empty. No INIT was sent.",
        "The image has to be in memory before the CPU is started: load comes first.",
    ),
    ("cpu_down", "EINVAL"): (
        "That CPU does not run the host: it is offline already, or it does not exist. CPUs here are 0 to 3.",
        f"Take CPU {CPU} offline, once.",
    ),
    ("cpu_down", "EBUSY"): (
        "CPU 0 carries out your calls and cannot take itself offline.",
        f"Take CPU {CPU} offline instead.",
    ),
    ("multikernel_send_ipi_data", "EINVAL"): (
        "The sender refuses a CPU number that the host does not know, and more than 256 bytes.",
        f"Send {TEXT!r} to CPU {CPU}.",
    ),
}


def _refused(trial: _Trial) -> Verdict | None:
    error = trial.error
    if not isinstance(error, KexecError):
        return None
    why, next_step = _REFUSALS.get(
        (error.function, error.name), ("The kernel refuses.", "Compare with the call in the text.")
    )
    return _not_yet(f"{error.function} returned -{error.name} ({error.reason}). {why}", trial.line, next_step)


def _endless(trial: _Trial) -> Verdict | None:
    if not trial.overran:
        return None
    cpu = trial.machine.current
    return _not_yet(
        f"After {trial.machine.time:,} instructions the machine was still running, long after it should be waiting.",
        f"CPU {cpu} stands at {trial.machine.registers(cpu).linear_rip:#x}",
        "A kernel loops there. What did your function change before?",
    )


def _raised(trial: _Trial) -> Verdict | None:
    error = trial.error
    if error is None or trial.overran:
        return None
    if isinstance(error, MklabError) and not trial.since(Sipi):
        return _not_yet(
            f"Your function waited for a kernel that nobody had started: {error}.",
            trial.line,
            "Waiting starts nothing: multikernel_kexec sends INIT and SIPI, and comes before wait_online.",
        )
    if isinstance(error, KeyError) and error.args[0] not in trial.machine.images:
        return _not_yet(
            f"There is no kernel by the name {error.args[0]!r}.",
            trial.line,
            f"Loading gives names: the first image is '{KERNEL}'. Is it loaded when you ask for it?",
        )
    if isinstance(error, MklabError):
        started = trial.since(Sipi)[0]
        return _not_yet(
            f"Your function waited in vain: {error}.",
            trial.line,
            f"INIT and SIPI went to CPU {started.cpu}. Does wait_online name that CPU?",
        )
    return _not_yet(
        f"A call was not possible: {type(error).__name__}: {error}.", trial.line, "Compare its arguments with the text."
    )


def _not_started(trial: _Trial) -> Verdict | None:
    if KERNEL not in trial.machine.images:
        return _not_yet(
            "No image was loaded: /proc/multikernel still says 'No kimages loaded'.",
            "kexec_image_list, which is empty",
            "Make an image with minikernel_image and give it to load.",
        )
    if not trial.since(Sipi):
        return _not_yet(
            "The image is in memory and in kexec_image_list, but no CPU was sent INIT and SIPI.",
            "/proc/multikernel, which lists the image",
            "Loading starts nothing: the call that does is multikernel_kexec.",
        )
    return None


def _wrong_cpu(trial: _Trial) -> Verdict | None:
    owned = [cpu.index for cpu in trial.machine.cpus if cpu.owner == KERNEL]
    if CPU in owned:
        return None
    init = trial.since(Init)[-1]
    found = f"{KERNEL} runs on CPU {owned[0]}" if owned else f"no CPU has entered {KERNEL}"
    return _not_yet(
        f"The exercise asks for CPU {CPU}, but {found}.",
        f"event {init.seq}: INIT reaches CPU {init.cpu}, at instruction {init.time:,}",
        f"CPU {CPU} has to be named in cpu_down, multikernel_kexec and wait_online.",
    )


def _others(trial: _Trial) -> Verdict | None:
    gone = [cpu.index for cpu in trial.machine.cpus if cpu.index != CPU and not trial.host.cpu_online(cpu.index)]
    if not gone:
        return None
    return _not_yet(
        f"CPU {gone[0]} no longer runs the host.",
        f"CPU {gone[0]}: {trial.machine.cpus[gone[0]].state}",
        f"Only CPU {CPU} is to change hands.",
    )


def _sent(trial: _Trial) -> list[Ipi]:
    """The pings that the student's function sent with the right text to the right CPU."""
    pings = [ipi for ipi in trial.recording.messages if ipi.sent.event >= trial.begin and ipi.sender == 0]
    return [ipi for ipi in pings if ipi.target == CPU and ipi.slot and ipi.slot.payload == TEXT.hex()]


def _message(trial: _Trial) -> Verdict | None:
    messages = [ipi for ipi in trial.recording.messages if ipi.sent.event >= trial.begin and ipi.sender == 0]
    if not messages:
        return _not_yet(
            f"{KERNEL} runs on CPU {CPU}, and nobody has said a word to it.",
            "the console of kernel 1, which holds its first line only",
            f"One call is missing: send {TEXT!r} with multikernel_send_ipi_data.",
        )
    right = _sent(trial)
    if not right:
        last = messages[-1]
        return _not_yet(
            f"A message was sent, but it was {_payload_text(last)!r} to CPU {last.target}.",
            f"event {last.sent.event}, at instruction {last.sent.time:,}",
            f"The exercise asks for {TEXT!r} to CPU {CPU}, where {KERNEL} runs.",
        )
    return _undelivered(trial, right[-1])


def _undelivered(trial: _Trial, ipi: Ipi) -> Verdict | None:
    """Why the message ``ipi`` was not answered by the second kernel, if it was not."""
    at = f"event {ipi.sent.event}, at instruction {ipi.sent.time:,}: CPU 0 writes its ICR"
    if ipi.lost is not None:
        return _not_yet(
            f"Your message was lost: {ipi.why}. multikernel_send_ipi_data returned 0 all the same, since a CPU that"
            " sends an interrupt does not learn what becomes of it.",
            at,
            f"{KERNEL} takes interrupts once it is up. Which call waits for that?",
        )
    if ipi.taken is None:
        return _not_yet(
            f"Your message lies in its slot, and CPU {CPU} has not taken it.", at, f"Is {KERNEL} up when you send?"
        )
    if trial.recording.span_at(CPU, ipi.taken.event).owner != KERNEL:
        return _not_yet(
            f"Your message was taken by the host: CPU {CPU} was still its own.",
            at,
            f"Send it after {KERNEL} is up on CPU {CPU}.",
        )
    answers = [one for one in trial.recording.messages if one.sender == CPU and one.slot and one.slot.type == MK_PONG]
    if ipi.slot is None or ipi.slot.type != MK_PING or not any(one.taken for one in answers):
        return _not_yet(
            f"{KERNEL} took your message and sent no answer.",
            at,
            f"A kernel answers messages of type {MK_PING} (MK_PING), the default. Leave the type out.",
        )
    return None


def _payload_text(ipi: Ipi) -> str:
    return bytes.fromhex(ipi.slot.payload).decode("ascii", "replace") if ipi.slot else ""
