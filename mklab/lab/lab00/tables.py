"""Lab 00, "A second kernel in five minutes": its prediction, its tables and its exercise."""

from mklab.lab.exercise import Exercise, Mistake
from mklab.lab.lab00_check import judge
from mklab.lab.prediction import Option, Prediction
from mklab.recording import Moment, Recording, Slot

__all__ = ["EXERCISES", "message_steps", "owners", "prediction", "second_kernel"]

prediction = Prediction(
    "CPU 2 is offline and an image is loaded. The host now calls reboot() with LINUX_REBOOT_CMD_MULTIKERNEL for CPU 2,"
    " and the call returns 0. What is the machine doing a moment later?",
    (
        Option(
            "The whole machine has restarted, into the new kernel.",
            "That is what kexec has always meant: the old kernel ends where the new one begins. But here only CPU 2"
            " gets INIT and SIPI. The other CPUs never stop; else the host's console would go silent.",
        ),
        Option(
            "The host goes on running on CPUs 0, 1 and 3, and the new kernel runs on CPU 2.",
            "Two kernels print on two consoles, and neither is above the other. They share the memory and the"
            " interrupts, and nothing keeps them apart.",
            right=True,
        ),
        Option(
            "The new kernel runs on CPU 2 as a guest of the host, as in a virtual machine.",
            "Two kernels on one machine do sound like virtualisation. But nothing here uses VT-x: no exits, no"
            " hypervisor. CPU 2 runs the new kernel with all privileges, and can write into the host's memory.",
        ),
        Option(
            "The host waits until the new kernel says that it is up, or has ended.",
            "That would be prudent. But the RFC's first version sends two SIPIs and returns; it does not look whether"
            " the CPU has started. The host's log will show it done long before the other kernel is up.",
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
            0, (ipi.sent, f"the slot at {ipi.slot.address:#x} already holds {_text(ipi.slot)!r}, type {ipi.slot.type}")
        )
    steps += [
        (ipi.accepted, f"bit 0xEA is set in the IRR of CPU {ipi.target}"),
        (ipi.lost, f"the interrupt is lost: {ipi.why}"),
        (ipi.delivered, f"CPU {ipi.target} leaves HLT and enters its handler of vector 0xEA"),
        (ipi.taken, f"in its slot it will find {_text(ipi.read)!r}"),
        (ipi.eoi, f"CPU {ipi.target} writes EOI: the next interrupt may come"),
    ]
    return "\n".join(f"{moment.time:>11,}  {text}" for moment, text in steps if moment is not None)


def _text(slot: Slot | None) -> str:
    return bytes.fromhex(slot.payload).decode("ascii", "replace") if slot else ""


_DOWN = "    host.cpu_down(3)\n"
_LOAD = "    host.load(image)\n"
_KICK = "    host.multikernel_kexec(3)\n"
_WAIT = '    host.wait_online("kernel 1", 3)\n'
_SEND = '    host.multikernel_send_ipi_data(3, b"hello")'

second_kernel = Exercise(
    id="00.1",
    title="A second kernel by hand",
    kind="python",
    judge=judge,
    prelude="from mklab import minikernel_image",
    hints=(
        "The list under 'What will happen' has the acts in their order. Which call is each of them?",
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

EXERCISES = (second_kernel,)
