"""Lab 00, "A second kernel in five minutes": its prediction, its tables and its exercise."""

from collections.abc import Callable
from typing import Any

from mklab.errors import KexecError, MklabError
from mklab.kernel.host import Host
from mklab.kernel.layout import HOST_END
from mklab.kernel.multikernel import MK_PING, MK_PONG
from mklab.lab.exercise import Attempt, Exercise, LimitedRoundRobin, Mistake, OutOfSlices, Outcome, Verdict, attempt
from mklab.lab.prediction import Option, Prediction
from mklab.machine.machine import Machine
from mklab.recording import Ipi, Moment, Recording
from mklab.trace import Init, PlatformReset, Sipi

__all__ = ["message_steps", "owners", "prediction", "second_kernel"]

CPU = 3
BASE = 0x3000000
TEXT = b"hello"
KERNEL = "kernel 1"

_SLICES = 800
"""Slices that a check runs after the host has booted: about eight times what the solution takes."""


prediction = Prediction(
    "CPU 2 is offline and an image is loaded. The host now calls reboot() with LINUX_REBOOT_CMD_MULTIKERNEL for CPU 2,"
    " and the call returns 0. What is the machine doing a moment later?",
    (
        Option(
            "The whole machine has restarted, into the new kernel.",
            "That is what kexec has always meant: the old kernel ends where the new one begins. But here only CPU 2 gets"
            " INIT and SIPI. The other CPUs never stop, and you would see the host's console go silent, which it does not.",
        ),
        Option(
            "The host goes on running on CPUs 0, 1 and 3, and the new kernel runs on CPU 2.",
            "Two kernels print on two consoles, and neither is above the other. They share the memory, the interrupts and"
            " nothing that would keep them apart.",
            right=True,
        ),
        Option(
            "The new kernel runs on CPU 2 as a guest of the host, as in a virtual machine.",
            "Two kernels on one machine do sound like virtualisation. But nothing here uses VT-x: no exits, no hypervisor."
            " CPU 2 runs the new kernel with all privileges, and can write into the host's memory.",
        ),
        Option(
            "The host waits until the new kernel says that it is up, or has ended.",
            "That would be prudent. But the RFC's first version sends two SIPIs and returns; it does not look whether the"
            " CPU has started. You will see the call return while CPU 2 is still in real mode.",
        ),
    ),
)


def owners(recording: Recording, cpu: int, since: int = 0) -> str:
    """Who owned ``cpu``, in which mode it was, and from when: a line whenever one of them changed.

    Args:
        recording: of the machine.
        cpu: index of the CPU.
        since: number of the event to begin at.
    """
    lines = [f"{'instruction':>11}  {'owner of CPU ' + str(cpu):<14}  {'mode':<10}  state"]
    last = None
    for span in recording.spans[cpu]:
        waits = span.state == "wait-for-SIPI"
        seen = (span.owner, span.mode, waits)
        is_past = span.end is not None and span.end.event < since
        # Several things change at one instruction; what is between them is worth a line only where the CPU waits.
        is_instant = span.end is not None and span.end.time == span.start.time and not (waits and span.owner is None)
        if is_past or is_instant or seen == last:
            continue
        last = seen
        lines.append(f"{span.start.time:>11,}  {span.owner or 'nobody':<14}  {span.mode:<10}  {span.state}")
    return "\n".join(lines)


def message_steps(recording: Recording, number: int = 0) -> str:
    """The way of a message from one kernel to another, step by step.

    Args:
        recording: of the machine.
        number: which message, from 0.

    Raises:
        ValueError: there is no such message.
    """
    if not 0 <= number < len(recording.messages):
        raise ValueError(f"number must be 0 to {len(recording.messages) - 1}, not {number!r}")
    ipi = recording.messages[number]
    steps: list[tuple[Moment | None, str]] = [
        (ipi.sent, f"CPU {ipi.sender} writes its ICR: vector 0xEA to CPU {ipi.target}")
    ]
    if ipi.slot is not None:
        steps.insert(
            0, (ipi.sent, f"the slot at {ipi.slot.address:#x} already holds {_text(ipi)!r}, type {ipi.slot.type}")
        )
    steps += [
        (ipi.accepted, f"bit 0xEA is set in the IRR of CPU {ipi.target}"),
        (ipi.lost, f"the interrupt is lost: {ipi.why}"),
        (ipi.delivered, f"CPU {ipi.target} leaves HLT and enters its handler of vector 0xEA"),
        (ipi.taken, "the handler's kernel finds the message in the slot"),
        (ipi.eoi, f"CPU {ipi.target} writes EOI: the next interrupt may come"),
    ]
    return "\n".join(f"{moment.time:>11,}  {text}" for moment, text in steps if moment is not None)


def _text(ipi: Ipi) -> str:
    return bytes.fromhex(ipi.slot.payload).decode("ascii", "replace") if ipi.slot else ""


# The exercise: the same again, by hand, on another CPU


class _Trial:
    """A machine with a host on four CPUs, on which a student's function is tried."""

    def __init__(self) -> None:
        self.machine = Machine(cpus=4)
        self.host = Host(self.machine)
        self.host.boot()
        self.begin = self.machine.trace.count
        self.attempt = Attempt()
        self.overran = False

    def run(self, answer: Callable[..., object]) -> None:
        """Call ``answer``, then let the machine settle."""
        self.machine.schedule = LimitedRoundRobin(_SLICES)
        self.attempt = attempt(answer, self.host)
        self.overran = isinstance(self.attempt.error, OutOfSlices)
        try:
            self.host.settle()
        except OutOfSlices:
            self.overran = True
        self.recording = Recording([cpu.apic_id for cpu in self.machine.cpus])
        self.recording.extend(self.machine.trace.events)

    def since(self, kind: type[Any]) -> list[Any]:
        """The events of one kind since the student's function was called."""
        return [event for event in self.machine.trace.of(kind) if event.seq >= self.begin]


def _judge(answer: object) -> Verdict:
    if not callable(answer):
        return Verdict(
            Outcome.NOT_CHECKED,
            f"The check was given {answer!r}, which is no function.",
            next_step="Run the cell that defines boot_second_kernel, then this one again.",
        )
    trial = _Trial()
    trial.run(answer)
    for question in (
        _nothing,
        _reset,
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
    if trial.machine.trace.count > trial.begin or trial.attempt.error is not None:
        return None
    return Verdict(
        Outcome.NOT_ATTEMPTED,
        "Your function returned and the machine is as it was before.",
        next_step="Put calls in place of the three dots; exercise.hint(1) says where to begin.",
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


def _misplaced(trial: _Trial) -> Verdict | None:
    for image in trial.machine.images.values():
        if image.name == "host" or image.entry == BASE:
            continue
        first = min(start for start, _ in image.ranges)
        if first < HOST_END:
            return _not_yet(
                f"The image was loaded at {first:#x}, into memory that belongs to the host. The load returned 0: the RFC's"
                " first version has no check against it, and copies at once.",
                trial.attempt.line or f"kexec_load, segment 0 at {first:#x}",
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
    error = trial.attempt.error
    if not isinstance(error, KexecError):
        return None
    why, next_step = _REFUSALS.get(
        (error.function, error.name), ("The kernel refuses.", "Compare with the call in the text.")
    )
    return _not_yet(f"{error.function} returned -{error.name} ({error.reason}). {why}", trial.attempt.line, next_step)


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
    error = trial.attempt.error
    if error is None or trial.overran:
        return None
    if isinstance(error, MklabError) and not trial.since(Sipi):
        return _not_yet(
            f"Your function waited for a kernel that nobody had started: {error}.",
            trial.attempt.line,
            "Waiting starts nothing: multikernel_kexec sends INIT and SIPI, and comes before wait_online.",
        )
    if isinstance(error, KeyError) and error.args[0] not in trial.machine.images:
        return _not_yet(
            f"There is no kernel by the name {error.args[0]!r}.",
            trial.attempt.line,
            f"Loading gives names: the first image is '{KERNEL}'. Is it loaded when you ask for it?",
        )
    if isinstance(error, MklabError):
        started = trial.since(Sipi)[0]
        return _not_yet(
            f"Your function waited in vain: {error}.",
            trial.attempt.line,
            f"INIT and SIPI went to CPU {started.cpu}. Does wait_online name that CPU?",
        )
    name = type(error).__name__
    if isinstance(error, ValueError | TypeError):
        return _not_yet(
            f"A call was not possible: {name}: {error}.", trial.attempt.line, "Compare its arguments with the text."
        )
    return Verdict(
        Outcome.NOT_CHECKED,
        f"Your function ended with {name}: {error}.",
        trial.attempt.line,
        "Mend that line, run the cell again, then check again.",
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
            f"A message was sent, but it was {_text(last)!r} to CPU {last.target}.",
            f"event {last.sent.event}, at instruction {last.sent.time:,}",
            f"The exercise asks for {TEXT!r} to CPU {CPU}, where {KERNEL} runs.",
        )
    return _undelivered(trial, right[-1])


def _undelivered(trial: _Trial, ipi: Ipi) -> Verdict | None:
    """Why the message ``ipi`` was not answered by the second kernel, if it was not."""
    at = f"event {ipi.sent.event}, at instruction {ipi.sent.time:,}: CPU 0 writes its ICR"
    if ipi.lost is not None:
        return _not_yet(
            f"Your message was lost: {ipi.why}. multikernel_send_ipi_data returned 0 all the same, since a CPU that sends"
            " an interrupt does not learn what becomes of it.",
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


_DOWN = "    host.cpu_down(3)\n"
_LOAD = "    host.load(image)\n"
_KICK = "    host.multikernel_kexec(3)\n"
_WAIT = '    host.wait_online("kernel 1", 3)\n'
_SEND = '    host.multikernel_send_ipi_data(3, b"hello")'

second_kernel = Exercise(
    id="00.1",
    title="A second kernel by hand",
    kind="python",
    judge=_judge,
    hints=(
        "Press Reset above, then Step, and read the titles: each is one call. In which order do they come?",
        "A CPU has one owner: the host must give it up before another kernel may have it. A CPU must have something to"
        " run before it is started, and must be up before it can take a message.",
        "Make the image; cpu_down; load; multikernel_kexec; wait_online; multikernel_send_ipi_data. Six lines, CPU 3 in"
        " five of them.",
    ),
    mistakes=(
        Mistake("the CPU is not taken offline", ((_DOWN, ""),), "returned -EBUSY"),
        Mistake(
            "started before anything is loaded", ((_LOAD, ""), (_KICK, _KICK + _LOAD)), "kexec_image_list is empty"
        ),
        Mistake("not loaded at all", ((_LOAD, ""),), "Nothing was there to be started"),
        Mistake("loaded and nothing more", ((_KICK, ""), (_WAIT, ""), (_SEND, "")), "no CPU was sent INIT and SIPI"),
        Mistake("waited for before it is started", ((_KICK, ""), (_WAIT, _WAIT + _KICK)), "Waiting starts nothing"),
        Mistake("sent before it is up", ((_WAIT, ""),), "Your message was lost: the local APIC of CPU 3"),
        Mistake(
            "sent before the kick", ((_SEND, ""), (_KICK, _SEND + "\n" + _KICK)), "INIT reset the local APIC of CPU 3"
        ),
        Mistake("sent to the host", ((_SEND, ""), (_DOWN, _SEND + "\n" + _DOWN)), "Your message was taken by the host"),
        Mistake("not sent", ((_SEND, ""),), "nobody has said a word to it"),
        Mistake("sent to another CPU", (("data(3", "data(2"),), "'hello' to CPU 2"),
        Mistake("another text", (('b"hello"', 'b"hallo"'),), "'hallo' to CPU 3"),
        Mistake(
            "another CPU",
            (("down(3)", "down(2)"), ("kexec(3)", "kexec(2)"), (", 3)\n", ", 2)\n"), ("data(3", "data(2")),
            "kernel 1 runs on CPU 2",
        ),
        Mistake("loaded where there is no RAM", (("0x3000000", "0x30000000"),), "The whole platform was reset"),
        Mistake("loaded over the host", (("0x3000000", "0x1000000"),), "memory that belongs to the host"),
        Mistake(
            "loaded at the demonstration's address", (("0x3000000", "0x2000000"),), "the exercise asks for 0x3000000"
        ),
        Mistake("loaded over the trampoline", (("0x3000000", "0x96000"),), "memory that belongs to the host"),
        Mistake("not at a page's start", (("0x3000000", "0x3000800"),), "must be a multiple"),
        Mistake("a message that is too long", (('b"hello"', 'b"hello" * 60'),), "more than 256 bytes"),
        Mistake("a CPU that does not exist", (("down(3)", "down(4)"),), "it does not exist"),
        Mistake("taken offline twice", ((_LOAD, _LOAD + _DOWN),), "it is offline already"),
        Mistake(
            "another CPU is taken offline as well", ((_DOWN, _DOWN + _DOWN.replace("3", "1")),), "CPU 1 no longer runs"
        ),
        Mistake("waited for on another CPU", ((", 3)\n", ", 2)\n"),), "INIT and SIPI went to CPU 3"),
        Mistake("another kernel's name", (('"kernel 1"', '"kernel 2"'),), "no kernel by the name 'kernel 2'"),
        Mistake("a misspelt call", (("host.load", "host.laod"),), "AttributeError"),
    ),
)
