"""Exercises 00.1 and 00.5: what the machine will do, asked before the run that settles it."""

from mklab.lab import forms
from mklab.lab.prediction import Option, Prediction

__all__ = ["second_kernel", "taken_back"]

_TWO_KERNELS = Prediction(
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

second_kernel = forms.prediction(
    "00.1",
    "What runs after reboot",
    _TWO_KERNELS,
    (
        "Look at 'What will happen': which CPU do the three steps name, and which do they leave alone?",
        "A reset of one CPU is a message to that CPU. The others go on with what they were doing.",
        'Two lines: choice = a letter from A to D, and confidence = "guess", "fairly" or "sure".',
    ),
)

_TAKEN_BACK = Prediction(
    "Kernel 1 is up on CPU 2 and waits for messages. The host now calls cpu_up(2), which is what"
    " `echo 1 > /sys/devices/system/cpu/cpu2/online` does in Linux. What happens?",
    (
        Option(
            "The call is refused with -EBUSY: another kernel uses that CPU.",
            "A careful kernel would ask. But who could it ask? No record says that CPU 2 was given away: for the host"
            " it is one of its own CPUs, offline. In the trace there would be a refusal and no INIT.",
        ),
        Option(
            "Kernel 1 is asked to stop, cleans up, and gives CPU 2 back.",
            "That is how the host gave CPU 2 up in the beginning: it was asked, and halted. But cpu_up sends no such"
            " message. On the console of kernel 1 there would be a last line.",
        ),
        Option(
            "INIT resets CPU 2, and it comes up in the host. Kernel 1 is gone, without a word.",
            "INIT and SIPI are what the host starts any CPU with, and a CPU cannot refuse an INIT. A Linux with the"
            " RFC's patches did the same: the other kernel died with one 'Booting Node 0 Processor 1' line.",
            right=True,
        ),
        Option(
            "Both kernels run on CPU 2 in turn.",
            "Two programs on one CPU do take turns, because a kernel below them switches. Below two kernels there is"
            " nothing that could. In the trace the owner of CPU 2 would change to and fro.",
        ),
    ),
)

taken_back = forms.prediction(
    "00.5",
    "The host wants its CPU back",
    _TAKEN_BACK,
    (
        "Look at the table of the owners of CPU 2: what took it from the host the first time?",
        "The host starts a CPU of its own with INIT and SIPI, the same two interrupts. Ask who could stop an INIT.",
        'Two lines again: choice = a letter from A to D, and confidence = "guess", "fairly" or "sure".',
    ),
)
