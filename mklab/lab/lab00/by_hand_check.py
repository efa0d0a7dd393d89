"""The check of exercise 00.3: a student's function is called with a host of its own, and what it leaves is judged.

Each question looks for one thing that can go wrong and gives the verdict for it, or None; the first verdict counts.
"""

from mklab.errors import KexecError, MklabError
from mklab.kernel.layout import HOST_END
from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import not_yet
from mklab.lab.lab00.message import not_answered, sent
from mklab.lab.lab00.trial import BASE, CPU, KERNEL, TEXT, Trial
from mklab.lab.verdict import Outcome, Verdict
from mklab.trace import Init, PlatformReset, Sipi

__all__ = ["judge"]


def judge(answer: Answer, _seed: int) -> Verdict:
    """What became of calling the student's function with a host that has booted on four CPUs."""
    trial = Trial()
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
        _misinformed,
        _others,
        not_answered,
    ):
        verdict = question(trial)
        if verdict is not None:
            return verdict
    ping = sent(trial)[0]
    assert ping.sent is not None
    assert ping.taken is not None
    entered = next(span.start.time for span in trial.recording.spans[CPU] if span.owner == KERNEL)
    return Verdict(
        Outcome.PASSED,
        f"CPU {CPU} left the host and entered {KERNEL} at instruction {entered:,}. Your message was sent at"
        f" {ping.sent.time:,}, found by {KERNEL} at {ping.taken.time:,}, and answered to CPU 0.",
        next_step="Compare your steps with the list under 'What Linux does'.",
    )


def _nothing(trial: Trial) -> Verdict | None:
    if trial.machine.trace.count > trial.begin or trial.error is not None:
        return None
    return Verdict(
        Outcome.NOT_ATTEMPTED,
        "Your function returned and the machine is as it was before.",
        next_step="Put calls in place of the three dots. The hint below says where to begin.",
    )


def _reset(trial: Trial) -> Verdict | None:
    resets = trial.since(PlatformReset)
    if not resets:
        return None
    return not_yet(
        f"The whole platform was reset, the host with it, because {resets[0].why}.",
        f"event {resets[0].seq}, at instruction {resets[0].time:,}, on CPU {resets[0].cpu}",
        "kexec_load accepts an image that lies where there is no RAM: Linux does not check it. This machine has"
        f" {trial.machine.memory.size >> 20} MiB from address 0. Which address did you give to minikernel_image?",
    )


def _oopsed(trial: Trial) -> Verdict | None:
    if "oops: write page fault" not in str(trial.error):
        return None
    return not_yet(
        f"The image was to go into memory that belongs to the host, and met its code: {trial.error}."
        " A kernel's own code is read-only, so the call was killed. It died with kexec_lock held: this host will never"
        " load anything again.",
        trial.line or "kexec_load",
        f"Memory from {HOST_END:#x} on is free. This exercise asks for {BASE:#x}.",
    )


def _misplaced(trial: Trial) -> Verdict | None:
    for image in trial.machine.images.values():
        if image.name == "host" or image.entry == BASE:
            continue
        first = min(start for start, _ in image.ranges)
        if first < HOST_END:
            return not_yet(
                f"The image was loaded at {first:#x}, into memory that belongs to the host. The load returned 0: the"
                " RFC's first version has no check against it, and copies at once.",
                trial.line or f"kexec_load, segment 0 at {first:#x}",
                f"Memory from {HOST_END:#x} on is free. This exercise asks for {BASE:#x}.",
            )
        return not_yet(
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


def _refused(trial: Trial) -> Verdict | None:
    error = trial.error
    if not isinstance(error, KexecError):
        return None
    why, next_step = _REFUSALS.get(
        (error.function, error.name), ("The kernel refuses.", "Compare with the call in the text.")
    )
    return not_yet(f"{error.function} returned -{error.name} ({error.reason}). {why}", trial.line, next_step)


def _endless(trial: Trial) -> Verdict | None:
    if not trial.overran:
        return None
    cpu = trial.machine.current
    return not_yet(
        f"After {trial.machine.time:,} instructions the machine was still running, long after it should be waiting.",
        f"CPU {cpu} stands at {trial.machine.registers(cpu).linear_rip:#x}",
        "A kernel loops there. What did your function change before?",
    )


def _raised(trial: Trial) -> Verdict | None:
    error = trial.error
    if error is None or trial.overran:
        return None
    if isinstance(error, MklabError) and not trial.since(Sipi):
        return not_yet(
            f"Your function waited for a kernel that nobody had started: {error}.",
            trial.line,
            "Waiting starts nothing: multikernel_kexec sends INIT and SIPI, and comes before wait_online.",
        )
    if isinstance(error, KeyError) and error.args[0] not in trial.machine.images:
        return not_yet(
            f"There is no kernel by the name {error.args[0]!r}.",
            trial.line,
            f"Loading gives names: the first image is '{KERNEL}'. Is it loaded when you ask for it?",
        )
    if isinstance(error, MklabError):
        started = trial.since(Sipi)[0]
        return not_yet(
            f"Your function waited in vain: {error}.",
            trial.line,
            f"INIT and SIPI went to CPU {started.cpu}. Does wait_online name that CPU?",
        )
    return not_yet(
        f"A call was not possible: {type(error).__name__}: {error}.", trial.line, "Compare its arguments with the text."
    )


def _not_started(trial: Trial) -> Verdict | None:
    if KERNEL not in trial.machine.images:
        return not_yet(
            "No image was loaded: /proc/multikernel still says 'No kimages loaded'.",
            "kexec_image_list, which is empty",
            "Make an image with minikernel_image and give it to load.",
        )
    if not trial.since(Sipi):
        return not_yet(
            "The image is in memory and in kexec_image_list, but no CPU was sent INIT and SIPI.",
            "/proc/multikernel, which lists the image",
            "Loading starts nothing: the call that does is multikernel_kexec.",
        )
    return None


def _wrong_cpu(trial: Trial) -> Verdict | None:
    owned = [cpu.index for cpu in trial.machine.cpus if cpu.owner == KERNEL]
    if CPU in owned:
        return None
    init = trial.since(Init)[-1]
    found = f"{KERNEL} runs on CPU {owned[0]}" if owned else f"no CPU has entered {KERNEL}"
    return not_yet(
        f"The exercise asks for CPU {CPU}, but {found}.",
        f"event {init.seq}: INIT reaches CPU {init.cpu}, at instruction {init.time:,}",
        f"CPU {CPU} has to be named in cpu_down, multikernel_kexec and wait_online.",
    )


def _misinformed(trial: Trial) -> Verdict | None:
    kernel = trial.host.kernel(KERNEL)
    number, ids = kernel.boot_info.get("kernel_id"), [kernel.apicid(cpu) for cpu in range(kernel.nr_cpu_ids)]
    if number != 1:
        return not_yet(
            f"The image was told that it is kernel {number}, and says so on its console. It is the first one that this"
            " host loads.",
            "the second argument of minikernel_image",
            "Its number is 1.",
        )
    if ids[0] != CPU:
        return not_yet(
            f"The image was told that its own CPU is CPU {ids[0]}. It was started on CPU {CPU}, and takes that for one"
            " that belongs to somebody else.",
            "the third argument of minikernel_image",
            "The list names the kernel's own CPU first.",
        )
    known = [cpu.apic_id for cpu in trial.machine.cpus]
    if len(set(ids)) < len(ids) or not set(ids) <= set(known):
        return not_yet(
            f"The image was told of the CPUs {', '.join(map(str, ids))}: it believes in a CPU that is not there, or"
            " takes one CPU for two.",
            "the third argument of minikernel_image",
            "This machine has CPUs 0 to 3. Name each once, the kernel's own first.",
        )
    return None


def _others(trial: Trial) -> Verdict | None:
    gone = [cpu.index for cpu in trial.machine.cpus if cpu.index != CPU and not trial.host.cpu_online(cpu.index)]
    if not gone:
        return None
    return not_yet(
        f"CPU {gone[0]} no longer runs the host.",
        f"CPU {gone[0]}: {trial.machine.cpus[gone[0]].state}",
        f"Only CPU {CPU} is to change hands.",
    )
