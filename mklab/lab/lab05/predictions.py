"""The predictions of lab 05: whose CPU 2, and what a boot does to a message that waits."""

from mklab.lab import forms
from mklab.lab.prediction import Option, Prediction

__all__ = ["EXERCISES"]

_IDENTITY = forms.prediction(
    "05.1",
    "Whose CPU 2?",
    Prediction(
        "The machine's APIC ids are 0, 2, 4 and 6. The host's logical CPUs are 0, 1, 2 and 3, in this order. It sends a"
        " message to its CPU 2 with the RFC's function. What does the receiver read?",
        (
            Option(
                "The message.",
                "That is what happens where both numbers are equal, as in the run that you have watched. Here the"
                " receiver would have to look into slot 2, and it does not.",
            ),
            Option(
                "Slot 4, into which nobody has written.",
                "The sender takes its logical number for the slot, 2; the receiver takes its APIC id, 4. The interrupt"
                " itself arrives at the right CPU, since the sender translates the number for that.",
                right=True,
            ),
            Option(
                "Nothing: it runs into an exception, since there is no slot 4.",
                "There are slots for 64 CPUs, whatever the machine has. An id beyond them reads what lies behind the"
                " area, and even that need not fault: exercise 05.7.",
            ),
            Option(
                "Nothing: another CPU gets the interrupt.",
                "The interrupt is sent to the APIC id of logical CPU 2, and that is right. It is the slot that is"
                " another one.",
            ),
        ),
    ),
    (
        "A message needs a slot and an interrupt. By which number is each of them found, here and there?",
        "Patch 5 of the RFC changed what the receiver takes for its slot, to the physical id; the sender's is logical.",
        "Sender: slot number = cpu. Receiver: slot number = its APIC id. Write both down for CPU 2 of this machine.",
    ),
)

_BOOT = forms.prediction(
    "05.6",
    "A kernel boots while a message waits",
    Prediction(
        "A message waits in the host's area for CPU 3. Meanwhile a second kernel boots on CPU 2. It was told"
        " mk_shared_memory= the host's area, and its memory map says that this is RAM of its own. Then CPU 3 looks.",
        (
            Option(
                "The message is there: each kernel writes into the slots of the others only when it sends.",
                "That would be a fine rule, and nobody made it. To initialise is to write, too: a kernel that has"
                " mapped its area clears all of it.",
            ),
            Option(
                "The slot is empty: the second kernel has zeroed the area.",
                "multikernel_init zeroes all slots, whoever uses them already. CPU 3 is interrupted, and finds type 0"
                " and no byte.",
                right=True,
            ),
            Option(
                "The second kernel does not boot: the area is in use.",
                "Nothing says that it is: there is no magic number, no version, no owner in it. A kernel that is told"
                " an address takes it.",
            ),
            Option(
                "CPU 3 gets the message twice, once from each kernel.",
                "A kernel that boots sends nothing. And an interrupt carries no message: two of them would look into"
                " the same slot.",
            ),
        ),
    ),
    (
        "Each kernel runs multikernel_init once, at its start. What does it do with the area that it has mapped?",
        "memset(mk_shared_data, 0, ...): the area of a kernel that starts is empty, as a fresh one should be.",
        "If the second kernel takes this memory for its own and fresh, what is left of what lay there?",
    ),
)

EXERCISES = (_IDENTITY, _BOOT)
