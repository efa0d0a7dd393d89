"""Exercise 00.3: the student calls the host, and a second kernel runs and answers."""

from mklab.lab.exercise import Exercise, Mistake
from mklab.lab.lab00.by_hand_check import judge

__all__ = ["second_kernel"]

_DOWN = "    host.cpu_down(3)\n"
_LOAD = "    host.load(image)\n"
_KICK = "    host.multikernel_kexec(3)\n"
_WAIT = '    host.wait_online("kernel 1", 3)\n'
_SEND = '    host.multikernel_send_ipi_data(3, b"hello")'

second_kernel = Exercise(
    id="00.3",
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
    alternatives=(
        Mistake("loaded before the CPU is taken offline", ((_DOWN, ""), (_LOAD, _LOAD + _DOWN)), ""),
        Mistake("it knows its own CPU only", (("[3, 0, 1, 2]", "[3]"),), ""),
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
        Mistake("another number", (("000, 1, [3", "000, 2, [3"),), "The image was told that it is kernel 2"),
        Mistake("its own CPU is not the first", (("[3, 0, 1, 2]", "[0, 1, 2, 3]"),), "told that its own CPU is CPU 0"),
        Mistake("a CPU named twice", (("[3, 0, 1, 2]", "[3, 0, 1, 1]"),), "takes one CPU for two"),
        Mistake("a misspelt call", (("host.load", "host.laod"),), "AttributeError"),
    ),
)
