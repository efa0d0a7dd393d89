"""The predictions of lab 08: what two messages can come to, how many orders there are, and a sender that dies."""

from mklab.lab import forms
from mklab.lab.prediction import Option, Prediction

__all__ = ["dead_sender", "one_slot", "orders"]

one_slot = forms.prediction(
    "08.1",
    "Two messages, one slot",
    Prediction(
        "CPU 0 and CPU 2 of the host each send kernel 1 one message. Kernel 1 has one CPU and one slot. What can its"
        " handler be handed, over all orders in which the machine can take its steps?",
        (
            Option(
                "Both messages, always: each has its own interrupt.",
                "An interrupt carries no bytes. They lie in the slot, which has no full flag, no lock and no"
                " acknowledgement: the second sender does not look whether the first message was read.",
            ),
            Option(
                "Always one of the two: the later one overwrites the earlier one.",
                "That is one possible end. But where the receiver runs between the two senders, both messages arrive:"
                " a test that sends one after the other never sees anything else.",
            ),
            Option(
                "Both, or only one, or a message that nobody has sent: parts of one and parts of the other.",
                "A message is several stores. Where they mix, the handler gets the type of one and the sender of the"
                " other. The exploration finds each of these ends, with a way to it.",
                right=True,
            ),
            Option(
                "That cannot be known: it depends on timing.",
                "Timing decides which end comes. Which ends there are does not depend on it: between two steps that"
                " others can notice, a finite number of CPUs can go on, and all of these choices can be listed.",
            ),
        ),
    ),
    (
        "The code that sends is multikernel_send_ipi_data(): four stores into the slot, then one to the ICR. What can"
        " another CPU do between two of them?",
        "Everything that one CPU may do between two steps of another one will be done in some order. Ask of each"
        " option: is there an order that does something else?",
        "Write down one order in which the second sender starts after the first has stored sender_cpu and before it has"
        " stored type.",
    ),
)

orders = Prediction(
    "Two senders store three words each, each its own words in the same order. How many orders of all six stores are"
    " there?",
    (
        Option(
            "36", "3! times 3! shuffles each sender's own stores. But these stay in their order: nobody shuffles them."
        ),
        Option(
            "64",
            "2 to the power of 6 lets a coin decide before each store who goes on. That counts runs in which one sender"
            " stores more than three words.",
        ),
        Option("720", "6! would be six stores of six CPUs, any of which may come first."),
        Option(
            "20",
            "Which three of the six places belong to the first sender? 6 over 3 is 20: the rest follows. The machine"
            " will count them.",
            right=True,
        ),
    ),
)

dead_sender = forms.prediction(
    "08.8",
    "A sender that dies",
    Prediction(
        "Your slot of 08.5 is used by two kernels. One of them claims it, and is stopped for ever before it publishes:"
        " a panic, or INIT from the host, as RFC v1 allows. What becomes of the others?",
        (
            Option(
                "Nothing: the receiver finds a slot that is not FULL, and the next sender claims it.",
                "The next sender finds CLAIMED, not EMPTY. Nobody but the dead one would ever change that: it goes"
                " round for ever, as every sender after it.",
            ),
            Option(
                "One message is lost, that of the dead sender. All later ones arrive.",
                "It would be so if somebody cleaned up. But the state says CLAIMED, and not by whom; nobody can tell a"
                " dead sender from a slow one.",
            ),
            Option(
                "No message gets through any more: the slot stays claimed.",
                "The lock-free claim is a lock after all: between claim and publish, everybody depends on one CPU. To"
                " recover, the slot must say who claimed it, and somebody must know that this one is dead.",
                right=True,
            ),
            Option(
                "The receiver takes a torn message.",
                "It acts on FULL only, and that was never stored. This is what the state is good for: nothing wrong is"
                " taken, but nothing goes on either.",
            ),
        ),
    ),
    (
        "Which values can the state have when the sender stops? Who reads it afterwards?",
        "EMPTY becomes CLAIMED by a sender, CLAIMED becomes FULL by the same sender, FULL becomes EMPTY by the"
        " receiver. Which of these three steps is still possible?",
        "Follow the second sender: cmpxchg compares with EMPTY, finds CLAIMED, fails. What does it do then, and until"
        " when?",
    ),
)
